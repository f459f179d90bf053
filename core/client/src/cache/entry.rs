//! One resource of the cache: who wants it, what the gateway has been asked for, and the last known values.

use std::time::Duration;

use relogin_res::{
    ResourceId,
    client::{Method, UnsubscribeParams},
    code, delta,
};

use crate::{
    Answer, Event, Freshness, RequestError, Resource, ResourceChange, Token,
    backoff::Backoff,
    input::Turn,
    outbox::{Outbox, Purpose, params},
};

/// A resource that the client has or wants.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The last known values.
    pub(super) value: Option<Resource>,
    pub(super) freshness: Freshness,
    /// How often callers have subscribed.
    pub(super) callers: u32,
    /// How often the gateway has us as a direct subscriber.
    pub(super) held: u64,
    /// Whether a subscribe request is under way.
    pub(super) asking: bool,
    /// Whether somebody has logged in since it was sent: a refusal may be out of date.
    pub(super) ask_again: bool,
    /// Callers who have not been told yet, and until when they wait.
    pub(super) waiting: Vec<(Token, Duration)>,
    /// When to ask again after a refusal.
    pub(super) retry: Option<Duration>,
    pub(super) backoff: Backoff,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            value: None,
            freshness: Freshness::Loading,
            callers: 0,
            held: 0,
            asking: false,
            ask_again: false,
            waiting: Vec::new(),
            retry: None,
            backoff: Backoff::default(),
        }
    }

    /// Sends a subscribe request, unless there is no need for one.
    pub(super) fn ask(&mut self, rid: &ResourceId, out: &mut Outbox) {
        if self.callers == 0 || self.held > 0 || self.asking {
            return;
        }
        (self.asking, self.ask_again, self.retry) = (true, false, None);
        // No deadline: given up and asked again, the resource could be subscribed twice. Callers have their own.
        out.send(Purpose::Subscribe(rid.clone()), Method::Subscribe(rid.clone()), None, None);
    }

    /// Ends what direct subscriptions there are at the gateway.
    pub(super) fn give_back(&mut self, rid: &ResourceId, out: &mut Outbox) {
        let count = std::mem::take(&mut self.held);
        if count > 0 {
            let count = (count > 1).then_some(count);
            let params = count.and_then(|_| params(&UnsubscribeParams { count }));
            out.send(Purpose::Unsubscribe, Method::Unsubscribe(rid.clone()), params, None);
        }
    }

    /// The subscription was refused or taken away.
    pub(super) fn failed(&mut self, rid: &ResourceId, error: RequestError, turn: &mut Turn, out: &mut Outbox) {
        self.settle(&Err(error.clone()), out);
        if self.callers > 0 {
            let wait = if is_verdict(&error) {
                self.backoff.longest(&mut turn.dice)
            } else {
                self.backoff.next(&mut turn.dice)
            };
            self.retry = Some(turn.after(wait));
        }
        self.become_(Freshness::Failed(error), rid, out);
    }

    pub(super) fn settle(&mut self, result: &Result<Answer, RequestError>, out: &mut Outbox) {
        for (token, _) in std::mem::take(&mut self.waiting) {
            out.settle(token, result.clone());
        }
    }

    pub(super) fn become_(&mut self, freshness: Freshness, rid: &ResourceId, out: &mut Outbox) {
        if self.freshness != freshness {
            self.freshness = freshness.clone();
            out.emit(Event::Freshness(rid.clone(), freshness));
        }
    }

    /// Takes in new values, and tells how they differ from the last known ones.
    pub(super) fn replace(&mut self, new: Resource, rid: &ResourceId, out: &mut Outbox) {
        let changed = |change| Event::Changed(rid.clone(), change);
        match (&self.value, &new) {
            (Some(Resource::Model(old)), Resource::Model(new)) => {
                let changes = delta::between_models(old, new);
                if !changes.is_empty() {
                    out.emit(changed(ResourceChange::Model(changes)));
                }
            }
            (Some(Resource::Collection(old)), Resource::Collection(new)) => {
                for step in delta::between_collections(old, new) {
                    out.emit(changed(ResourceChange::Collection(step)));
                }
            }
            _ => out.emit(changed(ResourceChange::Loaded)),
        }
        self.value = Some(new);
    }
}

/// True for what will hardly be otherwise in a moment, as against a service that did not answer.
fn is_verdict(error: &RequestError) -> bool {
    const VERDICTS: [&str; 5] =
        [code::ACCESS_DENIED, code::DELETED, code::INVALID_QUERY, code::METHOD_NOT_FOUND, code::INVALID_REQUEST];
    match error {
        // Not notFound: gateways answer that, too, while the service is away.
        RequestError::Refused(error) => VERDICTS.contains(&error.code.as_ref()) || !error.is_system(),
        _ => false,
    }
}

//! One resource of the cache: who wants it, what the gateway has been asked for, and the last known
//! values.

use std::time::Duration;

use relogin_res::{ResourceId, client::Method, code, delta};

use crate::{
    Answer, Backoff, Event, Freshness, RequestError, Resource, ResourceChange, Token, Turn,
    outbox::{Outbox, Purpose},
};

/// A resource that the client has or wants.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The last known values.
    pub(super) value: Option<Resource>,
    pub(super) freshness: Freshness,
    /// Whether the gateway counts on us to know the values, as far as we can know: it leaves them
    /// out when they would be part of an answer, and sends what changes of them. True for a while
    /// longer than somebody wants them.
    pub(super) in_step: bool,
    /// How often callers have subscribed.
    pub(super) callers: u32,
    /// How often the gateway has us as a direct subscriber.
    pub(super) held: u64,
    /// Whether an unsubscribe request is under way: until it is answered, the gateway counts on us.
    pub(super) leaving: bool,
    /// Whether the gateway has taken the resource away meanwhile.
    pub(super) crossed: bool,
    /// Whether a subscribe request is under way.
    pub(super) asking: bool,
    /// Whether somebody has logged in since it was sent: a refusal may be out of date.
    pub(super) ask_again: bool,
    /// Callers who have no answer yet, and until when they wait.
    pub(super) waiting: Vec<(Token, Duration)>,
    /// When to ask again after a refusal.
    pub(super) retry: Option<Duration>,
    pub(super) backoff: Backoff,
    /// Since when nobody wants it, or, if others refer to it, its direct subscription.
    pub(super) idle: Option<Duration>,
}

impl Entry {
    pub(super) fn boxed() -> Box<Self> {
        Box::new(Self {
            value: None,
            freshness: Freshness::Loading,
            in_step: false,
            callers: 0,
            held: 0,
            leaving: false,
            crossed: false,
            asking: false,
            ask_again: false,
            waiting: Vec::new(),
            retry: None,
            backoff: Backoff::default(),
            idle: None,
        })
    }

    /// When something is to be done for the entry by itself.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.iter().map(|(_, deadline)| *deadline).chain(self.retry).min()
    }

    /// Sends a subscribe request, unless there is no need for one.
    pub(super) fn ask(&mut self, rid: &ResourceId, out: &mut Outbox) {
        if self.callers == 0 || self.held > 0 || self.asking {
            return;
        }
        (self.asking, self.ask_again, self.retry) = (true, false, None);
        // No deadline: given up and asked again, the resource could be subscribed twice. Callers
        // have their own.
        out.send(Purpose::Subscribe(rid.clone()), &Method::Subscribe(rid.clone()), None, None);
    }

    /// Ends what direct subscriptions there are at the gateway.
    pub(super) fn give_back(&mut self, rid: &ResourceId, out: &mut Outbox) {
        if self.held > 0 {
            (self.leaving, self.crossed) = (true, false);
            out.give_back(rid, std::mem::take(&mut self.held));
        }
    }

    /// The subscription was refused or taken away. `patient`: if it is worth no haste.
    pub(super) fn failed(
        &mut self,
        rid: &ResourceId,
        error: RequestError,
        patient: bool,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        self.settle(&Err(error.clone()), out);
        if self.callers > 0 {
            let dice = &mut turn.dice;
            let long = patient && is_verdict(&error);
            let wait = if long { self.backoff.longest(dice) } else { self.backoff.next(dice) };
            self.retry = Some(turn.after(wait));
        }
        self.set_freshness(Freshness::Failed(error), rid, out);
    }

    pub(super) fn settle(&mut self, result: &Result<Answer, RequestError>, out: &mut Outbox) {
        for (token, _) in std::mem::take(&mut self.waiting) {
            out.settle(token, result.clone());
        }
    }

    pub(super) fn set_freshness(&mut self, freshness: Freshness, rid: &ResourceId, out: &mut Outbox) {
        if self.freshness != freshness {
            self.freshness = freshness.clone();
            out.emit(Event::Freshness(rid.clone(), freshness));
        }
    }

    /// Takes in the gateway's values, and returns how they differ from the last known ones.
    pub(super) fn replace(&mut self, new: Resource, rid: &ResourceId, out: &mut Outbox) {
        let changed = |change| Event::Changed(rid.clone(), change);
        match (&self.value, &new) {
            (Some(Resource::Model(old)), Resource::Model(new)) => {
                let changes = delta::between_models(old, new);
                if !changes.is_empty() {
                    out.emit(changed(ResourceChange::Model(changes.into_iter().collect())));
                }
            }
            (Some(Resource::Collection(old)), Resource::Collection(new)) => {
                let [old, new] = [old, new].map(|values| values.iter().collect::<Vec<_>>());
                for step in delta::between_collections(&old, &new) {
                    out.emit(changed(ResourceChange::Collection(step)));
                }
            }
            _ => out.emit(changed(ResourceChange::Loaded)),
        }
        (self.value, self.in_step) = (Some(new), true);
        self.set_freshness(Freshness::Live, rid, out);
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

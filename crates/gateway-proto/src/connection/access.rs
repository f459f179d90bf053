//! A connection's access to a resource: requested once, and kept until something may have changed
//! it.

use std::mem;

use relogin_res::{
    Error, ResourceId, code,
    service::{AccessRequest, Payload, Subject},
};

use super::{
    Connection, Shared,
    jobs::Job,
    subscription::{AccessResult, AccessState, Subscription},
    task::Task,
};
use crate::{
    bus::{Asker, Purpose},
    ids::TaskId,
    tag::Tag,
};

impl Connection {
    /// Has a task informed of what may be done with the resource: at once if that is known.
    pub(crate) fn need_access(&mut self, rid: &ResourceId, task: TaskId, shared: &mut Shared) {
        if self.is_outdated(rid, shared) {
            self.recheck(rid, shared);
        }
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        match &mut subscription.access {
            AccessState::Known(result) => {
                let result = result.clone().map_err(|error| *error);
                self.on_access(task, &result, shared);
            }
            AccessState::Asked(_, tasks) => tasks.push(task),
            AccessState::Unknown => self.ask_access(rid, vec![task], shared),
        }
    }

    /// True if what is known of access to a resource holds no longer, and nobody was asked since.
    pub(crate) fn is_outdated(&mut self, rid: &ResourceId, shared: &mut Shared) -> bool {
        self.catch_up_with_access(rid, shared);
        self.subscriptions.get(rid).is_some_and(|subscription| subscription.is_outdated(self.epoch))
    }

    /// Takes note, before its turn, that what is known of access to a resource holds no longer, if
    /// that is so.
    pub(crate) fn catch_up_with_access(&mut self, rid: &ResourceId, shared: &mut Shared) {
        if let Some(key) = self.subscriptions.get(rid).and_then(|subscription| subscription.resource)
            && let Some(cause) = shared.cache.must_request_access(key, self.key, rid)
        {
            self.set_outdated(rid, cause, shared);
        }
    }

    /// Asks again for access to a resource, where somebody must know, because what is known holds
    /// no longer. True if it asked.
    pub(crate) fn recheck(&mut self, rid: &ResourceId, shared: &mut Shared) -> bool {
        self.end_turn(rid, shared);
        self.see_to(rid);
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return false };
        if let Some(key) = subscription.resource {
            shared.cache.must_request_access(key, self.key, rid);
        }
        let mut tasks = match mem::replace(&mut subscription.access, AccessState::Unknown) {
            AccessState::Asked(tag, tasks) => {
                // That answer may have been given before the change.
                shared.bus.release(tag);
                tasks
            }
            AccessState::Known(_) | AccessState::Unknown => Vec::new(),
        };
        let is_direct = subscription.direct > 0;
        subscription.rechecking = is_direct;
        for id in &subscription.fetches {
            if let Some(Task::Fetch(fetch)) = self.tasks.get_mut(id)
                && mem::take(&mut fetch.granted)
            {
                tasks.push(*id);
            }
        }
        let must_ask = is_direct || !tasks.is_empty();
        if must_ask {
            self.ask_access(rid, tasks, shared);
        }
        // Events may have waited for an answer about a direct subscription that the client has
        // given up since.
        self.pump(rid);
        must_ask
    }

    fn ask_access(&mut self, rid: &ResourceId, tasks: Vec<TaskId>, shared: &mut Shared) {
        let Some(target) = self.subscriptions.get(rid).map(|subscription| subscription.target.clone()) else { return };
        let (subject, payload) = self.access_request(&target);
        let tag = shared.bus.ask(Asker::Connection(self.key), Purpose::Access(self.key, rid.clone()), subject, payload);
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.access = AccessState::Asked(tag, tasks);
        }
    }

    /// The subject and payload that ask what may be done with `target`.
    pub(crate) fn access_request(&self, target: &ResourceId) -> (String, Vec<u8>) {
        let request = AccessRequest {
            cid: self.cid.clone(),
            token: self.token.clone(),
            query: target.query().map(str::to_owned),
            is_http: self.is_http(),
        };
        (Subject::Access(target.name().to_owned()).to_text(), request.encode())
    }

    /// Takes the answer to an access request about a resource that is subscribed to.
    pub(super) fn on_access_answer(&mut self, tag: Tag, rid: &ResourceId, result: &AccessResult, shared: &mut Shared) {
        let is_asked = |it: &Subscription| matches!(it.access, AccessState::Asked(asked, _) if asked == tag);
        if !self.subscriptions.get(rid).is_some_and(|subscription| is_asked(subscription)) {
            // Since it came, there was reason to ask again, or none to ask.
            return;
        }
        let turn = self.end_turn(rid, shared);
        self.catch_up_with_access(rid, shared);
        if !self.subscriptions.get(rid).is_some_and(|subscription| is_asked(subscription)) {
            // It was requested again because of what came in between.
            return;
        }
        if self.is_outdated(rid, shared) {
            // It may have been given before the change.
            if self.recheck(rid, shared)
                && let Some(cause) = turn
            {
                self.begin_turn(rid, cause, shared);
            }
            return;
        }
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        // Other errors may be gone the next time.
        let is_decision = result.as_ref().map_or_else(|error| error.is(code::ACCESS_DENIED), |_| true);
        let known = if is_decision && subscription.gets_events() {
            AccessState::Known(result.clone().map_err(Box::new))
        } else {
            AccessState::Unknown
        };
        let AccessState::Asked(_, tasks) = mem::replace(&mut subscription.access, known) else { return };
        if mem::take(&mut subscription.rechecking)
            && let Err(reason) = can_get(result)
        {
            self.unsubscribe_because(rid, reason, shared);
        }
        tasks.into_iter().for_each(|task| self.then(Job::Access(task, result.clone())));
        self.pump(rid);
    }

    /// Tells a task what may be done.
    pub(crate) fn on_access(&mut self, task: TaskId, result: &AccessResult, shared: &mut Shared) {
        match self.tasks.get(&task) {
            Some(Task::Fetch(_)) => self.on_fetch_access(task, can_get(result), shared),
            Some(Task::Call(_)) => self.on_call_access(task, result, shared),
            Some(Task::Deliver(_)) | None => {}
        }
    }
}

fn can_get(result: &AccessResult) -> Result<(), Error> {
    if result.as_ref().map_err(Clone::clone)?.get { Ok(()) } else { Err(Error::access_denied()) }
}

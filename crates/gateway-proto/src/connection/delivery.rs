//! Sends events to a client: holds them back while something must come first, and sends them with
//! the resources that they newly refer to.

use std::{mem, sync::Arc};

use bytes::Bytes;
use relogin_res::{Error, ResourceId};

use super::{
    Connection, Shared,
    gathering::Gathered,
    jobs::Job,
    subscription::State,
    task::{Deliver, Task, Wait},
    walk::{Edges, Walk},
    writing::{PendingMessage, Writing},
};
use crate::{
    api::{Config, close},
    event::Event,
};

impl Connection {
    /// Takes an event on a resource that the client calls `rid`.
    pub(crate) fn on_event(&mut self, rid: &ResourceId, event: &Arc<Event>, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        if event.is_in(subscription.version) {
            return;
        }
        let Config { max_held_events, max_held_bytes, .. } = shared.config;
        let is_full = subscription.held.is_full_for(event, max_held_events, max_held_bytes);
        match subscription.state {
            State::Waiting(_) | State::Loading | State::Failed(_) | State::Deleted => {}
            // The client has seen nothing yet: it may as well begin later.
            State::Loaded(_) if is_full => {
                self.resubscribe(rid, shared);
                self.then(Job::Release);
            }
            State::Visible if is_full => self.failure = Some((close::TRY_AGAIN_LATER, "too many events are waiting")),
            State::Loaded(_) | State::Visible => {
                subscription.version = event.version();
                // Most have nothing to wait for, and nothing to wait with.
                if subscription.held.is_empty() && event.keeps_references() && self.can_send(rid, shared) {
                    return self.deliver(rid, event, shared);
                }
                if let Some(subscription) = self.subscriptions.get_mut(rid) {
                    subscription.held.push(Arc::clone(event));
                    self.pump(rid);
                }
            }
        }
    }

    /// Sends what is held back for no more reason.
    pub(crate) fn pump(&mut self, rid: &ResourceId) {
        if self.subscriptions.get(rid).is_some_and(|subscription| !subscription.held.is_empty()) {
            self.then(Job::Pump(rid.clone()));
        }
    }

    /// Sends the next event that is held back for no more reason.
    pub(super) fn send_held(&mut self, rid: &ResourceId, shared: &mut Shared) {
        if self.can_send(rid, shared)
            && let Some(event) = self.subscriptions.get_mut(rid).and_then(|subscription| subscription.held.pop())
        {
            self.deliver(rid, &event, shared);
            self.pump(rid);
        }
    }

    /// True if events on a resource have nothing to wait for.
    fn can_send(&mut self, rid: &ResourceId, shared: &mut Shared) -> bool {
        self.catch_up_with_access(rid, shared);
        self.subscriptions.get(rid).is_some_and(|subscription| {
            matches!(subscription.state, State::Visible)
                && !subscription.rechecking
                && !(subscription.direct > 0 && subscription.is_outdated(self.epoch))
                && subscription.delivering.is_none()
        })
    }

    fn deliver(&mut self, rid: &ResourceId, event: &Arc<Event>, shared: &mut Shared) {
        if event.is_delete() {
            return self.deliver_delete(rid, event, shared);
        }
        if event.keeps_references() {
            return self.send(event.frame(rid, self.dialect()), shared);
        }
        let added = event.added_references();
        let deliver = Deliver { rid: rid.clone(), event: Arc::clone(event), wait: Wait::new(added.clone()) };
        let task = self.add_task(Task::Deliver(deliver));
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.delivering = Some(task);
        }
        self.then(Job::Attach(added.clone().into_iter()));
        self.then(Job::Explore(task, Walk::from(added)));
        self.then(Job::Complete(task));
    }

    /// Sends an event, or begins to write it, all that it newly refers to being there.
    pub(super) fn begin_event(&mut self, mut deliver: Deliver, gathered: Gathered, shared: &mut Shared) {
        let Gathered { fresh, found } = gathered;
        shared.bus.discard(mem::take(&mut deliver.wait.seen));
        if found.is_empty() {
            let frame = deliver.event.frame(&deliver.rid, self.dialect());
            return self.finish_event(frame, deliver, fresh, shared);
        }
        let frame = deliver.event.open_frame(&deliver.rid, self.dialect());
        let writing = Writing::new(frame, found, self.dialect());
        self.then(Job::Write(Box::new(writing), PendingMessage::Event(deliver, fresh)));
    }

    /// Sends an event that was written.
    pub(super) fn finish_event(
        &mut self,
        frame: impl Into<Bytes>,
        deliver: Deliver,
        fresh: Vec<ResourceId>,
        shared: &mut Shared,
    ) {
        self.send(frame, shared);
        let Deliver { rid, event, wait } = deliver;
        if let Some(subscription) = self.subscriptions.get_mut(&rid) {
            subscription.delivering = None;
        }
        self.then(Job::Show(Edges::of(&Arc::new(fresh))));
        self.then(Job::Link(rid.clone(), wait.roots.into_iter()));
        self.then(Job::Unlink(rid.clone(), event.dropped_references().into_iter()));
        self.then(Job::Release);
        self.then(Job::PumpAll(Vec::new().into_iter()));
        self.pump(&rid);
    }

    fn deliver_delete(&mut self, rid: &ResourceId, event: &Event, shared: &mut Shared) {
        self.send(event.frame(rid, self.dialect()), shared);
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.set_deaf(State::Deleted);
        }
        self.unsubscribe_because(rid, Error::deleted(), shared);
    }
}

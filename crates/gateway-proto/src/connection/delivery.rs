//! Events on their way to a client: held back while something must come first, sent with what they newly refer to.

use std::sync::Arc;

use relogin_res::{Error, ResourceId};

use super::{
    Connection, Shared,
    fetch::Gathered,
    subscription::State,
    task::{Deliver, Task, Wait},
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
            State::Waiting | State::Loading | State::Failed(_) | State::Deleted => {}
            // The client has seen nothing yet: it may as well begin later.
            State::Loaded(_) if is_full => {
                let mut loose = Vec::new();
                self.resubscribe(rid, &mut loose, shared);
                self.release(loose, shared);
            }
            State::Visible if is_full => self.failure = Some((close::TRY_AGAIN_LATER, "too many events are waiting")),
            State::Loaded(_) | State::Visible => {
                subscription.version = event.version();
                subscription.held.push(Arc::clone(event));
                self.pump(rid, shared);
            }
        }
    }

    /// Sends what is held back for no more reason.
    pub(crate) fn pump(&mut self, rid: &ResourceId, shared: &mut Shared) {
        while let Some(subscription) = self.subscriptions.get_mut(rid)
            && matches!(subscription.state, State::Visible)
            && !subscription.rechecking
            && !(subscription.direct > 0 && subscription.is_outdated(self.epoch))
            && subscription.delivering.is_none()
            && let Some(event) = subscription.held.pop()
        {
            self.deliver(rid, &event, shared);
        }
    }

    fn deliver(&mut self, rid: &ResourceId, event: &Arc<Event>, shared: &mut Shared) {
        if event.is_delete() {
            return self.deliver_delete(rid, event, shared);
        }
        if event.keeps_references() {
            return self.send(event.frame(rid, self.dialect()), shared);
        }
        let added = event.added_references();
        for child in &added {
            self.attach(child, shared);
            self.pin(child);
        }
        let gathered = self.gather(&added);
        let deliver = Deliver { rid: rid.clone(), event: Arc::clone(event), wait: Wait::new(added.clone()) };
        if !gathered.is_loading {
            return self.finish_delivery(deliver, &gathered, shared);
        }
        let task = self.add_task(Task::Deliver(deliver));
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.delivering = Some(task);
        }
        self.explore(task, added);
    }

    /// Sends an event, all that it newly refers to being there. The caller must [`Connection::pump`] on.
    pub(crate) fn finish_delivery(&mut self, deliver: Deliver, gathered: &Gathered, shared: &mut Shared) {
        let Deliver { rid, event, wait } = deliver;
        let frame = event.frame_with(&rid, self.dialect(), self.texts(gathered));
        self.send(frame, shared);
        self.show(&gathered.fresh);
        for child in &wait.roots {
            self.link(&rid, child);
            self.unpin(child);
        }
        let dropped = event.dropped_references();
        dropped.iter().for_each(|child| self.unlink(&rid, child));
        if let Some(subscription) = self.subscriptions.get_mut(&rid) {
            subscription.delivering = None;
        }
        self.release(dropped, shared);
        gathered.fresh.iter().for_each(|rid| self.pump(rid, shared));
    }

    fn deliver_delete(&mut self, rid: &ResourceId, event: &Event, shared: &mut Shared) {
        self.send(event.frame(rid, self.dialect()), shared);
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.set_deaf(State::Deleted);
        }
        self.unsubscribe_because(rid, Error::deleted(), shared);
    }
}

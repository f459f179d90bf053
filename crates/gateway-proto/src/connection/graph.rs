//! A connection's subscriptions and what they refer to: begun when something needs them, ended when
//! nothing does, and told apart by whether the client has them. What may be much is done by jobs.

use std::{mem, sync::Arc};

use relogin_res::{Error, ResourceId};

use super::{
    Connection, Shared,
    jobs::Job,
    subscription::{AccessState, State, Subscription},
    task::Task,
    walk::Edge,
};
use crate::content::Snapshot;

/// How many values of a content are looked at in a step, if they refer to nothing.
const VALUES_A_STEP: usize = 16;

impl Connection {
    /// Subscribes to a resource and to all that it refers to, as far as it is not so already. One
    /// that could not be had the last time is asked for again.
    pub(crate) fn attach(&mut self, rid: &ResourceId, shared: &mut Shared) {
        match self.subscriptions.get(rid).map(|subscription| &subscription.state) {
            Some(State::Failed(_)) => self.resubscribe(rid, shared),
            Some(State::Waiting(_)) => {
                self.stop_waiting(rid);
                self.load(rid, shared);
            }
            Some(_) => {}
            None => {
                let subscription = self.create(rid, shared);
                let has_failed = !subscription.is_loading();
                self.subscriptions.insert(rid.clone(), subscription);
                if !has_failed {
                    self.load(rid, shared);
                }
            }
        }
    }

    /// The same for a resource that an event refers to: if it is new, it is loaded in its turn.
    pub(super) fn attach_in_turn(&mut self, rid: &ResourceId, shared: &mut Shared) {
        match self.subscriptions.get(rid).map(|subscription| &subscription.state) {
            Some(State::Waiting(_)) => {}
            Some(_) => self.attach(rid, shared),
            None => self.subscribe_in_turn(rid, 0, shared),
        }
    }

    /// Loads a resource without its turn. Lets nothing go on that has waited for it: that has its
    /// turn.
    fn load(&mut self, rid: &ResourceId, shared: &mut Shared) {
        if let Some(snapshot) = self.subscribe_to_cache(rid, shared) {
            self.fill(rid, &snapshot);
        }
        self.wake_later(rid);
    }

    /// Makes a subscription, which the caller must add and have loaded, unless it has failed at
    /// once.
    fn create(&mut self, rid: &ResourceId, shared: &mut Shared) -> Box<Subscription> {
        let is_full = self.has_all_subscriptions(shared);
        // A cid is one part of a name, or the connection would not have been opened.
        let target = rid.with_cid(&self.cid).unwrap_or_else(|| rid.clone());
        self.count_in(rid, &target, shared);
        let mut subscription = Box::new(Subscription::new(target, self.epoch));
        if is_full {
            subscription.set_deaf(State::Failed(Box::new(Error::subscription_limit_exceeded())));
        }
        subscription
    }

    /// Subscribes to a resource in the cache. Its content, if that is there.
    pub(crate) fn subscribe_to_cache(&mut self, rid: &ResourceId, shared: &mut Shared) -> Option<Arc<Snapshot>> {
        if let Err(error) = self.check_length(rid, shared) {
            self.set_failed(rid, error);
            return None;
        }
        let since = shared.cache.next_notice();
        let subscription = self.subscriptions.get_mut(rid)?;
        let subscriber = (self.key, rid.clone());
        let (key, snapshot) = match shared.cache.subscribe(&subscription.target, subscriber, &mut shared.bus) {
            Ok(subscribed) => subscribed,
            Err(error) => {
                self.set_failed(rid, error);
                return None;
            }
        };
        subscription.resource = Some(key);
        subscription.since = since;
        subscription.state = State::Loading;
        snapshot
    }

    pub(crate) fn set_failed(&mut self, rid: &ResourceId, error: Error) {
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.set_deaf(State::Failed(Box::new(error)));
        }
    }

    /// Sets the content of a subscription that is loading, and subscribes to what it refers to.
    pub(crate) fn fill(&mut self, rid: &ResourceId, snapshot: &Arc<Snapshot>) {
        if let Some(subscription) = self.subscriptions.get_mut(rid)
            && subscription.fill(snapshot)
        {
            self.then(Job::Fill(rid.clone(), Arc::clone(snapshot), 0));
        }
    }

    /// Subscribes to the next of what the content of a resource refers to.
    pub(super) fn fill_next(&mut self, rid: ResourceId, snapshot: Arc<Snapshot>, from: usize, shared: &mut Shared) {
        for at in from..from + VALUES_A_STEP {
            let Some(value) = snapshot.value(at) else { return };
            // Soft references are the client's business.
            if let Some(child) = value.reference()
                && let Some(subscription) = self.subscriptions.get_mut(&rid)
            {
                let count = subscription.references.entry(child.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    self.add_parent(child, shared);
                }
                return self.then(Job::Fill(rid, Arc::clone(&snapshot), at + 1));
            }
        }
        self.then(Job::Fill(rid, snapshot, from + VALUES_A_STEP));
    }

    /// Notes that one more resource refers to `child`, and subscribes to it if that is not so
    /// already.
    pub(super) fn add_parent(&mut self, child: &ResourceId, shared: &mut Shared) {
        if let Some(subscription) = self.subscriptions.get_mut(child) {
            subscription.parents += 1;
            return;
        }
        self.subscribe_in_turn(child, 1, shared);
    }

    /// Makes a subscription that so many resources refer to.
    fn subscribe_in_turn(&mut self, rid: &ResourceId, parents: u32, shared: &mut Shared) {
        let mut subscription = self.create(rid, shared);
        subscription.parents = parents;
        if subscription.is_loading() {
            self.begin_to_load(rid, &mut subscription, shared);
        }
        self.subscriptions.insert(rid.clone(), subscription);
    }

    /// Takes the content of a new subscription if it is in the cache; if not, the subscription
    /// waits for its turn.
    fn begin_to_load(&mut self, rid: &ResourceId, subscription: &mut Subscription, shared: &mut Shared) {
        let since = shared.cache.next_notice();
        let may_be_there = self.check_length(rid, shared).is_ok();
        let subscribe = || shared.cache.subscribe_if_there(&subscription.target, (self.key, rid.clone()));
        let Some((key, snapshot)) = may_be_there.then(subscribe).flatten() else {
            return self.pace.wait_for_turn(rid, subscription);
        };
        (subscription.resource, subscription.since) = (Some(key), since);
        if subscription.fill(&snapshot) {
            self.then(Job::Fill(rid.clone(), snapshot, 0));
        }
    }

    /// Notes that one resource less refers to `child`. The caller must [`Connection::release`] it
    /// or see to it otherwise.
    pub(super) fn remove_parent(&mut self, child: &ResourceId) {
        if let Some(child) = self.subscriptions.get_mut(child) {
            child.parents = child.parents.saturating_sub(1);
        }
    }

    /// Notes that the client has a resource from now on, and that what refers to each of those
    /// below is with the client. False if it refers to nothing.
    pub(super) fn show(&mut self, edge: &Edge, shared: &mut Shared) -> bool {
        match edge {
            Edge::Begin(rid) => {
                let Some(subscription) = self.subscriptions.get_mut(rid) else { return false };
                shared.bus.discard(mem::replace(&mut subscription.state, State::Visible));
                if !subscription.held.is_empty() {
                    self.jobs.shown.push(rid.clone());
                }
                !subscription.references.is_empty()
            }
            Edge::Child(child) => {
                if let Some(child) = self.subscriptions.get_mut(child) {
                    child.visible_parents += 1;
                }
                true
            }
            Edge::End(_) => true,
        }
    }

    /// Notes that the client has a resource no longer; the caller must [`Connection::resubscribe`]
    /// or drop it.
    pub(super) fn hide(&mut self, edge: &Edge) {
        match edge {
            Edge::Begin(rid) => {
                let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
                subscription.state = State::Loading;
                subscription.rechecking = false;
                subscription.held.clear();
                let delivering = subscription.delivering.take();
                if let Some(Task::Deliver(deliver)) = delivering.and_then(|task| self.tasks.remove(&task)) {
                    deliver.wait.roots.iter().for_each(|root| self.unpin(root));
                    self.jobs.loose.extend(deliver.wait.roots);
                }
            }
            Edge::Child(child) => {
                if let Some(child) = self.subscriptions.get_mut(child) {
                    child.visible_parents = child.visible_parents.saturating_sub(1);
                }
            }
            Edge::End(_) => {}
        }
    }

    /// Takes the content as it is now, from the cache or through it. The caller must
    /// [`Connection::release`] what it no longer refers to.
    pub(crate) fn resubscribe(&mut self, rid: &ResourceId, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        if matches!(subscription.state, State::Waiting(_)) {
            // It is new, and has its turn.
            return;
        }
        subscription.held.clear();
        // A denial in the meantime was not delivered.
        let must_recheck = !subscription.gets_events() && subscription.direct > 0;
        let references = mem::take(&mut subscription.references);
        let cached = subscription.resource.and_then(|resource| shared.cache.snapshot(resource));
        if cached.is_some() {
            subscription.since = shared.cache.next_notice();
        }
        if let Some(snapshot) = cached.or_else(|| self.subscribe_to_cache(rid, shared)) {
            self.fill(rid, &snapshot);
        }
        self.then(Job::Loosen(references.into_keys()));
        if must_recheck {
            self.recheck(rid, shared);
        }
    }

    /// Notes that `parent` refers to `child` once more.
    pub(crate) fn link(&mut self, parent: &ResourceId, child: &ResourceId) {
        let Some(subscription) = self.subscriptions.get_mut(parent) else { return };
        let is_visible = subscription.is_visible();
        let count = subscription.references.entry(child.clone()).or_default();
        *count += 1;
        if *count == 1
            && let Some(child) = self.subscriptions.get_mut(child)
        {
            child.parents += 1;
            child.visible_parents += u32::from(is_visible);
        }
    }

    /// Notes that `parent` refers to `child` once less. The caller must [`Connection::release`] the
    /// child.
    pub(crate) fn unlink(&mut self, parent: &ResourceId, child: &ResourceId) {
        let Some(subscription) = self.subscriptions.get_mut(parent) else { return };
        let is_visible = subscription.is_visible();
        let Some(count) = subscription.references.get_mut(child) else { return };
        *count -= 1;
        if *count == 0 {
            subscription.references.remove(child);
            if let Some(child) = self.subscriptions.get_mut(child) {
                child.parents = child.parents.saturating_sub(1);
                child.visible_parents = child.visible_parents.saturating_sub(u32::from(is_visible));
            }
        }
    }

    /// Notes that a task needs the resource.
    pub(crate) fn pin(&mut self, rid: &ResourceId) {
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.pins += 1;
        }
    }

    /// Notes that a task needs the resource no longer. The caller must [`Connection::release`] it.
    pub(crate) fn unpin(&mut self, rid: &ResourceId) {
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.pins = subscription.pins.saturating_sub(1);
        }
    }

    /// Drops a resource if nothing holds it any more, and what it refers to, and forgets that the
    /// client has what nothing holds there.
    pub(crate) fn release(&mut self, rid: ResourceId) {
        self.jobs.loose.push(rid);
        self.then(Job::Release);
    }

    /// Ends a subscription that nothing holds.
    pub(super) fn drop_subscription(&mut self, edge: Edge, shared: &mut Shared) {
        match edge {
            Edge::Begin(_) => {}
            Edge::Child(child) => self.remove_parent(&child),
            Edge::End(rid) => {
                self.stop_waiting(&rid);
                self.stop_waking(&rid);
                self.see_to(&rid);
                self.end_turn(&rid, shared);
                let Some(mut subscription) = self.subscriptions.remove(&rid) else { return };
                self.pace.end_loading(&mut subscription);
                self.count_out(&rid, &subscription.target, shared);
                if let Some(key) = subscription.resource {
                    shared.cache.unsubscribe(key, &subscription.target, &(self.key, rid), &mut shared.bus);
                }
                if let AccessState::Asked(tag, tasks) = mem::replace(&mut subscription.access, AccessState::Unknown) {
                    shared.bus.release(tag);
                    // Only calls: whoever wants the resource itself has pinned it.
                    tasks.into_iter().for_each(|task| self.ask_call_access(task, shared));
                }
                self.jobs.orphaned.extend(mem::take(&mut subscription.waiting));
                shared.bus.discard(subscription);
            }
        }
    }
}

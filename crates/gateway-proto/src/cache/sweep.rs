//! Work on all resources of a name. A name may have a hundred thousand, so each step of a sweep
//! takes a few of them, and other work comes in between. Must not depend on connections.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use relogin_res::{Error, ResourceId};

use super::{Cache, Cause, News, Notice, Notification, names::Name};
use crate::{
    api::ConnectionKey,
    bus::Bus,
    ids::{ResourceKey, Subscriber},
};

/// Work on all resources of a name.
#[derive(Debug)]
pub(super) struct Sweep {
    name: String,
    task: SweepTask,
}

#[derive(Debug)]
enum SweepTask {
    /// Notify subscribers that access must be requested again, after the one notified last.
    NotifyOfAccess(Option<(ResourceKey, Option<Subscriber>)>),
    /// Fetch resources again that come after one of them, up to another; all, or query resources.
    Fetch { after: Option<ResourceKey>, until: Option<ResourceKey>, is_for_queries: bool },
    /// Fail all resources, because the bus has refused their events.
    Fail(Error),
    /// Send the next query requests.
    Query,
    /// Forget the queries that led to a resource.
    Unlink(ResourceKey, BTreeSet<Arc<str>>),
}

/// What came of a step.
#[derive(Debug)]
pub(crate) enum Swept {
    /// A subscriber is to be notified.
    Notification(Notification),
    /// Subscribers of a resource are to be notified, if there are any.
    Notices(Vec<Notice>),
}

/// How many resources, queries or other small things are dealt with in a step, where nobody is
/// notified of them.
pub(super) const SMALL_THINGS: usize = 16;

/// How many sweeps may be pending before others have to wait.
const MAX_SWEEPS: usize = 64;

impl Cache {
    /// Lets all subscribers of a name request access again: each as soon as it does something, the
    /// others in their turn.
    pub(crate) fn reset_access(&mut self, name: &str, cause: Cause) {
        let Some(it) = self.names.get_mut(name) else { return };
        self.last_reaccess += 1;
        (it.reaccess, it.cause) = (self.last_reaccess, cause);
        self.notify_of_access(name);
    }

    /// Notifies those subscribers of a name who do not know it that access must be requested again.
    pub(super) fn notify_of_access(&mut self, name: &str) {
        let Some(it) = self.names.get_mut(name) else { return };
        if std::mem::replace(&mut it.is_notifying_of_access, true) {
            it.must_notify_of_access_again = true;
        } else {
            let task = SweepTask::NotifyOfAccess(None);
            self.sweeps.push_back(Sweep { name: name.to_owned(), task });
        }
    }

    /// Why, once, what the subscriber knows of access no longer holds, if it has not been notified
    /// yet.
    pub(crate) fn must_request_access(
        &mut self,
        key: ResourceKey,
        connection: ConnectionKey,
        rid: &ResourceId,
    ) -> Option<Cause> {
        if self.sweeps.is_empty() && self.merges.is_empty() {
            return None;
        }
        let resource = self.resources.get_mut(&key)?;
        let name = self.names.get(resource.rid.name())?;
        let delivered = resource.subscribers.get_mut(&(connection, rid.clone()))?;
        (std::mem::replace(&mut delivered.access, name.reaccess) < name.reaccess).then_some(name.cause)
    }

    /// Has all resources of a name fetched again, in their turn.
    pub(crate) fn reset_resources(&mut self, name: &str) {
        let until = self.names.get(name).and_then(Name::last_resource);
        self.fetch_again(name, None, until, false);
    }

    /// Has resources of a name fetched again, in their turn: those after one of them, up to
    /// another.
    pub(super) fn fetch_again(
        &mut self,
        name: &str,
        after: Option<ResourceKey>,
        until: Option<ResourceKey>,
        is_for_queries: bool,
    ) {
        let Some(it) = self.names.get(name) else { return };
        let is_left = |key: &ResourceKey| until.is_some_and(|until| *key <= until);
        let some: Vec<_> = it.resources_after(after).take_while(is_left).take(SMALL_THINGS).collect();
        for key in &some {
            let resource = self.resources.get(key);
            if !is_for_queries || resource.is_some_and(|resource| resource.is_loaded() && resource.query().is_some()) {
                self.set_stale(*key);
            }
        }
        if some.len() == SMALL_THINGS {
            let task = SweepTask::Fetch { after: some.last().copied(), until, is_for_queries };
            self.sweeps.push_back(Sweep { name: name.to_owned(), task });
        }
    }

    /// Fails all resources of a name whose events cannot be subscribed to.
    pub(crate) fn on_listen_refused(&mut self, name: &str, error: Error, bus: &mut Bus) {
        let Some(it) = self.names.get_mut(name) else { return };
        if it.is_empty() {
            return self.drop_name(name, bus);
        }
        it.is_refused = true;
        self.sweeps.push_back(Sweep { name: name.to_owned(), task: SweepTask::Fail(error) });
    }

    /// Has the next query requests of a name sent, in their turn.
    pub(super) fn query_later(&mut self, name: &str) {
        self.sweeps.push_back(Sweep { name: name.to_owned(), task: SweepTask::Query });
    }

    /// Forgets the queries that led to a resource, which is gone.
    pub(super) fn unlink(&mut self, name: &str, key: ResourceKey, mut queries: BTreeSet<Arc<str>>) {
        for _ in 0..SMALL_THINGS {
            let Some(query) = queries.pop_first() else { return };
            if let Some(it) = self.names.get_mut(name) {
                it.unlink(key, &query);
            }
        }
        if !queries.is_empty() {
            self.sweeps.push_back(Sweep { name: name.to_owned(), task: SweepTask::Unlink(key, queries) });
        }
    }

    /// Drops a name that is no longer used: a large one in its turn.
    pub(super) fn drop_later(&mut self, mut name: Name) {
        for _ in 0..SMALL_THINGS {
            if !name.drop_some() {
                return;
            }
        }
        self.dropped.push_back(name);
    }

    /// True if [`Cache::sweep_next`] has something to do.
    pub(crate) fn has_sweeps(&self) -> bool {
        !self.sweeps.is_empty() || !self.dropped.is_empty()
    }

    /// True if whatever begins sweeps must wait.
    pub(crate) fn has_too_many_sweeps(&self) -> bool {
        self.sweeps.len() > MAX_SWEEPS
    }

    /// Does the next step of a sweep. `None` if nothing is left, or what is left must wait until
    /// subscribers have been notified.
    pub(crate) fn sweep_next(&mut self, bus: &mut Bus) -> Option<Swept> {
        if let Some(name) = self.dropped.front_mut() {
            if !(0..SMALL_THINGS).all(|_| name.drop_some()) {
                self.dropped.pop_front();
            }
            return Some(Swept::Notices(Vec::new()));
        }
        let must_wait = self.has_much_undelivered();
        let at = self.sweeps.iter().position(|sweep| !must_wait || !matches!(sweep.task, SweepTask::Fail(_)))?;
        let Sweep { name, task } = self.sweeps.remove(at)?;
        Some(Swept::Notices(match task {
            SweepTask::NotifyOfAccess(last) => {
                return Some(
                    self.notify_next_of_access(name, last).map_or(Swept::Notices(Vec::new()), Swept::Notification),
                );
            }
            SweepTask::Fetch { after, until, is_for_queries } => {
                self.fetch_again(&name, after, until, is_for_queries);
                Vec::new()
            }
            SweepTask::Fail(error) => self.fail_next(name, error, bus),
            SweepTask::Query => {
                self.continue_round(&name, bus);
                Vec::new()
            }
            SweepTask::Unlink(key, queries) => {
                self.unlink(&name, key, queries);
                Vec::new()
            }
        }))
    }

    fn notify_next_of_access(
        &mut self,
        text: String,
        last: Option<(ResourceKey, Option<Subscriber>)>,
    ) -> Option<Notification> {
        let name = self.names.get_mut(&text)?;
        let (at, last) = last.map_or((None, None), |(key, last)| (Some(key), last));
        let same = at.filter(|key| last.is_some() && self.resources.contains_key(key));
        let Some(key) = same.or_else(|| name.resources_after(at).next()) else {
            name.is_notifying_of_access = false;
            if std::mem::take(&mut name.must_notify_of_access_again) {
                self.notify_of_access(&text);
            }
            return None;
        };
        let after = last.filter(|_| same.is_some()).map_or(Unbounded, Excluded);
        let resource = self.resources.get_mut(&key)?;
        let next = resource.subscribers.range_mut((after, Unbounded)).next();
        let last = next.as_ref().map(|(subscriber, _)| (*subscriber).clone());
        let (reaccess, cause) = (name.reaccess, name.cause);
        let notified = next.filter(|(_, delivered)| delivered.access < reaccess).map(|(subscriber, delivered)| {
            delivered.access = reaccess;
            let (connection, rid) = subscriber.clone();
            Notification { connection, rid, resource: key, number: self.fanout.next(), news: News::Reaccess(cause) }
        });
        self.sweeps.push_front(Sweep { name: text, task: SweepTask::NotifyOfAccess(Some((key, last))) });
        notified
    }

    fn fail_next(&mut self, name: String, error: Error, bus: &mut Bus) -> Vec<Notice> {
        let Some(key) = self.names.get(&name).and_then(|it| it.resources_after(None).next()) else { return Vec::new() };
        let notices = self.on_loaded(key, Err(error.clone()), bus);
        self.sweeps.push_front(Sweep { name, task: SweepTask::Fail(error) });
        notices
    }
}

//! Getting resources to a client: waiting until they are there with all that they refer to, and sending what the client
//! lacks.

use std::{collections::BTreeSet, mem, sync::Arc};

use relogin_res::{
    Error, ResourceId,
    client::{encode_error, encode_resource, encode_result},
};

use super::{
    Connection, Shared,
    subscription::State,
    task::{Fetch, FetchKind, Task, Wait},
};
use crate::{
    content::{Snapshot, Texts},
    ids::TaskId,
};

/// Resources below some roots, by what is to be sent of them.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// There, and not with the client yet.
    pub(crate) fresh: Vec<ResourceId>,
    /// Not to be had.
    failed: Vec<ResourceId>,
    /// True if some are not there yet.
    pub(crate) is_loading: bool,
}

impl Connection {
    /// Begins to get a resource for the request `id`, which is answered in the end.
    pub(crate) fn fetch(&mut self, id: u64, rid: &ResourceId, kind: FetchKind, shared: &mut Shared) {
        if self.is_full(rid, kind, shared) {
            return self.answer(encode_error(id, &Error::subscription_limit_exceeded()), shared);
        }
        self.attach(rid, shared);
        self.pin(rid);
        let follows = self.subscriptions.get(rid).is_some_and(|subscription| !subscription.fetches.is_empty());
        let mut wait = Wait::new(vec![rid.clone()]);
        wait.loading = usize::from(follows);
        let task = self.add_task(Task::Fetch(Fetch { id, rid: rid.clone(), kind, granted: false, follows, wait }));
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.fetches.push(task);
        }
        if !follows {
            self.explore(task, vec![rid.clone()]);
        }
        self.need_access(rid, task, shared);
    }

    /// Lets the next of several tasks that fetch a resource look what it needs.
    pub(crate) fn lead(&mut self, rid: &ResourceId, shared: &mut Shared) {
        let first = self.subscriptions.get(rid).and_then(|subscription| subscription.fetches.first()).copied();
        if let Some(task) = first
            && let Some(Task::Fetch(fetch)) = self.tasks.get_mut(&task)
            && mem::take(&mut fetch.follows)
        {
            fetch.wait.loading = 0;
            self.explore(task, vec![rid.clone()]);
            self.try_complete(task, shared);
        }
    }

    fn is_full(&self, rid: &ResourceId, kind: FetchKind, shared: &Shared) -> bool {
        match self.subscriptions.get(rid) {
            Some(_) if kind == FetchKind::Get => false,
            Some(subscription) => {
                let pending = self.pending_subscriptions(rid).len();
                subscription.direct as usize + pending >= shared.config.max_direct_subscriptions as usize
            }
            None => self.has_all_subscriptions(shared),
        }
    }

    /// The requests that will be direct subscriptions once they are answered, oldest first.
    pub(crate) fn pending_subscriptions(&self, rid: &ResourceId) -> Vec<TaskId> {
        let fetches = self.subscriptions.get(rid).into_iter().flat_map(|subscription| &subscription.fetches);
        let is_pending =
            |task: &&TaskId| matches!(self.tasks.get(task), Some(Task::Fetch(fetch)) if fetch.kind != FetchKind::Get);
        fetches.filter(is_pending).copied().collect()
    }

    fn forget_fetch(&mut self, rid: &ResourceId, task: TaskId) {
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.fetches.retain(|fetch| *fetch != task);
            if !subscription.fetches.is_empty() {
                self.lead_later(rid);
            }
        }
    }

    /// Takes note of whether the resource may be had at all.
    pub(crate) fn on_fetch_access(&mut self, task: TaskId, access: Result<(), Error>, shared: &mut Shared) {
        match access {
            Ok(()) => {
                if let Some(Task::Fetch(fetch)) = self.tasks.get_mut(&task) {
                    fetch.granted = true;
                }
                self.try_complete(task, shared);
            }
            Err(error) => self.fail_fetch(task, &error, shared),
        }
    }

    /// Takes note of what the cache found.
    pub(crate) fn on_loaded(&mut self, rid: &ResourceId, result: Result<&Arc<Snapshot>, &Error>, shared: &mut Shared) {
        self.end_loading(rid);
        match result {
            Ok(snapshot) => self.fill(rid, snapshot, shared),
            Err(error) if self.subscriptions.get(rid).is_some_and(|it| it.is_visible()) => {
                // Nobody will tell what happens to it any more.
                if let Some(subscription) = self.subscriptions.get_mut(rid) {
                    subscription.set_deaf(State::Deleted);
                }
                return self.unsubscribe_because(rid, error.clone(), shared);
            }
            Err(error) => self.set_failed(rid, error.clone()),
        }
        self.wake_waiting(rid, shared);
    }

    /// Lets tasks go on that have waited until the resource is there.
    pub(crate) fn wake_waiting(&mut self, rid: &ResourceId, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        let children: Vec<_> = subscription.references.keys().cloned().collect();
        for task in mem::take(&mut subscription.waiting) {
            self.explore(task, children.clone());
            self.on_one_loaded(task);
            self.try_complete(task, shared);
        }
    }

    /// One of those that the task waits for is no longer to be waited for.
    pub(crate) fn on_one_loaded(&mut self, task: TaskId) {
        if let Some(wait) = self.tasks.get_mut(&task).and_then(Task::wait) {
            wait.loading = wait.loading.saturating_sub(1);
        }
    }

    /// Lets a task wait for all below `from` that is not there yet.
    pub(crate) fn explore(&mut self, task: TaskId, from: Vec<ResourceId>) {
        let Some(wait) = self.tasks.get_mut(&task).and_then(Task::wait) else { return };
        let mut todo = from;
        while let Some(rid) = todo.pop() {
            let Some(subscription) = self.subscriptions.get_mut(&rid) else { continue };
            if !wait.seen.insert(rid) {
                continue;
            }
            match subscription.state {
                State::Waiting | State::Loading => {
                    subscription.waiting.push(task);
                    wait.loading += 1;
                }
                State::Loaded(_) => todo.extend(subscription.references.keys().cloned()),
                State::Failed(_) | State::Visible | State::Deleted => {}
            }
        }
    }

    /// Finishes a task if all that it waits for is there.
    pub(crate) fn try_complete(&mut self, task: TaskId, shared: &mut Shared) {
        loop {
            let roots = match self.tasks.get(&task) {
                Some(Task::Fetch(fetch)) if fetch.granted && fetch.wait.loading == 0 => fetch.wait.roots.clone(),
                Some(Task::Deliver(deliver)) if deliver.wait.loading == 0 => deliver.wait.roots.clone(),
                _ => return,
            };
            let gathered = self.gather(&roots);
            // Since it was looked at, something may have been taken from the client again.
            if !gathered.is_loading {
                return match self.tasks.remove(&task) {
                    Some(Task::Fetch(fetch)) => {
                        self.forget_fetch(&fetch.rid, task);
                        self.finish_fetch(fetch, &gathered, shared);
                    }
                    Some(Task::Deliver(deliver)) => {
                        let rid = deliver.rid.clone();
                        self.finish_delivery(deliver, &gathered, shared);
                        self.pump(&rid, shared);
                    }
                    Some(Task::Call(_)) | None => {}
                };
            }
            if let Some(wait) = self.tasks.get_mut(&task).and_then(Task::wait) {
                wait.seen.clear();
            }
            self.explore(task, roots);
        }
    }

    /// Looks through all below `roots`.
    pub(crate) fn gather(&self, roots: &[ResourceId]) -> Gathered {
        let mut gathered = Gathered::default();
        let mut seen = BTreeSet::new();
        let mut todo: Vec<_> = roots.iter().collect();
        while let Some(rid) = todo.pop() {
            let Some(subscription) = self.subscriptions.get(rid) else { continue };
            if !seen.insert(rid) {
                continue;
            }
            match &subscription.state {
                State::Waiting | State::Loading => gathered.is_loading = true,
                State::Failed(_) => gathered.failed.push(rid.clone()),
                State::Loaded(_) => {
                    gathered.fresh.push(rid.clone());
                    todo.extend(subscription.references.keys());
                }
                State::Visible | State::Deleted => {}
            }
        }
        gathered
    }

    /// What is to be sent of `gathered`.
    pub(crate) fn texts(&self, gathered: &Gathered) -> Texts<'_> {
        let mut texts = Texts::default();
        for rid in gathered.fresh.iter().chain(&gathered.failed) {
            match self.subscriptions.get(rid).map(|subscription| &subscription.state) {
                Some(State::Loaded(snapshot)) => snapshot.put_into(&mut texts, rid, self.dialect()),
                Some(State::Failed(error)) => {
                    texts.errors.insert(rid.clone(), error.clone());
                }
                _ => {}
            }
        }
        texts
    }

    fn finish_fetch(&mut self, fetch: Fetch, gathered: &Gathered, shared: &mut Shared) {
        let Fetch { id, rid, kind, .. } = fetch;
        let error = match self.subscriptions.get(&rid).map(|subscription| &subscription.state) {
            Some(State::Failed(error)) if kind != FetchKind::Result => Some(error.clone()),
            // What the client has of it is held by others, and will not be kept up to date for it.
            Some(State::Deleted) => Some(Error::deleted()),
            _ => None,
        };
        let frame = match (kind, &error) {
            (FetchKind::Subscribe | FetchKind::Get, Some(error)) => encode_error(id, error),
            (FetchKind::Subscribe | FetchKind::Get, None) => encode_result(id, Some(&self.texts(gathered))),
            (FetchKind::Result, Some(error)) => encode_failed_result(id, &rid, error),
            (FetchKind::Result, None) => encode_resource(id, &rid, &self.texts(gathered)),
        };
        self.answer(frame, shared);
        self.unpin(&rid);
        if error.is_some() {
            return self.release(vec![rid], shared);
        }
        self.show(&gathered.fresh);
        if kind == FetchKind::Get {
            // What else the client has may refer to some of it, and make it stay.
            self.release(vec![rid], shared);
        } else if let Some(subscription) = self.subscriptions.get_mut(&rid) {
            subscription.direct += 1;
        }
        gathered.fresh.iter().for_each(|rid| self.pump(rid, shared));
    }

    /// Answers that the resource cannot be had.
    pub(crate) fn fail_fetch(&mut self, task: TaskId, error: &Error, shared: &mut Shared) {
        let Some(Task::Fetch(Fetch { id, rid, kind, .. })) = self.tasks.remove(&task) else { return };
        self.forget_fetch(&rid, task);
        let frame = match kind {
            FetchKind::Subscribe | FetchKind::Get => encode_error(id, error),
            FetchKind::Result => encode_failed_result(id, &rid, error),
        };
        self.answer(frame, shared);
        self.unpin(&rid);
        self.release(vec![rid], shared);
    }
}

/// The method itself has succeeded, whatever becomes of the resource.
fn encode_failed_result(id: u64, rid: &ResourceId, error: &Error) -> String {
    let mut texts = Texts::default();
    texts.errors.insert(rid.clone(), error.clone());
    encode_resource(id, rid, &texts)
}

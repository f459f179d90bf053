//! Getting resources to a client: waiting until they are there with all that they refer to, and
//! sending what the client lacks.

use std::{collections::btree_map::Entry, mem, sync::Arc};

use relogin_res::{
    Error, ResourceId,
    client::{OpenFrame, ResourceSet, encode_error, encode_resource},
};

use super::{
    Connection, Shared,
    gathering::{Gathered, Gathering},
    jobs::Job,
    subscription::State,
    task::{Fetch, FetchKind, Task, Wait},
    walk::{Edges, Visit, Walk},
    writing::{PendingMessage, Writing},
};
use crate::{content::Snapshot, http::resources::Found, ids::TaskId};

impl Connection {
    /// Begins to get a resource for the request `id`, which is answered in the end.
    pub(crate) fn fetch(&mut self, id: u64, rid: &ResourceId, kind: FetchKind, shared: &mut Shared) {
        if self.is_full(rid, kind, shared) {
            return self.refuse(id, &Error::subscription_limit_exceeded(), shared);
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
            self.then(Job::Explore(task, Walk::from(vec![rid.clone()])));
        }
        self.then(Job::NeedAccess(rid.clone(), task));
    }

    /// Lets the next of several tasks that fetch a resource look what it needs.
    pub(crate) fn lead(&mut self, rid: &ResourceId) {
        let first = self.subscriptions.get(rid).and_then(|subscription| subscription.fetches.first()).copied();
        if let Some(task) = first
            && let Some(Task::Fetch(fetch)) = self.tasks.get_mut(&task)
            && mem::take(&mut fetch.follows)
        {
            fetch.wait.loading = 0;
            self.then(Job::Explore(task, Walk::from(vec![rid.clone()])));
            self.then(Job::Complete(task));
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
                self.then(Job::Complete(task));
            }
            Err(error) => self.fail_fetch(task, &error, shared),
        }
    }

    /// Takes note of what the cache found.
    pub(crate) fn on_loaded(&mut self, rid: &ResourceId, result: Result<&Arc<Snapshot>, &Error>, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        self.pace.end_loading(subscription);
        let tasks = match result {
            Ok(snapshot) => {
                let may_refer = subscription.fill(snapshot);
                let tasks = mem::take(&mut subscription.waiting);
                if may_refer {
                    self.then(Job::Fill(rid.clone(), Arc::clone(snapshot), 0));
                }
                tasks
            }
            Err(error) if subscription.is_visible() => {
                // No more of its events will come.
                subscription.set_deaf(State::Deleted);
                return self.unsubscribe_because(rid, error.clone(), shared);
            }
            Err(error) => {
                subscription.set_deaf(State::Failed(Box::new(error.clone())));
                mem::take(&mut subscription.waiting)
            }
        };
        self.wake(rid, tasks);
    }

    /// Lets tasks go on that have waited until the resource is there.
    pub(crate) fn wake_waiting(&mut self, rid: &ResourceId) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        let tasks = mem::take(&mut subscription.waiting);
        self.wake(rid, tasks);
    }

    fn wake(&mut self, rid: &ResourceId, tasks: Vec<TaskId>) {
        if !tasks.is_empty() {
            self.then(Job::Wake(rid.clone(), tasks.into_iter()));
        }
    }

    /// One of those that the task waits for is no longer to be waited for.
    pub(crate) fn on_one_loaded(&mut self, task: TaskId) {
        if let Some(wait) = self.tasks.get_mut(&task).and_then(Task::wait) {
            wait.loading = wait.loading.saturating_sub(1);
        }
    }

    /// A step of letting a task wait for all that is not there yet.
    pub(super) fn explore(&mut self, task: TaskId, mut walk: Walk) {
        let Some(wait) = self.tasks.get_mut(&task).and_then(Task::wait) else { return };
        let Some(visit) = walk.step(&self.subscriptions) else { return };
        if let Visit::Root(rid) | Visit::Child(rid) = visit
            && let Some(subscription) = self.subscriptions.get_mut(&rid)
        {
            match subscription.state {
                State::Waiting(_) | State::Loading => {
                    if wait.seen.insert(rid) {
                        subscription.waiting.push(task);
                        wait.loading += 1;
                    }
                }
                State::Loaded(_) if !subscription.references.is_empty() => {
                    if wait.seen.insert(rid.clone()) {
                        walk.descend(rid);
                    }
                }
                State::Loaded(_) | State::Failed(_) | State::Visible | State::Deleted => {}
            }
        }
        self.then(Job::Explore(task, walk));
    }

    /// Looks what there is for a task if all that it waits for is there.
    pub(super) fn try_complete(&mut self, task: TaskId, shared: &mut Shared) {
        if let Some(Task::Fetch(fetch)) = self.tasks.get(&task) {
            if fetch.wait.loading > 0 {
                return;
            }
            let rid = fetch.rid.clone();
            self.catch_up_with_access(&rid, shared);
        }
        let roots = match self.tasks.get(&task) {
            Some(Task::Fetch(fetch)) if fetch.granted && fetch.wait.loading == 0 => fetch.wait.roots.clone(),
            Some(Task::Deliver(deliver)) if deliver.wait.loading == 0 => deliver.wait.roots.clone(),
            _ => return,
        };
        let (walk, gathered) = (Walk::from(roots), Gathered::default());
        self.then(Job::Gather(Box::new(Gathering { task, walk, gathered })));
    }

    /// A step of looking through all that a task has waited for, which finishes the task in the
    /// end.
    pub(super) fn gather(&mut self, mut gathering: Box<Gathering>, shared: &mut Shared) {
        let Gathering { task, walk, gathered } = &mut *gathering;
        let Some(visit) = walk.step(&self.subscriptions) else {
            return self.complete(*task, mem::take(gathered), shared);
        };
        if let Visit::Root(rid) | Visit::Child(rid) = visit
            && let Some(subscription) = self.subscriptions.get(&rid)
        {
            match &subscription.state {
                // Since it was looked at, something may have been taken from the client again.
                State::Waiting(_) | State::Loading => {
                    let task = *task;
                    shared.bus.discard(gathering);
                    return self.explore_again(task);
                }
                State::Failed(error) => {
                    gathered.found.insert(rid, Found::Error((**error).clone()));
                }
                State::Loaded(snapshot) => {
                    if let Entry::Vacant(place) = gathered.found.entry(rid.clone()) {
                        place.insert(Found::Content(Arc::clone(snapshot)));
                        gathered.fresh.push(rid.clone());
                        if !subscription.references.is_empty() {
                            walk.descend(rid);
                        }
                    }
                }
                State::Visible | State::Deleted => {}
            }
        }
        self.then(Job::Gather(gathering));
    }

    fn explore_again(&mut self, task: TaskId) {
        let Some(wait) = self.tasks.get_mut(&task).and_then(Task::wait) else { return };
        wait.seen.clear();
        let walk = Walk::from(wait.roots.clone());
        self.then(Job::Explore(task, walk));
        self.then(Job::Complete(task));
    }

    fn complete(&mut self, task: TaskId, gathered: Gathered, shared: &mut Shared) {
        match self.tasks.remove(&task) {
            Some(Task::Fetch(fetch)) => {
                self.forget_fetch(&fetch.rid, task);
                self.begin_answer(fetch, gathered, shared);
            }
            Some(Task::Deliver(deliver)) => self.begin_event(deliver, gathered, shared),
            Some(Task::Call(_)) | None => {}
        }
    }

    fn begin_answer(&mut self, fetch: Fetch, gathered: Gathered, shared: &mut Shared) {
        let Fetch { id, rid, kind, wait, .. } = fetch;
        shared.bus.discard(wait.seen);
        let error = match self.subscriptions.get(&rid).map(|subscription| &subscription.state) {
            Some(State::Failed(error)) if kind != FetchKind::Result => Some((**error).clone()),
            // What the client has of it is held by others, and will not be kept up to date for it.
            Some(State::Deleted) => Some(Error::deleted()),
            _ => None,
        };
        let Gathered { fresh, found } = gathered;
        if self.is_http() {
            return match &error {
                Some(error) => self.refuse(id, error, shared),
                None => self.respond_by_resources(rid, found, shared),
            };
        }
        if let Some(error) = error {
            let frame = match kind {
                FetchKind::Subscribe | FetchKind::Get => encode_error(id, &error),
                FetchKind::Result => encode_failed_result(id, &rid, error),
            };
            self.answer(frame, shared);
            self.unpin(&rid);
            return self.release(rid);
        }
        let frame = match kind {
            FetchKind::Subscribe | FetchKind::Get => OpenFrame::result(id),
            FetchKind::Result => OpenFrame::resource(id, &rid),
        };
        let writing = Writing::new(frame, found, self.dialect());
        self.then(Job::Write(Box::new(writing), PendingMessage::Answer(rid, kind, fresh)));
    }

    /// Sends an answer that was written.
    pub(super) fn finish_answer(
        &mut self,
        frame: String,
        rid: ResourceId,
        kind: FetchKind,
        fresh: Vec<ResourceId>,
        shared: &mut Shared,
    ) {
        self.answer(frame, shared);
        self.unpin(&rid);
        self.then(Job::Show(Edges::of(&Arc::new(fresh))));
        if kind == FetchKind::Get {
            // What else the client has may refer to some of it, and make it stay.
            self.release(rid);
        } else if let Some(subscription) = self.subscriptions.get_mut(&rid) {
            subscription.direct += 1;
        }
        self.then(Job::PumpAll(Vec::new().into_iter()));
    }

    /// Answers that the resource cannot be had.
    pub(crate) fn fail_fetch(&mut self, task: TaskId, error: &Error, shared: &mut Shared) {
        let Some(Task::Fetch(Fetch { id, rid, kind, .. })) = self.tasks.remove(&task) else { return };
        self.forget_fetch(&rid, task);
        match kind {
            FetchKind::Subscribe | FetchKind::Get => self.refuse(id, error, shared),
            FetchKind::Result => self.answer(encode_failed_result(id, &rid, error.clone()), shared),
        }
        self.unpin(&rid);
        self.release(rid);
    }
}

/// The method itself has succeeded, whatever becomes of the resource.
fn encode_failed_result(id: u64, rid: &ResourceId, error: Error) -> String {
    let mut resources = ResourceSet::<(), ()>::default();
    resources.errors.insert(rid.clone(), error);
    encode_resource(id, rid, &resources)
}

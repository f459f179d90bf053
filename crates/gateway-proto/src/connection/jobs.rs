//! The jobs of a connection, which handle one resource at a time because there may be thousands:
//! each does one step and returns what is to be done next. While there are any, nothing else
//! happens to the connection ([`super::inbox`]). Must not depend on how much is done at a time.

use std::{collections::btree_map, mem, sync::Arc, vec};

use bytes::Bytes;
use relogin_res::ResourceId;

#[cfg(test)]
use super::task::Task;
use super::{
    Connection, Shared,
    gathering::Gathering,
    subscription::AccessResult,
    trial::{Hold, Trial},
    walk::{Edges, Walk},
    writing::{PendingMessage, Writing},
};
#[cfg(test)]
use crate::discard::Bulk;
use crate::{content::Snapshot, ids::TaskId};

/// The jobs of a connection.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// The last one is next.
    stack: Vec<Job>,
    /// What comes before these, the first one first.
    added: Vec<Job>,
    /// What may be held by nothing any more: the next [`Job::Release`] looks.
    pub(super) loose: Vec<ResourceId>,
    /// Tasks that have waited for something that was dropped since.
    pub(super) orphaned: Vec<TaskId>,
    /// What the client has by now, and whose events have waited for that.
    pub(super) shown: Vec<ResourceId>,
}

/// A job.
#[derive(Debug)]
pub(crate) enum Job {
    /// Subscribes to what the content of a resource refers to, from a value of it on.
    Fill(ResourceId, Arc<Snapshot>, usize),
    /// Takes away one reference to each of these.
    Loosen(btree_map::IntoKeys<ResourceId, u32>),
    /// Subscribes to these, and pins them.
    Attach(vec::IntoIter<ResourceId>),
    /// Lets a task wait for what is not there yet.
    Explore(TaskId, Walk),
    /// Tells tasks that a resource is there.
    Wake(ResourceId, vec::IntoIter<TaskId>),
    /// Tells a task that one of those that it waits for is no longer to be waited for.
    Loaded(TaskId),
    /// Finishes a task, if all that it waits for is there.
    Complete(TaskId),
    /// Looks through all that a task has waited for.
    Gather(Box<Gathering>),
    /// Notes that the client has these.
    Show(Edges),
    /// Notes that a resource refers to these, which were pinned.
    Link(ResourceId, vec::IntoIter<ResourceId>),
    /// Notes that a resource refers to these no longer.
    Unlink(ResourceId, vec::IntoIter<ResourceId>),
    /// Drops what nothing holds any more.
    Release,
    /// Finds out what the client has lost.
    FindHidden(Box<Trial>, Vec<ResourceId>),
    /// Notes that the client has lost it.
    Hide(Edges),
    /// Looks what of it and below nothing holds.
    Judge(Vec<ResourceId>, Arc<Vec<ResourceId>>),
    /// Finds out what nothing holds, and what of that the client has lost.
    FindUnheld(Box<Trial>, Arc<Vec<ResourceId>>),
    /// Ends these subscriptions.
    Drop(Edges),
    /// Takes these as new, as far as they are there still.
    Resubscribe(Arc<Vec<ResourceId>>, usize),
    /// Sends the events of a resource that have waited for no more reason.
    Pump(ResourceId),
    /// Those of several, and of what the client was noted to have in between.
    PumpAll(vec::IntoIter<ResourceId>),
    /// Writes a message that has resources in it, and sends it.
    Write(Box<Writing>, PendingMessage),
    /// Sends the answer to a request.
    Answer(Bytes),
    /// Informs a task of what may be done with a resource.
    NeedAccess(ResourceId, TaskId),
    /// Tells a task what may be done.
    Access(TaskId, AccessResult),
}

impl Jobs {
    /// Frees the room for jobs if there are none.
    pub(super) fn give_back(&mut self) {
        let Self { stack, added, loose, orphaned, shown } = self;
        let has_ids = !loose.is_empty() || !shown.is_empty();
        if stack.is_empty() && added.is_empty() && orphaned.is_empty() && !has_ids {
            *self = Self::default();
        }
    }
}

impl Connection {
    /// Lets a job be done before all others but those that were added since the one at hand began.
    pub(crate) fn then(&mut self, job: Job) {
        self.jobs.added.push(job);
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.stack.is_empty() || !self.jobs.added.is_empty()
    }

    /// Does jobs, so many steps of them at the most. Returns how many steps those were.
    pub(crate) fn do_jobs(&mut self, most: usize, shared: &mut Shared) -> usize {
        for done in 0..most {
            let is_parked = self.is_parked();
            let Jobs { stack, added, .. } = &mut self.jobs;
            stack.extend(added.drain(..).rev());
            // A connection that has failed is closed.
            if shared.texts_left == 0 || self.failure.is_some() || is_parked {
                return done;
            }
            let Some(job) = stack.pop() else { return done };
            self.do_job(job, shared);
        }
        most
    }

    fn do_job(&mut self, job: Job, shared: &mut Shared) {
        match job {
            Job::Fill(rid, snapshot, at) => self.fill_next(rid, snapshot, at, shared),
            Job::Loosen(mut children) => {
                if let Some(child) = children.next() {
                    self.remove_parent(&child);
                    self.jobs.loose.push(child);
                    self.then(Job::Loosen(children));
                }
            }
            Job::Attach(mut rids) => {
                if let Some(rid) = rids.next() {
                    self.attach_in_turn(&rid, shared);
                    self.pin(&rid);
                    self.then(Job::Attach(rids));
                }
            }
            Job::Explore(task, walk) => self.explore(task, walk),
            Job::Wake(rid, mut tasks) => {
                if let Some(task) = tasks.next() {
                    if self.subscriptions.get(&rid).is_some_and(|it| !it.references.is_empty()) {
                        self.then(Job::Explore(task, Walk::below(rid.clone())));
                    }
                    self.then(Job::Loaded(task));
                    self.then(Job::Complete(task));
                    self.then(Job::Wake(rid, tasks));
                }
            }
            Job::Loaded(task) => self.on_one_loaded(task),
            Job::Complete(task) => self.try_complete(task, shared),
            Job::Gather(gathering) => self.gather(gathering, shared),
            Job::Show(mut edges) => {
                if let Some(edge) = edges.step(&self.subscriptions) {
                    if !self.show(&edge, shared) {
                        edges.skip();
                    }
                    self.then(Job::Show(edges));
                } else {
                    shared.bus.discard(edges);
                }
            }
            Job::Link(rid, mut children) => {
                if let Some(child) = children.next() {
                    self.link(&rid, &child);
                    self.unpin(&child);
                    self.then(Job::Link(rid, children));
                }
            }
            Job::Unlink(rid, mut children) => {
                if let Some(child) = children.next() {
                    self.unlink(&rid, &child);
                    self.jobs.loose.push(child);
                    self.then(Job::Unlink(rid, children));
                }
            }
            Job::Pump(rid) => self.send_held(&rid, shared),
            Job::PumpAll(mut rids) => {
                if let Some(rid) = rids.next() {
                    self.pump(&rid);
                    self.then(Job::PumpAll(rids));
                } else if !self.jobs.shown.is_empty() {
                    let shown = mem::take(&mut self.jobs.shown);
                    self.then(Job::PumpAll(shown.into_iter()));
                }
            }
            Job::Write(writing, then) => self.write(writing, then, shared),
            Job::Answer(frame) => self.answer(frame, shared),
            Job::NeedAccess(rid, task) => self.need_access(&rid, task, shared),
            Job::Access(task, result) => self.on_access(task, &result, shared),
            Job::Release
            | Job::FindHidden(..)
            | Job::Hide(_)
            | Job::Judge(..)
            | Job::FindUnheld(..)
            | Job::Drop(_)
            | Job::Resubscribe(..) => self.do_release(job, shared),
        }
    }

    /// A step of dropping what nothing holds any more.
    fn do_release(&mut self, job: Job, shared: &mut Shared) {
        match job {
            Job::Release => {
                let starts = mem::take(&mut self.jobs.loose);
                if starts.is_empty() {
                    for task in mem::take(&mut self.jobs.orphaned) {
                        self.then(Job::Loaded(task));
                        self.then(Job::Complete(task));
                    }
                } else {
                    let trial = Trial::new(Hold::Visible, starts.clone());
                    self.then(Job::FindHidden(Box::new(trial), starts));
                }
            }
            Job::FindHidden(mut trial, starts) => {
                if trial.step(&self.subscriptions) {
                    let hidden = Arc::new(trial.unheld());
                    self.then(Job::Hide(Edges::of(&hidden)));
                    self.then(Job::Judge(starts, hidden));
                } else {
                    self.then(Job::FindHidden(trial, starts));
                }
            }
            Job::Hide(mut edges) => {
                if let Some(edge) = edges.step(&self.subscriptions) {
                    self.hide(&edge);
                    self.then(Job::Hide(edges));
                }
            }
            Job::Judge(mut starts, hidden) => {
                starts.append(&mut self.jobs.loose);
                self.then(Job::FindUnheld(Box::new(Trial::new(Hold::Needed, starts)), hidden));
            }
            Job::FindUnheld(mut trial, hidden) => {
                if trial.step(&self.subscriptions) {
                    self.then(Job::Drop(Edges::of(&Arc::new(trial.unheld()))));
                    // What is left of them is needed by something that the client will get: from
                    // now on, as new.
                    self.then(Job::Resubscribe(hidden, 0));
                    self.then(Job::Release);
                } else {
                    self.then(Job::FindUnheld(trial, hidden));
                }
            }
            Job::Drop(mut edges) => {
                if let Some(edge) = edges.step(&self.subscriptions) {
                    self.drop_subscription(edge, shared);
                    self.then(Job::Drop(edges));
                } else {
                    shared.bus.discard(edges);
                }
            }
            Job::Resubscribe(rids, at) => {
                if let Some(rid) = rids.get(at) {
                    self.resubscribe(rid, shared);
                    self.then(Job::Resubscribe(rids, at + 1));
                } else {
                    shared.bus.discard(rids);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
impl Connection {
    fn all_jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.stack.iter().chain(&self.jobs.added)
    }

    /// How many bytes the messages have that are being written, and how many they have room for.
    pub(crate) fn unfinished(&self) -> (usize, usize) {
        let writing =
            self.all_jobs().filter_map(|job| if let Job::Write(it, _) = job { Some(it.progress()) } else { None });
        writing.fold((0, 0), |sums, (bytes, room)| (sums.0 + bytes, sums.1 + room))
    }

    /// How many ids its tables have that may be large: what resources refer to, and what tasks and
    /// jobs have looked at.
    pub(crate) fn table_sizes(&self) -> usize {
        let references = self.subscriptions.values().map(|it| it.references.len());
        let seen = self.tasks.values().map(|task| match task {
            Task::Fetch(fetch) => fetch.wait.seen.len(),
            Task::Deliver(deliver) => deliver.wait.seen.len(),
            Task::Call(_) => 0,
        });
        let jobs = self.all_jobs().map(|job| match job {
            Job::Gather(gathering) => gathering.bulk(),
            Job::Write(writing, _) => writing.count(),
            _ => 0,
        });
        references.chain(seen).chain(jobs).sum()
    }
}

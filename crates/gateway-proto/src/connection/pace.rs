//! Paces the requests of a connection, a few at a time: access requests after a token event, and
//! loading what its resources refer to. Requests of other connections come in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::ResourceId;

use super::{
    Connection, Shared,
    subscription::{State, Subscription},
    task::Task,
};
use crate::cache::Cause;

/// What is to be done in turn.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// True while the connection stands in [`Shared::ready`].
    is_ready: bool,
    /// True while others write their large messages before it writes its own.
    is_parked: bool,
    /// Resources to be asked for access again, because of events about them.
    outdated: BTreeSet<ResourceId>,
    /// Likewise, because of system resets: their turns depend on other connections, too.
    pub(super) reset: BTreeSet<ResourceId>,
    /// True while the connection stands in [`Shared::reset_line`].
    pub(super) is_in_reset_line: bool,
    /// Where the look through all subscriptions is, because of a token event, and how many have not
    /// been seen to since.
    last_seen: Option<ResourceId>,
    left: usize,
    /// How many are being asked for access in their turn, and how many of them because of system
    /// resets.
    rechecking: usize,
    pub(super) reset_turns: usize,
    /// Resources that wait to be loaded, in the order in which they were found.
    unloaded: BTreeMap<u64, ResourceId>,
    /// How many have waited so far.
    found: u64,
    /// How many are being loaded in their turn.
    loading: usize,
    /// Resources that are there, while tasks that have waited for them do not know it.
    woken: BTreeSet<ResourceId>,
    /// Resources that a task has fetched while others wait for it.
    led: BTreeSet<ResourceId>,
}

impl Pace {
    /// True if something still has its turn before it.
    pub(super) fn has_more(&self) -> bool {
        !self.unloaded.is_empty()
            || [&self.outdated, &self.reset, &self.woken, &self.led].iter().any(|rids| !rids.is_empty())
    }

    /// Lets a resource wait for its turn to be loaded.
    pub(super) fn wait_for_turn(&mut self, rid: &ResourceId, subscription: &mut Subscription) {
        self.found += 1;
        subscription.state = State::Waiting(self.found);
        self.unloaded.insert(self.found, rid.clone());
    }

    /// Notes that a resource is loaded or given up, which may have had its turn.
    pub(super) fn end_loading(&mut self, subscription: &mut Subscription) {
        if mem::take(&mut subscription.loads_in_turn) {
            self.loading -= 1;
        }
    }

    /// Frees the room of what is empty.
    pub(super) fn give_back(&mut self) {
        let sets = [&mut self.outdated, &mut self.reset, &mut self.woken, &mut self.led];
        sets.into_iter().filter(|rids| rids.is_empty()).for_each(|rids| *rids = BTreeSet::new());
        if self.unloaded.is_empty() {
            self.unloaded = BTreeMap::new();
        }
    }
}

impl Connection {
    /// Takes note that what is known of access to a resource holds no longer.
    pub(crate) fn set_outdated(&mut self, rid: &ResourceId, cause: Cause, shared: &mut Shared) {
        let Some(subscription) = self.subscriptions.get_mut(rid) else { return };
        subscription.is_stale = true;
        if !subscription.fetches.is_empty() {
            self.recheck(rid, shared);
        } else if cause == Cause::Event {
            self.pace.reset.remove(rid);
            self.pace.outdated.insert(rid.clone());
        } else if !self.pace.outdated.contains(rid) {
            self.pace.reset.insert(rid.clone());
        }
    }

    /// Takes note that no more is known of access to anything.
    pub(crate) fn set_all_outdated(&mut self, shared: &mut Shared) {
        self.epoch += 1;
        self.pace.left = self.subscriptions.len();
        // There are no more of them than frames that the client may have unanswered.
        let fetched = |task: &Task| if let Task::Fetch(fetch) = task { Some(fetch.rid.clone()) } else { None };
        let fetched: BTreeSet<_> = self.tasks.values().filter_map(fetched).collect();
        for rid in fetched {
            self.recheck(&rid, shared);
        }
    }

    /// Lets tasks that have waited for a resource go on in their turn, if it is loaded or failed.
    pub(crate) fn wake_later(&mut self, rid: &ResourceId) {
        if self.subscriptions.get(rid).is_some_and(|it| !it.is_loading() && !it.waiting.is_empty()) {
            self.pace.woken.insert(rid.clone());
        }
    }

    /// Lets the next task that fetches a resource go on in its turn.
    pub(crate) fn lead_later(&mut self, rid: &ResourceId) {
        self.pace.led.insert(rid.clone());
    }

    /// Notes that a resource is given up.
    pub(crate) fn stop_waking(&mut self, rid: &ResourceId) {
        self.pace.woken.remove(rid);
        self.pace.led.remove(rid);
    }

    /// Notes that it is seen to whether access answers about a resource hold, or that it is given
    /// up.
    pub(crate) fn see_to(&mut self, rid: &ResourceId) {
        self.pace.outdated.remove(rid);
        self.pace.reset.remove(rid);
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.is_stale = false;
            if mem::replace(&mut subscription.epoch, self.epoch) != self.epoch {
                self.pace.left -= 1;
            }
        }
    }

    /// Notes that a resource is loaded without its turn.
    pub(crate) fn stop_waiting(&mut self, rid: &ResourceId) {
        if let Some(State::Waiting(number)) = self.subscriptions.get(rid).map(|subscription| &subscription.state) {
            self.pace.unloaded.remove(number);
        }
    }

    /// Notes that a resource has its turn to be asked for access.
    pub(crate) fn begin_turn(&mut self, rid: &ResourceId, cause: Cause, shared: &mut Shared) {
        if let Some(subscription) = self.subscriptions.get_mut(rid) {
            subscription.turn = Some(cause);
            self.pace.rechecking += 1;
            if cause == Cause::Reset {
                self.begin_reset_turn(shared);
            }
        }
    }

    /// Notes that what it had its turn for is answered or given up. Why it had one, if it had.
    pub(crate) fn end_turn(&mut self, rid: &ResourceId, shared: &mut Shared) -> Option<Cause> {
        let cause = self.subscriptions.get_mut(rid)?.turn.take()?;
        self.pace.rechecking -= 1;
        if cause == Cause::Reset {
            self.end_reset_turn(shared);
        }
        Some(cause)
    }

    /// Stands in line, if there is something to be done and it may be done.
    pub(crate) fn get_ready(&mut self, shared: &mut Shared) {
        if !self.pace.is_ready && self.has_turn(shared) {
            self.pace.is_ready = true;
            shared.ready.push_back(self.key);
        }
        self.stand_in_reset_line(shared);
    }

    fn has_turn(&self, shared: &Shared) -> bool {
        !self.is_parked() && (self.is_busy() || self.has_something_in_turn(shared))
    }

    /// Has to wait for others: does nothing until that is over.
    pub(crate) fn park(&mut self) {
        self.pace.is_parked = true;
    }

    /// Goes on, in its turn.
    pub(crate) fn unpark(&mut self) {
        self.pace.is_parked = false;
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.pace.is_parked
    }

    fn has_something_in_turn(&self, shared: &Shared) -> bool {
        !self.pace.woken.is_empty() || !self.pace.led.is_empty() || self.can_recheck(shared) || self.can_load(shared)
    }

    fn can_recheck(&self, shared: &Shared) -> bool {
        (self.pace.left > 0 || !self.pace.outdated.is_empty()) && self.has_room_to_recheck(shared)
    }

    /// True if the connection may ask for access to one more resource again.
    pub(super) fn has_room_to_recheck(&self, shared: &Shared) -> bool {
        self.pace.rechecking < shared.config.max_rechecks.max(1)
    }

    fn can_load(&self, shared: &Shared) -> bool {
        !self.pace.unloaded.is_empty() && self.pace.loading < shared.config.max_reference_loads.max(1)
    }

    /// Does the next thing.
    pub(crate) fn take_turn(&mut self, shared: &mut Shared) {
        self.pace.is_ready = false;
        // What may no longer be seen comes first.
        if self.has_jobs() || self.take_next_in(shared) {
            // Done below.
        } else if self.can_recheck(shared) {
            self.recheck_next(shared);
        } else if let Some(rid) = self.pace.woken.pop_first() {
            if self.subscriptions.get(&rid).is_some_and(|subscription| !subscription.is_loading()) {
                self.wake_waiting(&rid);
            }
        } else if let Some(rid) = self.pace.led.pop_first() {
            self.lead(&rid);
        } else if self.can_load(shared) {
            self.load_next(shared);
        }
        self.do_jobs(shared.jobs_a_turn, shared);
    }

    fn recheck_next(&mut self, shared: &mut Shared) {
        let next = self.pace.outdated.pop_first().or_else(|| {
            let from = self.pace.last_seen.take();
            let after = from.as_ref().and_then(|from| self.subscriptions.range((Excluded(from), Unbounded)).next());
            let (rid, _) = after.or_else(|| self.subscriptions.first_key_value())?;
            self.pace.last_seen = Some(rid.clone());
            Some(rid.clone())
        });
        if let Some(rid) = next {
            self.recheck_in_turn(&rid, Cause::Event, shared);
        }
    }

    /// Asks again for access to a resource that has its turn, if that is still necessary.
    pub(super) fn recheck_in_turn(&mut self, rid: &ResourceId, cause: Cause, shared: &mut Shared) {
        if self.subscriptions.get(rid).is_some_and(|subscription| subscription.is_outdated(self.epoch))
            && self.recheck(rid, shared)
        {
            self.begin_turn(rid, cause, shared);
        }
    }

    fn load_next(&mut self, shared: &mut Shared) {
        let Some((_, rid)) = self.pace.unloaded.pop_first() else { return };
        match self.subscribe_to_cache(&rid, shared) {
            Some(snapshot) => self.on_loaded(&rid, Ok(&snapshot), shared),
            None => match self.subscriptions.get_mut(&rid) {
                Some(subscription) if matches!(subscription.state, State::Loading) => {
                    subscription.loads_in_turn = true;
                    self.pace.loading += 1;
                }
                // Its id is too long.
                _ => self.wake_waiting(&rid),
            },
        }
    }

    #[cfg(test)]
    pub(crate) fn check_pace(&self, shared: &Shared) {
        let pace = &self.pace;
        let of = |is: fn(&Subscription) -> bool| self.subscriptions.values().filter(|it| is(it)).count();
        assert_eq!(pace.rechecking, of(|it| it.turn.is_some()));
        assert_eq!(pace.loading, of(|it| it.loads_in_turn));
        assert!(pace.rechecking <= shared.config.max_rechecks && pace.loading <= shared.config.max_reference_loads);
        assert_eq!(pace.unloaded.len(), of(|it| matches!(it.state, State::Waiting(_))));
        let outdated = self.subscriptions.values().filter(|it| it.epoch != self.epoch);
        assert_eq!(pace.left, outdated.count());
        assert_eq!(pace.is_ready, shared.ready.contains(&self.key));
        assert!(pace.is_ready || !self.has_turn(shared), "nobody will go on");
        assert_eq!(pace.reset_turns, of(|it| it.turn == Some(Cause::Reset)));
        self.check_reset_line(shared);
        for (rid, it) in &self.subscriptions {
            if let State::Waiting(number) = it.state {
                assert_eq!(pace.unloaded.get(&number), Some(rid), "{rid} waits to be loaded");
            }
            let waits = [&pace.outdated, &pace.reset].iter().filter(|rids| rids.contains(rid)).count();
            assert_eq!(usize::from(it.is_stale), waits, "{rid} is not asked for access again");
            assert!(
                it.is_loading() || it.waiting.is_empty() || pace.woken.contains(rid),
                "{rid} is there, and nobody knows"
            );
            let first = it.fetches.first().and_then(|task| self.tasks.get(task));
            let follows = matches!(first, Some(Task::Fetch(fetch)) if fetch.follows);
            assert!(!follows || pace.led.contains(rid), "nobody fetches {rid}");
            assert!(!it.loads_in_turn || matches!(it.state, State::Loading), "{rid} is loaded");
        }
    }
}

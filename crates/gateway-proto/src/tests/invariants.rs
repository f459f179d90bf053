//! Invariants of the machine's state, checked after every input.

use std::collections::BTreeMap;

use relogin_res::ResourceId;

use crate::{
    Gateway,
    connection::{
        Connection, limits,
        subscription::AccessState,
        task::Task,
        trial::{Hold, Trial},
    },
    ids::TaskId,
};

impl Gateway {
    pub(super) fn check_invariants(&self) {
        for connection in self.connections.values() {
            connection.check_inbox();
            // In the middle of a job, counts may be off.
            if !connection.is_busy() {
                connection.check_invariants();
            }
            connection.check_pace(&self.shared);
        }
        let all = self.connections.values().chain(&self.closing);
        let counts = all.map(|connection| (connection.subscription_bytes, connection.subscriptions.len()));
        let (bytes, count) = counts.fold((0, 0), |sums, counts| (sums.0 + counts.0, sums.1 + counts.1));
        assert_eq!((self.shared.subscription_bytes, self.shared.subscriptions), (bytes, count));
        self.shared.bus.check_invariants();
        self.shared.cache.check_invariants();
    }
}

impl Connection {
    fn check_invariants(&self) {
        let costs = self.subscriptions.iter().map(|(rid, it)| limits::cost(rid, &it.target));
        assert_eq!(self.subscription_bytes, costs.sum::<usize>());
        let (mut parents, mut visible_parents) = (BTreeMap::new(), BTreeMap::new());
        for subscription in self.subscriptions.values() {
            for child in subscription.references.keys() {
                *parents.entry(child).or_insert(0) += 1;
                *visible_parents.entry(child).or_insert(0) += u32::from(subscription.is_visible());
            }
        }
        let mut pins = BTreeMap::new();
        for task in self.tasks.values() {
            let wait = match task {
                Task::Fetch(fetch) => &fetch.wait,
                Task::Deliver(deliver) => &deliver.wait,
                Task::Call(_) => continue,
            };
            wait.roots.iter().for_each(|root| *pins.entry(root).or_insert(0) += 1);
        }
        for (rid, it) in &self.subscriptions {
            let count = |counts: &BTreeMap<_, u32>| counts.get(rid).copied().unwrap_or(0);
            assert_eq!(it.parents, count(&parents), "parents of {rid}");
            assert_eq!(it.visible_parents, count(&visible_parents), "visible parents of {rid}");
            assert_eq!(it.pins, count(&pins), "pins of {rid}");
            assert!(self.is_held(Hold::Needed, rid), "{rid} is held by nothing");
            if it.is_visible() {
                assert!(self.is_held(Hold::Visible, rid), "the client has let go of {rid}");
            }
            assert_eq!(it.gets_events(), it.resource.is_some(), "{rid} and the cache");
            if !it.held.is_empty() {
                let is_outdated = it.direct > 0 && it.is_outdated(self.epoch);
                let is_busy = it.rechecking || is_outdated || it.delivering.is_some() || !it.is_visible();
                assert!(is_busy, "events of {rid} are held for no reason");
            }
            if it.rechecking {
                assert!(matches!(it.access, AccessState::Asked(..)), "{rid} is rechecked without asking");
            }
            let fetches = |task: &&TaskId| matches!(&self.tasks[*task], Task::Fetch(fetch) if fetch.rid == *rid);
            assert!(it.fetches.iter().filter(fetches).count() == it.fetches.len(), "fetches of {rid}");
            if it.is_loading() {
                let waits = |task: &Task| match task {
                    Task::Fetch(fetch) => fetch.wait.loading > 0,
                    Task::Deliver(deliver) => deliver.wait.loading > 0,
                    Task::Call(_) => false,
                };
                assert!(
                    it.waiting.iter().all(|task| self.tasks.get(task).is_none_or(waits)),
                    "a task waits for {rid} without knowing"
                );
            }
        }
        for task in self.tasks.values() {
            assert!(task.tag().is_some() || !matches!(task, Task::Call(_)) || self.waits_for_access(task));
        }
    }

    fn is_held(&self, hold: Hold, rid: &ResourceId) -> bool {
        let mut trial = Trial::new(hold, vec![rid.clone()]);
        while !trial.step(&self.subscriptions) {}
        trial.unheld().is_empty()
    }

    fn waits_for_access(&self, wanted: &Task) -> bool {
        let waits = |access: &AccessState| match access {
            AccessState::Asked(_, tasks) => {
                tasks.iter().any(|task| self.tasks.get(task).is_some_and(|task| std::ptr::eq(task, wanted)))
            }
            _ => false,
        };
        self.subscriptions.values().any(|subscription| waits(&subscription.access))
    }
}

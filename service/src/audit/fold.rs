//! Folds events that strangers can cause any number of times: the first ones are written singly,
//! the rest are counted and written once a second. Must not depend on files or the bus.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use relogin_session::{Timestamp, UserId};
use serde::Serialize;
use tokio::sync::Notify;

use super::Event;
use crate::trickle::Trickle;

/// Events that were left out of the trail, folded into one line for each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Folded {
    /// How many.
    pub count: u64,
    /// When the first of them happened.
    #[serde(serialize_with = "super::time")]
    pub since: Timestamp,
    /// Whose names they concerned, and how often: the first 16.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<UserId, u64>,
    /// Where they came from, without ports, and how often: the first 16.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remote_addrs: BTreeMap<String, u64>,
}

/// Counts the events of each kind.
#[derive(Debug, Default)]
pub(super) struct Folds {
    kinds: Mutex<HashMap<String, Fold>>,
    begun: Notify,
}

#[derive(Debug)]
struct Fold {
    trickle: Trickle,
    folded: Folded,
    last: Timestamp,
}

/// How many users and addresses a line names.
const DISTINCT: usize = 16;

/// Events that can be caused without an account, or with a key that belongs to somebody else.
const FOLDED: [&str; 5] = ["login_failed", "login_throttled", "proof_missing", "cookie_mismatch", "stale_retry"];

impl Folds {
    /// True if the event gets a line of its own; otherwise it is counted.
    pub(super) fn passes(&self, time: Timestamp, event: &Event, now: Instant) -> bool {
        if !FOLDED.contains(&event.event.as_str()) {
            return true;
        }
        let mut kinds = self.lock();
        let new = || Fold { trickle: Trickle::new(now), folded: Folded::since(time), last: time };
        let fold = kinds.entry(event.event.clone()).or_insert_with(new);
        if fold.trickle.passes(now) {
            return true;
        }
        if fold.folded.count == 0 {
            fold.folded = Folded::since(time);
            self.begun.notify_one();
        }
        fold.folded.add(event);
        fold.last = time;
        false
    }

    /// When the next count is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lock().values().filter_map(|fold| fold.trickle.due()).min()
    }

    /// Resolves when [`Folds::due`] may have become earlier, even if nobody was waiting at that
    /// moment.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// The counts that are due at `now`; all if no time is given. Each one as an event, with the
    /// time of the last event in it.
    pub(super) fn take(&self, now: Option<Instant>) -> Vec<(Timestamp, Event)> {
        let mut due = Vec::new();
        for (kind, fold) in self.lock().iter_mut() {
            let is_due = fold.trickle.due().is_some_and(|due| now.is_none_or(|now| due <= now));
            if is_due {
                fold.trickle.take();
                let folded = std::mem::replace(&mut fold.folded, Folded::since(fold.last));
                due.push((fold.last, Event { event: kind.clone(), folded: Some(folded), ..Event::default() }));
            }
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Fold>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folded {
    fn since(since: Timestamp) -> Self {
        Self { count: 0, since, users: BTreeMap::new(), remote_addrs: BTreeMap::new() }
    }

    fn add(&mut self, event: &Event) {
        self.count += 1;
        if let Some(user) = &event.user {
            tally(&mut self.users, user.clone());
        }
        if let Some(remote_addr) = &event.remote_addr {
            let without_port = remote_addr.rsplit_once(':').map_or(remote_addr.as_str(), |(ip, _)| ip);
            tally(&mut self.remote_addrs, without_port.to_owned());
        }
    }
}

fn tally<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    if counts.len() < DISTINCT || counts.contains_key(&key) {
        *counts.entry(key).or_default() += 1;
    }
}

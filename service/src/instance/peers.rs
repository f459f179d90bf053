//! What an instance knows of others: those that do not belong to it, and those that share its
//! store. Must not depend on the bus.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};
use tracing::{error, info};

use super::{GONE, Instance, shared::Contradiction};

/// How many lists of users are remembered of instances that have left.
const MAX_LISTS: usize = 64;

/// What an instance knows of others of its name. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    met: Mutex<Met>,
    /// How many of those with the same store went without a word.
    missed: watch::Sender<u64>,
}

/// Other instances that have answered or announced themselves.
#[derive(Debug, Default)]
struct Met {
    /// One that does not belong to this.
    other: Option<(Instance, Instant)>,
    is_senior: bool,
    /// Those with the same store.
    belonging: HashMap<String, Belonging>,
    /// The lists of users, by their digests, of those that have left since somebody asked.
    left_with: HashSet<Option<String>>,
}

/// An instance with the same store.
#[derive(Debug)]
struct Belonging {
    /// When its last message came.
    heard: Instant,
    /// What distinguishes its list of users from others.
    users: Option<String>,
}

impl Peers {
    /// True while another instance answers the same requests.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.met().other.is_some()
    }

    /// True while another instance answers the same requests and was there before.
    #[must_use]
    pub fn is_junior(&self) -> bool {
        let met = self.met();
        met.other.is_some() && !met.is_senior
    }

    /// How many instances with the same store have vanished; changes with each.
    #[must_use]
    pub fn missed(&self) -> watch::Receiver<u64> {
        self.0.missed.subscribe()
    }

    /// True if all instances with the same store that are known have the list of users that this
    /// digest is of.
    #[must_use]
    pub fn have_users(&self, digest: &str) -> bool {
        self.met().belonging.values().all(|other| other.users.as_deref() == Some(digest))
    }

    /// True if an instance with the same store has left, since this was last asked, that had not
    /// the list of users that this digest is of.
    #[must_use]
    pub fn has_another_left(&self, digest: &str) -> bool {
        std::mem::take(&mut self.met().left_with).iter().any(|left| left.as_deref() != Some(digest))
    }

    /// The ids of the other instances with the same store, in order.
    #[must_use]
    pub fn belonging(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.met().belonging.keys().cloned().collect();
        ids.sort_unstable();
        ids
    }

    /// A message of an instance with the same store.
    pub(super) fn belongs(&self, other: &Instance) {
        let mut met = self.met();
        if other.ready {
            let belonging = Belonging { heard: Instant::now(), users: other.users.clone() };
            met.belonging.insert(other.id.clone(), belonging);
        } else {
            let gone = met.belonging.remove(&other.id);
            met.remember(gone);
        }
    }

    pub(super) fn meet(&self, me: &Instance, other: Instance, name: &str) {
        let mut met = self.met();
        let is_known = met.other.as_ref().is_some_and(|(known, _)| known.id == other.id);
        met.is_senior = (me.began, &me.id) < (other.began, &other.id);
        if !is_known {
            let logins = if met.is_senior { "are accepted here" } else { "are left to it" };
            let how = match me.contradicts(&other) {
                Some(Contradiction::Options(differences)) => format!("with {differences}"),
                Some(Contradiction::Apart) | None => "from its own store".to_owned(),
            };
            error!(
                other = other.id,
                "another instance named {name:?} answers on this NATS {how}; stop one of the two. Until then no key \
                 is refused, and new logins {logins}"
            );
        }
        met.other = Some((other, Instant::now()));
    }

    /// Another instance does not answer requests, or no longer does.
    pub(super) fn part(&self, from: &Instance) {
        self.forget_if(|other, _| other.id == from.id);
    }

    /// Forgets an instance that has sent nothing for long.
    pub(super) fn forget(&self) {
        self.forget_if(|_, heard| heard.elapsed() > GONE);
        let mut met = self.met();
        let gone: Vec<_> = met.belonging.extract_if(|_, other| other.heard.elapsed() > GONE).collect();
        let (ids, gone): (Vec<_>, Vec<_>) = gone.into_iter().unzip();
        met.remember(gone);
        drop(met);
        for other in ids {
            info!(other, "an instance with the same sessions has vanished");
            self.0.missed.send_modify(|missed| *missed += 1);
        }
    }

    fn forget_if(&self, is_gone: impl Fn(&Instance, Instant) -> bool) {
        let mut met = self.met();
        if let Some((other, _)) = met.other.take_if(|(other, heard)| is_gone(other, *heard)) {
            info!(other = other.id, "the other instance is gone");
        }
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Met {
    /// Those that have left.
    fn remember(&mut self, left: impl IntoIterator<Item = Belonging>) {
        for Belonging { users, .. } in left {
            // Where nobody asks, as without a users file, they must not pile up.
            let users = users.filter(|_| self.left_with.len() < MAX_LISTS);
            self.left_with.insert(users);
        }
    }
}

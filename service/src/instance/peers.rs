//! What an instance knows of others that do not belong to it. Must not depend on the bus.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tracing::{error, info};

use super::{GONE, Instance, shared::Contradiction};

/// What an instance knows of others of its name. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Mutex<Met>>);

/// Another instance that was heard.
#[derive(Debug, Default)]
struct Met {
    other: Option<(Instance, Instant)>,
    is_senior: bool,
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

    pub(super) fn meet(&self, me: &Instance, other: Instance, name: &str) {
        let mut met = self.met();
        let is_known = met.other.as_ref().is_some_and(|(known, _)| known.id == other.id);
        met.is_senior = (me.began, &me.id) < (other.began, &other.id);
        if !is_known {
            let logins = if met.is_senior { "are accepted here" } else { "are left to it" };
            let how = match me.contradicts(&other) {
                Some(Contradiction::Option(option, _)) => format!("with another {option}"),
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

    /// Forgets an instance that has not been heard for long.
    pub(super) fn forget(&self) {
        self.forget_if(|_, heard| heard.elapsed() > GONE);
    }

    fn forget_if(&self, is_gone: impl Fn(&Instance, Instant) -> bool) {
        let mut met = self.met();
        if let Some((other, _)) = met.other.take_if(|(other, heard)| is_gone(other, *heard)) {
            info!(other = other.id, "the other instance is gone");
        }
    }

    /// Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

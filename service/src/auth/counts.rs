//! Counts requests by method and outcome, and how long they took, for the metrics. Must not answer
//! any.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use relogin_host::durations::{DurationCounts, Durations};
use relogin_res::service::Response;
use relogin_session::Denied;
use tokio::time::Instant;

use super::{Auth, answer::Failure, limits::ConcurrencyLimits, queue::Queue};

use crate::spans;

/// The method label of a request in the metrics. Strangers cannot add values to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountedMethod {
    /// An auth method of that name.
    Login,
    Relogin,
    Logout,
    Challenge,
    Connect,
    HeaderLogin,
    ChangePassword,
    Renew,
    Revoke,
    RevokeOthers,
    /// Access requests, whatever for.
    Access,
    /// Get requests, whatever for.
    Get,
    /// What is left of HTTP requests with cookies.
    Call,
    /// Whatever does not exist.
    Unknown,
}

/// The outcome label of a request in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// A result.
    Result,
    /// The caller may not have what it asks for.
    Denied,
    /// There is no such method or resource.
    NotFound,
    /// It makes no sense.
    Malformed,
    /// Too many logins have failed, or as many as may wait do.
    Throttled,
    /// More password checks than can be made.
    Busy,
    /// The store accepts no writes at the moment.
    Shortage,
    /// An internal error.
    Failed,
    /// Nobody waits for the answer any more, so it was dropped.
    Overdue,
}

/// Counts of all requests.
#[derive(Debug, Default)]
pub(super) struct RequestCounts {
    outcomes: [[AtomicU64; RequestOutcome::ALL.len()]; CountedMethod::ALL.len()],
    times: [Durations; CountedMethod::ALL.len()],
}

/// The counts of requests that metrics expose.
#[derive(Clone, Debug)]
pub struct AuthStats {
    pub(super) requests: Arc<RequestCounts>,
    pub(super) limits: ConcurrencyLimits,
    pub(super) queue: Arc<Queue>,
}

impl CountedMethod {
    const ALL: [Self; 14] = [
        Self::Login,
        Self::Relogin,
        Self::Logout,
        Self::Challenge,
        Self::Connect,
        Self::HeaderLogin,
        Self::ChangePassword,
        Self::Renew,
        Self::Revoke,
        Self::RevokeOthers,
        Self::Access,
        Self::Get,
        Self::Call,
        Self::Unknown,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Relogin => "relogin",
            Self::Logout => "logout",
            Self::Challenge => "challenge",
            Self::Connect => "connect",
            Self::HeaderLogin => "headerLogin",
            Self::ChangePassword => "changePassword",
            Self::Renew => "renew",
            Self::Revoke => "revoke",
            Self::RevokeOthers => "revokeOthers",
            Self::Access => "access",
            Self::Get => "get",
            Self::Call => "call",
            Self::Unknown => "unknown",
        }
    }
}

impl RequestOutcome {
    const ALL: [Self; 9] = [
        Self::Result,
        Self::Denied,
        Self::NotFound,
        Self::Malformed,
        Self::Throttled,
        Self::Busy,
        Self::Shortage,
        Self::Failed,
        Self::Overdue,
    ];

    /// What a request comes to that is answered with this.
    pub(super) fn of(answer: &Result<Response, Failure>) -> Self {
        match answer {
            Ok(response) if response.outcome.is_ok() => Self::Result,
            Ok(_) => Self::Denied,
            Err(Failure::Malformed | Failure::Denied(Denied::InvalidParams)) => Self::Malformed,
            Err(Failure::NotFound | Failure::Denied(Denied::MethodNotFound)) => Self::NotFound,
            Err(Failure::Denied(_) | Failure::PasswordTooShort(_)) => Self::Denied,
            Err(Failure::TooManyAttempts(_)) => Self::Throttled,
            Err(Failure::Busy) => Self::Busy,
            Err(Failure::Shortage) => Self::Shortage,
            Err(Failure::Ours(_) | Failure::Panic) => Self::Failed,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Malformed => "malformed",
            Self::Throttled => "throttled",
            Self::Busy => "busy",
            Self::Shortage => "shortage",
            Self::Failed => "failed",
            Self::Overdue => "overdue",
        }
    }
}

impl RequestCounts {
    /// A request that arrived `since` has come to this.
    pub(super) fn count(&self, method: CountedMethod, outcome: RequestOutcome, since: Instant) {
        self.outcomes[method as usize][outcome as usize].fetch_add(1, Relaxed);
        // How long one waited in vain says how long the others wait, too.
        self.times[method as usize].add(since.elapsed());
        spans::came_to(outcome.name(), matches!(outcome, RequestOutcome::Shortage | RequestOutcome::Failed));
    }
}

impl Auth {
    /// What it counts, now and while it runs.
    pub fn stats(&self) -> AuthStats {
        let (requests, queue) = (Arc::clone(&self.cx.counts), Arc::clone(&self.cx.queue));
        AuthStats { requests, limits: self.limits.clone(), queue }
    }
}

impl AuthStats {
    /// How many requests had which outcome, by the names of method and outcome.
    pub fn requests(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> {
        CountedMethod::ALL.into_iter().flat_map(|method| {
            RequestOutcome::ALL.map(|outcome| {
                let count = &self.requests.outcomes[method as usize][outcome as usize];
                ([method.name(), outcome.name()], count.load(Relaxed))
            })
        })
    }

    /// How long they took from their arrival, by the name of the method.
    pub fn times(&self) -> [(&'static str, DurationCounts); CountedMethod::ALL.len()] {
        CountedMethod::ALL.map(|method| (method.name(), self.requests.times[method as usize].counts()))
    }

    /// How many are being processed: logins and changes of passwords, and others.
    pub fn pending(&self) -> [(&'static str, usize); 2] {
        let (logins, others) = self.limits.taken();
        [("login", logins), ("other", others)]
    }

    /// Password checks that are made, and those that wait for their turn.
    pub fn password_checks(&self) -> [(&'static str, usize); 2] {
        let (running, waiting) = self.queue.len();
        [("running", running), ("waiting", waiting)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_and_outcome_has_a_count_of_its_own() {
        let counts = RequestCounts::default();
        let since = Instant::now();
        for (number, method) in CountedMethod::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, number);
            for (other, outcome) in RequestOutcome::ALL.into_iter().enumerate() {
                assert_eq!(outcome as usize, other);
                for _ in 0..=number * 10 + other {
                    counts.count(method, outcome, since);
                }
            }
        }
        let requests = Arc::new(counts);
        let stats = AuthStats { requests, limits: ConcurrencyLimits::new(), queue: Queue::new(1) };
        let expected = (0..14).flat_map(|number| (0..9).map(move |other| number * 10 + other + 1));
        assert!(stats.requests().map(|(_, count)| count).eq(expected));
        let names: std::collections::HashSet<_> = stats.requests().map(|(names, _)| names).collect();
        assert_eq!(names.len(), 14 * 9);
        let (_, unknown) = stats.times()[13];
        assert_eq!(unknown.buckets.iter().sum::<u64>(), (131..140).sum::<u64>());
    }
}

//! What the machine counts of its work, in plain integers, for whoever shows it. Must not know who
//! does.

use std::time::Duration;

use relogin_res::client::Method;

/// What clients ask for over WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMethod {
    /// `get`.
    Get,
    /// `subscribe`.
    Subscribe,
    /// `unsubscribe`.
    Unsubscribe,
    /// `call`, and the older `new`.
    Call,
    /// `auth`.
    Auth,
}

/// What services are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// For a resource.
    Get,
    /// What a query event did to a resource.
    Query,
    /// Who may do what.
    Access,
    /// To call a method.
    Call,
    /// To authenticate.
    Auth,
}

/// What services send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// The answer to a request.
    Answer(RequestKind),
    /// An event on a resource.
    Event,
    /// A connection's token event.
    Token,
    /// A system reset or token reset.
    System,
}

/// What came of a request to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// A result.
    Result,
    /// An error of the service, or an answer that makes no sense.
    Error,
    /// No answer in time.
    Timeout,
    /// Nobody listens.
    NoResponders,
    /// The bus did not take it.
    Refused,
    /// Nobody waits for the answer any more.
    GivenUp,
}

/// How long something took, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How often up to each of [`Times::BOUNDS`], and not up to the one before; last: longer.
    pub buckets: [u64; Times::BOUNDS.len() + 1],
    /// All of it together.
    pub sum: Duration,
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// How many are under way.
    pub pending: u64,
    /// How many had each outcome, in the order of [`RequestOutcome::ALL`].
    pub outcomes: [u64; RequestOutcome::ALL.len()],
    /// How long those took that were answered, with a result or an error.
    pub times: Times,
}

/// All that the machine counts, and what it has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests of clients over WebSockets, in the order of [`ClientMethod::ALL`].
    pub client_requests: [u64; ClientMethod::ALL.len()],
    /// Requests to services, in the order of [`RequestKind::ALL`].
    pub requests: [RequestCounts; RequestKind::ALL.len()],
    /// Bytes of the requests under way.
    pub request_bytes: usize,
    /// Resource names whose events are subscribed to.
    pub names: usize,
    /// Cached resources: of each name, one for each query.
    pub resources: usize,
    /// Bytes of their contents.
    pub content_bytes: usize,
    /// Subscriptions of all connections, references included.
    pub subscriptions: usize,
    /// Bytes that they are counted as.
    pub subscription_bytes: usize,
    /// Notices of resources that have not reached all subscribers.
    pub undelivered: usize,
    /// Messages of services that made no sense, in the order of [`MessageKind::ALL`].
    pub malformed: [u64; MessageKind::ALL.len()],
}

impl ClientMethod {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Subscribe, Self::Unsubscribe, Self::Call, Self::Auth];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Call => "call",
            Self::Auth => "auth",
        }
    }

    pub(crate) fn of(method: &Method) -> Option<Self> {
        match method {
            Method::Version => None,
            Method::Get(_) => Some(Self::Get),
            Method::Subscribe(_) => Some(Self::Subscribe),
            Method::Unsubscribe(_) => Some(Self::Unsubscribe),
            Method::Call(..) | Method::New(_) => Some(Self::Call),
            Method::Auth(..) => Some(Self::Auth),
        }
    }
}

impl RequestKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Query, Self::Access, Self::Call, Self::Auth];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Query => "query",
            Self::Access => "access",
            Self::Call => "call",
            Self::Auth => "auth",
        }
    }
}

impl MessageKind {
    /// All of them.
    pub const ALL: [Self; 8] = {
        let [get, query, access, call, auth] = RequestKind::ALL;
        [
            Self::Answer(get),
            Self::Answer(query),
            Self::Answer(access),
            Self::Answer(call),
            Self::Answer(auth),
            Self::Event,
            Self::Token,
            Self::System,
        ]
    };

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer(kind) => kind.name(),
            Self::Event => "event",
            Self::Token => "token",
            Self::System => "system",
        }
    }

    /// Its index in [`MessageKind::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Answer(kind) => kind as usize,
            Self::Event => RequestKind::ALL.len(),
            Self::Token => RequestKind::ALL.len() + 1,
            Self::System => RequestKind::ALL.len() + 2,
        }
    }
}

impl RequestOutcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Result, Self::Error, Self::Timeout, Self::NoResponders, Self::Refused, Self::GivenUp];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::NoResponders => "no_responders",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
        }
    }
}

impl Times {
    /// The bounds of the buckets, in milliseconds.
    pub const BOUNDS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

    fn add(&mut self, time: Duration) {
        let bucket = Self::BOUNDS.iter().position(|bound| time <= Duration::from_millis(*bound));
        self.buckets[bucket.unwrap_or(Self::BOUNDS.len())] += 1;
        self.sum += time;
    }
}

impl RequestCounts {
    pub(crate) fn begin(&mut self) {
        self.pending += 1;
    }

    pub(crate) fn end(&mut self, outcome: RequestOutcome, time: Duration) {
        self.pending -= 1;
        self.outcomes[outcome as usize] += 1;
        if matches!(outcome, RequestOutcome::Result | RequestOutcome::Error) {
            self.times.add(time);
        }
    }

    /// Nobody waits for any of them any more.
    pub(crate) fn give_up_all(&mut self) {
        self.outcomes[RequestOutcome::GivenUp as usize] += std::mem::take(&mut self.pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_it_fits_into() {
        let mut times = Times::default();
        for ms in [0, 1, 2, 2500, 2501, 5000, 5001, 60_000] {
            times.add(Duration::from_millis(ms));
        }
        assert_eq!(times.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2]);
        assert_eq!(times.sum, Duration::from_millis(75_005));
    }

    #[test]
    fn each_outcome_method_and_kind_stands_at_its_own_index() {
        assert!(RequestOutcome::ALL.iter().enumerate().all(|(place, outcome)| *outcome as usize == place));
        assert!(RequestKind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
        assert!(MessageKind::ALL.iter().enumerate().all(|(place, kind)| kind.index() == place));
        assert!(ClientMethod::ALL.iter().enumerate().all(|(place, method)| *method as usize == place));
    }
}

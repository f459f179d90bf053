//! Logouts that the service has not confirmed. Each takes effect on the page at once, and at the
//! service as soon as it can be reached; until then it is in storage, so that another page can
//! finish it. Must not send anything but what callers wait for.

use std::time::Duration;

use relogin_session::Denied;

use crate::{
    Backoff, RequestError, Token, Turn,
    operation::is_denied,
    outbox::Outbox,
    record::{Granted, Record, SessionName},
};

/// The pending logouts. The page is not kept waiting for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingLogouts {
    /// What this connection holds comes first.
    queue: Vec<PendingLogout>,
    /// Commands that wait for all of them.
    tokens: Vec<Token>,
    /// Not before this time.
    retry: Option<Duration>,
    backoff: Backoff,
    /// Those that are over, and may still be in storage.
    over: Vec<Over>,
}

/// A session that is to end.
#[derive(Clone, Debug)]
pub(crate) struct PendingLogout {
    /// `None`: whichever this connection holds.
    session: Option<SessionName>,
    /// Its key, if we have it: it alone can end the session on another connection. As it is in
    /// storage, attempt and all, whatever this tab has got for it since: so all who finish the
    /// logout repeat the same use of the key.
    record: Option<Record>,
    /// Whether this connection holds it.
    is_attached: bool,
    /// Whether a refusal of the key means that the session is over: it was used by an attempt that
    /// nobody else can know.
    is_conclusive: bool,
}

/// A session that is over.
#[derive(Clone, Debug)]
struct Over {
    session: Option<SessionName>,
    record: Option<Record>,
}

/// How a pending logout goes on.
#[derive(Debug)]
pub(crate) enum NextLogout {
    /// End this session, which the connection holds; `None`: whichever it holds.
    End(Option<SessionName>),
    /// Take this key's session up.
    TakeUp(Record),
}

impl PendingLogouts {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether all that is over is out of storage, too.
    pub(crate) fn is_cleared(&self) -> bool {
        self.over.is_empty()
    }

    /// Whether this connection holds the first of them.
    pub(crate) fn is_attached(&self) -> bool {
        self.queue.first().is_some_and(|logout| logout.is_attached)
    }

    /// When the next step is due; `None`: now.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether the next step is due.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.retry.is_none_or(|retry| retry <= now)
    }

    /// There is reason to hope that the service can be asked now.
    pub(crate) fn hurry(&mut self) {
        self.retry = None;
    }

    /// How the first of them goes on. Those that cannot, for nobody has a key, are dropped.
    pub(crate) fn next(&mut self, turn: &Turn) -> Option<NextLogout> {
        self.keep(&mut |logout| logout.is_attached || logout.record.is_some());
        let first = self.queue.first_mut()?;
        match &mut first.record {
            _ if first.is_attached => Some(NextLogout::End(first.session)),
            Some(record) => {
                *record = record.begun(turn.attempt);
                Some(NextLogout::TakeUp(record.clone()))
            }
            None => None,
        }
    }

    /// The user logs out of the session that the connection holds: `session`, or whichever it is.
    /// Its key is `record`.
    pub(crate) fn add_held(&mut self, session: Option<SessionName>, record: Option<Record>) {
        self.push(PendingLogout::new(session, record, true));
    }

    /// A session that the connection does not hold is to end, by its key.
    pub(crate) fn add(&mut self, record: Record) {
        self.push(PendingLogout::new(record.holding().session, Some(record), false));
    }

    /// Storage has these logouts, which nobody may be about to finish.
    pub(crate) fn adopt(&mut self, pending: &[Record]) {
        for record in pending {
            if !self.knows(record) {
                self.add(record.clone());
            }
        }
    }

    /// Whether this pending logout is among them, or over.
    pub(crate) fn knows(&self, pending: &Record) -> bool {
        self.queue.iter().any(|logout| logout.record.as_ref().is_some_and(|record| record.key == pending.key))
            || self.is_over(pending)
    }

    /// Whether this pending logout is over.
    pub(crate) fn is_over(&self, pending: &Record) -> bool {
        self.over.iter().any(|over| over.is_of(pending))
    }

    /// What is over is out of storage.
    pub(crate) fn cleared(&mut self) {
        self.over.clear();
    }

    /// Adds the command that waits for all of them.
    pub(crate) fn wait(&mut self, token: Token) {
        self.tokens.push(token);
    }

    /// Tells all callers that the user is logged out.
    pub(crate) fn settle(&mut self, out: &mut Outbox) {
        for token in std::mem::take(&mut self.tokens) {
            out.settle(token, Ok(()));
        }
    }

    /// This connection no longer holds anything.
    pub(crate) fn connection_lost(&mut self, out: &mut Outbox) {
        self.attached_to(None);
        self.retry = None;
        self.settle(out);
    }

    /// Nobody will bring them to their end.
    pub(crate) fn give_up(&mut self, out: &mut Outbox) {
        self.queue.clear();
        self.over.clear();
        self.settle(out);
    }

    /// The next step is to be tried later. The page need not know.
    pub(crate) fn put_off(&mut self, turn: &mut Turn) {
        self.retry = Some(turn.now + self.backoff.next(&mut turn.dice));
    }

    /// The session that the connection was to hold was taken off it, and may live on elsewhere: the
    /// key, if we have it, ends it all the same.
    pub(crate) fn was_elsewhere(&mut self, turn: &mut Turn) {
        self.attached_to(None);
        self.put_off(turn);
    }

    /// The service has ended the first of them.
    pub(crate) fn first_is_over(&mut self) {
        (self.retry, self.backoff) = (None, Backoff::default());
        if !self.queue.is_empty() {
            let PendingLogout { session, record, .. } = self.queue.remove(0);
            self.over.push(Over { session, record });
        }
    }

    /// What became of a login, or of a use of `used`, whose session is to end.
    pub(crate) fn taken_up(&mut self, used: Option<&Record>, result: Result<Granted, RequestError>) {
        match (result, used) {
            (Ok(granted), used) => self.attached(used, granted.record),
            (Err(error), Some(used)) if is_denied(&error, Denied::InvalidReloginKey) => self.refused(used),
            _ => {}
        }
    }

    fn push(&mut self, logout: PendingLogout) {
        let place = if logout.is_attached { 0 } else { self.queue.len() };
        self.queue.insert(place, logout);
    }

    /// The session of `new`, which is to end, is held by this connection now, and no other: by a
    /// use of `used`.
    fn attached(&mut self, used: Option<&Record>, new: Record) {
        let session = new.holding().session;
        let is_it = |logout: &PendingLogout| {
            logout
                .record
                .as_ref()
                .is_some_and(|record| used.is_some_and(|used| used.key == record.key) || record.is_of_session(&new))
        };
        let known = self.queue.iter().position(is_it).and_then(|at| self.queue.remove(at).record);
        self.keep(&mut |logout| logout.session != session || logout.session.is_none());
        self.attached_to(session);
        self.push(PendingLogout::new(session, known.or(Some(new)), true));
    }

    fn attached_to(&mut self, session: Option<SessionName>) {
        self.keep(&mut |logout| {
            logout.is_attached &= session.is_some() && logout.session == session;
            logout.is_attached || logout.record.is_some()
        });
    }

    /// One copy of the loop for all of these.
    fn keep(&mut self, stays: &mut dyn FnMut(&mut PendingLogout) -> bool) {
        self.queue.retain_mut(stays);
    }

    /// The service no longer takes the key of `used` with that attempt. Where a thief or a sibling
    /// may know the attempt, that says only that the use is an old one: with another attempt the
    /// key ends the session, if there is one.
    fn refused(&mut self, used: &Record) {
        let mut over = false;
        self.keep(&mut |logout| match &mut logout.record {
            Some(record) if record.key == used.key => {
                record.forget_attempt();
                over = std::mem::replace(&mut logout.is_conclusive, true);
                !over
            }
            _ => true,
        });
        if over {
            self.over.push(Over { session: used.holding().session, record: Some(used.clone()) });
        }
    }
}

impl PendingLogout {
    fn new(session: Option<SessionName>, record: Option<Record>, is_attached: bool) -> Self {
        let is_conclusive = record.as_ref().is_some_and(|record| record.attempt().is_none());
        Self { session, record, is_attached, is_conclusive }
    }
}

impl Over {
    fn is_of(&self, pending: &Record) -> bool {
        self.session.is_some() && self.session == pending.holding().session
            || self.record.as_ref().is_some_and(|record| record.key == pending.key)
    }
}

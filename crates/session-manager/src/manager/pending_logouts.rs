//! Logouts brought to their end: on the page each takes effect at once, at the service as soon as it can be reached. On a new
//! connection, a session has to be taken up once more to be ended. Until the service has confirmed it, a logout is in storage
//! as a pending one, so that another page can finish it.

mod stored;

use std::time::Duration;

use relogin_session::{Denied, api::LogoutParams};

use self::stored::Over;
use super::{
    SessionManager,
    operation::{Operation, Stage, Task, is_denied, is_transient},
    status::{SessionStatus, StorageQuery},
};
use crate::ObservedUser;
use crate::record::{Granted, Holding, Record, SessionName, Stored};
use crate::{
    Diagnostic, EndReason, RequestError, Token,
    backoff::Backoff,
    outbox::{Outbox, Purpose},
    turn::Turn,
    wire,
};

/// How long the user model may say otherwise than storage: time enough for the logout of a sibling, and for the model itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Logouts that the service has not confirmed. The page is not kept waiting for them.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingLogouts {
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
struct PendingLogout {
    /// `None`: whichever this connection holds.
    session: Option<SessionName>,
    /// Its key, if we have it: it alone can end the session on another connection. As it is in storage, attempt and all,
    /// whatever this tab has got for it since: so all who finish the logout repeat the same use of the key.
    record: Option<Record>,
    /// Whether this connection holds it.
    attached: bool,
    /// Whether a refusal of the key means that the session is over: it was used by an attempt that nobody else can know.
    conclusive: bool,
}

impl SessionManager {
    /// What storage has, for a logout: the key goes, whatever it is, so that nothing here or in other tabs can use it but to end
    /// its session.
    pub(super) fn logout_read(
        &mut self,
        token: Token,
        removed: Option<Record>,
        stored: Stored,
        turn: &Turn,
        out: &mut Outbox,
    ) {
        match &stored.record {
            Some(record) => {
                let removed = record.begun(turn.attempt);
                let pending = stored.logged_out(&removed);
                self.queries.swap(
                    StorageQuery::Logout { token, removed: Some(removed) },
                    stored.text,
                    Some(pending),
                    out,
                );
            }
            None if stored.text.is_some() && stored.pending.is_empty() => {
                self.queries.swap(StorageQuery::Logout { token, removed }, stored.text, None, out);
            }
            None if !stored.certain => self.queries.look(StorageQuery::Logout { token, removed }, out),
            None => {
                // By the attempt that is noted there, which is a sibling's if that was first to log out.
                let is_removed =
                    |pending: &&Record| removed.as_ref().is_some_and(|removed| pending.is_of_session(removed));
                let removed = stored.pending.iter().find(is_removed).cloned();
                self.end_session(token, removed, &stored.pending, out);
            }
        }
    }

    /// The user logs out, and storage has no key any more: `removed` was there, and `pending` logouts are.
    fn end_session(&mut self, token: Token, mut removed: Option<Record>, pending: &[Record], out: &mut Outbox) {
        let held = match self.status {
            SessionStatus::Attached { holding, .. } => Some(holding),
            _ => None,
        };
        match &mut self.operation {
            // Its answer must not bring the key back.
            Some(operation) if operation.is_sent() => operation.void = true,
            _ => self.abort_operation(out),
        }
        self.refuse_logins(&RequestError::Superseded, out);
        if let ObservedUser::Somebody(user) = &self.observed_user {
            self.leaving_user = Some(user.clone());
        }
        self.losses = None;
        self.ended(EndReason::LoggedOut);
        let known = removed.is_some() || self.operation.is_some() || !self.pending_logouts.is_empty();
        let nobody = self.observed_user == ObservedUser::Nobody && !self.notes.used;
        if let Some(holding) = held {
            let record = removed.take_if(|record| record.holding().is_same_session(holding));
            // Or a sibling has removed it.
            let is_held = |record: &&Record| holding.session.is_some() && record.holding().is_same_session(holding);
            let record = record.or_else(|| pending.iter().find(is_held).cloned());
            self.pending_logouts.push(PendingLogout::new(holding.session, record, true));
        } else if !known && !nobody {
            // Whatever there may be.
            self.pending_logouts.push(PendingLogout::new(None, None, true));
        }
        if let Some(record) = removed {
            self.pending_logouts.push(PendingLogout::new(record.holding().session, Some(record), false));
        }
        self.pending_logouts.tokens.push(token);
        if !self.connected {
            // To be told once there is a connection, if the key is there to say which session it is.
            self.pending_logouts.connection_lost(out);
        }
    }

    /// Storage has another session than this connection: that one is to go.
    pub(super) fn change_session(&mut self, holding: Holding) {
        self.end_held(Some(holding));
        self.status = SessionStatus::Resuming;
        self.presumed_user = None;
        self.want(super::operation::Want::Resume);
    }

    /// Whether the logouts that wait concern this connection: it holds what is to end, or is to take it up next.
    pub(super) fn is_ending(&self) -> bool {
        let is_free = !matches!(self.status, SessionStatus::Attached { .. });
        self.pending_logouts.is_attached() || is_free && !self.pending_logouts.is_empty()
    }

    /// Whether they come before all else: the connection holds what is to end, or it is time.
    pub(super) fn must_end_first(&self, turn: &Turn) -> bool {
        let is_due = !self.login_first && self.pending_logouts.retry.is_none_or(|retry| retry <= turn.now);
        self.is_ending() && (self.pending_logouts.is_attached() || is_due)
    }

    fn end_held(&mut self, holding: Option<Holding>) {
        if let ObservedUser::Somebody(user) = &self.observed_user {
            self.leaving_user = Some(user.clone());
        }
        let session = holding.and_then(|holding| holding.session);
        self.pending_logouts.push(PendingLogout::new(session, None, true));
    }

    /// Notes whether the user model says otherwise than storage and what was answered: after a logout elsewhere that the service
    /// has not heard of, after a login whose answer nobody got, or of which a second copy came, or after a loss of the session
    /// that was too quick for the user model to show.
    pub(super) fn look_for_orphan(&mut self, turn: &Turn) {
        // Not moved while it lasts.
        self.notes.orphan = self.is_orphan().then(|| self.notes.orphan.unwrap_or(turn.after(PATIENCE)));
    }

    /// When that has lasted for too long.
    pub(super) fn orphan_deadline(&self) -> Option<Duration> {
        self.notes.orphan.filter(|_| self.is_orphan())
    }

    /// Ends that when its time has come, or a login needs its place.
    pub(super) fn account_for_orphan(&mut self, turn: &mut Turn) {
        let pressing = self.observed_user != ObservedUser::Nobody && !self.logins.is_empty();
        let due = self.orphan_deadline().is_some_and(|due| due <= turn.now || pressing);
        if !due {
            return;
        }
        self.notes.orphan = None;
        match self.status {
            _ if self.observed_user == ObservedUser::Nobody => self.lost_user(turn),
            SessionStatus::Attached { holding, .. } => {
                self.end_held(Some(holding));
                self.ended(EndReason::LoggedOutElsewhere);
            }
            // That was tried: the next connection will hold nothing.
            _ if self.notes.tainted => self.hang_up = true,
            _ => self.end_held(None),
        }
    }

    fn is_orphan(&self) -> bool {
        let is_ending = self.is_ending() || !self.pending_logouts.over.is_empty();
        let idle = self.connected && self.operation.is_none() && !is_ending && self.wanted.is_none();
        idle && match (self.status, &self.observed_user) {
            (SessionStatus::Attached { .. }, ObservedUser::Nobody) => true,
            (SessionStatus::Attached { stored, .. }, ObservedUser::Somebody(_)) => !stored,
            // Where we have sent nothing, it is by other means that somebody is logged in.
            (SessionStatus::Nobody(_), ObservedUser::Somebody(_)) => self.notes.used || self.leaving_user.is_some(),
            _ => false,
        }
    }

    /// The answer to a use of `used`, or to a login, that the user's logout has overtaken.
    pub(super) fn void_answered(&mut self, used: Option<&Record>, result: Result<Granted, RequestError>) {
        match (result, used) {
            (Ok(granted), used) => self.pending_logouts.attached(used, granted.record),
            (Err(error), Some(used)) if is_denied(&error, Denied::InvalidReloginKey) => {
                self.pending_logouts.refused(used);
            }
            _ => {}
        }
    }

    /// The next step towards the end of the first of them.
    pub(super) fn bring_to_end(&mut self, turn: &mut Turn, out: &mut Outbox) {
        if self.pending_logouts.retry.is_some_and(|retry| retry > turn.now) {
            self.open_gate();
            return;
        }
        let Some(ending) = self.pending_logouts.queue.first_mut() else { return };
        if ending.attached {
            let sid = ending.session.and_then(SessionName::sid);
            // Copies of one that names no session would end any.
            self.notes.tainted |= sid.is_none();
            let params = sid.map(|sid| wire::logout(LogoutParams { sid: Some(sid) }));
            self.note(Diagnostic::LogoutSent);
            out.send(Purpose::Operation, "logout", params, turn.after(self.config.relogin_timeout));
            self.operation = Some(self.operation(Task::EndLogout, Stage::Sent));
        } else if let Some(record) = &mut ending.record {
            *record = record.begun(turn.attempt);
            let used = Some(record.clone());
            let mut operation = self.operation(Task::EndRelogin, Stage::Claiming);
            operation.used = used;
            self.prove(operation, turn, out);
        } else {
            self.pending_logouts.queue.remove(0);
            self.pump(turn, out);
        }
    }

    pub(super) fn end_relogin_answered(
        &mut self,
        operation: &Operation,
        result: Result<Granted, RequestError>,
        turn: &mut Turn,
        out: &mut Outbox,
    ) {
        match result {
            Err(error) if !is_denied(&error, Denied::InvalidReloginKey) => {
                self.use_failed(operation, &error, turn, out);
            }
            result => {
                self.pending_logouts.retry = None;
                self.void_answered(operation.used.as_ref(), result);
            }
        }
    }

    pub(super) fn end_logout_answered(&mut self, error: Option<RequestError>, turn: &mut Turn, out: &mut Outbox) {
        match error {
            Some(error) if is_transient(&error) => self.end_later(&error, turn, out),
            // It was taken off this connection, and may live on elsewhere: the key, if we have it, ends it all the same.
            Some(_) => {
                self.pending_logouts.attached_to(None);
                self.pending_logouts.retry = Some(turn.now + self.pending_logouts.backoff.next(&mut turn.dice));
            }
            None => {
                self.pending_logouts.first_is_over();
                (self.pending_logouts.retry, self.pending_logouts.backoff) = (None, Backoff::default());
            }
        }
    }

    /// The service could not be asked, or the key not proven. The page need not know; a login that waits for the connection must.
    pub(super) fn end_later(&mut self, error: &RequestError, turn: &mut Turn, out: &mut Outbox) {
        self.pending_logouts.retry = Some(turn.now + self.pending_logouts.backoff.next(&mut turn.dice));
        self.pending_logouts.settle(out);
        if self.pending_logouts.is_attached() {
            self.refuse_logins(error, out);
        }
    }
}

impl PendingLogouts {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether this connection holds the first of them.
    pub(super) fn is_attached(&self) -> bool {
        self.queue.first().is_some_and(|ending| ending.attached)
    }

    /// When the next step is due; `None`: now.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// There is reason to hope that the service can be asked now.
    pub(super) fn hurry(&mut self) {
        self.retry = None;
    }

    /// What this connection held, it holds no more.
    pub(super) fn connection_lost(&mut self, out: &mut Outbox) {
        self.attached_to(None);
        self.retry = None;
        self.settle(out);
    }

    /// Tells all callers that the user is logged out.
    pub(super) fn settle(&mut self, out: &mut Outbox) {
        for token in std::mem::take(&mut self.tokens) {
            out.settle(token, Ok(()));
        }
    }

    /// Nobody will bring them to their end.
    pub(super) fn give_up(&mut self, out: &mut Outbox) {
        self.queue.clear();
        self.over.clear();
        self.settle(out);
    }

    fn push(&mut self, ending: PendingLogout) {
        let place = if ending.attached { 0 } else { self.queue.len() };
        self.queue.insert(place, ending);
    }

    fn first_is_over(&mut self) {
        if !self.queue.is_empty() {
            let PendingLogout { session, record, .. } = self.queue.remove(0);
            self.over.push(Over { session, record });
        }
    }

    /// The session of `new`, which is to end, is held by this connection now, and no other: by a use of `used`.
    fn attached(&mut self, used: Option<&Record>, new: Record) {
        let session = new.holding().session;
        let is_it = |ending: &PendingLogout| {
            ending
                .record
                .as_ref()
                .is_some_and(|record| used.is_some_and(|used| used.key == record.key) || record.is_of_session(&new))
        };
        let known = self.queue.iter().position(is_it).and_then(|at| self.queue.remove(at).record);
        self.keep(&mut |ending| ending.session != session || ending.session.is_none());
        self.attached_to(session);
        self.push(PendingLogout::new(session, known.or(Some(new)), true));
    }

    fn attached_to(&mut self, session: Option<SessionName>) {
        self.keep(&mut |ending| {
            ending.attached &= session.is_some() && ending.session == session;
            ending.attached || ending.record.is_some()
        });
    }

    /// One copy of the loop for all of these.
    fn keep(&mut self, stays: &mut dyn FnMut(&mut PendingLogout) -> bool) {
        self.queue.retain_mut(stays);
    }

    /// The service takes the key of `used` no more, by that attempt. Where a thief or a sibling may know the attempt, that says
    /// only that the use is an old one: by another attempt the key ends the session, if there is one.
    fn refused(&mut self, used: &Record) {
        let mut over = false;
        self.keep(&mut |ending| match &mut ending.record {
            Some(record) if record.key == used.key => {
                record.forget_attempt();
                over = std::mem::replace(&mut ending.conclusive, true);
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
    fn new(session: Option<SessionName>, record: Option<Record>, attached: bool) -> Self {
        let conclusive = record.as_ref().is_some_and(|record| record.attempt().is_none());
        Self { session, record, attached, conclusive }
    }
}

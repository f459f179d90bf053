//! Handles a request, from the session that it concerns to the last event. The order of the steps
//! is described in [`super`].

use std::sync::Arc;

use rand::{TryRng, rngs::SysRng};
use relogin_host::errors::Chain;
use relogin_session::{
    Command, ConnectionId, Decision, Next, OtherSession, Outcome, PresentedKey, Proof, Record, Refresh, Relogin, Reply,
    Revoker, SessionId, Timestamp, User, Write, decide, machine::ended_by_logout,
};
use relogin_store::{StoreError, Stored};
use relogin_users::DirectoryError;
use tracing::Instrument;

use super::{
    Answer, Browser, ConnectionGuard, Sessions, SessionsError, log, request::SessionRequest, several::Settled,
};
use crate::{proof::Signed, spans};

/// What is stored when a request is decided on, while nothing else happens to the connections that
/// may be notified of it.
struct Found<'a> {
    /// The session that the request is about.
    session: Option<Arc<Stored>>,
    /// The session that the request's connection holds.
    held: Option<Arc<Stored>>,
    _guard: ConnectionGuard<'a>,
}

/// What the rounds of a request have led to so far.
struct Progress {
    /// Whether nothing that is read now can be stale.
    is_fresh: bool,
    /// Whether the connection has left another session.
    left: bool,
}

/// The answer to a login or a relogin.
pub(super) fn granted(reply: Reply) -> Answer {
    reply.map(|logged_in| logged_in.expect("decide() answers a login and a relogin with a key or a denial"))
}

/// How often a decision is made again when others were faster. Each time somebody else got on, so
/// more than a few say that something is wrong.
const TRIES: usize = 32;

impl Sessions {
    /// Does what is asked, in as many rounds as it takes.
    pub(super) async fn serve(&self, request: &SessionRequest) -> Result<Reply, SessionsError> {
        let mut progress = Progress { is_fresh: !self.store.is_shared(), left: false };
        for _ in 0..TRIES {
            if let Next::Reply(reply) = self.decide_once(request, &mut progress).await? {
                return Ok(reply);
            }
        }
        Err(SessionsError::Contended)
    }

    /// One round: decides, and carries the decision out. Another one is needed if somebody else was
    /// faster, if what was read may be stale, or if something had to make way first.
    async fn decide_once(&self, request: &SessionRequest, progress: &mut Progress) -> Result<Next, SessionsError> {
        let Some(found) = self.find(request).await? else { return Ok(Next::DecideAgain) };
        if self.is_ending_elsewhere(request, found.session.as_deref()) {
            return Ok(Next::Reply(Ok(None)));
        }
        let (now, rules) = (self.clock.now(), self.rules());
        let decision = decide(found.record(), self.command(request, &found, progress.left).await?, &rules, now);
        if !progress.is_fresh && !decision.is_proven_by_its_write() {
            drop(found);
            self.read_barrier().await?;
            progress.is_fresh = true;
            return Ok(Next::DecideAgain);
        }
        if !self.carry_out(&found, &decision, now).await? {
            return Ok(self.after_conflict(request));
        }
        self.note(request, &found, &decision).await;
        let apart = self.confirm(&decision).await?;
        drop(found);
        if self.settle(&decision, apart).await? == Settled::Elsewhere {
            return Ok(Next::DecideAgain);
        }
        progress.left |= matches!((&decision.next, decision.outcome), (Next::DecideAgain, Outcome::Detached));
        Ok(decision.next)
    }

    /// Tells lists, log, metrics, audit trail and liveness probe what was done. Comes once the
    /// decision stands: one that was made on an old record, and is made again, is not counted.
    async fn note(&self, request: &SessionRequest, found: &Found<'_>, decision: &Decision) {
        let record = match &decision.write {
            Write::Create(next) | Write::Replace(next) => Some(next),
            Write::Keep | Write::Remove => found.record(),
        };
        self.note_for_lists(found.changed(decision).map(|changed| &changed.record), &decision.write);
        log::log(request, record, decision.outcome);
        self.outcomes.count(decision.outcome, record);
        if self.audit.is_on()
            && let Some(event) = log::event(request, record, decision.outcome)
        {
            self.audit(event).await;
        }
        if let (Some(connection), Write::Replace(next)) = (request.connection(), &decision.write)
            && next.is_on(connection)
        {
            self.liveness_probe.relogged_in(next, connection);
        }
    }

    /// What the request is decided on. None if somebody else was faster.
    async fn find(&self, request: &SessionRequest) -> Result<Option<Found<'_>>, StoreError> {
        let expected = self.session_of(request).await?;
        let guard = self.connection_locks.take(concerned(request, expected.as_deref())).await;
        let session = self.session_of(request).await?;
        if !guard.covers(concerned(request, session.as_deref())) {
            return Ok(None);
        }
        let held = match request.connection() {
            Some(connection) => self.store.find_by_connection(connection).await?,
            None => None,
        };
        Ok(Some(Found { session, held, _guard: guard }))
    }

    /// The session that a request is about.
    async fn session_of(&self, request: &SessionRequest) -> Result<Option<Arc<Stored>>, StoreError> {
        match request {
            SessionRequest::Login(login) => self.store.find_by_connection(&login.connection).await,
            SessionRequest::Relogin { key, .. } | SessionRequest::Refresh { key, .. } => self.store.load(key.sid).await,
            SessionRequest::UserChanged { sid }
            | SessionRequest::Revoke { sid, .. }
            | SessionRequest::OnSession(sid, _) => self.store.load(*sid).await,
            SessionRequest::Logout { connection, sid, token } => {
                let held = self.store.find_by_connection(connection).await?;
                let ended = ended_by_logout(*sid, held.as_ref().map(|held| held.record.sid), *token);
                match (held, ended) {
                    (_, None) => Ok(None),
                    (Some(held), Some(ended)) if held.record.sid == ended => Ok(Some(held)),
                    (_, Some(ended)) => self.store.load(ended).await,
                }
            }
        }
    }

    /// What is decided. The request's connection may have `left` another session for it.
    async fn command(&self, request: &SessionRequest, found: &Found<'_>, left: bool) -> Result<Command, SessionsError> {
        let record = found.record();
        Ok(match request {
            SessionRequest::Login(login) => {
                Command::Login { login: login.clone(), sid: SessionId(random()?), salt: random()?, began: self.began }
            }
            SessionRequest::Relogin { connection, key, attempt, signed, token, browser } => Command::Relogin(Relogin {
                connection: connection.clone(),
                key: key.clone(),
                attempt: *attempt,
                proof: match record {
                    Some(record) if record.in_cookie => self.device_proof(key, browser),
                    Some(record) => self.proof(record, key, signed.as_ref()),
                    None => Proof::None,
                },
                cookie: browser.cookie.of(record),
                remote_addr: browser.remote_addr.clone(),
                user: self.user_of(record).await?,
                token: token.clone(),
                other: OtherSession::than(key.sid, found.held.as_deref().map(|held| &held.record), left),
            }),
            SessionRequest::Refresh { key, browser } => Command::Refresh(Refresh {
                key: key.clone(),
                proof: self.device_proof(key, browser),
                cookie: browser.cookie.of(record),
                remote_addr: browser.remote_addr.clone(),
                user: self.user_of(record).await?,
            }),
            SessionRequest::Logout { connection, sid, token } => {
                let held = found.held.as_ref().map(|held| held.record.sid);
                Command::Logout { connection: connection.clone(), sid: *sid, held, token: *token }
            }
            SessionRequest::UserChanged { .. } => Command::UserChanged { user: self.user_of(record).await? },
            SessionRequest::Revoke { .. } => {
                let held = found.held.as_deref();
                Command::RevokeForUser { by: held.and_then(|held| Revoker::of(&held.record, self.clock.now())) }
            }
            SessionRequest::OnSession(_, command) => command.clone(),
        })
    }

    /// The session's user as the directory has them now.
    async fn user_of(&self, record: Option<&Record>) -> Result<Option<User>, DirectoryError> {
        match record {
            Some(record) => self.find_user(record).await,
            None => Ok(None),
        }
    }

    /// Whether the session's device has signed. Looked at for a genuine key only: it costs more
    /// than all the rest.
    fn proof(&self, record: &Record, key: &PresentedKey, signed: Option<&Signed>) -> Proof {
        match (&record.device.public_key, signed) {
            (Some(device), Some(signed)) if self.rules().keyring.verify(key, &record.salt) && signed.is_by(device) => {
                Proof::Valid
            }
            _ => Proof::None,
        }
    }

    /// Whether the browser shows that its device has signed.
    fn device_proof(&self, key: &PresentedKey, browser: &Browser) -> Proof {
        browser.device.proof(&self.rules().keyring, key.sid, self.clock.now())
    }

    /// Writes what was decided, and publishes its events. False if somebody else was faster: then
    /// nothing was written.
    async fn carry_out(&self, found: &Found<'_>, decision: &Decision, now: Timestamp) -> Result<bool, SessionsError> {
        match self.write_and_publish(found.changed(decision), decision, now).await {
            Ok(()) => Ok(true),
            // What took the connection meanwhile is seen the next time round.
            Err(SessionsError::Store(StoreError::Conflict | StoreError::ConnectionTaken(_))) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// In the order that the header says.
    async fn write_and_publish(
        &self,
        stored: Option<&Stored>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), SessionsError> {
        let effects = &decision.effects;
        match (&decision.write, stored) {
            (Write::Create(record), _) => {
                let created = self.store.create(record.clone()).instrument(spans::wait("store create")).await;
                created.inspect_err(|failure| self.check_who_logs_in(record, failure))?;
                self.events.publish(effects).await?;
            }
            (Write::Replace(next), Some(stored)) => {
                let (leaving, staying) = effects.iter().partition::<Vec<_>, _>(|effect| effect.leaves(effects));
                self.check_those_who_leave(effects);
                self.events.publish(leaving).await?;
                self.store.replace(next.clone(), stored.revision).instrument(spans::wait("store replace")).await?;
                self.events.publish(staying).await?;
            }
            (Write::Remove, Some(stored)) => {
                let (before, after) = effects.iter().partition::<Vec<_>, _>(|effect| effect.precedes_the_end());
                self.events.publish(before).await?;
                let mut revision = stored.revision;
                // In a shared store this is also what says which process announces the end.
                if self.store.is_shared() || !stored.record.is_expired(now) {
                    revision = self
                        .store
                        .replace(stored.record.ended(), revision)
                        .instrument(spans::wait("store replace"))
                        .await?;
                }
                self.events.publish(after).await?;
                match self.store.remove(stored.record.sid, revision).instrument(spans::wait("store remove")).await {
                    Ok(()) | Err(StoreError::Conflict) => {}
                    // The session is over and everybody notified: what is left of it is taken away
                    // as overdue.
                    Err(error) if revision != stored.revision => {
                        tracing::warn!(session = %stored.record.sid, "cannot remove an ended session yet: {}", Chain(&error));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            (Write::Keep, _) | (_, None) => self.events.publish(effects).await?,
        }
        Ok(())
    }
}

impl Found<'_> {
    fn record(&self) -> Option<&Record> {
        self.session.as_deref().map(|session| &session.record)
    }

    /// What a decision changes: the session, or what the connection leaves for it.
    fn changed(&self, decision: &Decision) -> Option<&Stored> {
        match &decision.write {
            Write::Replace(next) => [&self.session, &self.held]
                .into_iter()
                .flatten()
                .map(AsRef::as_ref)
                .find(|stored: &&Stored| stored.record.sid == next.sid),
            _ => self.session.as_deref(),
        }
    }
}

/// The connections that a request may send events to.
fn concerned<'a>(request: &'a SessionRequest, stored: Option<&'a Stored>) -> impl Iterator<Item = &'a ConnectionId> {
    request.connection().into_iter().chain(stored.into_iter().flat_map(|stored| &stored.record.connections))
}

fn random() -> Result<[u8; 16], SessionsError> {
    let mut bits = [0; 16];
    SysRng.try_fill_bytes(&mut bits).map_err(SessionsError::Random)?;
    Ok(bits)
}

//! Sessions, as requests see them: load → decide → compare-and-swap → tell gateways → answer, and again if somebody else was
//! faster. Knows no RES method names and no passwords; what happens is decided in [`relogin_session::decide`].
//!
//! **Order.** The write is durable before anybody is told of it, and all events of a decision are on their way before its
//! answer. Two things are told earlier, for a crash in between must not leave a connection with a token that no session
//! stands behind, out of reach for any later logout:
//! - A connection that leaves a session is cleared before the write that forgets it. If that write never comes, its client
//!   relogins, and all is as before.
//! - A session that ends is first stored as over ([`Record::ended`]), then its connections are cleared, then it is removed.
//!   Of one that stays in between, [`crate::expiry`] tells the end again after the restart.

mod log;
mod turns;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use rand::{TryRng, rngs::SysRng};
use relogin_session::{
    Attempt, Command, ConnectionId, Decision, Denied, Device, Effect, LoggedIn, Outcome, PresentedKey, Proof, Record,
    ReloginKey, Rules, SessionId, Timestamp, Token, User, Write, decide, machine::ended_by_logout,
};
use thiserror::Error;

use self::{log::log, turns::Turns};
use crate::{
    bus::{Bus, BusError},
    clock::{Clock, SystemClock},
    errors::Chain,
    events::Events,
    store::{SessionStore, StoreError, Stored},
    users::{DirectoryError, UserDirectory},
};

/// The sessions of one resource name.
pub struct Sessions {
    rules: Rules,
    store: Arc<dyn SessionStore>,
    users: Arc<dyn UserDirectory>,
    events: Events,
    clock: Arc<dyn Clock>,
    turns: Turns,
}

/// What a login or a relogin comes to, when nothing of ours fails.
pub type Answer = Result<LoggedIn, Denied>;

/// What failed of ours. What was asked for may have been done nevertheless; asking again is safe.
#[derive(Debug, Error)]
pub enum SessionsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Gateways could not be told.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The system has no random bits to give.
    #[error("no random bits for a new session")]
    Random(#[source] rand::rngs::SysError),
    /// Others were faster each time.
    #[error("the session was changed at the same time again and again")]
    Contended,
}

/// How often a decision is made again when others were faster. Each time somebody else got on, so more than a few say that
/// something is wrong.
const TRIES: usize = 32;

impl Sessions {
    /// The sessions of the resource `name`.
    #[must_use]
    pub fn new(
        name: &str,
        rules: Rules,
        store: Arc<dyn SessionStore>,
        users: Arc<dyn UserDirectory>,
        bus: Arc<dyn Bus>,
    ) -> Self {
        let clock = Arc::new(SystemClock);
        Self { rules, store, users, events: Events::new(name, bus), clock, turns: Turns::new() }
    }

    /// The same, by another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Makes a session for `user`, whose password was right, on `connection`.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn login(
        &self,
        connection: ConnectionId,
        user: User,
        attempt: Option<Attempt>,
        device: Device,
    ) -> Result<Answer, SessionsError> {
        self.serve(&Request::Login { connection, user, attempt, device }).await.map(granted)
    }

    /// Uses a relogin key on `connection`, which has `token`.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn relogin(
        &self,
        connection: ConnectionId,
        key: &ReloginKey,
        attempt: Option<Attempt>,
        token: Option<Token>,
    ) -> Result<Answer, SessionsError> {
        let Some(key) = key.parse() else {
            tracing::debug!(%connection, outcome = ?Outcome::Refused, "relogin with what is no key");
            return Ok(Err(Denied::InvalidReloginKey));
        };
        self.serve(&Request::Relogin { connection, key, attempt, token }).await.map(granted)
    }

    /// Ends the session `sid`, if it is the one of `connection`, by the store or by its token, which names the session `token`.
    /// Without a `sid`, ends whichever that is.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn logout(
        &self,
        connection: ConnectionId,
        sid: Option<SessionId>,
        token: Option<SessionId>,
    ) -> Result<(), SessionsError> {
        self.serve(&Request::Logout { connection, sid, token }).await.map(drop)
    }

    /// The live session on `connection`.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn on_connection(&self, connection: &ConnectionId) -> Result<Option<Record>, SessionsError> {
        let stored = self.store.find_by_connection(connection).await?;
        Ok(stored.map(|stored| stored.record).filter(|record| !record.is_expired(self.clock.now())))
    }

    /// The user who is logged in on `connection`.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn user_on(&self, connection: &ConnectionId) -> Result<Option<User>, SessionsError> {
        match self.on_connection(connection).await? {
            Some(record) => Ok(self.users.find(&record.user_id).await?),
            None => Ok(None),
        }
    }

    /// Sessions whose deadline has passed, at most `limit`.
    pub(crate) async fn overdue(&self, limit: usize) -> Result<Vec<SessionId>, SessionsError> {
        Ok(self.store.overdue(self.clock.now(), limit).await?)
    }

    /// Disposes of a session if its deadline has passed.
    pub(crate) async fn expire(&self, sid: SessionId) -> Result<(), SessionsError> {
        self.serve(&Request::Expire { sid }).await.map(drop)
    }

    /// Milliseconds until the next deadline passes. None if there is none.
    pub(crate) async fn next_deadline_in(&self) -> Result<Option<u64>, SessionsError> {
        Ok(self.store.next_deadline().await?.map(|deadline| deadline.since(self.clock.now())))
    }

    /// Resolves when [`Sessions::next_deadline_in`] may have become shorter.
    pub(crate) async fn deadline_moved(&self) {
        self.store.deadline_moved().await;
    }
}

/// What is asked of a session.
enum Request {
    Login { connection: ConnectionId, user: User, attempt: Option<Attempt>, device: Device },
    Relogin { connection: ConnectionId, key: PresentedKey, attempt: Option<Attempt>, token: Option<Token> },
    Logout { connection: ConnectionId, sid: Option<SessionId>, token: Option<SessionId> },
    Expire { sid: SessionId },
}

/// How far a decision got.
enum Step {
    /// All of it is done.
    Done,
    /// Somebody else was faster: decide again.
    Again,
}

type Reply = Result<Option<LoggedIn>, Denied>;

/// The answer to a login or a relogin.
fn granted(reply: Reply) -> Answer {
    reply.map(|logged_in| logged_in.expect("decide() answers a login and a relogin with a key or a denial"))
}

impl Sessions {
    async fn serve(&self, request: &Request) -> Result<Reply, SessionsError> {
        // True once the connection was taken off the session it was on.
        let mut is_adrift = false;
        for _ in 0..TRIES {
            let expected = self.find(request).await?;
            let turn = self.turns.take(concerned(request, expected.as_ref())).await;
            let stored = self.find(request).await?;
            if !turn.covers(concerned(request, stored.as_ref())) {
                continue;
            }
            let now = self.clock.now();
            let record = stored.as_ref().map(|stored| &stored.record);
            if let (Request::Login { .. }, Some(over)) = (request, record.filter(|record| record.is_expired(now))) {
                let end = decide(Some(over), Command::Expire, &self.rules, now);
                self.carry_out(stored.as_ref(), &end, now).await?;
                continue;
            }
            let command = self.command(request, record).await?;
            let decision = decide(record, command, &self.rules, now);
            if let (Request::Relogin { connection, key, .. }, Write::Replace(_)) = (request, &decision.write)
                && let Some(other) = self.store.find_by_connection(connection).await?
                && other.record.sid != key.sid
            {
                is_adrift |= self.let_go(connection, &other, now).await?;
                continue;
            }
            match self.carry_out(stored.as_ref(), &decision, now).await? {
                Step::Done => {
                    log(request, record, &decision);
                    if let (true, Err(_), Some(connection)) = (is_adrift, &decision.reply, request.connection())
                        // Another request may have put it on a session since.
                        && self.store.find_by_connection(connection).await?.is_none()
                    {
                        self.events.publish(&cleared(connection)).await?;
                    }
                    return Ok(decision.reply);
                }
                Step::Again => {}
            }
        }
        Err(SessionsError::Contended)
    }

    /// The session that a request is about.
    async fn find(&self, request: &Request) -> Result<Option<Stored>, StoreError> {
        match request {
            Request::Login { connection, .. } => self.store.find_by_connection(connection).await,
            Request::Relogin { key, .. } => self.store.load(key.sid).await,
            Request::Expire { sid } => self.store.load(*sid).await,
            Request::Logout { connection, sid, token } => {
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

    async fn command(&self, request: &Request, record: Option<&Record>) -> Result<Command, SessionsError> {
        Ok(match request {
            Request::Login { connection, user, attempt, device } => Command::Login {
                connection: connection.clone(),
                user: user.clone(),
                sid: SessionId(random()?),
                salt: random()?,
                attempt: *attempt,
                device: device.clone(),
                cookie: None,
            },
            Request::Relogin { connection, key, attempt, token } => Command::Relogin {
                connection: connection.clone(),
                key: key.clone(),
                attempt: *attempt,
                proof: Proof::None,
                cookie: None,
                user: match record {
                    Some(record) => self.users.find(&record.user_id).await?,
                    None => None,
                },
                token: token.clone(),
            },
            Request::Logout { connection, sid, token } => {
                let held = self.store.find_by_connection(connection).await?.map(|held| held.record.sid);
                Command::Logout { connection: connection.clone(), sid: *sid, held, token: *token }
            }
            Request::Expire { .. } => Command::Expire,
        })
    }

    async fn carry_out(
        &self,
        stored: Option<&Stored>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<Step, SessionsError> {
        match self.write_and_tell(stored, decision, now).await {
            Ok(()) => Ok(Step::Done),
            // What took the connection meanwhile is seen the next time round.
            Err(SessionsError::Store(StoreError::Conflict | StoreError::ConnectionTaken(_))) => Ok(Step::Again),
            Err(error) => Err(error),
        }
    }

    /// In the order that the header says.
    async fn write_and_tell(
        &self,
        stored: Option<&Stored>,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<(), SessionsError> {
        let effects = &decision.effects;
        match (&decision.write, stored) {
            (Write::Create(record), _) => {
                self.store.create(record.clone()).await?;
                self.events.publish(effects).await?;
            }
            (Write::Replace(next), Some(stored)) => {
                self.events.publish(effects.iter().filter(|effect| clears(effect))).await?;
                self.store.replace(next.clone(), stored.revision).await?;
                self.events.publish(effects.iter().filter(|effect| !clears(effect))).await?;
            }
            (Write::Remove, Some(stored)) => {
                let mut revision = stored.revision;
                if !stored.record.is_expired(now) {
                    revision = self.store.replace(stored.record.ended(), revision).await?;
                }
                self.events.publish(effects).await?;
                match self.store.remove(stored.record.sid, revision).await {
                    Ok(()) | Err(StoreError::Conflict) => {}
                    // The session is over and everybody told: what is left of it is taken away as overdue.
                    Err(error) if revision != stored.revision => {
                        tracing::warn!(session = %stored.record.sid, "not removed yet: {}", Chain(&error));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            (Write::Keep, _) | (_, None) => self.events.publish(effects).await?,
        }
        Ok(())
    }

    /// Takes `connection` off the session `other`, for it is to hold another. True if that is done.
    async fn let_go(&self, connection: &ConnectionId, other: &Stored, now: Timestamp) -> Result<bool, SessionsError> {
        let command = Command::Detach { connection: connection.clone() };
        let decision = decide(Some(&other.record), command, &self.rules, now);
        Ok(matches!(self.carry_out(Some(other), &decision, now).await?, Step::Done))
    }
}

impl Request {
    fn connection(&self) -> Option<&ConnectionId> {
        match self {
            Self::Login { connection, .. } | Self::Relogin { connection, .. } | Self::Logout { connection, .. } => {
                Some(connection)
            }
            Self::Expire { .. } => None,
        }
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("rules", &self.rules).field("events", &self.events).finish_non_exhaustive()
    }
}

/// The connections that a request may tell something.
fn concerned<'a>(request: &'a Request, stored: Option<&'a Stored>) -> impl Iterator<Item = &'a ConnectionId> {
    request.connection().into_iter().chain(stored.into_iter().flat_map(|stored| &stored.record.connections))
}

fn clears(effect: &Effect) -> bool {
    matches!(effect, Effect::SetToken(_, None) | Effect::SetUser(_, None))
}

fn cleared(connection: &ConnectionId) -> [Effect; 2] {
    [Effect::SetUser(connection.clone(), None), Effect::SetToken(connection.clone(), None)]
}

fn random() -> Result<[u8; 16], SessionsError> {
    let mut bits = [0; 16];
    SysRng.try_fill_bytes(&mut bits).map_err(SessionsError::Random)?;
    Ok(bits)
}

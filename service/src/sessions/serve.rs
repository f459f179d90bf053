//! Handles a request, from the session that it concerns to the last event. The order of the steps
//! is described in [`super`].

use std::sync::Arc;

use rand::{TryRng, rngs::SysRng};
use relogin_session::{
    Attempt, Command, ConnectionId, Decision, Denied, Device, Effect, LoggedIn, NewCookie, Outcome, PresentedKey,
    Proof, Record, SessionId, Timestamp, Token, User, Vouched, Write, decide, machine::ended_by_logout,
};

use super::{Answer, Browser, Sessions, SessionsError, cleared, log};
use crate::{
    errors::Chain,
    proof::Signed,
    store::{StoreError, Stored},
    users::DirectoryError,
};

/// What is asked of a session.
pub(super) enum Request {
    Login {
        connection: ConnectionId,
        user: User,
        attempt: Option<Attempt>,
        device: Device,
        token: Option<SessionId>,
        vouched: Option<Vouched>,
        cookie: Option<NewCookie>,
    },
    Relogin {
        connection: ConnectionId,
        key: PresentedKey,
        attempt: Option<Attempt>,
        signed: Option<Signed>,
        token: Option<Token>,
        browser: Browser,
    },
    Refresh {
        key: PresentedKey,
        browser: Browser,
    },
    Logout {
        connection: ConnectionId,
        sid: Option<SessionId>,
        token: Option<SessionId>,
    },
    Prune {
        sid: SessionId,
        silent: Vec<ConnectionId>,
    },
    Expire {
        sid: SessionId,
    },
    UserChanged {
        sid: SessionId,
    },
    Revoke {
        sid: SessionId,
    },
    Evict {
        sid: SessionId,
    },
}

/// How far a decision got.
enum Step {
    /// All of it is done.
    Done,
    /// Somebody else was faster: decide again.
    Again,
}

pub(super) type Reply = Result<Option<LoggedIn>, Denied>;

/// The answer to a login or a relogin.
pub(super) fn granted(reply: Reply) -> Answer {
    reply.map(|logged_in| logged_in.expect("decide() answers a login and a relogin with a key or a denial"))
}

/// How often a decision is made again when others were faster. Each time somebody else got on, so more than a few say that
/// something is wrong.
const TRIES: usize = 32;

impl Sessions {
    /// True if the process that made or last used the session ended before its connection heard of it: this process was not
    /// there then, and the connection's token (`token`) is not the session's.
    pub(super) fn is_unheard_of(&self, live: &Record, token: Option<SessionId>) -> bool {
        // What was last used in the future was used before the clock was set back.
        let is_of_this_process = (self.began..=self.clock.now()).contains(&live.last_seen);
        !is_of_this_process && token != Some(live.sid)
    }

    /// Does what is asked.
    pub(super) async fn serve(&self, request: &Request) -> Result<Reply, SessionsError> {
        // True once the connection was taken off the session it was on.
        let mut is_adrift = false;
        for _ in 0..TRIES {
            let expected = self.find(request).await?;
            let turn = self.turns.take(concerned(request, expected.as_deref())).await;
            let stored = self.find(request).await?;
            if !turn.covers(concerned(request, stored.as_deref())) {
                continue;
            }
            let (now, rules) = (self.clock.now(), self.rules());
            let record = stored.as_ref().map(|stored| &stored.record);
            if let (Request::Login { .. }, Some(over)) = (request, record.filter(|record| record.is_expired(now))) {
                let end = decide(Some(over), Command::Expire, &rules, now);
                if matches!(self.carry_out(stored.as_deref(), &end, now).await?, Step::Done) {
                    self.note(request, record, &end).await;
                }
                continue;
            }
            let command = self.command(request, record).await?;
            let decision = decide(record, command, &rules, now);
            // Or else nobody could log in there until the session's deadline.
            if let (Request::Login { connection, token, .. }, Some(live), Outcome::AlreadyLoggedIn) =
                (request, record, decision.outcome)
                && self.is_unheard_of(live, *token)
            {
                let abandoned = Command::Abandon { connection: connection.clone() };
                let decision = decide(record, abandoned, &rules, now);
                if matches!(self.carry_out(stored.as_deref(), &decision, now).await?, Step::Done) {
                    self.note(request, record, &decision).await;
                }
                continue;
            }
            if let (Request::Relogin { connection, key, .. }, Write::Replace(_)) = (request, &decision.write)
                && let Some(other) = self.store.find_by_connection(connection).await?
                && other.record.sid != key.sid
            {
                is_adrift |= self.let_go(connection, &other, now).await?;
                continue;
            }
            match self.carry_out(stored.as_deref(), &decision, now).await? {
                Step::Done => {
                    self.note(request, record, &decision).await;
                    if let (Request::Relogin { connection, .. }, Write::Replace(next)) = (request, &decision.write) {
                        self.roll_call.relogged_in(next, connection);
                    }
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

    /// Says in log and audit trail what was done.
    async fn note(&self, request: &Request, record: Option<&Record>, decision: &Decision) {
        let record = match &decision.write {
            Write::Create(next) | Write::Replace(next) => Some(next),
            Write::Keep | Write::Remove => record,
        };
        log::log(request, record, decision.outcome);
        if let Some(event) = log::event(request, record, decision.outcome) {
            self.audit(event).await;
        }
    }

    /// The session that a request is about.
    async fn find(&self, request: &Request) -> Result<Option<Arc<Stored>>, StoreError> {
        match request {
            Request::Login { connection, .. } => self.store.find_by_connection(connection).await,
            Request::Relogin { key, .. } | Request::Refresh { key, .. } => self.store.load(key.sid).await,
            Request::Prune { sid, .. }
            | Request::Expire { sid }
            | Request::UserChanged { sid }
            | Request::Revoke { sid }
            | Request::Evict { sid } => self.store.load(*sid).await,
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
            Request::Login { connection, user, attempt, device, vouched, cookie, .. } => Command::Login {
                connection: connection.clone(),
                user: user.clone(),
                sid: SessionId(random()?),
                salt: random()?,
                attempt: *attempt,
                device: device.clone(),
                cookie: *cookie,
                vouched: vouched.clone(),
            },
            Request::Relogin { connection, key, attempt, signed, token, browser } => Command::Relogin {
                connection: connection.clone(),
                key: key.clone(),
                attempt: *attempt,
                proof: record.map_or(Proof::None, |record| self.proof(record, key, signed.as_ref())),
                cookie: browser.cookie.of(record),
                user: self.user_of(record).await?,
                token: token.clone(),
            },
            Request::Refresh { key, browser } => Command::Refresh {
                key: key.clone(),
                cookie: browser.cookie.of(record),
                user: self.user_of(record).await?,
            },
            Request::Logout { connection, sid, token } => {
                let held = self.store.find_by_connection(connection).await?.map(|held| held.record.sid);
                Command::Logout { connection: connection.clone(), sid: *sid, held, token: *token }
            }
            Request::Prune { silent, .. } => Command::Prune { silent: silent.clone() },
            Request::Expire { .. } => Command::Expire,
            Request::UserChanged { .. } => Command::UserChanged { user: self.user_of(record).await? },
            Request::Revoke { .. } => Command::Revoke,
            Request::Evict { .. } => Command::Evict,
        })
    }

    /// The session's user as the directory has them now.
    async fn user_of(&self, record: Option<&Record>) -> Result<Option<User>, DirectoryError> {
        match record {
            Some(record) => self.find_user(record).await,
            None => Ok(None),
        }
    }

    /// Whether the session's device has signed. Looked at for a genuine key only: it costs more than all the rest.
    fn proof(&self, record: &Record, key: &PresentedKey, signed: Option<&Signed>) -> Proof {
        match (&record.device.public_key, signed) {
            (Some(device), Some(signed)) if self.rules().keyring.verify(key, &record.salt) && signed.is_by(device) => {
                Proof::Valid
            }
            _ => Proof::None,
        }
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
                let (leaving, staying) = effects.iter().partition::<Vec<_>, _>(|effect| leaves(effect, effects));
                self.events.publish(leaving).await?;
                self.store.replace(next.clone(), stored.revision).await?;
                self.events.publish(staying).await?;
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
                        tracing::warn!(session = %stored.record.sid, "cannot remove an ended session yet: {}", Chain(&error));
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
        let decision = decide(Some(&other.record), command, &self.rules(), now);
        Ok(matches!(self.carry_out(Some(other), &decision, now).await?, Step::Done))
    }
}

impl Request {
    pub(super) fn connection(&self) -> Option<&ConnectionId> {
        match self {
            Self::Login { connection, .. } | Self::Relogin { connection, .. } | Self::Logout { connection, .. } => {
                Some(connection)
            }
            Self::Refresh { .. }
            | Self::Prune { .. }
            | Self::Expire { .. }
            | Self::UserChanged { .. }
            | Self::Revoke { .. }
            | Self::Evict { .. } => None,
        }
    }

    /// Where it comes from, as far as that is known.
    pub(super) fn remote_addr(&self) -> Option<&str> {
        match self {
            Self::Login { device, .. } => device.remote_addr.as_deref(),
            Self::Relogin { browser, .. } | Self::Refresh { browser, .. } => browser.remote_addr.as_deref(),
            _ => None,
        }
    }
}

/// The connections that a request may tell something.
fn concerned<'a>(request: &'a Request, stored: Option<&'a Stored>) -> impl Iterator<Item = &'a ConnectionId> {
    request.connection().into_iter().chain(stored.into_iter().flat_map(|stored| &stored.record.connections))
}

/// True if `effect` is told to a connection that one of `effects` clears.
fn leaves(effect: &Effect, effects: &[Effect]) -> bool {
    let (Effect::SetToken(told, _) | Effect::SetUser(told, _) | Effect::Rotated(told, _)) = effect;
    effects.iter().any(|effect| matches!(effect, Effect::SetToken(cleared, None) if cleared == told))
}

fn random() -> Result<[u8; 16], SessionsError> {
    let mut bits = [0; 16];
    SysRng.try_fill_bytes(&mut bits).map_err(SessionsError::Random)?;
    Ok(bits)
}

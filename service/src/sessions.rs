//! Sessions, as requests see them: load → decide → compare-and-swap → tell gateways → answer, and
//! again after a conflict. Must not know RES method names or passwords; the decisions are made in
//! [`relogin_session::decide`].
//!
//! **Order.** A write is durable before anybody is told of it, and all events of a decision are
//! sent before its answer. Two things are told earlier, because a crash in between must not leave a
//! connection with a token that no session backs, out of reach of any later logout:
//! - A connection that leaves a session is cleared before the write that forgets it. If that write
//!   never happens, its client relogins, and all is as before.
//! - A session that ends is first stored as ended ([`Record::ended`]), then its connections are
//!   cleared, then it is removed. If the process stops in between, [`crate::expiry`] tells the end
//!   again after the restart.

mod by_cookie;
mod cap;
mod log;
mod roll_call;
mod serve;
mod turns;
mod user;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwap;
use relogin_session::{
    Attempt, ConnectionId, Denied, Device, Effect, Keyring, LoggedIn, NewCookie, Outcome, Record, Rules, SessionId,
    Timestamp, Token, User, Vouched,
    api::{Challenge, ReloginParams},
    challenge,
};
use thiserror::Error;
use tokio::time::Instant;

pub use self::turns::Turn;
use self::{
    cap::Cap,
    roll_call::RollCall,
    serve::{Request, granted},
    turns::Turns,
};
use crate::{
    audit::{Audit, Event},
    bus::{Bus, BusError},
    clock::{Clock, SystemClock},
    events::Events,
    proof::Signed,
    store::{SessionStore, StoreError},
    users::{DirectoryError, UserDirectory},
};

/// The sessions of one resource name.
pub struct Sessions {
    rules: ArcSwap<Rules>,
    store: Arc<dyn SessionStore>,
    users: Arc<dyn UserDirectory>,
    events: Events,
    clock: Arc<dyn Clock>,
    /// When this process began.
    began: Timestamp,
    turns: Turns,
    roll_call: RollCall,
    user_changes: AtomicU64,
    audit: Audit,
    cap: Option<Cap>,
}

/// What a login brings beside its user.
#[derive(Clone, Debug, Default)]
pub struct Newcomer {
    /// The client's mark for this login.
    pub attempt: Option<Attempt>,
    /// Where it comes from.
    pub device: Device,
    /// The session that the connection's token names.
    pub token: Option<SessionId>,
    /// The digest of the cookie to bind the session to.
    pub cookie: Option<NewCookie>,
}

/// What is known of the browser that uses a key.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    /// Where it is, as the gateway says.
    pub remote_addr: Option<String>,
    /// What it is known by.
    pub cookie: Cookie,
}

/// What a browser is known by to sessions that are bound to a cookie.
#[derive(Clone, Copy, Debug, Default)]
pub enum Cookie {
    /// That is not looked at.
    #[default]
    Ignored,
    /// The digest of its cookie; none if it brought none.
    Brought(Option<[u8; 32]>),
}

impl Cookie {
    /// What the rules are told, of a session with this record.
    fn of(self, record: Option<&Record>) -> Option<[u8; 32]> {
        match self {
            Self::Brought(cookie) => cookie,
            Self::Ignored => record.and_then(|record| record.cookie),
        }
    }
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
    #[error("the system returned no random bits for a new session")]
    Random(#[source] rand::rngs::SysError),
    /// Others were faster each time.
    #[error("gave up after too many concurrent changes of the session")]
    Contended,
}

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
        let (clock, events) = (Arc::new(SystemClock), Events::new(name, bus));
        let (began, turns, roll_call) = (clock.now(), Turns::new(), RollCall::default());
        let (user_changes, audit) = (AtomicU64::new(0), Audit::off());
        let rules = ArcSwap::from_pointee(rules);
        Self { rules, store, users, events, clock, began, turns, roll_call, user_changes, audit, cap: None }
    }

    /// Goes by other secrets from now on. What was asked before is answered by either.
    pub fn exchange_keyring(&self, keyring: Keyring) {
        let Rules { policy, .. } = *self.rules();
        self.rules.store(Arc::new(Rules { policy, keyring }));
    }

    /// The rules as they are now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The same, with an audit trail.
    #[must_use]
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// The same, where a user has at most so many sessions; else any number.
    #[must_use]
    pub fn with_cap(self, sessions_per_user: usize) -> Self {
        Self { cap: Some(Cap::new(sessions_per_user)), ..self }
    }

    /// The same, by another clock than the system's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { began: clock.now(), clock, ..self }
    }

    /// Whether a login on `connection`, whose token names the session `token`, is to be told that somebody is logged in there,
    /// before anything else is looked at.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn is_logged_in(
        &self,
        connection: &ConnectionId,
        attempt: Option<Attempt>,
        token: Option<SessionId>,
    ) -> Result<bool, SessionsError> {
        Ok(self.on_connection(connection).await?.is_some_and(|live| {
            let may_be_repetition = attempt.is_some() && attempt == live.made_by.attempt;
            !may_be_repetition && !self.is_unheard_of(&live, token)
        }))
    }

    /// Makes a session for `user`, whose password was right, on `connection`, whose token names the session `token`. If there is a
    /// `cookie`, the session is bound to it.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn login(
        &self,
        connection: ConnectionId,
        user: User,
        attempt: Option<Attempt>,
        device: Device,
        token: Option<SessionId>,
        cookie: Option<NewCookie>,
    ) -> Result<Answer, SessionsError> {
        self.log_in(Request::Login { connection, user, attempt, device, token, vouched: None, cookie }).await
    }

    /// Makes a session for `user`, whom an issuer of tokens vouches for, on `connection`.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn vouched_login(
        &self,
        connection: ConnectionId,
        user: User,
        vouched: Vouched,
        newcomer: Newcomer,
    ) -> Result<Answer, SessionsError> {
        let (vouched, Newcomer { attempt, device, token, cookie }) = (Some(vouched), newcomer);
        self.log_in(Request::Login { connection, user, attempt, device, token, vouched, cookie }).await
    }

    async fn log_in(&self, request: Request) -> Result<Answer, SessionsError> {
        let answer = self.serve(&request).await.map(granted)?;
        if let (Ok(_), Some(connection)) = (&answer, request.connection()) {
            self.keep_within_cap(connection).await;
        }
        Ok(answer)
    }

    /// Uses a relogin key on `connection`, which has `token` and is a `browser`'s.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn relogin(
        &self,
        connection: ConnectionId,
        params: &ReloginParams,
        token: Option<Token>,
        browser: Browser,
    ) -> Result<Answer, SessionsError> {
        let ReloginParams { relogin_key, attempt, proof } = params;
        // Before the session is looked at, so that nobody learns by it whether a key is genuine.
        let now = self.clock.now();
        if let Some(proof) = proof
            && !challenge::verify(&self.rules().keyring, &proof.challenge, &connection, now)
        {
            tracing::debug!(%connection, "relogin with an unknown or expired challenge");
            return Ok(Err(Denied::InvalidChallenge));
        }
        let Some(key) = self.rules().keyring.read(relogin_key) else {
            tracing::debug!(%connection, outcome = %Outcome::Refused, "relogin with something that is not a key");
            return Ok(Err(Denied::InvalidReloginKey));
        };
        let signed = proof.as_ref().and_then(|proof| Signed::read(proof, relogin_key));
        self.serve(&Request::Relogin { connection, key, attempt: *attempt, signed, token, browser }).await.map(granted)
    }

    /// The time that sessions go by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Has something written to the audit trail that came to no decision.
    pub async fn audit(&self, event: Event) {
        // For people, who go by the time of day.
        self.audit.write(SystemClock.now(), event).await;
    }

    /// What a device is to sign for its next relogin on `connection`.
    #[must_use]
    pub fn challenge(&self, connection: &ConnectionId) -> Challenge {
        challenge::mint(&self.rules().keyring, connection, self.clock.now())
    }

    /// Ends the session `sid`, if it is the one of `connection`, by the store or by its token, which names the session `token`.
    /// Without a `sid`, ends whichever that is. [`Denied::NotLoggedIn`] if `sid` is not the connection's: then it may live on.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn logout(
        &self,
        connection: ConnectionId,
        sid: Option<SessionId>,
        token: Option<SessionId>,
    ) -> Result<Result<(), Denied>, SessionsError> {
        let reply = self.serve(&Request::Logout { connection, sid, token }).await?;
        Ok(reply.map(drop))
    }

    /// `connection`, whose token names the session `token`, is still there. If it does not hold a session any more, it is told.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn renew(&self, connection: &ConnectionId, token: SessionId) -> Result<(), SessionsError> {
        let _turn = self.turns.take([connection]).await;
        match self.on_connection(connection).await? {
            Some(live) if live.sid == token => self.roll_call.answered(token, connection),
            // What that session tells the connection takes the place of its token.
            Some(_) => {}
            None => {
                tracing::debug!(%connection, session = %token, "renewal of a token without its session");
                self.events.publish(&cleared(connection)).await?;
            }
        }
        Ok(())
    }

    /// The live session on `connection`.
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn on_connection(&self, connection: &ConnectionId) -> Result<Option<Record>, SessionsError> {
        let stored = self.store.find_by_connection(connection).await?;
        let live = stored.filter(|stored| !stored.record.is_expired(self.clock.now()));
        Ok(live.map(|stored| stored.record.clone()))
    }

    /// While this is held, nothing is done to `connection`, and its gateways are told nothing: what is read meanwhile, and
    /// answered, is not overtaken by what takes its place. To be held until the answer is on its way.
    pub async fn hold(&self, connection: &ConnectionId) -> Turn<'_> {
        self.turns.take([connection]).await
    }

    /// The user who is logged in on `connection`. See [`Sessions::hold`].
    ///
    /// # Errors
    /// [`SessionsError`] if something of ours fails.
    pub async fn user_on(&self, connection: &ConnectionId) -> Result<Option<User>, SessionsError> {
        match self.on_connection(connection).await? {
            Some(record) => Ok(self.find_user(&record).await?),
            None => Ok(None),
        }
    }

    /// The session's user as they are now, by the word of whoever knows them; none if removed or disabled.
    async fn find_user(&self, record: &Record) -> Result<Option<User>, DirectoryError> {
        match record.claimed_user() {
            Some(user) => Ok(Some(user)),
            None => self.users.find(&record.user_id).await,
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

    /// Asks the connections of crowded sessions whether they are still there, and takes those off that were asked and have not
    /// answered in time. Gives the instant at which the next of them are to be taken off.
    pub(crate) async fn call_the_roll(&self) -> Result<Option<Instant>, SessionsError> {
        let sids = self.roll_call.to_ask();
        if !sids.is_empty() {
            self.events.ask_to_renew(&sids).await?;
            self.roll_call.asked(&sids, Instant::now());
        }
        for (sid, silent) in self.roll_call.over(Instant::now()) {
            self.serve(&Request::Prune { sid, silent }).await.map(drop)?;
        }
        Ok(self.roll_call.next())
    }

    /// Resolves when a session has become crowded, also if nobody was waiting then. For one task. Cancel safe.
    pub(crate) async fn crowded(&self) {
        self.roll_call.wanted().await;
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

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("rules", &self.rules()).field("events", &self.events).finish_non_exhaustive()
    }
}

fn cleared(connection: &ConnectionId) -> [Effect; 2] {
    [Effect::SetUser(connection.clone(), None), Effect::SetToken(connection.clone(), None)]
}

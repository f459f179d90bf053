//! Sessions, as requests see them: load → decide → compare-and-swap → events → answer, and again
//! after a conflict. Must not know RES method names or passwords; the decisions are made in
//! [`relogin_session::decide`].
//!
//! **Order.** A write is durable before anybody is notified of it, and all events of a decision are
//! sent before its answer. Three events are sent earlier. One lets a client distinguish a theft
//! from any other end: it is sent before the end is stored ([`Effect::precedes_the_end`]). The
//! others, because a crash in between must not leave a connection with a token that no session
//! backs, out of reach of any later logout:
//! - A connection that leaves a session is cleared before the write that forgets it. If that write
//!   never happens, its client relogins, and all is as before.
//! - A session that ends is first stored as ended ([`Record::ended`]), then its connections are
//!   cleared, then it is removed. After a crash in between, [`crate::expiry`] announces the end
//!   again.

mod browser;
mod cap;
mod connection_locks;
mod cookie_session;
mod device;
mod key_counts;
mod list;
mod liveness_probe;
mod log;
mod operators;
mod outcome_counts;
mod probe;
mod request;
mod serve;
mod several;
mod user;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwap;
use relogin_bus::{Bus, BusError};
use relogin_session::{
    Attempt, Command, ConnectionId, Denied, Effect, Keyring, LoggedIn, Login, Outcome, Record, Rules, SessionId,
    Timestamp, Token, User,
    api::{Challenge, ReloginParams},
    challenge,
};
use relogin_store::{SessionStore, StoreError};
use relogin_users::{DirectoryError, UserDirectory};
use thiserror::Error;
use tracing::Instrument;

pub use self::{
    browser::{Browser, BrowserDevice, Cookie},
    connection_locks::ConnectionGuard,
    operators::{SessionPlace, StoredPage},
    outcome_counts::OutcomeCounts,
};
use self::{
    cap::Cap,
    connection_locks::ConnectionLocks,
    list::Watchers,
    liveness_probe::LivenessProbe,
    request::SessionRequest,
    serve::granted,
    several::{Endings, RecentlyNotified, Unconfirmed},
};
use crate::{
    audit::{Audit, Event},
    clock::{Clock, SystemClock},
    events::Events,
    proof::Signed,
    spans,
};

/// The sessions of one resource name.
pub struct Sessions {
    rules: ArcSwap<Rules>,
    store: Arc<dyn SessionStore>,
    users: Arc<dyn UserDirectory>,
    events: Events,
    clock: Arc<dyn Clock>,
    /// When this process started.
    began: Timestamp,
    connection_locks: ConnectionLocks,
    liveness_probe: LivenessProbe,
    user_changes: AtomicU64,
    audit: Audit,
    outcomes: Arc<OutcomeCounts>,
    cap: Option<Cap>,
    endings: Endings,
    recently_notified: RecentlyNotified,
    unconfirmed: Unconfirmed,
    watchers: Arc<Watchers>,
}

/// The outcome of a login or relogin, unless there is an internal error.
pub type Answer = Result<LoggedIn, Denied>;

/// An internal error. The request may have been carried out nevertheless; retrying it is safe.
#[derive(Debug, Error)]
pub enum SessionsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Events could not be sent to gateways.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The system returned no random bits.
    #[error("the system returned no random bits for a new session")]
    Random(#[source] rand::rngs::SysError),
    /// There was a conflict each time.
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
        let (began, connection_locks, liveness_probe) = (clock.now(), ConnectionLocks::new(), LivenessProbe::default());
        let (user_changes, audit) = (AtomicU64::new(0), Audit::off());
        let rules = ArcSwap::from_pointee(rules);
        Self {
            rules,
            store,
            users,
            events,
            clock,
            began,
            connection_locks,
            liveness_probe,
            user_changes,
            audit,
            outcomes: Arc::default(),
            cap: None,
            endings: Endings::default(),
            recently_notified: RecentlyNotified::default(),
            unconfirmed: Unconfirmed::default(),
            watchers: Arc::default(),
        }
    }

    /// Uses other secrets from now on. Requests in flight are answered with either.
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

    /// The same, with a limit of sessions per user.
    #[must_use]
    pub fn with_cap(self, sessions_per_user: usize) -> Self {
        Self { cap: Some(Cap::new(sessions_per_user)), ..self }
    }

    /// The same, as one of several processes with one store: answers to its liveness probes go to
    /// the method `renew.<instance>`.
    #[must_use]
    pub fn as_instance(self, instance: &str) -> Self {
        Self { events: self.events.of_instance(instance), ..self }
    }

    /// The same, with a different clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { began: clock.now(), clock, ..self }
    }

    /// Whether a login on `connection`, whose token names the session `token`, is to be refused
    /// because somebody is logged in there, before anything else is checked.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn is_logged_in(
        &self,
        connection: &ConnectionId,
        attempt: Option<Attempt>,
        token: Option<SessionId>,
    ) -> Result<bool, SessionsError> {
        Ok(self.on_connection(connection).await?.is_some_and(|live| {
            let may_be_repetition = attempt.is_some() && attempt == live.made_by.attempt;
            !may_be_repetition && !live.is_orphaned(token, self.began, self.clock.now())
        }))
    }

    /// Creates a session for a user whose identity is proven.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn login(&self, login: Login) -> Result<Answer, SessionsError> {
        let connection = login.connection.clone();
        let answer = self.serve(&SessionRequest::Login(login)).await.map(granted)?;
        if answer.is_ok() {
            self.keep_within_cap(&connection).await;
        }
        Ok(answer)
    }

    /// Uses a relogin key on `connection`, which has `token` and belongs to a `browser`.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn relogin(
        &self,
        connection: ConnectionId,
        params: &ReloginParams,
        token: Option<Token>,
        browser: Browser,
    ) -> Result<Answer, SessionsError> {
        let ReloginParams { relogin_key, attempt, proof } = params;
        // Before the session is read, so that nobody learns from it whether a key is genuine.
        let now = self.clock.now();
        if let Some(proof) = proof
            && !challenge::verify(&self.rules().keyring, &proof.challenge, &connection, now)
        {
            tracing::debug!(%connection, "relogin with an unknown or expired challenge");
            return Ok(Err(Denied::InvalidChallenge));
        }
        let Some(key) = self.rules().keyring.read(relogin_key) else {
            tracing::debug!(%connection, outcome = %Outcome::Refused, "relogin with something that is not a key");
            self.outcomes.count(Outcome::Refused, None);
            return Ok(Err(Denied::InvalidReloginKey));
        };
        let signed = proof.as_ref().and_then(|proof| Signed::read(proof, relogin_key));
        self.serve(&SessionRequest::Relogin { connection, key, attempt: *attempt, signed, token, browser })
            .await
            .map(granted)
    }

    /// What the decisions of this process came to.
    #[must_use]
    pub fn outcomes(&self) -> Arc<OutcomeCounts> {
        Arc::clone(&self.outcomes)
    }

    /// The session clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes an event to the audit trail that led to no decision.
    pub async fn audit(&self, event: Event) {
        // The time of day, because people read it.
        self.audit.write(SystemClock.now(), event).await;
    }

    /// The challenge that a device signs for its next relogin on `connection`.
    #[must_use]
    pub fn challenge(&self, connection: &ConnectionId) -> Challenge {
        challenge::mint(&self.rules().keyring, connection, self.clock.now())
    }

    /// Ends the session `sid`, if it is the one of `connection`, by the store or by its token,
    /// which names the session `token`. Without a `sid`, ends whichever that is.
    /// [`Denied::NotLoggedIn`] if `sid` is not the connection's: then it may live on.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn logout(
        &self,
        connection: ConnectionId,
        sid: Option<SessionId>,
        token: Option<SessionId>,
    ) -> Result<Result<(), Denied>, SessionsError> {
        let reply = self.serve(&SessionRequest::Logout { connection, sid, token }).await?;
        Ok(reply.map(drop))
    }

    /// `connection`, whose token names the session `token`, exists. If it has no session, it is
    /// cleared.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn renew(&self, connection: &ConnectionId, token: SessionId) -> Result<(), SessionsError> {
        let _turn = self.connection_locks.take([connection]).await;
        match self.on_connection(connection).await? {
            Some(live) if live.sid == token => self.liveness_probe.answered(token, connection),
            // The events of that session replace its token.
            Some(_) => {}
            None => {
                tracing::debug!(%connection, session = %token, "renewal of a token without its session");
                self.events.publish(&cleared(connection)).await?;
                self.confirm_cleared(connection).await?;
            }
        }
        Ok(())
    }

    /// The live session on `connection`, no older than any event that was sent before this.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn on_connection(&self, connection: &ConnectionId) -> Result<Option<Record>, SessionsError> {
        self.read_barrier().await?;
        self.held_by(connection).await
    }

    /// Locks `connection`: while this is held, nothing changes it and no events are sent to it. So
    /// what is read and answered is not overtaken. Hold it until the answer is sent.
    pub async fn hold(&self, connection: &ConnectionId) -> ConnectionGuard<'_> {
        self.connection_locks.take([connection]).await
    }

    /// The session on `connection`, and its user. See [`Sessions::hold`].
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn session_on(
        &self,
        connection: &ConnectionId,
    ) -> Result<(Option<SessionId>, Option<User>), SessionsError> {
        match self.on_connection(connection).await? {
            Some(record) => Ok((Some(record.sid), self.find_user(&record).await?)),
            None => Ok((None, None)),
        }
    }

    /// The session's user as they are now, according to their source; none if removed or disabled.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory cannot answer.
    pub async fn find_user(&self, record: &Record) -> Result<Option<User>, DirectoryError> {
        match record.claimed_user() {
            Some(user) => Ok(Some(user)),
            None => self.users.find(&record.user_id).instrument(spans::wait("users find")).await,
        }
    }

    /// Sessions whose deadline has passed, at most `limit`.
    pub(crate) async fn overdue(&self, limit: usize) -> Result<Vec<SessionId>, SessionsError> {
        let overdue = self.store.overdue(self.clock.now(), limit).await?;
        self.without_those_ending_elsewhere(overdue).await
    }

    /// Disposes of a session if its deadline has passed.
    pub(crate) async fn expire(&self, sid: SessionId) -> Result<(), SessionsError> {
        self.serve(&SessionRequest::OnSession(sid, Command::Expire)).await.map(drop)
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

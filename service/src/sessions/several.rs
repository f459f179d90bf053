//! What several processes with one store need beyond compare-and-swap. Must not know RES, nor which
//! processes there are.
//!
//! - **No verdict on a stale read.** What is not proven by a write is decided after a read barrier.
//! - **The last word is the store's.** Events of two processes may cross. So whoever has told a
//!   connection something looks again, after a read barrier, at what the store says of it, and
//!   tells that if it is something else, before the answer. The barrier travels behind the events,
//!   on the same connection to NATS. What could not be looked at, because the store did not answer,
//!   and connections that were shown a user only, as in each refresh, are looked at a moment later,
//!   together.
//! - **A connection on two sessions** is found by both processes that put it there. It stays on the
//!   one that was written last. A login that loses it in this way was not answered, and leaves no
//!   session behind.
//! - **What a process that crashed has told late** is corrected by the others: each knows which
//!   connections it has told something lately. Two that cross have told the same connection.
//! - **One process tells an end.** Whose write marks the session as ended does; the others leave it
//!   to that one, and look again after a while, in case it crashed in between.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use relogin_session::{
    Command, ConnectionId, Decision, Effect, Next, Record, SessionId, Write,
    machine::{
        several::{apart, shown_only, told_last},
        told,
    },
};
use relogin_store::{Revision, StoreError, Stored};
use tokio::{sync::Notify, time::Instant};

use super::{Sessions, SessionsError, request::SessionRequest};

/// How long the process that has marked a session as ended may take to tell its connections and to
/// remove it, before others do.
pub(crate) const ENDING: Duration = Duration::from_secs(10);

/// For how long the connections that were told something are known, and how many at most. Longer
/// than it takes until an instance that is gone is missed.
const LATELY: Duration = Duration::from_secs(60);
pub(super) const TOLD_AT_MOST: usize = 65_536;

/// How many connections are told again at once.
const AGAIN_AT_ONCE: usize = 128;

/// How often what was told is corrected. Each time, another process has changed it meanwhile.
const CORRECTIONS: usize = 16;

/// Sessions that others have marked as ended, and since when this process knows it.
#[derive(Debug, Default)]
pub(super) struct Endings(Mutex<HashMap<SessionId, (Revision, Instant)>>);

impl Endings {
    /// True if another process is expected to tell the end of this session.
    fn is_told_by_another(&self, stored: &Stored) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (revision, since) = seen.entry(stored.record.sid).or_insert((stored.revision, now));
        if *revision != stored.revision {
            (*revision, *since) = (stored.revision, now);
        }
        now.duration_since(*since) < ENDING
    }

    /// Forgets those that were seen long ago.
    fn forget_old(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (_, since)| since.elapsed() < ENDING * 6);
    }
}

/// The connections that this process has told something lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct ToldLately(Mutex<VecDeque<(Instant, ConnectionId)>>);

impl ToldLately {
    fn add<'a>(&self, connections: impl Iterator<Item = &'a ConnectionId>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        told.extend(connections.map(|connection| (now, connection.clone())));
        let surplus = told.len().saturating_sub(TOLD_AT_MOST);
        let old = told.iter().take_while(|(since, _)| now.duration_since(*since) > LATELY).count();
        told.drain(..surplus.max(old));
    }

    fn connections(&self) -> HashSet<ConnectionId> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|(since, _)| since.elapsed() <= LATELY).map(|(_, connection)| connection.clone()).collect()
    }
}

/// The connections that were told something and not looked at again yet, and the session that each
/// knows.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    told: Mutex<HashMap<ConnectionId, Option<SessionId>>>,
    added: Notify,
}

impl Unconfirmed {
    pub(super) fn add(&self, told: impl IntoIterator<Item = (ConnectionId, Option<SessionId>)>) {
        let mut unconfirmed = self.lock();
        for (connection, session) in told {
            if unconfirmed.len() < TOLD_AT_MOST {
                unconfirmed.insert(connection, session);
            }
        }
        self.added.notify_one();
    }

    fn remove<'a>(&self, connections: impl Iterator<Item = &'a ConnectionId>) {
        let mut unconfirmed = self.lock();
        if !unconfirmed.is_empty() {
            for connection in connections {
                unconfirmed.remove(connection);
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Option<SessionId>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that another process has put on another session meanwhile.
#[derive(Debug)]
pub(super) struct Apart {
    connection: ConnectionId,
    /// The session that it stays on.
    newest: SessionId,
    /// Those that it has to leave.
    older: Vec<SessionId>,
}

/// How a decision stands once everybody concerned agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// As it was made.
    Here,
    /// The session that was to be created is withdrawn, because another process was faster.
    Elsewhere,
}

impl Sessions {
    /// True if another process is about to end the session, and the request asks for no more.
    pub(super) fn is_ending_elsewhere(&self, request: &SessionRequest, stored: Option<&Stored>) -> bool {
        let is_ours_alone = matches!(request, SessionRequest::OnSession(..) | SessionRequest::UserChanged { .. });
        self.store.is_shared()
            && is_ours_alone
            && stored.is_some_and(|stored| stored.record.is_ending() && self.endings.is_told_by_another(stored))
    }

    /// What is next after another process was faster: a new decision, unless that process has ended
    /// the session that was to be disposed of.
    pub(super) fn after_conflict(&self, request: &SessionRequest) -> Next {
        match request {
            SessionRequest::OnSession(_, Command::Expire) if self.store.is_shared() => Next::Reply(Ok(None)),
            _ => Next::DecideAgain,
        }
    }

    /// The overdue sessions among `sids` that are for this process to dispose of.
    pub(super) async fn without_those_ending_elsewhere(
        &self,
        sids: Vec<SessionId>,
    ) -> Result<Vec<SessionId>, SessionsError> {
        if !self.store.is_shared() {
            return Ok(sids);
        }
        self.endings.forget_old();
        let mut ours = Vec::with_capacity(sids.len());
        for sid in sids {
            let stored = self.store.load(sid).await?;
            let is_expected = |stored: &Stored| stored.record.is_ending() && self.endings.is_told_by_another(stored);
            if !stored.is_some_and(|stored| is_expected(&stored)) {
                ours.push(sid);
            }
        }
        Ok(ours)
    }

    /// Makes sure that connections know what the store says by now, after they were told `effects`,
    /// of `session` if that goes on. Their guard must be held. Returns those that are on several
    /// sessions, or on another one.
    pub(super) async fn confirm(
        &self,
        effects: &[Effect],
        session: Option<SessionId>,
    ) -> Result<Vec<Apart>, SessionsError> {
        if !self.store.is_shared() {
            return Ok(Vec::new());
        }
        if let Some(session) = session {
            // A barrier for each refresh would be a second write.
            self.unconfirmed.add(shown_only(effects).map(|connection| (connection.clone(), Some(session))));
        }
        let told_last: HashMap<_, _> = told_last(effects).collect();
        if told_last.is_empty() {
            return Ok(Vec::new());
        }
        let connections: Vec<_> = told_last.keys().copied().collect();
        self.told_lately.add(connections.iter().copied());
        self.correct(told_last).await?;
        self.apart(effects, connections).await
    }

    /// Another process is gone without a word, and may have told something late that it can no
    /// longer correct: tells the connections that this process has told something lately what the
    /// store says of them. Returns how many they were.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub(crate) async fn tell_again(&self) -> Result<usize, SessionsError> {
        let connections: Vec<_> = self.told_lately.connections().into_iter().collect();
        for some in connections.chunks(AGAIN_AT_ONCE) {
            let _guard = self.connection_locks.take(some).await;
            self.store.read_barrier().await?;
            let mut told_last = HashMap::new();
            for connection in some {
                told_last.insert(connection, self.tell(connection).await?);
            }
            self.correct(told_last).await?;
        }
        Ok(connections.len())
    }

    /// Tells `connection` what the replica has of it, and returns its session.
    async fn tell(&self, connection: &ConnectionId) -> Result<Option<SessionId>, SessionsError> {
        let held = self.held_by(connection).await?;
        let user = match &held {
            Some(record) => self.find_user(record).await?,
            None => None,
        };
        self.events.publish(&told(connection, held.as_ref().zip(user))).await?;
        Ok(held.map(|record| record.sid))
    }

    /// Tells `connection`, which is held and has been answered the user of `session`, whose user it
    /// has if another process has told it of another session meanwhile.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn confirm_session(
        &self,
        connection: &ConnectionId,
        session: Option<SessionId>,
    ) -> Result<(), SessionsError> {
        if self.store.is_shared() { self.correct([(connection, session)].into()).await } else { Ok(()) }
    }

    /// Resolves when there are connections to be looked at, even if nobody was waiting. For one
    /// task. Cancel safe.
    pub(crate) async fn confirm_wanted(&self) {
        while self.unconfirmed.lock().is_empty() {
            self.unconfirmed.added.notified().await;
        }
    }

    /// Looks at the connections that were told something and not looked at since.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error. What was not looked at is wanted again.
    pub(crate) async fn confirm_late(&self) -> Result<(), SessionsError> {
        let connections: Vec<_> = self.unconfirmed.lock().keys().cloned().collect();
        for some in connections.chunks(AGAIN_AT_ONCE) {
            let _guard = self.connection_locks.take(some).await;
            // Without those that were told something else meanwhile.
            let told = {
                let mut unconfirmed = self.unconfirmed.lock();
                some.iter().filter_map(|connection| Some((connection, unconfirmed.remove(connection)?))).collect()
            };
            self.correct(told).await?;
        }
        Ok(())
    }

    /// Tells connections the session that the store has for them, unless they were `told_last` just
    /// that; if the store does not answer, later. Their guard must be held.
    async fn correct(&self, mut told_last: HashMap<&ConnectionId, Option<SessionId>>) -> Result<(), SessionsError> {
        let corrected = self.try_to_correct(&mut told_last).await;
        match corrected {
            Ok(()) => self.unconfirmed.remove(told_last.into_keys()),
            Err(_) => {
                self.unconfirmed.add(told_last.into_iter().map(|(connection, session)| (connection.clone(), session)));
            }
        }
        corrected
    }

    async fn try_to_correct(
        &self,
        told_last: &mut HashMap<&ConnectionId, Option<SessionId>>,
    ) -> Result<(), SessionsError> {
        for _ in 0..CORRECTIONS {
            self.store.read_barrier().await?;
            let mut corrected = 0;
            for (&connection, last) in &mut *told_last {
                if self.held_by(connection).await?.map(|record| record.sid) != *last {
                    *last = self.tell(connection).await?;
                    corrected += 1;
                }
            }
            if corrected == 0 {
                return Ok(());
            }
            tracing::debug!(connections = corrected, "another process was faster: connections are told again");
        }
        Err(SessionsError::Contended)
    }

    async fn apart(&self, effects: &[Effect], connections: Vec<&ConnectionId>) -> Result<Vec<Apart>, SessionsError> {
        let mut found = Vec::new();
        for connection in connections {
            let sessions = self.store.find_all_by_connection(connection).await?;
            if let Some((newest, older)) = apart(effects, connection, sessions) {
                found.push(Apart { connection: connection.clone(), newest, older });
            }
        }
        Ok(found)
    }

    /// Takes connections that are on several sessions off the older ones, and withdraws a login
    /// whose connection is on another session by now. No guard may be held.
    pub(super) async fn settle(&self, decision: &Decision, apart: Vec<Apart>) -> Result<Settled, SessionsError> {
        let mut settled = Settled::Here;
        for Apart { connection, newest, older } in apart {
            if let Write::Create(Record { sid, .. }) = decision.write
                && sid != newest
            {
                tracing::debug!(session = %sid, other = %newest, "a login is withdrawn: there was another one");
                self.withdraw(sid).await?;
                settled = Settled::Elsewhere;
            }
            for sid in older {
                let leave = SessionRequest::OnSession(sid, Command::Detach { connection: connection.clone() });
                Box::pin(self.serve(&leave)).await.map(drop)?;
            }
            // The other process may have seen another order, and taken it off this one.
            let _guard = self.connection_locks.take([&connection]).await;
            self.correct([(&connection, Some(newest))].into()).await?;
        }
        Ok(settled)
    }

    /// Removes a session that was created a moment ago and that nobody was told of.
    async fn withdraw(&self, sid: SessionId) -> Result<(), SessionsError> {
        while let Some(stored) = self.store.load(sid).await? {
            match self.store.remove(sid, stored.revision).await {
                Err(StoreError::Conflict) => {}
                removed => return Ok(removed?),
            }
        }
        Ok(())
    }

    pub(super) async fn held_by(&self, connection: &ConnectionId) -> Result<Option<Record>, SessionsError> {
        let stored = self.store.find_by_connection(connection).await?;
        let live = stored.filter(|stored| !stored.record.is_expired(self.clock.now()));
        Ok(live.map(|stored| stored.record.clone()))
    }
}

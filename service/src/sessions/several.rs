//! What several processes with one store need beyond compare-and-swap. Must not know RES, nor which
//! processes there are.
//!
//! - **No verdict on a stale read.** What is not proven by a write is decided after a read barrier.
//! - **The last word is the store's.** Events of two processes may cross. So whoever has sent a
//!   connection its session checks, after a read barrier, what the store says of it, and sends that
//!   if it is something else. The servers have the events before that barrier: it travels behind
//!   them on the same connection, or the bus is flushed. Logins, logouts and refusals are checked
//!   before they are answered, relogins right after it, together with those that came meanwhile.
//!   What could not be checked, because the store did not answer, and connections that were shown a
//!   user only, as in each refresh, are checked a moment later.
//! - **Who leaves is cleared before the write**, so that the check after it says too little:
//!   another process may have sent the connection something in between, and checked it when the
//!   write was not done. So it is cleared once more after the write; and if that is not done,
//!   checked later.
//! - **A connection on two sessions** is found by both processes that put it there, or by the
//!   slower one. It stays on the one that was written last; but a login yields to what was there
//!   before it, whose key may have been given out. Its own was not: it leaves no session behind.
//! - **Late events of a process that crashed** are corrected by the others: each knows which
//!   connections it has notified lately. Two that cross have notified the same connection. So have
//!   two that put it on two sessions.
//! - **One process announces an end:** the one whose write marks the session as ended. The others
//!   leave it to that one, and look again after a while, in case it crashed in between.

mod notes;

use std::collections::HashMap;

use relogin_session::{
    Command, ConnectionId, Decision, Effect, Next, Outcome, Record, SessionId, Write,
    machine::{
        events_for,
        several::{apart, cleared_early, last_tokens, shown_only},
    },
};
use relogin_store::{StoreError, Stored};
use tracing::Instrument;

use super::{Sessions, SessionsError, request::SessionRequest};
use crate::spans;
#[cfg(test)]
pub(super) use notes::{ENDING, MAX_NOTIFIED};
pub(super) use notes::{Endings, RecentlyNotified, Unconfirmed};

/// How many connections get their events again at once.
const RESENDS_AT_ONCE: usize = 128;

/// How often connections are corrected. Each time, another process has changed something meanwhile.
const CORRECTIONS: usize = 16;

/// A connection that another process has put on another session meanwhile.
#[derive(Debug)]
pub(super) struct Apart {
    connection: ConnectionId,
    /// The session that its token names.
    shown: Option<SessionId>,
    /// The session that it stays on.
    kept: SessionId,
    /// Those that it has to leave.
    others: Vec<SessionId>,
}

/// How a decision stands once everybody concerned agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// As it was made.
    Here,
    /// The session that was to be answered is withdrawn, because another process was faster.
    Elsewhere,
}

impl Sessions {
    /// Returns once reads show what any process was told is done before.
    pub(super) async fn read_barrier(&self) -> Result<(), StoreError> {
        self.store.read_barrier().instrument(spans::wait("store barrier")).await
    }

    /// True if another process is about to end the session, and the request asks for no more.
    pub(super) fn is_ending_elsewhere(&self, request: &SessionRequest, stored: Option<&Stored>) -> bool {
        let is_ours_alone = matches!(request, SessionRequest::OnSession(..) | SessionRequest::UserChanged { .. });
        self.store.is_shared()
            && is_ours_alone
            && stored.is_some_and(|stored| stored.record.is_ending() && self.endings.is_published_by_another(stored))
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
            let is_expected =
                |stored: &Stored| stored.record.is_ending() && self.endings.is_published_by_another(stored);
            if !stored.is_some_and(|stored| is_expected(&stored)) {
                ours.push(sid);
            }
        }
        Ok(ours)
    }

    /// Notes that connections are to be checked that are about to be cleared before the write that
    /// takes them off their session: if that is not done, nobody else checks them.
    pub(super) fn check_those_who_leave(&self, effects: &[Effect]) {
        if self.store.is_shared() {
            self.unconfirmed.add(cleared_early(effects).map(|connection| (connection.clone(), None)));
        }
    }

    /// Notes that the connection of a session that may have been created without an answer is to be
    /// checked: its client may be logged in by another process meanwhile.
    pub(super) fn check_who_logs_in(&self, record: &Record, failure: &StoreError) {
        let is_in_doubt = !matches!(failure, StoreError::Conflict | StoreError::ConnectionTaken(_));
        if self.store.is_shared() && is_in_doubt {
            self.unconfirmed.add(record.connections.iter().map(|connection| (connection.clone(), Some(record.sid))));
        }
    }

    /// Makes sure that connections know what the store says by now, after they were sent what was
    /// decided, or notes that this is to be done. Their guard must be held. Returns those that are
    /// on several sessions, or on another one.
    pub(super) async fn confirm(&self, decision: &Decision) -> Result<Vec<Apart>, SessionsError> {
        if !self.store.is_shared() {
            return Ok(Vec::new());
        }
        let effects = &decision.effects;
        if let Write::Replace(Record { sid, .. }) = &decision.write {
            // A barrier for each refresh would be a second write.
            self.unconfirmed.add(shown_only(effects).map(|connection| (connection.clone(), Some(*sid))));
        }
        let last_tokens: HashMap<_, _> = last_tokens(effects).collect();
        if last_tokens.is_empty() {
            return Ok(Vec::new());
        }
        self.recently_notified.add(last_tokens.keys().copied());
        if decision.may_be_confirmed_later() && self.unconfirmed.add_urgent(&last_tokens) {
            return Ok(Vec::new());
        }
        let mut sent = last_tokens.clone();
        if let Write::Replace(_) = &decision.write {
            for connection in cleared_early(effects) {
                sent.insert(connection, self.send_state(connection).await?);
            }
        }
        self.correct(&mut sent).await?;
        self.apart(&last_tokens, &sent).await
    }

    /// The same for a connection that was sent that it has no session.
    pub(super) async fn confirm_cleared(&self, connection: &ConnectionId) -> Result<(), SessionsError> {
        if !self.store.is_shared() {
            return Ok(());
        }
        self.recently_notified.add([connection].into_iter());
        self.correct(&mut [(connection, None)].into()).await
    }

    /// Another process has vanished, and may have sent something late that it can no longer
    /// correct: sends the connections that this process has notified lately what the store says of
    /// them. Returns how many they were.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub(crate) async fn resend(&self) -> Result<usize, SessionsError> {
        let connections: Vec<_> = self.recently_notified.connections().into_iter().collect();
        for some in connections.chunks(RESENDS_AT_ONCE) {
            let guard = self.connection_locks.take(some).await;
            self.read_barrier().await?;
            let mut last_tokens = HashMap::new();
            for connection in some {
                last_tokens.insert(connection, self.send_state(connection).await?);
            }
            self.correct(&mut last_tokens).await?;
            // It may have put one of them on another session, and not looked at that.
            let apart = self.apart(&last_tokens, &last_tokens).await?;
            drop(guard);
            self.leave_others(apart).await?;
        }
        Ok(connections.len())
    }

    /// Sends `connection` what the replica says of it, and returns its session.
    async fn send_state(&self, connection: &ConnectionId) -> Result<Option<SessionId>, SessionsError> {
        let held = self.held_by(connection).await?;
        let user = match &held {
            Some(record) => self.find_user(record).await?,
            None => None,
        };
        self.events.publish(&events_for(connection, held.as_ref().zip(user))).await?;
        Ok(held.map(|record| record.sid))
    }

    /// Corrects `connection`, which is locked and got the user of `session` as an answer, if
    /// another process has put it on another session meanwhile.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error.
    pub async fn confirm_session(
        &self,
        connection: &ConnectionId,
        session: Option<SessionId>,
    ) -> Result<(), SessionsError> {
        if self.store.is_shared() { self.correct(&mut [(connection, session)].into()).await } else { Ok(()) }
    }

    /// Resolves when there are connections to be checked, even if nobody was waiting. For one task.
    /// Cancel safe.
    pub(crate) async fn confirm_wanted(&self) {
        while self.unconfirmed.lock().is_empty() {
            self.unconfirmed.added.notified().await;
        }
    }

    /// Resolves when some of them should not wait for others. For one task. Cancel safe.
    pub(crate) async fn confirm_urgent(&self) {
        self.unconfirmed.is_urgent.notified().await;
    }

    /// Checks the connections that were sent something and not checked since.
    ///
    /// # Errors
    /// [`SessionsError`] on an internal error. What was not checked is wanted again.
    pub(crate) async fn confirm_late(&self) -> Result<(), SessionsError> {
        let connections: Vec<_> = self.unconfirmed.lock().keys().cloned().collect();
        for some in connections.chunks(RESENDS_AT_ONCE) {
            let guard = self.connection_locks.take(some).await;
            // Without those that were sent something else meanwhile.
            let last_tokens: HashMap<_, _> = {
                let mut unconfirmed = self.unconfirmed.lock();
                some.iter().filter_map(|connection| Some((connection, unconfirmed.remove(connection)?))).collect()
            };
            let mut sent = last_tokens.clone();
            self.correct(&mut sent).await?;
            let apart = self.apart(&last_tokens, &sent).await?;
            drop(guard);
            self.leave_others(apart).await?;
        }
        Ok(())
    }

    /// Sends connections the session that the store has for them, unless their `last_tokens` name
    /// just that; if the store does not answer, later. Their guard must be held.
    async fn correct(&self, last_tokens: &mut HashMap<&ConnectionId, Option<SessionId>>) -> Result<(), SessionsError> {
        let corrected = self.try_to_correct(last_tokens).await;
        match corrected {
            Ok(()) => self.unconfirmed.remove(last_tokens.keys().copied()),
            Err(_) => {
                self.unconfirmed.add(last_tokens.iter().map(|(&connection, session)| (connection.clone(), *session)));
            }
        }
        corrected
    }

    async fn try_to_correct(
        &self,
        last_tokens: &mut HashMap<&ConnectionId, Option<SessionId>>,
    ) -> Result<(), SessionsError> {
        for _ in 0..CORRECTIONS {
            self.barrier_behind_events().await?;
            let mut corrected = 0;
            for (&connection, last) in &mut *last_tokens {
                if self.held_by(connection).await?.map(|record| record.sid) != *last {
                    *last = self.send_state(connection).await?;
                    corrected += 1;
                }
            }
            if corrected == 0 {
                return Ok(());
            }
            tracing::debug!(connections = corrected, "another process was faster: connections are corrected");
        }
        Err(SessionsError::Contended)
    }

    /// A read barrier that is passed after the servers have what this process has published.
    async fn barrier_behind_events(&self) -> Result<(), SessionsError> {
        if !self.store.barrier_follows_bus() {
            self.events.flush().await?;
        }
        Ok(self.read_barrier().await?)
    }

    /// Those connections that are on several sessions, or on another than their token named last,
    /// before they were `sent` corrections.
    async fn apart(
        &self,
        last_tokens: &HashMap<&ConnectionId, Option<SessionId>>,
        sent: &HashMap<&ConnectionId, Option<SessionId>>,
    ) -> Result<Vec<Apart>, SessionsError> {
        let mut found = Vec::new();
        for (&connection, last_token) in last_tokens {
            let mut sessions = Vec::new();
            for sid in self.store.find_all_by_connection(connection).await? {
                sessions.extend(self.store.load(sid).await?);
            }
            let sessions = sessions.iter().map(|stored| &stored.record).filter(|record| record.is_on(connection));
            if let Some((kept, others)) = apart(*last_token, sessions, self.clock.now()) {
                let shown = sent.get(connection).copied().unwrap_or(*last_token);
                found.push(Apart { connection: connection.clone(), shown, kept, others });
            }
        }
        // Until they are on one session and know it.
        if !found.is_empty() {
            self.unconfirmed.add(found.iter().map(|Apart { connection, shown, .. }| (connection.clone(), *shown)));
        }
        Ok(found)
    }

    /// Takes connections that are on several sessions off all but one, and withdraws a login whose
    /// connection is on another session by now. No guard may be held.
    pub(super) async fn settle(&self, decision: &Decision, apart: Vec<Apart>) -> Result<Settled, SessionsError> {
        let mut settled = Settled::Here;
        for Apart { kept, .. } in &apart {
            let is_kept = last_tokens(&decision.effects).all(|(_, session)| session == Some(*kept));
            match decision.write {
                Write::Create(Record { sid, .. }) if sid != *kept => {
                    tracing::debug!(session = %sid, other = %kept, "a login is withdrawn: there was another one");
                    self.withdraw(sid).await?;
                    settled = Settled::Elsewhere;
                }
                // A repetition of a login that is about to be withdrawn.
                Write::Keep if decision.outcome == Outcome::Retried && !is_kept => settled = Settled::Elsewhere,
                _ => {}
            }
        }
        self.leave_others(apart).await?;
        Ok(settled)
    }

    /// Takes connections that are on several sessions off all but one. No guard may be held.
    async fn leave_others(&self, apart: Vec<Apart>) -> Result<(), SessionsError> {
        for Apart { connection, shown, others, .. } in apart {
            for sid in others {
                let leave = SessionRequest::OnSession(sid, Command::Detach { connection: connection.clone() });
                Box::pin(self.serve(&leave)).await.map(drop)?;
            }
            // The other process may have seen another order, and taken it off this one.
            let _guard = self.connection_locks.take([&connection]).await;
            self.correct(&mut [(&connection, shown)].into()).await?;
        }
        Ok(())
    }

    /// Removes a session that was created a moment ago and that no event has named.
    async fn withdraw(&self, sid: SessionId) -> Result<(), SessionsError> {
        while let Some(stored) = self.store.load(sid).await? {
            match self.store.remove(sid, stored.revision).await {
                Err(StoreError::Conflict) => {}
                removed => {
                    self.note_for_lists(Some(&stored.record), &Write::Remove);
                    return Ok(removed?);
                }
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

//! Handles answers of storage, and the logout, which begins there.

use crate::{
    Binding, Diagnostic, EndReason, ObservedUser, RequestError, Secret, Token, Turn,
    lock::Lock,
    machine::Machine,
    operation::{MAX_TRIES, Operation, OperationEvent},
    queries::StorageQuery,
    record::{Record, Stored},
    session::{SessionStatus, Want},
};

use super::{advance::advance, next::GRACE};

/// What storage has, or had a moment ago.
pub(super) fn storage_read(machine: &mut Machine, text: Option<Secret>, turn: &mut Turn) {
    let Some((query, stored)) = machine.queries.answered(text) else { return };
    machine.lock.be_patient(stored.record.as_ref().is_some_and(Record::is_legacy));
    match query {
        StorageQuery::Start => {
            let record = stored.record.as_ref();
            machine.session.note(Diagnostic::Started(record.map(|record| record.generation)));
            machine.session.binding = record.map(Record::binding);
            let is_there = record.is_some();
            machine.session.status = if is_there { SessionStatus::Resuming } else { SessionStatus::Nobody(None) };
        }
        StorageQuery::Opening => {
            if stored.record.iter().chain(&stored.pending).any(|record| record.binding() == Binding::Bound) {
                machine.ask_challenge(turn);
            }
        }
        StorageQuery::Connected => {
            // The page that logged out may be gone.
            machine.pending_logouts.adopt(&stored.pending);
            if stored.record.is_some() { machine.session.resume() } else { machine.session.no_key(turn.now) }
        }
        StorageQuery::Check => checked(machine, &stored, turn),
        StorageQuery::Logout { token, removed } => logout(machine, token, removed, stored, turn),
        StorageQuery::Leftovers => machine.pending_logouts.adopt(&stored.pending),
        StorageQuery::Over { tries } => clear_over(machine, tries, stored),
        StorageQuery::Operation => advance(machine, OperationEvent::Stored(stored), turn),
    }
}

/// Finishes here what storage still has of pending logouts, once a sibling has had its time for
/// that; unless the connection has a session, which it would lose by that.
pub(super) fn account_for_leftovers(machine: &mut Machine, turn: &Turn) {
    let Some(connection) = machine.phase.connection_mut() else { return };
    if connection.leftovers.take_if(|due| *due <= turn.now).is_some() && machine.session.held().is_none() {
        machine.queries.look(StorageQuery::Leftovers, &mut machine.out);
    }
}

/// What storage really has, when it may have changed.
fn checked(machine: &mut Machine, stored: &Stored, turn: &mut Turn) {
    // The sibling that we have waited for is done.
    let is_waiting = machine.session.wanted.is_some_and(|wanted| wanted.not_before.is_some());
    let is_other = stored.record.as_ref().is_some_and(|record| machine.lock.is_other_use(record.attempt()));
    if is_waiting && is_other {
        machine.session.wait_until(machine.lock.is_missing().then(|| Lock::random_moment(turn)));
    }
    look_for_leftovers(machine, &stored.pending, turn);
    let is_sent = machine.phase.operation().is_some_and(Operation::is_sent);
    match (&stored.record, machine.session.status) {
        // The connection may hold the session for a moment longer: its user model will say.
        (None, SessionStatus::Attached { .. }) => machine.session.no_key(turn.now),
        // What was sent will be answered; what was not need not be.
        (None, SessionStatus::Resuming) if !is_sent => {
            machine.break_off();
            machine.session.no_key(turn.now);
        }
        (Some(record), SessionStatus::Attached { holding, .. }) => {
            if holding.is_same_session(record.holding()) {
                let is_resuming = is_resuming(machine);
                machine.session.caught_up(record, is_resuming, turn);
            } else {
                machine.session.want_with_all_others();
            }
        }
        (Some(_), SessionStatus::Nobody(_)) => {
            machine.session.resume();
            machine.session.want_with_all_others();
        }
        (Some(record), SessionStatus::Resuming) if machine.session.is_ahead(record) => {
            let is_resuming = is_resuming(machine);
            machine.session.displaced_by(record, is_resuming, turn);
        }
        (None, _) | (Some(_), SessionStatus::Resuming | SessionStatus::Unread) => {}
    }
}

fn is_resuming(machine: &Machine) -> bool {
    matches!(machine.phase.operation(), Some(Operation::Relogin(relogin)) if relogin.want == Want::Resume)
}

/// Notes whether storage has logouts that a sibling should be about to finish, and until when it
/// may.
fn look_for_leftovers(machine: &mut Machine, pending: &[Record], turn: &mut Turn) {
    let is_left = machine.has_leftovers(pending);
    let grace = GRACE.saturating_add(turn.dice.up_to(GRACE / 2));
    if let Some(connection) = machine.phase.connection_mut() {
        connection.leftovers = is_left.then(|| connection.leftovers.unwrap_or(turn.after(grace)));
    }
}

/// Takes the pending logouts that are over out of storage.
fn clear_over(machine: &mut Machine, tries: u8, stored: Stored) {
    match stored.without(|pending| machine.pending_logouts.is_over(pending)) {
        Some(left) if tries < MAX_TRIES => {
            let query = StorageQuery::Over { tries: tries + 1 };
            machine.queries.swap(query, stored.text, left, &mut machine.out);
        }
        _ => machine.pending_logouts.cleared(),
    }
}

/// A logout: the key goes, whatever it is, so that nothing here or in other tabs can use it but to
/// end its session.
fn logout(machine: &mut Machine, token: Token, removed: Option<Record>, stored: Stored, turn: &mut Turn) {
    let out = &mut machine.out;
    match &stored.record {
        Some(record) => {
            let removed = record.begun(turn.attempt);
            let pending = stored.logged_out(&removed);
            let query = StorageQuery::Logout { token, removed: Some(removed) };
            machine.queries.swap(query, stored.text, Some(pending), out);
        }
        None if stored.text.is_some() && stored.pending.is_empty() => {
            machine.queries.swap(StorageQuery::Logout { token, removed }, stored.text, None, out);
        }
        None if !stored.certain => machine.queries.look(StorageQuery::Logout { token, removed }, out),
        None => {
            // By the attempt that is noted there, which is a sibling's if that was first to log
            // out.
            let is_removed = |pending: &&Record| removed.as_ref().is_some_and(|removed| pending.is_of_session(removed));
            let removed = stored.pending.iter().find(is_removed).cloned();
            key_removed(machine, token, removed, &stored.pending);
        }
    }
}

/// The user logs out, and storage has no key any more: `removed` was there, and `pending` logouts
/// are.
fn key_removed(machine: &mut Machine, token: Token, mut removed: Option<Record>, pending: &[Record]) {
    let held = machine.session.held();
    match machine.phase.running() {
        // Its answer must not bring the key back.
        Some((_, operation)) if operation.is_sent() => operation.overtake(),
        _ => machine.break_off(),
    }
    machine.logins.refuse(&RequestError::Superseded, &mut machine.out);
    if let Some(connection) = machine.phase.connection_mut() {
        connection.user_leaves();
    }
    machine.session.ended(EndReason::LoggedOut);
    let is_busy = machine.phase.operation().is_some();
    let is_known = removed.is_some() || is_busy || !machine.pending_logouts.is_empty();
    let is_nobody = machine
        .phase
        .connection()
        .is_some_and(|connection| connection.observed_user == ObservedUser::Nobody && !connection.is_used);
    let logouts = &mut machine.pending_logouts;
    if let Some(holding) = held {
        let record = removed.take_if(|record| record.holding().is_same_session(holding));
        // Or a sibling has removed it.
        let is_held = |record: &&Record| holding.session.is_some() && record.holding().is_same_session(holding);
        let record = record.or_else(|| pending.iter().find(is_held).cloned());
        logouts.add_held(holding.session, record);
    } else if !is_known && !is_nobody {
        // Whatever there may be.
        logouts.add_held(None, None);
    }
    if let Some(record) = removed {
        logouts.add(record);
    }
    logouts.wait(token);
    if !machine.phase.is_connected() {
        // To be told once there is a connection, if the key is there to say which session it is.
        logouts.connection_lost(&mut machine.out);
    }
}

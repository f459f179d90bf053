//! Decides what comes next on a connection where nothing is under way: logouts, then logins, then
//! the key. Begins operations, and does nothing with what they come to.

use std::time::Duration;

use crate::{
    EndReason, ObservedUser, Turn,
    machine::Machine,
    operation::{Facts, Operation, Step, login::Login, logout::Logout, relogin::Relogin},
    pending_logouts::NextLogout,
    record::SessionName,
    session::{SessionStatus, Want, Wanted},
};

/// How long the user model may say otherwise than storage: time enough for the logout of a sibling,
/// and for the model itself.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Begins the next operation, if there is one and its time has come. Its first step, if it has one
/// beside the lock, is to be done by the caller.
pub(super) fn begin_next(machine: &mut Machine, turn: &mut Turn) -> Option<Step> {
    if !is_idle(machine) || !machine.queries.is_empty() {
        return None;
    }
    let connection = machine.phase.connection_mut()?;
    if std::mem::take(&mut connection.has_lost_user) && connection.observed_user == ObservedUser::Nobody {
        machine.session.user_lost(turn);
    }
    account_for_orphan(machine, turn);
    if !is_idle(machine) {
        return None;
    }
    let is_due = machine.pending_logouts.is_due(turn.now);
    let is_pressing = machine.pending_logouts.is_attached() || is_due && !machine.logins.are_first();
    if machine.is_ending() && is_pressing {
        if !is_due {
            machine.phase.connection_mut()?.open_gate();
            return None;
        }
        if let Some(next) = machine.pending_logouts.next(turn) {
            return begin_logout(machine, next, turn);
        }
    }
    machine.pending_logouts.settle(&mut machine.out);
    let due = machine.session.due(turn.now);
    let connection = machine.phase.connection_mut()?;
    // A copy of what was sent before may still be on its way, to end what begins now.
    if connection.is_tainted && (due.is_some() || !machine.logins.is_empty()) {
        machine.replace_connection();
        return None;
    }
    match due {
        Some(wanted) if wanted.want == Want::Resume && !machine.logins.are_first() => {
            begin_relogin(machine, wanted, turn);
        }
        due => {
            connection.open_gate();
            // Nothing that a login would not settle, too.
            if !machine.logins.is_empty() {
                begin_login(machine, turn);
            } else if let Some(wanted) = due {
                begin_relogin(machine, wanted, turn);
            }
        }
    }
    None
}

/// Notes whether the user model says otherwise than storage and what was answered: after a logout
/// elsewhere that the service does not know of, after a login whose answer nobody got, or of which
/// a second copy came, or after a loss of the session that was too quick for the user model to
/// show.
pub(super) fn look_for_orphan(machine: &mut Machine, turn: &Turn) {
    let is_orphan = is_orphan(machine);
    if let Some(connection) = machine.phase.connection_mut() {
        // Not moved while it lasts.
        connection.orphan = is_orphan.then(|| connection.orphan.unwrap_or(turn.after(GRACE)));
    }
}

/// When [`begin_next`] has something to do on an idle connection.
pub(super) fn next_deadline(machine: &Machine) -> Option<Duration> {
    if !is_idle(machine) {
        return None;
    }
    let waiting = match machine.session.wanted {
        _ if machine.pending_logouts.is_attached() => None,
        Some(wanted) => wanted.not_before,
        None => orphan_deadline(machine),
    };
    let logout = machine.pending_logouts.retry().filter(|_| machine.is_ending());
    [waiting, logout].into_iter().flatten().min()
}

fn is_idle(machine: &Machine) -> bool {
    machine.phase.is_connected() && machine.phase.operation().is_none()
}

fn orphan_deadline(machine: &Machine) -> Option<Duration> {
    machine.phase.connection()?.orphan.filter(|_| is_orphan(machine))
}

/// Ends an orphaned login when its time has come, or a login needs its place.
fn account_for_orphan(machine: &mut Machine, turn: &mut Turn) {
    let Some(until) = orphan_deadline(machine) else { return };
    let Some(connection) = machine.phase.connection_mut() else { return };
    let is_nobody = connection.observed_user == ObservedUser::Nobody;
    if until > turn.now && (is_nobody || machine.logins.is_empty()) {
        return;
    }
    connection.orphan = None;
    match machine.session.status {
        _ if is_nobody => machine.session.user_lost(turn),
        SessionStatus::Attached { .. } => {
            machine.end_held();
            machine.session.ended(EndReason::LoggedOutElsewhere);
        }
        // That was tried: the next connection will hold nothing.
        _ if connection.is_tainted => machine.replace_connection(),
        _ => machine.end_held(),
    }
}

fn is_orphan(machine: &Machine) -> bool {
    let is_ending = machine.is_ending() || !machine.pending_logouts.is_cleared();
    if !is_idle(machine) || is_ending || machine.session.wanted.is_some() {
        return false;
    }
    let Some(connection) = machine.phase.connection() else { return false };
    match (machine.session.status, &connection.observed_user) {
        (SessionStatus::Attached { .. }, ObservedUser::Nobody) => true,
        (SessionStatus::Attached { stored, .. }, ObservedUser::Somebody(_)) => !stored,
        // Where we have sent nothing, it is by other means that somebody is logged in.
        (SessionStatus::Nobody(_), ObservedUser::Somebody(_)) => {
            connection.is_used || connection.leaving_user.is_some()
        }
        _ => false,
    }
}

fn begin_relogin(machine: &mut Machine, Wanted { want, is_simultaneous, .. }: Wanted, turn: &mut Turn) {
    machine.session.wanted = None;
    machine.phase.begin(Operation::Relogin(Relogin::new(want, is_simultaneous)));
    machine.lock.request(turn, &mut machine.out);
}

fn begin_login(machine: &mut Machine, turn: &mut Turn) {
    // What may still be on its way would take the connection from the new session.
    if machine.phase.connection().is_some_and(|connection| connection.unanswered.is_some()) {
        machine.logins.come_first();
        return machine.replace_connection();
    }
    if let Some(request) = machine.logins.pop() {
        machine.phase.begin(Operation::Login(Login::new(request)));
        machine.lock.request(turn, &mut machine.out);
    }
}

fn begin_logout(machine: &mut Machine, next: NextLogout, turn: &mut Turn) -> Option<Step> {
    let Machine { session, lock, phase, .. } = machine;
    let connection = phase.connection_mut()?;
    let (logout, step) = match next {
        NextLogout::End(name) => {
            let sid = name.and_then(SessionName::sid);
            // Copies of one that names no session would end any.
            connection.is_tainted |= sid.is_none();
            Logout::end(sid)
        }
        NextLogout::TakeUp(record) => Logout::take_up(record, &Facts { turn, session, connection, lock }),
    };
    phase.begin(Operation::Logout(logout));
    Some(step)
}

//! Hands events to the operation that runs, does the step that it wants, and applies what it came
//! to.

use relogin_session::api::Challenge;
use serde_json::Value as Json;

use crate::{
    Action, Diagnostic, PlatformAction, RequestError, Turn,
    lock::Lock,
    machine::Machine,
    operation::{
        Call, Facts, Next, Operation, OperationEvent, Outcome, Step, is_transient, is_unanswered, login::Login,
        login::LoginOutcome, logout::LogoutOutcome, relogin::ReloginOutcome,
    },
    outbox::Purpose,
    queries::StorageQuery,
    record::Granted,
    session::{Attached, Want},
    wire,
};

/// Tells the operation what happened.
pub(super) fn advance(machine: &mut Machine, event: OperationEvent, turn: &mut Turn) {
    let Machine { phase, session, lock, .. } = machine;
    let Some((connection, operation)) = phase.running() else { return };
    match operation.handle(event, &mut Facts { turn, session, connection, lock }) {
        Next::Do(step) => do_step(machine, step, turn),
        Next::Wait => {}
        Next::Over(outcome) => {
            let operation = machine.phase.finish();
            machine.lock.release(&mut machine.out);
            match (operation, outcome) {
                (Some(Operation::Relogin(relogin)), Outcome::Relogin(outcome)) => {
                    relogin_over(machine, relogin.want, outcome, turn);
                }
                (Some(Operation::Login(login)), Outcome::Login(outcome)) => login_over(machine, login, outcome, turn),
                (Some(Operation::Logout(_)), Outcome::Logout(outcome)) => logout_over(machine, outcome, turn),
                _ => {}
            }
        }
    }
}

/// Does what the operation wants.
pub(super) fn do_step(machine: &mut Machine, step: Step, turn: &Turn) {
    if let Some(Operation::Relogin(relogin)) = machine.phase.operation()
        && let Some(used) = relogin.used()
    {
        machine.session.binding = Some(used.binding());
    }
    match step {
        Step::Read => machine.queries.read(StorageQuery::Operation, &mut machine.out),
        Step::Swap { from, to } => machine.queries.swap(StorageQuery::Operation, from, to, &mut machine.out),
        Step::MakeDevice => machine.out.push(PlatformAction::MakeDevice),
        Step::AskChallenge => machine.ask_challenge(turn),
        Step::Sign(text) => machine.out.push(PlatformAction::Sign(text)),
        Step::Send(Call { method, params, note }) => {
            let is_login = matches!(machine.phase.operation(), Some(Operation::Login(_)));
            let timeout = if is_login { machine.config.login_timeout } else { machine.config.relogin_timeout };
            if let Some(connection) = machine.phase.connection_mut() {
                connection.is_used |= note != Diagnostic::LogoutSent;
            }
            machine.session.note(note);
            machine.out.send(Purpose::Operation, method, params, turn.after(timeout));
        }
    }
}

/// The answer to what the operation sent last.
pub(super) fn answered(machine: &mut Machine, result: Result<Json, RequestError>, turn: &mut Turn) {
    let Some((connection, operation)) = machine.phase.running() else { return };
    if let (Some(used), Err(error)) = (operation.used(), &result)
        && is_unanswered(error)
    {
        connection.unanswered = Some(used.holding());
    }
    let is_logout = matches!(operation, Operation::Logout(logout) if logout.is_ending());
    let event = if is_logout {
        if let Err(error) = &result {
            machine.session.note(error.into());
        }
        OperationEvent::LoggedOut(result.err())
    } else {
        let answer = result.and_then(|result| wire::logged_in(result).ok_or(RequestError::Garbled));
        let granted = answer.and_then(|answer| Granted::read(answer, operation.used(), turn.attempt));
        machine.session.note(match &granted {
            Ok(Granted { record, .. }) => {
                Diagnostic::KeyReceived { generation: record.generation, bound: record.bound }
            }
            Err(error) => error.into(),
        });
        OperationEvent::Answered(granted)
    };
    advance(machine, event, turn);
    machine.clear_over();
}

/// The answer to the request for a challenge.
pub(super) fn challenged(machine: &mut Machine, result: Result<Json, RequestError>, turn: &mut Turn) {
    let Some(connection) = machine.phase.connection_mut() else { return };
    let challenge: Result<Challenge, _> =
        result.and_then(|result| wire::challenge(result).ok_or(RequestError::Garbled));
    let result = connection.challenges.answered(challenge, turn.now);
    advance(machine, OperationEvent::Challenged(result), turn);
}

/// There is no lock to be had, for the operation that waits for it.
pub(super) fn go_without_lock(machine: &mut Machine, turn: &mut Turn) {
    // Not at the moment at which all who have seen that key would use it.
    let simultaneous = match machine.phase.operation() {
        Some(Operation::Relogin(relogin)) if relogin.is_simultaneous => Some(relogin.want),
        _ => None,
    };
    match simultaneous {
        Some(want) => {
            machine.phase.finish();
            machine.lock.release(&mut machine.out);
            machine.session.want_later(want, Lock::random_moment(turn));
        }
        None => advance(machine, OperationEvent::Locked, turn),
    }
}

fn relogin_over(machine: &mut Machine, want: Want, outcome: ReloginOutcome, turn: &mut Turn) {
    match outcome {
        ReloginOutcome::NoKey => machine.session.no_key(turn.now),
        ReloginOutcome::CaughtUp(record) => machine.session.caught_up(&record, false, turn),
        ReloginOutcome::StandBy(record) => machine.session.displaced_by(&record, false, turn),
        ReloginOutcome::OtherSession => {
            machine.end_held();
            machine.session.change();
        }
        ReloginOutcome::NeedsNewConnection => machine.replace_connection(),
        ReloginOutcome::Yielded(until) => machine.session.want_later(want, until),
        ReloginOutcome::Failed => {
            forget_challenge(machine);
            let until = machine.session.schedule.retry(turn);
            machine.session.want_later(want, until);
        }
        ReloginOutcome::KeyGone => machine.session.key_is_gone(turn.now),
        ReloginOutcome::Refused(used) => machine.session.refused(&used, turn.now),
        ReloginOutcome::Attached(new) => {
            if let Some(connection) = machine.phase.connection_mut() {
                connection.leaving_user = None;
            }
            attached(machine, &new, turn);
            if new.is_beside {
                machine.session.want(Want::Resume);
            }
        }
        ReloginOutcome::Overtaken(used, result) => machine.pending_logouts.taken_up(Some(&used), result),
    }
}

fn login_over(machine: &mut Machine, login: Login, outcome: LoginOutcome, turn: &mut Turn) {
    let token = login.token();
    match outcome {
        LoginOutcome::Attached(new) => {
            machine.session.wanted = None;
            attached(machine, &new, turn);
            machine.out.settle(token, Ok(()));
        }
        LoginOutcome::Failed(error) => machine.out.settle(token, Err(error)),
        LoginOutcome::NeedsNewConnection => {
            if let Some(connection) = machine.phase.connection_mut() {
                connection.is_tainted = true;
            }
            machine.logins.push_front(login.again());
        }
        LoginOutcome::Overtaken(Err(error)) => machine.out.settle(token, Err(error)),
        LoginOutcome::Overtaken(Ok(granted)) => {
            machine.out.settle(token, Err(RequestError::Superseded));
            machine.pending_logouts.taken_up(None, Ok(granted));
        }
    }
}

fn logout_over(machine: &mut Machine, outcome: LogoutOutcome, turn: &mut Turn) {
    match outcome {
        LogoutOutcome::TakenUp(used, result) => {
            machine.pending_logouts.hurry();
            machine.pending_logouts.taken_up(Some(&used), result);
        }
        LogoutOutcome::NotTakenUp(error) => {
            forget_challenge(machine);
            put_off_logouts(machine, &error, turn);
        }
        LogoutOutcome::Ended(None) => machine.pending_logouts.first_is_over(),
        LogoutOutcome::Ended(Some(error)) if is_transient(&error) => put_off_logouts(machine, &error, turn),
        LogoutOutcome::Ended(Some(_)) => machine.pending_logouts.was_elsewhere(turn),
    }
}

/// The service could not be asked. The page need not know; a login that waits for the connection
/// must.
fn put_off_logouts(machine: &mut Machine, error: &RequestError, turn: &mut Turn) {
    machine.pending_logouts.put_off(turn);
    machine.pending_logouts.settle(&mut machine.out);
    if machine.pending_logouts.is_attached() {
        machine.logins.refuse(error, &mut machine.out);
    }
}

fn attached(machine: &mut Machine, new: &Attached, turn: &mut Turn) {
    machine.session.attached(new, turn);
    machine.out.push(Action::Authenticated);
}

/// Whatever it was that failed, it may have been the challenge.
fn forget_challenge(machine: &mut Machine) {
    if let Some(connection) = machine.phase.connection_mut() {
        connection.challenges.forget();
    }
}

//! Writes each decision to the log and the audit trail: session, user and connection, and no
//! secret.

use relogin_session::{Outcome, Record};

use super::request::SessionRequest;
use crate::audit::Event;

/// The audit event of a decision; none for decisions without effect, which anybody can cause.
pub(super) fn event(request: &SessionRequest, record: Option<&Record>, outcome: Outcome) -> Option<Event> {
    match outcome {
        Outcome::LoggedIn
        | Outcome::Rotated
        | Outcome::Retried
        | Outcome::CaughtUp
        | Outcome::StaleRetry
        | Outcome::ReuseDetected
        | Outcome::StoreRolledBack
        | Outcome::Recovered
        | Outcome::ProofMissing
        | Outcome::DeviceBound
        | Outcome::CookieMismatch
        | Outcome::UserRemoved
        | Outcome::LoggedOut
        | Outcome::Expired
        | Outcome::Abandoned
        | Outcome::UserChanged
        | Outcome::Revoked
        | Outcome::RevokedByUser
        | Outcome::RevokedByOperator
        | Outcome::Evicted => Some(Event {
            event: outcome.to_string(),
            session: record.map(|record| record.sid),
            user: record.map(|record| record.user_id.clone()),
            connection: request.connection().cloned(),
            remote_addr: request.remote_addr().map(str::to_owned),
            generation: record.map(|record| record.generation),
            folded: None,
        }),
        Outcome::Refused
        | Outcome::DeviceProven
        | Outcome::AlreadyLoggedIn
        | Outcome::NotLoggedIn
        | Outcome::NoSuchSession
        | Outcome::LoginTooOld
        | Outcome::StillAlive
        | Outcome::Detached
        | Outcome::Pruned => None,
    }
}

/// Logs one line for each decision: what happened, to which session, on which connection.
pub(super) fn log(request: &SessionRequest, record: Option<&Record>, outcome: Outcome) {
    let session = record.map(|record| tracing::field::display(record.sid));
    let user = record.map(|record| tracing::field::display(&record.user_id));
    let generation = record.map(|record| record.generation);
    let connection = request.connection().map(tracing::field::display);
    macro_rules! line {
        ($level:ident, $text:literal) => {
            tracing::$level!(%outcome, session, user, generation, connection, $text)
        };
    }
    match outcome {
        Outcome::LoggedIn => line!(info, "logged in"),
        Outcome::LoggedOut => line!(info, "logged out"),
        Outcome::Expired => line!(info, "session expired"),
        Outcome::Revoked => line!(info, "session revoked"),
        Outcome::RevokedByUser => line!(info, "session revoked by its user"),
        Outcome::RevokedByOperator => line!(info, "session revoked by an operator"),
        Outcome::Evicted => line!(info, "session ended: its user has more than they may have"),
        Outcome::UserRemoved => line!(info, "session ended: its user was removed or disabled"),
        // Only with a genuine key, so strangers cannot fill a log with it.
        Outcome::ProofMissing => line!(info, "relogin key of a bound session without its device's proof: refused"),
        Outcome::DeviceBound => line!(info, "session bound to a key of its browser's device"),
        Outcome::CookieMismatch => line!(info, "relogin key without the cookie that its session is bound to: refused"),
        Outcome::ReuseDetected => line!(warn, "relogin key used twice (reuse detected): session ended"),
        Outcome::StoreRolledBack => {
            line!(error, "relogin key newer than its session: the store has lost writes (rolled back?); session ended");
        }
        Outcome::Recovered => {
            line!(
                error,
                "relogin key newer than its session: the store has lost writes (rolled back?); its device goes on"
            );
        }
        // Anybody can cause the rest, or it happens all the time: it must not fill a log.
        Outcome::Refused
        | Outcome::DeviceProven
        | Outcome::Rotated
        | Outcome::Retried
        | Outcome::CaughtUp
        | Outcome::StaleRetry
        | Outcome::AlreadyLoggedIn
        | Outcome::NotLoggedIn
        | Outcome::NoSuchSession
        | Outcome::LoginTooOld
        | Outcome::StillAlive
        | Outcome::Detached
        | Outcome::Abandoned
        | Outcome::Pruned
        | Outcome::UserChanged => line!(debug, "decided"),
    }
}

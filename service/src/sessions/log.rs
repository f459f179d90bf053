//! What is said of each decision in the log: one line, with session, user and connection, and no secret.

use relogin_session::{Decision, Outcome, Record, Write};

use super::serve::Request;

/// One line for each decision: what happened, to which session, on which connection.
pub(super) fn log(request: &Request, record: Option<&Record>, decision: &Decision) {
    let record = match &decision.write {
        Write::Create(next) | Write::Replace(next) => Some(next),
        Write::Keep | Write::Remove => record,
    };
    let session = record.map(|record| tracing::field::display(record.sid));
    let user = record.map(|record| tracing::field::display(&record.user_id));
    let generation = record.map(|record| record.generation);
    let connection = request.connection().map(tracing::field::display);
    macro_rules! line {
        ($level:ident, $text:literal) => {
            tracing::$level!(outcome = %decision.outcome, session, user, generation, connection, $text)
        };
    }
    match decision.outcome {
        Outcome::LoggedIn => line!(info, "logged in"),
        Outcome::LoggedOut => line!(info, "logged out"),
        Outcome::Expired => line!(info, "session expired"),
        Outcome::Revoked => line!(info, "session revoked"),
        Outcome::UserRemoved => line!(info, "the session's user is no more: session disposed of"),
        // Of a genuine key, so not for anybody to fill a log with.
        Outcome::ProofMissing => line!(info, "relogin key of a bound session without its device's proof: refused"),
        Outcome::Stolen => line!(warn, "relogin key used twice: session disposed of"),
        Outcome::FromTheFuture => {
            line!(error, "relogin key newer than its session: the store went back in time; session disposed of");
        }
        // Anybody can cause the rest, or it happens all the time: nothing that should fill a log.
        Outcome::Refused
        | Outcome::Rotated
        | Outcome::Replayed
        | Outcome::Converged
        | Outcome::Late
        | Outcome::AlreadyLoggedIn
        | Outcome::NotLoggedIn
        | Outcome::StillAlive
        | Outcome::Detached
        | Outcome::Abandoned
        | Outcome::Pruned
        | Outcome::UserChanged => line!(debug, "decided"),
    }
}

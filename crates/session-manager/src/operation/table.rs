//! For the table tests of operations: each event in each state, and what is next in a word.

use std::time::Duration;

use relogin_res::Error;
use relogin_session::{
    Attempt, Denied,
    api::{Challenge, PublicKey},
};

use super::{Call, Facts, Next, OperationEvent, Step};
use crate::{
    Action, PlatformAction, RequestError, Secret, Signature, Turn,
    connection::ConnectionNotes,
    lock::Lock,
    outbox::Outbox,
    record::{Granted, Record, Stored},
    session::{Session, SessionStatus},
};

/// The attempt that nobody but a sibling has begun.
pub(crate) const SIBLINGS: Attempt = Attempt([9; 16]);

/// What operations look at: a session that is to be resumed, on a new connection.
pub(crate) struct World {
    pub(crate) turn: Turn,
    pub(crate) session: Session,
    pub(crate) connection: ConnectionNotes,
    pub(crate) lock: Lock,
}

impl World {
    pub(crate) fn new() -> Self {
        let second = Duration::from_secs(1);
        let mut session = Session::new(second);
        session.status = SessionStatus::Resuming;
        Self {
            turn: Turn::new([1; 24], second, second),
            session,
            connection: ConnectionNotes::default(),
            lock: Lock::new(second, second),
        }
    }

    /// The same, with a challenge that can be signed.
    pub(crate) fn with_challenge() -> Self {
        let mut world = Self::new();
        let challenge = Challenge { challenge: "c".to_owned(), expires_in: 60_000 };
        world.connection.challenges.answered(Ok(challenge), world.turn.now).unwrap();
        world
    }

    /// The browser has no lock.
    pub(crate) fn without_lock(mut self) -> Self {
        let mut out = Outbox::default();
        self.lock.request(&mut self.turn, &mut out);
        let Some(Action::Platform(PlatformAction::RequestLock(id))) = out.next() else {
            panic!("no lock was asked for")
        };
        assert!(self.lock.refused(id));
        self
    }

    pub(crate) fn facts(&mut self) -> Facts<'_> {
        let Self { turn, session, connection, lock } = self;
        Facts { turn, session, connection, lock }
    }
}

/// A key in storage.
pub(crate) fn record(text: &str) -> Record {
    Record::parse(Some(&Secret::new(text.to_owned()))).unwrap()
}

/// The key `k1`, not in use.
pub(crate) fn key() -> Record {
    record(r#"{"key":"k1","generation":1}"#)
}

/// The key `b1` of a bound session, in use.
pub(crate) fn bound_key() -> Record {
    record(r#"{"key":"b1","generation":1,"bound":true}"#).begun(SIBLINGS)
}

/// What storage has.
pub(crate) fn stored(record: Option<&Record>, certain: bool) -> Stored {
    Stored::read(record.map(|record| record.text(&[])), certain)
}

/// The successor of `k1`.
pub(crate) fn granted() -> Granted {
    let record = record(r#"{"key":"k2","generation":2}"#);
    Granted { record, expires_in: None, refresh_in: None }
}

/// The service's `denied`.
pub(crate) fn refused(denied: Denied) -> RequestError {
    RequestError::Refused(Error::new(denied.code(), denied.code()))
}

/// One event of each kind that makes a difference to some operation, by name.
pub(crate) fn events() -> Vec<(&'static str, OperationEvent)> {
    let device = PublicKey { kty: String::new(), crv: String::new(), x: String::new(), y: None };
    vec![
        ("locked", OperationEvent::Locked),
        ("read nothing", OperationEvent::Stored(stored(None, false))),
        ("has nothing", OperationEvent::Stored(stored(None, true))),
        ("read k1", OperationEvent::Stored(stored(Some(&key()), false))),
        ("has k1", OperationEvent::Stored(stored(Some(&key()), true))),
        ("read k1*", OperationEvent::Stored(stored(Some(&key().begun(SIBLINGS)), false))),
        ("has k1*", OperationEvent::Stored(stored(Some(&key().begun(SIBLINGS)), true))),
        ("has b1*", OperationEvent::Stored(stored(Some(&bound_key()), true))),
        ("has k2", OperationEvent::Stored(stored(Some(&granted().record), true))),
        ("has k3", OperationEvent::Stored(stored(Some(&record(r#"{"key":"k3","generation":3}"#)), true))),
        ("device", OperationEvent::Device(Some(device))),
        ("challenged", OperationEvent::Challenged(Ok(()))),
        ("not challenged", OperationEvent::Challenged(Err(RequestError::TimedOut))),
        ("signed", OperationEvent::Signed(Signature::Made("s".to_owned()))),
        ("no device key", OperationEvent::Signed(Signature::NoKey)),
        ("not signed", OperationEvent::Signed(Signature::Unavailable)),
        ("granted", OperationEvent::Answered(Ok(granted()))),
        ("invalid key", OperationEvent::Answered(Err(refused(Denied::InvalidReloginKey)))),
        ("already logged in", OperationEvent::Answered(Err(refused(Denied::AlreadyLoggedIn)))),
        ("no answer", OperationEvent::Answered(Err(RequestError::TimedOut))),
        ("logged out", OperationEvent::LoggedOut(None)),
        ("not logged out", OperationEvent::LoggedOut(Some(RequestError::TimedOut))),
    ]
}

/// What is next, in words. Of a storage text: its key, with a star if a use is noted.
pub(crate) fn words<T>(next: &Next<T>, outcome: impl FnOnce(&T) -> String) -> String {
    match next {
        Next::Wait => "wait".to_owned(),
        Next::Over(over) => format!("over: {}", outcome(over)),
        Next::Do(step) => step_words(step),
    }
}

pub(crate) fn step_words(step: &Step) -> String {
    match step {
        Step::Read => "read".to_owned(),
        Step::Swap { from, to } => format!("swap {} for {}", text(from.as_ref()), text(to.as_ref())),
        Step::MakeDevice => "make device".to_owned(),
        Step::AskChallenge => "ask for a challenge".to_owned(),
        Step::Sign(_) => "sign".to_owned(),
        Step::Send(Call { method, params, .. }) => {
            let params = params.as_deref().unwrap_or_default();
            let proof = if params.contains("proof") { " with proof" } else { "" };
            format!("send {method}{proof}")
        }
    }
}

/// The name of a key.
pub(crate) fn name(record: &Record) -> String {
    let star = if record.attempt().is_some() { "*" } else { "" };
    format!("{}{star}", record.key.expose())
}

fn text(text: Option<&Secret>) -> String {
    Record::parse(text).map_or_else(|| "nothing".to_owned(), |record| name(&record))
}

/// Each line of the table is a state, an event, and what is next; whatever is not on it is no event
/// of that state.
pub(crate) fn check(
    table: &[(&str, &str, &str)],
    mut next: impl FnMut(&str, OperationEvent) -> String,
    states: &[&str],
) {
    let mut found = Vec::new();
    for state in states {
        for (name, event) in events() {
            let words = next(state, event);
            if words != "wait" {
                found.push(format!("{state} | {name} | {words}"));
            }
        }
    }
    let expected: Vec<_> = table.iter().map(|(state, event, next)| format!("{state} | {event} | {next}")).collect();
    assert_eq!(found.join("\n"), expected.join("\n"));
}

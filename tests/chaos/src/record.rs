//! Writes a history down while it happens: what many tasks see, in one order.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::history::{Answer, Event, History, Key, Owner, Request, Sender};

/// The history so far.
#[derive(Debug, Default)]
pub struct Recorder {
    history: Mutex<History>,
    next: AtomicU64,
}

impl Recorder {
    /// A record of what these do.
    #[must_use]
    pub fn new(browsers: Vec<Owner>) -> Self {
        Self { history: Mutex::new(History { browsers, events: Vec::new() }), next: AtomicU64::new(0) }
    }

    /// A number that nobody else gets: for requests and connections.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes down what has happened.
    pub fn event(&self, event: Event) {
        self.history().events.push(event);
    }

    /// Writes down what is about to be sent; its number.
    pub fn sent(&self, by: Sender, connection: u64, request: Request) -> u64 {
        let id = self.number();
        self.event(Event::Sent { id, by, connection, request });
        id
    }

    /// Writes down an answer.
    pub fn answered(&self, id: u64, answer: Answer) {
        self.event(Event::Answered { id, answer });
    }

    /// What has happened so far.
    pub fn so_far(&self) -> History {
        self.history().clone()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a key.
#[must_use]
pub fn key(text: &str) -> Option<Key> {
    let parsed = relogin_session::ReloginKey::new(text.to_owned()).parse()?;
    Some(Key { session: parsed.sid, generation: parsed.generation, text: text.to_owned() })
}

/// Reads the answer to a login, a relogin or a logout: a result or an error, as in its frame.
#[must_use]
pub fn answer(frame: &serde_json::Value) -> Answer {
    if let Some(error) = frame.get("error") {
        return if error["code"] == "session.invalidReloginKey" { Answer::Refused } else { Answer::Open };
    }
    frame["result"]["payload"]["reloginKey"].as_str().and_then(key).map_or(Answer::Done, Answer::Key)
}

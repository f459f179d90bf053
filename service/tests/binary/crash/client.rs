//! A client that behaves as the session manager in a browser does: it stores what it is about to
//! do, does it, and stores the answer. After a crash, what it stored says which states are allowed.

use rand::{RngExt, rngs::StdRng};
use relogin_tests::res::Answer;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::line::{Front, Line};

/// One browser.
pub(super) struct Client {
    name: usize,
    attempts: u64,
    note: Note,
    /// Every key of the session that was used and answered.
    used: Vec<Value>,
    fates: Fates,
}

/// The content of storage.
#[derive(Clone, Debug)]
enum Note {
    /// Nobody is logged in; the attempt of a login without an answer.
    Out(Option<String>),
    /// A key, its generation, and the attempt of a use without an answer.
    In(Value, u64, Option<String>),
    /// A key whose session was to be ended; no answer came.
    Leaving(Value, u64),
}

/// Requests that crashes have cut short.
#[derive(Debug, Default)]
pub(super) struct Spree {
    pub(super) logins: usize,
    pub(super) relogins: usize,
    pub(super) logouts: usize,
}

/// Which of them were carried out, and which were not.
#[derive(Clone, Debug, Default)]
pub(super) struct Fates {
    logins_done: usize,
    logins_undone: usize,
    logouts_done: usize,
    logouts_undone: usize,
}

/// The request that was cut short.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Login,
    Relogin,
    Logout,
}

impl Client {
    pub(super) fn new(name: usize) -> Self {
        Self { name, attempts: 0, note: Note::Out(None), used: Vec::new(), fates: Fates::default() }
    }

    /// Recovers after a crash, or logs in the first time; logged in at the end.
    pub(super) async fn recover(&mut self, line: &mut Line, front: &Front<'_>) {
        match self.note.clone() {
            Note::Out(None) => {}
            // On the connection that outlived the crash it is seen whether the session is there.
            Note::Out(Some(_)) => match line.has_user().await {
                Some(true) => self.fates.logins_done += 1,
                Some(false) => self.fates.logins_undone += 1,
                None => {}
            },
            // The next key, whether the service made it now or before it was killed.
            Note::In(..) => assert!(self.relogin(line).await, "the service is up"),
            Note::Leaving(key, generation) => {
                let attempt = self.draw();
                match line.auth("relogin", json!({"reloginKey": key, "attempt": attempt})).await.unwrap() {
                    Answer::Result(answer) => {
                        self.fates.logouts_undone += 1;
                        assert_eq!(answer["generation"], generation + 1, "client {}", self.name);
                        self.note = Note::In(answer["reloginKey"].clone(), generation + 1, None);
                        assert!(self.logout(line).await, "the service is up");
                    }
                    refused @ Answer::Error(_) => {
                        self.fates.logouts_done += 1;
                        self.assert_refused(&refused);
                        assert_ne!(line.has_user().await, Some(true), "a logout that was half done");
                    }
                }
                // Ended, by now, for everybody.
                let again = front.connect().await.auth("relogin", json!({"reloginKey": key})).await.unwrap();
                self.assert_refused(&again);
                self.note = Note::Out(None);
            }
        }
        if let Note::Out(_) = self.note {
            assert!(self.login(line).await, "the service is up");
        }
    }

    /// Makes random requests until the service is gone; returns the one that was cut short.
    pub(super) async fn work_until_killed(
        &mut self,
        line: &mut Line,
        mut rng: StdRng,
        answers: &watch::Sender<u32>,
    ) -> Option<Cut> {
        loop {
            let (cut, is_answered) = match self.note {
                Note::Out(_) => (Cut::Login, self.login(line).await),
                Note::In(..) if rng.random_bool(0.08) => (Cut::Logout, self.logout(line).await),
                Note::In(..) => (Cut::Relogin, self.relogin(line).await),
                // Not before the next start.
                Note::Leaving(..) => return None,
            };
            if !is_answered {
                return Some(cut);
            }
            answers.send_modify(|answers| *answers += 1);
        }
    }

    /// A thief brings a used key of any age; nobody keeps the session.
    pub(super) async fn is_robbed(&mut self, front: &Front<'_>, age: u16) {
        let Note::In(key, ..) = &self.note else { return };
        // A message without one of our attempts is not ours.
        let Some(used) = self.used.get(usize::from(age) % self.used.len().max(1)) else { return };
        for key in [used, key] {
            let answer = front.connect().await.auth("relogin", json!({"reloginKey": key})).await.unwrap();
            self.assert_refused(&answer);
        }
        (self.note, self.used) = (Note::Out(None), Vec::new());
    }

    /// Logs in. False if the service went before it answered.
    async fn login(&mut self, line: &mut Line) -> bool {
        let Note::Out(noted) = self.note.clone() else { panic!("{:?}", self.note) };
        let attempt = noted.unwrap_or_else(|| self.draw());
        self.note = Note::Out(Some(attempt.clone()));
        let params = json!({"username": "jane", "password": "open sesame", "attempt": attempt});
        match line.auth("login", params).await {
            Some(Answer::Result(answer)) => {
                assert_eq!(answer["generation"], 1, "client {}", self.name);
                self.note = Note::In(answer["reloginKey"].clone(), 1, None);
                self.used.clear();
                true
            }
            Some(Answer::Error(error)) => panic!("client {}: {error}", self.name),
            None => false,
        }
    }

    /// Uses the key. False if the service went before it answered.
    async fn relogin(&mut self, line: &mut Line) -> bool {
        let Note::In(key, generation, noted) = self.note.clone() else { panic!("{:?}", self.note) };
        let attempt = noted.unwrap_or_else(|| self.draw());
        self.note = Note::In(key.clone(), generation, Some(attempt.clone()));
        match line.auth("relogin", json!({"reloginKey": key, "attempt": attempt})).await {
            Some(Answer::Result(answer)) => {
                assert_eq!(answer["generation"], generation + 1, "client {}", self.name);
                self.note = Note::In(answer["reloginKey"].clone(), generation + 1, None);
                self.used.push(key);
                true
            }
            Some(Answer::Error(error)) => panic!("client {}: {error}", self.name),
            None => false,
        }
    }

    /// Logs out. False if the service went before it answered.
    async fn logout(&mut self, line: &mut Line) -> bool {
        let Note::In(key, generation, _) = self.note.clone() else { panic!("{:?}", self.note) };
        self.note = Note::Leaving(key.clone(), generation);
        match line.auth("logout", Value::Null).await {
            Some(Answer::Result(_)) => {
                // On the very connection: another would be a second use.
                if let Some(again) = line.auth("relogin", json!({"reloginKey": key})).await {
                    self.assert_refused(&again);
                }
                self.note = Note::Out(None);
                true
            }
            Some(Answer::Error(error)) => panic!("client {}: {error}", self.name),
            None => false,
        }
    }

    fn assert_refused(&self, answer: &Answer) {
        assert_eq!(answer.code(), Some("session.invalidReloginKey"), "client {}: {answer:?}", self.name);
    }

    fn draw(&mut self) -> String {
        self.attempts += 1;
        // 128 bits in base64url: the digits and, for the last four bits and padding, `A`.
        format!("{:02}{:019}A", self.name, self.attempts)
    }
}

impl Spree {
    pub(super) fn add(&mut self, cut: Option<Cut>) {
        match cut {
            Some(Cut::Login) => self.logins += 1,
            Some(Cut::Relogin) => self.relogins += 1,
            Some(Cut::Logout) => self.logouts += 1,
            None => {}
        }
    }
}

impl Fates {
    /// Whether crashes came both before and after the write, where that was seen.
    pub(super) fn is_varied(&self) -> bool {
        self.logouts_done > 0 && self.logouts_undone > 0
    }
}

/// The fate of a request that was cut short.
pub(super) fn fates(clients: &[Client]) -> Fates {
    clients.iter().fold(Fates::default(), |sum, client| Fates {
        logins_done: sum.logins_done + client.fates.logins_done,
        logins_undone: sum.logins_undone + client.fates.logins_undone,
        logouts_done: sum.logouts_done + client.fates.logouts_done,
        logouts_undone: sum.logouts_undone + client.fates.logouts_undone,
    })
}

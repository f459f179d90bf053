//! What happened, in one order: what clients sent, what they were answered, and what they showed.
//! Must not depend on clients, clocks or programs.

use std::collections::BTreeMap;

pub use relogin_client_proto::EndReason;
pub use relogin_session::SessionId;

/// A relogin key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose it is.
    pub session: SessionId,
    /// Its number, from 1 on.
    pub generation: u64,
    /// Its text.
    pub text: String,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The client of this browser.
    Owner(usize),
    /// Somebody who has copied what this browser had stored.
    Thief(usize),
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A login.
    Login,
    /// A use of a key.
    Use {
        /// The key.
        key: Key,
        /// The attempt id.
        attempt: String,
    },
    /// A logout that names its session.
    Logout(SessionId),
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A key.
    Key(Key),
    /// It was done (a logout).
    Done,
    /// The key was refused.
    Refused,
    /// Nothing was decided, as far as can be known: a timeout, for example.
    Open,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request is about to be sent.
    Sent {
        /// Its number.
        id: u64,
        /// By whom.
        by: Sender,
        /// On which connection.
        connection: u64,
        /// What it is.
        request: Request,
    },
    /// An answer has come.
    Answered {
        /// The number of the request.
        id: u64,
        /// What it is.
        answer: Answer,
    },
    /// The user of a browser logs out.
    LogsOut {
        /// Which browser.
        browser: usize,
    },
    /// A tab shows that this user is logged in.
    Shows {
        /// Of which browser.
        browser: usize,
        /// Who.
        user: String,
    },
    /// A tab says that its session is over.
    Ended {
        /// Of which browser.
        browser: usize,
        /// Which session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// From now on there are no faults.
    Calm,
    /// Who is logged in, as a tab shows at the end.
    AtLast {
        /// Of which browser.
        browser: usize,
        /// Who.
        user: Option<String>,
    },
}

/// All that happened, and who took part.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The users of the browsers, and whether the browser binds its sessions.
    pub browsers: Vec<Owner>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// A browser, as far as the history is concerned.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Who logs in there.
    pub user: String,
    /// Whether its sessions are bound.
    pub bound: bool,
}

/// A request, put together with its answer.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// When it was sent, as the number of the event.
    pub sent: usize,
    /// By whom.
    pub by: Sender,
    /// On which connection.
    pub connection: u64,
    /// What.
    pub request: &'a Request,
    /// When it was answered, and what.
    pub answer: Option<(usize, &'a Answer)>,
}

impl History {
    /// All requests, in the order in which they were sent.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange<'_>> {
        let mut exchanges = BTreeMap::new();
        for (at, event) in self.events.iter().enumerate() {
            match event {
                Event::Sent { id, by, connection, request } => {
                    let (by, connection) = (*by, *connection);
                    exchanges.insert(*id, Exchange { sent: at, by, connection, request, answer: None });
                }
                Event::Answered { id, answer } => {
                    if let Some(exchange) = exchanges.get_mut(id) {
                        exchange.answer = Some((at, answer));
                    }
                }
                _ => {}
            }
        }
        let mut exchanges: Vec<_> = exchanges.into_values().collect();
        exchanges.sort_by_key(|exchange| exchange.sent);
        exchanges
    }
}

impl<'a> Exchange<'a> {
    /// The key that was used and its attempt id, if it is such a request.
    #[must_use]
    pub fn used(&self) -> Option<(&'a Key, &'a str)> {
        match self.request {
            Request::Use { key, attempt } => Some((key, attempt)),
            _ => None,
        }
    }

    /// When a key was handed out for it, and which.
    #[must_use]
    pub fn accepted(&self) -> Option<(usize, &'a Key)> {
        match self.answer {
            Some((at, Answer::Key(key))) => Some((at, key)),
            _ => None,
        }
    }

    /// When it was refused.
    #[must_use]
    pub fn refused(&self) -> Option<usize> {
        self.answer.filter(|(_, answer)| **answer == Answer::Refused).map(|(at, _)| at)
    }

    /// The browser whose session it is about.
    #[must_use]
    pub fn browser(&self) -> usize {
        match self.by {
            Sender::Owner(browser) | Sender::Thief(browser) => browser,
        }
    }

    /// True if somebody else than the owner sent it.
    #[must_use]
    pub fn is_theft(&self) -> bool {
        matches!(self.by, Sender::Thief(_))
    }
}

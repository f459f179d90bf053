//! What the manager can know: how this tab stands to the session, who the user model says is logged in, and what it has asked
//! of storage.

use std::time::Duration;

use relogin_session::User;

use super::challenge::Challenges;
use crate::{
    Action, EndReason, Secret, Token,
    outbox::Outbox,
    record::{Holding, Record, Stored},
};

/// How this tab stands to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionStatus {
    /// There is no key.
    Nobody(Option<EndReason>),
    /// There is a key, which has not been used on this connection.
    Resuming,
    /// The connection holds the session. `stored`: as far as we know, storage has its key.
    Attached { holding: Holding, stored: bool },
}

/// What has come to pass on this connection, and ends with it.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionNotes {
    /// A login or a key was sent: somebody may be logged in by it, and nobody know.
    pub(super) used: bool,
    /// The session whose key was sent, and no answer came: it may still arrive, and take the connection to that session.
    pub(super) unanswered: Option<Holding>,
    /// A logout that names no session was sent, or something was done that we know nothing of: no session is to be taken up.
    pub(super) tainted: bool,
    /// The user model says otherwise than storage: until when it may.
    pub(super) orphan: Option<Duration>,
    /// Storage has logouts that a sibling is likely to finish: until when it may.
    pub(super) leftovers: Option<Duration>,
    /// The user model lost its user during the operation.
    pub(super) lost_meanwhile: bool,
    pub(super) challenges: Challenges,
    /// The legacy session that this connection has held, with the newest generation that was seen of it.
    pub(super) held: Option<Holding>,
    /// A sibling has used the key since: the session is on its connection now, for a legacy session is on one only.
    pub(super) displaced: bool,
    /// Who was shown when that session was lost.
    pub(super) lost_user: Option<User>,
}

/// What was heard against the session since its key was last good: it tells why, if the key is then refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TheftEvidence {
    /// Somebody has made this generation, and storage does not have it.
    pub(super) rotated: Option<Holding>,
    /// The service took the user away.
    pub(super) taken: bool,
}

/// Whether requests of others may go out on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Not yet.
    Closed,
    /// From the end of this turn on.
    Opening,
    /// They were let through.
    Open,
}

/// What the next answer of storage is for.
#[derive(Clone, Debug)]
pub(super) enum StorageQuery {
    /// The start: what to show.
    Start,
    /// A socket that opens: whether a challenge is worth asking for.
    Opened,
    /// A connection that takes requests: whether there is a key to use.
    Linked,
    /// A sign that something has changed.
    Check,
    /// The logout of this command; `removed`: what it has just tried to remove.
    Logout { token: Token, removed: Option<Record> },
    /// Logouts that a sibling had its time to finish.
    Leftovers,
    /// What is over: whether it is still in storage, so many swaps later.
    Over { tries: u8 },
    /// The operation of this number.
    Operation(u32),
}

/// What has been asked of storage, and not been answered.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingQueries(Vec<(StorageQuery, bool)>);

impl PendingQueries {
    /// Asks what storage has; the answer may be stale.
    pub(super) fn read(&mut self, asked: StorageQuery, out: &mut Outbox) {
        self.0.push((asked, false));
        out.push(Action::ReadStorage);
    }

    /// Asks what storage really has.
    pub(super) fn look(&mut self, asked: StorageQuery, out: &mut Outbox) {
        self.swap(asked, None, None, out);
    }

    /// Puts `to` in the place of `from`, and asks what storage has then.
    pub(super) fn swap(&mut self, asked: StorageQuery, from: Option<Secret>, to: Option<Secret>, out: &mut Outbox) {
        self.0.push((asked, true));
        out.push(Action::SwapStorage { from, to });
    }

    /// The next answer has come. `None` if nobody asked.
    pub(super) fn answered(&mut self, text: Option<Secret>) -> Option<(StorageQuery, Stored)> {
        if self.0.is_empty() {
            return None;
        }
        let (asked, certain) = self.0.remove(0);
        Some((asked, Stored::read(text, certain)))
    }

    /// Whether nothing is to be answered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

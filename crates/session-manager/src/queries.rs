//! Pending queries to storage. Answers come in the order of the queries.

use crate::{
    PlatformAction, Secret, Token,
    outbox::Outbox,
    record::{Record, Stored},
};

/// What the next answer of storage is for.
#[derive(Clone, Debug)]
pub(crate) enum StorageQuery {
    /// The start: what to show.
    Start,
    /// A connection that opens: whether a challenge is worth asking for.
    Opening,
    /// A connection that takes requests: whether there is a key to use.
    Connected,
    /// A sign that something has changed.
    Check,
    /// The logout of this command; `removed`: what it has just tried to remove.
    Logout { token: Token, removed: Option<Record> },
    /// Logouts that a sibling had its time to finish.
    Leftovers,
    /// What is over: whether it is still in storage, so many swaps later.
    Over { tries: u8 },
    /// The operation that runs.
    Operation,
}

/// The pending queries, and whether their answers are certain.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingQueries(Vec<(StorageQuery, bool)>);

impl PendingQueries {
    /// Asks what storage has; the answer may be stale.
    pub(crate) fn read(&mut self, query: StorageQuery, out: &mut Outbox) {
        self.0.push((query, false));
        out.push(PlatformAction::ReadStorage);
    }

    /// Asks what storage really has.
    pub(crate) fn look(&mut self, query: StorageQuery, out: &mut Outbox) {
        self.swap(query, None, None, out);
    }

    /// Puts `to` in the place of `from`, and asks what storage has then.
    pub(crate) fn swap(&mut self, query: StorageQuery, from: Option<Secret>, to: Option<Secret>, out: &mut Outbox) {
        self.0.push((query, true));
        out.push(PlatformAction::SwapStorage { from, to });
    }

    /// Takes the query that the next answer is for; `None` if nobody asked.
    pub(crate) fn answered(&mut self, text: Option<Secret>) -> Option<(StorageQuery, Stored)> {
        if self.0.is_empty() {
            return None;
        }
        let (query, certain) = self.0.remove(0);
        Some((query, Stored::read(text, certain)))
    }

    /// Whether nothing is to be answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

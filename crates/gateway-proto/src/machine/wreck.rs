//! Cleans up after the bus is lost: closes connections, releases requests and subscriptions, and
//! drops the cache, a little at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use super::Gateway;
use crate::{
    api::{Action, ConnectionKey, Tag, close},
    bus::Abandoned,
    cache::Remains,
    connection::Connection,
};

/// What is left of the time before a loss.
#[derive(Debug)]
pub(super) struct Wreck {
    connections: BTreeMap<ConnectionKey, Connection>,
    /// The last one that was told that it is closed.
    closed: Option<ConnectionKey>,
    /// Those that were closed before the loss.
    closing: VecDeque<Connection>,
    abandoned: Abandoned,
    remains: Remains,
}

/// How many small things are thrown away in a step.
const AT_ONCE: usize = 4;

impl Wreck {
    /// Takes everything away from a gateway, which is as new afterwards.
    pub(super) fn new(gateway: &mut Gateway) -> Self {
        gateway.resets.clear();
        gateway.token_resets.clear();
        let shared = &mut gateway.shared;
        shared.ready.clear();
        shared.subscriptions = 0;
        shared.subscription_bytes = 0;
        Self {
            connections: mem::take(&mut gateway.connections),
            closed: None,
            closing: mem::take(&mut gateway.closing),
            abandoned: shared.bus.abandon(),
            remains: shared.cache.renew(&shared.config),
        }
    }

    /// Forgets a request or subscription that the bus has refused. False if it is not of this
    /// wreck.
    pub(super) fn forget(&mut self, tag: Tag) -> bool {
        self.abandoned.remove(tag)
    }

    /// The next step: with something to be done, or none but to throw something away. `None` if
    /// nothing is left.
    fn next(&mut self) -> Option<Option<Action>> {
        let after = self.closed.map_or(Unbounded, Excluded);
        if let Some((key, _)) = self.connections.range((after, Unbounded)).next() {
            let connection = *key;
            self.closed = Some(connection);
            let (code, reason) = (close::SERVICE_RESTART, "the message bus was lost");
            return Some(Some(Action::Close { connection, code, reason }));
        }
        if let Some(tag) = self.abandoned.pop() {
            return Some(Some(Action::Release { tag }));
        }
        let left = self.throw_away();
        left.then_some(None)
    }

    fn throw_away(&mut self) -> bool {
        for _ in 0..AT_ONCE {
            let connection = match self.closing.front_mut() {
                Some(connection) => connection,
                None => match self.connections.pop_first() {
                    Some((_, connection)) => {
                        self.closing.push_back(connection);
                        continue;
                    }
                    None if self.remains.pop() => continue,
                    None => return false,
                },
            };
            if connection.subscriptions.pop_first().is_none() {
                self.closing.pop_front();
            }
        }
        true
    }
}

impl Gateway {
    pub(super) fn clear_wrecks(&mut self) -> bool {
        let Some(wreck) = self.wrecks.front_mut() else { return false };
        match wreck.next() {
            Some(action) => action.into_iter().for_each(|action| self.shared.bus.act(action)),
            None => {
                self.wrecks.pop_front();
            }
        }
        true
    }
}

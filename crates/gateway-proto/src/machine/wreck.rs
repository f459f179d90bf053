//! Cleans up after the bus is lost: closes connections and releases requests and subscriptions, a
//! little at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use super::Gateway;
use crate::{
    api::{Action, ConnectionKey, close},
    bus::Abandoned,
    cache::Cache,
    connection::{Connection, reset_line::ResetLine, send::Writers},
    discard::Bulk,
    tag::Tag,
};

/// What is left of the time before a loss.
#[derive(Debug)]
pub(super) struct Wreck {
    connections: BTreeMap<ConnectionKey, Box<Connection>>,
    /// The last one that was notified that it is closed.
    closed: Option<ConnectionKey>,
    /// Those that were closed before the loss.
    closing: VecDeque<Box<Connection>>,
    abandoned: Abandoned,
    cache: Cache,
    subscriptions: usize,
}

impl Wreck {
    /// Takes everything away from a gateway, which is as new afterwards.
    pub(super) fn new(gateway: &mut Gateway) -> Self {
        gateway.resets.clear();
        gateway.token_resets.clear();
        let shared = &mut gateway.shared;
        shared.ready.clear();
        shared.writers = Writers::default();
        shared.reset_line = ResetLine::default();
        let subscriptions = mem::take(&mut shared.subscriptions);
        shared.subscription_bytes = 0;
        Self {
            connections: mem::take(&mut gateway.connections),
            closed: None,
            closing: mem::take(&mut gateway.closing),
            abandoned: shared.bus.abandon(),
            cache: shared.cache.renew(&shared.config),
            subscriptions,
        }
    }

    /// Forgets a request or subscription that the bus has refused. False if it is not of this
    /// wreck.
    pub(super) fn forget(&mut self, tag: Tag) -> bool {
        self.abandoned.remove(tag)
    }

    /// What is to be done next. `None` if nothing is left but to throw it away.
    fn next(&mut self) -> Option<Action> {
        let after = self.closed.map_or(Unbounded, Excluded);
        if let Some((key, _)) = self.connections.range((after, Unbounded)).next() {
            let connection = *key;
            self.closed = Some(connection);
            let (code, reason) = (close::SERVICE_RESTART, "the message bus was lost");
            return Some(Action::Close { connection, code, reason });
        }
        self.abandoned.pop().map(|tag| Action::Release { tag })
    }
}

impl Bulk for Wreck {
    fn bulk(&self) -> usize {
        self.subscriptions + self.closing.len() + self.cache.stats().names
    }
}

impl Gateway {
    pub(super) fn clear_wrecks(&mut self) -> bool {
        let Some(wreck) = self.wrecks.front_mut() else { return false };
        match wreck.next() {
            Some(action) => self.shared.bus.act(action),
            None => {
                if let Some(wreck) = self.wrecks.pop_front() {
                    self.shared.bus.discard(wreck);
                }
            }
        }
        true
    }
}

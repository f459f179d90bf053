//! A state as the checker compares it, and as people read it.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use relogin_session::ConnectionId;

use crate::{
    canon::{self, DAWN},
    gateway::Connection,
    service::{Ask, Request},
    thief::Thief,
    trace::short,
};

use super::State;

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for tab in &self.tabs {
            tab.canon.hash(hasher);
        }
        (&self.storage, &self.places, &self.locks, &self.budget, self.left, self.service.made).hash(hasher);
        for record in self.service.records.values() {
            record.encode().expect("records can be written").hash(hasher);
        }
        for (cid, Connection { tab, token, model, lanes }) in &self.gateway.0 {
            (cid.as_str(), tab, token.as_ref().map(|token| token.sid), model.as_ref().map(Option::is_some), lanes)
                .hash(hasher);
        }
        for Request { cid, id, token, ask } in &self.up {
            (cid.as_str(), id, token.as_ref().map(|token| token.sid)).hash(hasher);
            match ask {
                Ask::Relogin { key, attempt, proven } => (0, key.expose(), attempt, proven).hash(hasher),
                Ask::Login { attempt, bound } => (1, attempt, bound).hash(hasher),
                Ask::Logout { sid } => (2, sid).hash(hasher),
            }
        }
        let Thief { loot, given, draws, has_acted } = &self.thief;
        (
            loot.as_ref().map(|loot| (loot.key.expose(), loot.attempt)),
            given.as_ref().map(|key| key.expose().to_owned()),
        )
            .hash(hasher);
        (draws, has_acted, &self.uses.owner, &self.uses.thief).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        canon::is_same(self, other)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records: Vec<_> = self
            .service
            .records
            .values()
            .map(|record| {
                let connections: Vec<_> = record.connections.iter().map(ConnectionId::as_str).collect();
                format!("generation {} made by {:?} on {connections:?}", record.generation, record.made_by)
            })
            .collect();
        let connections: Vec<_> = self
            .gateway
            .0
            .iter()
            .map(|(cid, connection)| {
                let Connection { tab: _, token, model, lanes } = connection;
                format!(
                    "{}: token {}, model {:?}, lanes {lanes:?}",
                    cid.as_str(),
                    token.is_some(),
                    model.as_ref().map(Option::is_some)
                )
            })
            .collect();
        f.debug_struct("State")
            .field("tabs", &self.tabs)
            .field("storage", &short(self.storage.as_deref()))
            .field("places", &self.places)
            .field("locks", &self.locks)
            .field("records", &records)
            .field("connections", &connections)
            .field("up", &self.up)
            .field("thief", &self.thief)
            .field("uses", &self.uses)
            .field("dawn", &DAWN)
            .finish_non_exhaustive()
    }
}

//! One subscription: while it is held, its resource can be read. Must not depend on futures.

use std::sync::Arc;

use relogin_client_proto::{Command, Freshness, Resource as Values};
use relogin_res::{Map, ResourceId, Value};
use serde::de::DeserializeOwned;

use crate::{Error, read, shared::Shared};

/// Shared by a client's handles; stops the client when the last of them is dropped.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) shared: Arc<Shared>,
}

/// A subscribed resource, unsubscribed when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) owner: Arc<Owner>,
    pub(crate) rid: ResourceId,
}

impl Held {
    /// The state that the engine shares.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Reads the resource and what it refers to.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let state = self.shared().lock();
        let machine = &state.machine;
        match (machine.resource(&self.rid), machine.freshness(&self.rid)) {
            (None, Some(Freshness::Failed(error))) => Err(Error::Request(error.clone())),
            _ => Ok(read::resource(machine, &self.rid)?),
        }
    }

    /// The resource, and all resources that are read along with it.
    pub(crate) fn reach(&self) -> Vec<ResourceId> {
        let state = self.shared().lock();
        let mut found = vec![self.rid.clone()];
        let mut seen = Map::from([(self.rid.clone(), ())]);
        let mut at = 0;
        while let Some(rid) = found.get(at) {
            let values: Vec<&Value> = match state.machine.resource(rid) {
                Some(Values::Model(model)) => model.values().collect(),
                Some(Values::Collection(values)) => values.iter().collect(),
                None => Vec::new(),
            };
            let references = values.into_iter().filter_map(Value::reference);
            found.extend(references.filter(|rid| seen.insert((*rid).clone(), ()).is_none()).cloned());
            at += 1;
        }
        found
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared().send_command(Command::Unsubscribe(self.rid.clone()));
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

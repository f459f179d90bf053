//! A subscribed resource, and what it is read as.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use relogin_client_proto::{Freshness, RequestError, Resource as Values};
use relogin_res::{ResourceId, Value};
use serde::de::DeserializeOwned;

use crate::{
    Changes, Error, Events,
    held::{Held, Owner},
};

/// A resource that is subscribed as long as this, or a clone of it, or a stream of it, is there. Its values are kept over a
/// disconnect, and brought up to date after it.
#[derive(Clone, Debug)]
pub struct Resource {
    held: Arc<Held>,
}

/// A resource that is read as a `T`.
#[derive(Debug)]
pub struct Typed<T> {
    resource: Resource,
    values: PhantomData<fn() -> T>,
}

/// A model, read as a `T`: a struct with the members that are wanted of it.
pub type Model<T> = Typed<T>;

/// The values of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceValues {
    /// Those of a model, by their names.
    Model(BTreeMap<String, Value>),
    /// Those of a collection, in order.
    Collection(Vec<Value>),
}

/// A collection, each of whose values is read as a `T`.
pub type Collection<T> = Typed<Vec<T>>;

impl Resource {
    pub(crate) fn new(owner: Arc<Owner>, rid: ResourceId) -> Self {
        Self { held: Arc::new(Held { owner, rid }) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ResourceId {
        &self.held.rid
    }

    /// Reads its values, and those of what it refers to, as a `T`.
    ///
    /// # Errors
    /// [`Error::Format`] if they are no `T`; [`Error::Request`] if there are none, because it could not be had.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.held.read()
    }

    /// Its values as they came, references and all; none if they have not come yet.
    #[must_use]
    pub fn values(&self) -> Option<ResourceValues> {
        let state = self.held.shared().lock();
        Some(match state.machine.resource(&self.held.rid)? {
            Values::Model(model) => {
                ResourceValues::Model(model.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
            }
            Values::Collection(items) => ResourceValues::Collection(items.iter().cloned().collect()),
        })
    }

    /// A model's value of this name, as it came; none if there is none, or if this is no model.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value> {
        match self.held.shared().lock().machine.resource(&self.held.rid)? {
            Values::Model(model) => model.get(name).cloned(),
            Values::Collection(_) => None,
        }
    }

    /// How far the values can be trusted.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let state = self.held.shared().lock();
        state.machine.freshness(&self.held.rid).cloned().unwrap_or(Freshness::Failed(RequestError::NotSubscribed))
    }

    /// The newest values after each change, as a `T`.
    pub fn changes<T: DeserializeOwned>(&self) -> Changes<T> {
        Changes::new(Arc::clone(&self.held))
    }

    /// Each change, custom event and news of its freshness.
    pub fn events(&self) -> Events {
        Events::of(Arc::clone(&self.held))
    }

    /// Reads it as a `T` from now on.
    #[must_use]
    pub fn typed<T: DeserializeOwned>(self) -> Typed<T> {
        Typed { resource: self, values: PhantomData }
    }
}

impl<T: DeserializeOwned> Typed<T> {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Resource::read`].
    pub fn get(&self) -> Result<T, Error> {
        self.resource.read()
    }

    /// The newest values after each change.
    pub fn changes(&self) -> Changes<T> {
        self.resource.changes()
    }

    /// The resource, whatever it is read as.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self { resource: self.resource.clone(), values: PhantomData }
    }
}

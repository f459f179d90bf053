//! A subscribed resource, and the type that it is read as.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use relogin_client_proto::{Freshness, RequestError, Resource as Values};
use relogin_res::{ResourceId, Value};
use serde::de::DeserializeOwned;

use crate::{
    Changes, Error, Events,
    held::{Held, Owner},
};

/// A resource that stays subscribed until this, its clones and its streams are dropped. Its values
/// are kept while the connection is lost, and updated after that.
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

/// A model, read as a `T`: a struct with the members that the program wants.
pub type Model<T> = Typed<T>;

/// The values of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceValues {
    /// The values of a model, by name.
    Model(BTreeMap<String, Value>),
    /// The values of a collection, in order.
    Collection(Vec<Value>),
}

/// A collection whose values are each read as a `T`.
pub type Collection<T> = Typed<Vec<T>>;

impl Resource {
    pub(crate) fn new(owner: Arc<Owner>, rid: ResourceId) -> Self {
        Self { held: Arc::new(Held { owner, rid }) }
    }

    /// The resource id.
    #[must_use]
    pub fn id(&self) -> &ResourceId {
        &self.held.rid
    }

    /// Reads its values, and those of the resources it refers to, as a `T`.
    ///
    /// # Errors
    /// [`Error::Format`] if they are not a `T`, or have not come yet; [`Error::Request`] if the
    /// subscription was refused.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.held.read()
    }

    /// Its values as the gateway sent them, with references; `None` if they have not come yet.
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

    /// A model's member of this name, as the gateway sent it; `None` if there is no such member, or
    /// this is a collection.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value> {
        match self.held.shared().lock().machine.resource(&self.held.rid)? {
            Values::Model(model) => model.get(name).cloned(),
            Values::Collection(_) => None,
        }
    }

    /// The same of a model that this resource refers to; `None` also if it refers to no such model.
    #[must_use]
    pub fn member_of(&self, referred: &ResourceId, name: &str) -> Option<Value> {
        match self.held.shared().lock().machine.resource(referred)? {
            Values::Model(model) => model.get(name).cloned(),
            Values::Collection(_) => None,
        }
    }

    /// The resources that a collection's items refer to, in order; none if this is a model.
    #[must_use]
    pub fn references(&self) -> Vec<ResourceId> {
        match self.held.shared().lock().machine.resource(&self.held.rid) {
            Some(Values::Collection(items)) => items.iter().filter_map(Value::reference).cloned().collect(),
            Some(Values::Model(_)) | None => Vec::new(),
        }
    }

    /// Whether the values are up to date.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let state = self.held.shared().lock();
        let none = || Freshness::Failed(RequestError::Refused(relogin_res::Error::no_subscription()));
        state.machine.freshness(&self.held.rid).cloned().unwrap_or_else(none)
    }

    /// A stream of the newest values after each change, as a `T`.
    pub fn changes<T: DeserializeOwned>(&self) -> Changes<T> {
        Changes::new(Arc::clone(&self.held))
    }

    /// A stream of its changes, custom events, and changes of its freshness.
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
    /// Reads its values.
    ///
    /// # Errors
    /// As [`Resource::read`].
    pub fn get(&self) -> Result<T, Error> {
        self.resource.read()
    }

    /// A stream of the newest values after each change.
    pub fn changes(&self) -> Changes<T> {
        self.resource.changes()
    }

    /// The resource without its type.
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

//! Ids by which the machine's parts refer to each other's state.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Included, Unbounded},
    sync::LazyLock,
};

use relogin_res::ResourceId;

use crate::api::ConnectionKey;

/// Names a resource while it is in the cache. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceKey(pub(crate) u64);

/// Names something that a connection is in the middle of. Never used twice on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

/// Who is notified of a resource: a connection, and what it calls the resource.
pub(crate) type Subscriber = (ConnectionKey, ResourceId);

/// What was delivered to a subscriber of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The number of the first notice that it lacks.
    pub(crate) lacks: u64,
    /// The number of the last event of the resource's name, of those that were delivered, after
    /// which access must be requested again.
    pub(crate) access: u64,
}

/// Subscribers of a resource.
pub(crate) type Subscribers = BTreeMap<Subscriber, Delivered>;

/// The range in which the subscribers of one connection come first.
pub(crate) fn subscribers_from(connection: ConnectionKey) -> (Bound<Subscriber>, Bound<Subscriber>) {
    /// `!` is the first character that an id may have.
    static SMALLEST: LazyLock<Option<ResourceId>> = LazyLock::new(|| ResourceId::parse("!").ok());
    let smallest = SMALLEST.as_ref().map(|smallest| Included((connection, smallest.clone())));
    (smallest.unwrap_or(Unbounded), Unbounded)
}

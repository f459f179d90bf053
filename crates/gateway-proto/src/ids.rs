//! How the machine's parts name each other's things.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Included, Unbounded},
};

use relogin_res::ResourceId;

use crate::api::ConnectionKey;

/// Names a resource while it is in the cache. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceKey(pub(crate) u64);

/// Names something that a connection is in the middle of. Never used twice on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(pub(crate) u64);

/// Who is told of a resource: a connection, and what it calls the resource.
pub(crate) type Subscriber = (ConnectionKey, ResourceId);

/// Subscribers of a resource, each with the number of the first notice that it lacks.
pub(crate) type Subscribers = BTreeMap<Subscriber, u64>;

/// The range in which the subscribers of one connection come first.
pub(crate) fn subscribers_from(connection: ConnectionKey) -> (Bound<Subscriber>, Bound<Subscriber>) {
    // The smallest id: `!` is the first character that an id may have.
    let smallest = ResourceId::parse("!").ok().map(|smallest| Included((connection, smallest)));
    (smallest.unwrap_or(Unbounded), Unbounded)
}

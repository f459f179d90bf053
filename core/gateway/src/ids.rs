//! How the machine's parts name each other's things.

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

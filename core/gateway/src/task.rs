//! What a connection can be in the middle of.

use std::{collections::BTreeSet, sync::Arc};

use relogin_res::ResourceId;

use crate::{api::Tag, call::Call, event::Event, fetch::Fetch};

/// Something under way.
#[derive(Debug)]
pub(crate) enum Task {
    /// A client wants a resource.
    Fetch(Fetch),
    /// An event refers to resources that the client has not got.
    Deliver(Deliver),
    /// A client has called a method.
    Call(Call),
}

/// An event that waits for what it refers to.
#[derive(Debug)]
pub(crate) struct Deliver {
    /// The resource.
    pub(crate) rid: ResourceId,
    pub(crate) event: Arc<Event>,
    pub(crate) wait: Wait,
}

/// Waiting for resources and for all that they refer to.
#[derive(Debug)]
pub(crate) struct Wait {
    /// Where to begin. Each is pinned by the task, once for each time it stands here.
    pub(crate) roots: Vec<ResourceId>,
    /// What has been looked at.
    pub(crate) seen: BTreeSet<ResourceId>,
    /// How many of those are not there yet.
    pub(crate) loading: usize,
}

impl Task {
    /// What the task waits for resources with.
    pub(crate) fn wait(&mut self) -> Option<&mut Wait> {
        match self {
            Self::Fetch(fetch) => Some(&mut fetch.wait),
            Self::Deliver(deliver) => Some(&mut deliver.wait),
            Self::Call(_) => None,
        }
    }

    /// The request on the bus that is the task's own.
    pub(crate) fn tag(&self) -> Option<Tag> {
        match self {
            Self::Call(call) => call.tag,
            Self::Fetch(_) | Self::Deliver(_) => None,
        }
    }
}

impl Wait {
    pub(crate) fn new(roots: Vec<ResourceId>) -> Self {
        Self { roots, seen: BTreeSet::new(), loading: 0 }
    }
}

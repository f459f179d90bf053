//! The tasks of a connection: requests that wait for services or resources.

use std::{collections::BTreeSet, sync::Arc};

use relogin_res::ResourceId;

use serde_json::value::RawValue;

use crate::{event::Event, tag::Tag};

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

/// A client's wish for a resource.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// The request to answer.
    pub(crate) id: u64,
    pub(crate) rid: ResourceId,
    pub(crate) kind: FetchKind,
    /// True once access is known to be granted.
    pub(crate) granted: bool,
    /// True while another task fetches the same resource, and this one waits for it: what many ask
    /// for at once is looked through once.
    pub(crate) follows: bool,
    pub(crate) wait: Wait,
}

/// How a resource is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchKind {
    /// By a subscribe request.
    Subscribe,
    /// By a get request: without a subscription.
    Get,
    /// As the result of a method: with a direct subscription.
    Result,
}

/// An event that waits for what it refers to.
#[derive(Debug)]
pub(crate) struct Deliver {
    /// The resource.
    pub(crate) rid: ResourceId,
    pub(crate) event: Arc<Event>,
    pub(crate) wait: Wait,
}

/// A call of a method.
#[derive(Debug)]
pub(crate) struct Call {
    /// The request to answer.
    pub(crate) id: u64,
    /// The resource as services name it.
    pub(crate) target: ResourceId,
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
    /// True for a request of the kind `new`, whose result must be a resource.
    pub(crate) is_new: bool,
    /// True for an authentication.
    pub(crate) is_auth: bool,
    pub(crate) stage: Stage,
    /// The request on the bus, if it is this call's own.
    pub(crate) tag: Option<Tag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting to know whether it is allowed.
    Access,
    /// Waiting for the result.
    Result,
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

impl Call {
    /// The method that makes resources, whose result may come in a form of its own.
    pub(crate) const NEW: &str = "new";
}

impl Wait {
    pub(crate) fn new(roots: Vec<ResourceId>) -> Self {
        Self { roots, seen: BTreeSet::new(), loading: 0 }
    }
}

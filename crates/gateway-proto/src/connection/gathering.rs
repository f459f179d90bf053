//! Collects the resources below those that a task has waited for. Must not send them.

use std::collections::BTreeMap;

use relogin_res::ResourceId;

use super::walk::Walk;
use crate::{discard::Bulk, http::resources::Found, ids::TaskId};

/// A look through all that a task has waited for.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub(super) task: TaskId,
    pub(super) walk: Walk,
    pub(super) gathered: Gathered,
}

/// Resources below some roots, as they are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// There, and not with the client yet.
    pub(super) fresh: Vec<ResourceId>,
    /// These, and those that could not be loaded.
    pub(super) found: BTreeMap<ResourceId, Found>,
}

impl Bulk for Gathering {
    fn bulk(&self) -> usize {
        self.gathered.found.len()
    }
}

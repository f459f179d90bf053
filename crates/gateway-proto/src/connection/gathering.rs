//! Collects the resources below those that a task has waited for. Must not send them.

use std::collections::BTreeSet;

use relogin_res::ResourceId;

use super::walk::Walk;
use crate::ids::TaskId;

/// A look through all that a task has waited for.
#[derive(Debug)]
pub(crate) struct Gathering {
    pub(super) task: TaskId,
    pub(super) walk: Walk,
    pub(super) seen: BTreeSet<ResourceId>,
    pub(super) gathered: Gathered,
}

/// Resources below some roots, by what is to be sent of them.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// There, and not with the client yet.
    pub(super) fresh: Vec<ResourceId>,
    /// Could not be loaded.
    pub(super) failed: Vec<ResourceId>,
}

impl Gathered {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &ResourceId> {
        self.fresh.iter().chain(&self.failed)
    }
}

//! Resources on their way into an HTTP response. Shared with the cache, so that they are written
//! elsewhere than in the machine. Must not depend on how they are written.

use std::{collections::BTreeMap, fmt, sync::Arc};

use relogin_res::{Error, ResourceId};

use crate::content::{Content, Snapshot};

/// A resource, and all that it refers to, as they were at one moment.
pub struct Resources {
    pub(crate) root: ResourceId,
    pub(crate) found: BTreeMap<ResourceId, Found>,
}

impl Resources {
    /// How many values the resource has, if it refers to no other.
    pub(super) fn values(&self) -> Option<usize> {
        match self.found.get(&self.root) {
            Some(Found::Content(snapshot)) if self.found.len() == 1 => Some(match &snapshot.content {
                Content::Model(model) => model.as_slice().len(),
                Content::Collection(collection) => collection.len(),
            }),
            _ => None,
        }
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) enum Found {
    Content(Arc<Snapshot>),
    Error(Error),
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Contents are not for logs.
        f.debug_struct("Resources").field("root", &self.root).field("count", &self.found.len()).finish()
    }
}

//! Large things that are used no more. To free them takes long, so the driver has that done
//! elsewhere. Must not depend on what they were for.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
    sync::Arc,
};

use relogin_res::ResourceId;

use crate::{
    content::{Content, Snapshot},
    http::resources::Found,
};

/// Something large that is used no more. Drop it where that may take milliseconds.
pub struct Discarded {
    _thing: Box<dyn Send>,
}

/// Something of which there may be much.
pub(crate) trait Bulk: Send + 'static {
    /// How many things are freed with it, about.
    fn bulk(&self) -> usize;
}

/// How many things are freed at once.
const SMALL: usize = 64;

impl Discarded {
    /// What is to be freed elsewhere. Frees what is small, and returns none.
    pub(crate) fn new(thing: impl Bulk) -> Option<Self> {
        (thing.bulk() > SMALL).then(|| Self { _thing: Box::new(thing) })
    }
}

impl fmt::Debug for Discarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discarded").finish_non_exhaustive()
    }
}

impl Bulk for BTreeSet<ResourceId> {
    fn bulk(&self) -> usize {
        self.len()
    }
}

impl Bulk for BTreeMap<ResourceId, u32> {
    fn bulk(&self) -> usize {
        self.len()
    }
}

impl Bulk for btree_map::IntoKeys<ResourceId, u32> {
    fn bulk(&self) -> usize {
        self.len()
    }
}

impl Bulk for Vec<ResourceId> {
    fn bulk(&self) -> usize {
        self.len()
    }
}

impl Bulk for BTreeMap<ResourceId, Found> {
    fn bulk(&self) -> usize {
        let of = |found: &Found| if let Found::Content(snapshot) = found { snapshot.bulk() } else { 0 };
        // If there are many of them, that is enough.
        self.len() + self.values().take(SMALL).map(of).sum::<usize>()
    }
}

impl<T: Bulk> Bulk for Box<T> {
    fn bulk(&self) -> usize {
        (**self).bulk()
    }
}

/// Whoever has it last frees what it is shared for.
impl<T: Bulk + Sync> Bulk for Arc<T> {
    fn bulk(&self) -> usize {
        if Self::strong_count(self) == 1 { (**self).bulk() } else { 0 }
    }
}

impl Bulk for Snapshot {
    fn bulk(&self) -> usize {
        self.content.bulk()
    }
}

impl Bulk for Content {
    fn bulk(&self) -> usize {
        match self {
            Self::Model(model) => model.len(),
            Self::Collection(collection) => collection.len(),
        }
    }
}

//! The state of a name while the query requests of a query event are pending. Must not send any.

use std::collections::BTreeSet;

use crate::{decoding::Fetched, ids::ResourceKey, tag::Tag};

/// What services are being asked because of a query event.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) subject: String,
    /// The last resource that was looked at, and the last one that there was when the event came.
    pub(super) last: Option<ResourceKey>,
    pub(super) until: ResourceKey,
    /// What is being asked about.
    pub(super) asked: BTreeSet<ResourceKey>,
}

/// Something that arrived for a name while its query requests were pending, or while an answer was
/// being decoded.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// An event, and its payload.
    Event(String, Vec<u8>),
    /// The answer to a get request.
    Loaded(ResourceKey, Fetched),
    /// The answer to a get request for something that was cached already.
    Reloaded(ResourceKey, Fetched),
    /// An answer to a get request that is being decoded, and how many bytes it has.
    Decoding(Tag, usize),
}

impl Waiting {
    pub(super) fn bytes(&self) -> usize {
        let text = match self {
            Self::Event(name, payload) => name.len() + payload.len(),
            Self::Loaded(_, fetched) | Self::Reloaded(_, fetched) => fetched.as_ref().map_or(0, |(_, bytes)| *bytes),
            Self::Decoding(_, bytes) => *bytes,
        };
        size_of::<Self>() + text
    }
}

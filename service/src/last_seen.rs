//! What was last seen of the users, in the bucket of the sessions, as instances share it. Must not
//! know what it says.

use std::sync::Arc;

use async_trait::async_trait;
use relogin_users::shared::{Kept, SharedError, SharedLastSeen};

use crate::{
    bucket_entry::BucketEntry,
    instance::{Claim, Peers},
};

/// The entry, and the instances that use it.
pub struct SharedUsers {
    entry: BucketEntry,
    claim: Claim,
    peers: Peers,
}

impl SharedUsers {
    /// The entry, as an instance uses it that runs beside others.
    #[must_use]
    pub fn new(entry: BucketEntry, claim: Claim, peers: Peers) -> Arc<Self> {
        Arc::new(Self { entry, claim, peers })
    }
}

#[async_trait]
impl SharedLastSeen for SharedUsers {
    async fn read(&self) -> Result<Kept, SharedError> {
        self.entry.read().await
    }

    async fn write(&self, text: Vec<u8>, revision: u64) -> Result<Option<u64>, SharedError> {
        self.entry.write(Some(text), revision).await
    }

    fn is_agreed(&self, digest: Option<&str>) -> bool {
        self.claim.show_users(digest);
        digest.is_some_and(|digest| self.peers.have_users(digest))
    }

    fn has_another_left(&self, digest: &str) -> bool {
        self.peers.has_another_left(digest)
    }
}

impl std::fmt::Debug for SharedUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedUsers").field("entry", &self.entry).finish_non_exhaustive()
    }
}

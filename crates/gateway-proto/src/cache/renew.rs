//! Begins with an empty cache after a loss of the bus. Must not depend on connections.

use std::mem;

use super::{Cache, Config};

impl Cache {
    /// Makes the cache an empty one. Returns the one that it was.
    pub(crate) fn renew(&mut self, config: &Config) -> Self {
        // Keys are never used twice.
        let new = Self { last_key: self.last_key, ..Self::new(config) };
        mem::replace(self, new)
    }
}

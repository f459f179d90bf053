//! Maps by numbers that the gateway gives out itself. Must not depend on what they are numbers of.

use std::collections::HashMap;

/// A map by numbers that nobody else chooses, so that they need no hash that resists chosen keys,
/// as SipHash does.
pub(crate) type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

//! Maps by numbers that the gateway gives out itself. Must not depend on what they are numbers of.

use std::collections::HashMap;

/// A map by numbers that nobody else chooses. The usual hash, which is made for texts of strangers,
/// takes five times as long, and what a client does looks up dozens.
pub(crate) type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

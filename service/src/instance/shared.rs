//! What instances with one store must have in common. Must not depend on the bus.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What instances with one store must have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The store. Instances with different ones do not belong together.
    pub store: String,
    /// Options and their values. Those that only one of two versions knows are not compared.
    pub options: BTreeMap<String, String>,
    /// The fingerprints of the secrets. The first one signs, so all must have it.
    pub secrets: Vec<String>,
}

/// Why two instances do not belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// They have separate stores.
    Apart,
    /// They share a store but not this option; then ours and theirs, if it may be shown.
    Option(String, Option<(String, String)>),
}

impl Shared {
    /// Why an instance with this and one with `other` do not belong together, if they do not.
    pub(super) fn contradicts(&self, other: &Self) -> Option<Contradiction> {
        if self.store != other.store {
            return Some(Contradiction::Apart);
        }
        let pairs = self.options.iter().filter_map(|(option, value)| Some((option, value, other.options.get(option)?)));
        for (option, ours, theirs) in pairs {
            if ours != theirs {
                return Some(Contradiction::Option(option.clone(), Some((ours.clone(), theirs.clone()))));
            }
        }
        let knows = |one: &Self, other: &Self| one.secrets.first().is_none_or(|first| other.secrets.contains(first));
        let is_readable = knows(self, other) && knows(other, self);
        (!is_readable).then(|| Contradiction::Option("secret".to_owned(), None))
    }
}

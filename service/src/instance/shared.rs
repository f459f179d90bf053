//! What instances with one store must have in common. Must not depend on the bus.

use std::{collections::BTreeMap, fmt};

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
    /// True if they are in a file of the instance's own, where `relogin secret` changes nothing.
    #[serde(default)]
    pub has_file: bool,
}

/// Why two instances do not belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// They have separate stores.
    Apart,
    /// They share a store but not these options.
    Options(Differences),
}

/// In what two instances with one store differ: at least one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences(pub(super) Vec<Difference>);

/// An option, with our value and theirs if they may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) option: String,
    values: Option<(String, String)>,
}

impl Shared {
    /// Why an instance with this and one with `other` do not belong together, if they do not.
    pub(super) fn contradicts(&self, other: &Self) -> Option<Contradiction> {
        if self.store != other.store {
            return Some(Contradiction::Apart);
        }
        let pairs = self.options.iter().filter_map(|(option, ours)| Some((option, ours, other.options.get(option)?)));
        let differing = pairs.filter(|(_, ours, theirs)| ours != theirs);
        let mut differences: Vec<_> = differing
            .map(|(option, ours, theirs)| Difference {
                option: option.clone(),
                values: Some((ours.clone(), theirs.clone())),
            })
            .collect();
        let knows = |one: &Self, other: &Self| one.secrets.first().is_none_or(|first| other.secrets.contains(first));
        if !knows(self, other) || !knows(other, self) {
            differences.push(Difference { option: "secret".to_owned(), values: None });
        }
        (!differences.is_empty()).then_some(Contradiction::Options(Differences(differences)))
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Difference { option, values }) in self.0.iter().enumerate() {
            write!(f, "{}another {option}", if n == 0 { "" } else { ", " })?;
            if let Some((ours, theirs)) = values {
                write!(f, ": {theirs}, not {ours}")?;
            }
        }
        Ok(())
    }
}

//! RES protocol versions, and what each of them brought.

use std::fmt;

use serde::{Serialize, Serializer};

use relogin_json as json;

/// A protocol version.
/// [Version request](https://resgate.io/docs/specification/res-client-protocol/#version-request).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

impl Version {
    /// What this crate speaks.
    pub const CURRENT: Self = Self { major: 1, minor: 2, patch: 3 };
    /// What a client speaks that does not say.
    pub const UNSTATED: Self = Self { major: 1, minor: 1, patch: 1 };

    /// Reads `MAJOR.MINOR.PATCH`, each below 1000. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let digits = !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        });
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }

    /// As it is read.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = String::new();
        for (before, part) in [("", self.major), (".", self.minor), (".", self.patch)] {
            text.push_str(before);
            json::write_number(part.into(), &mut text);
        }
        text
    }

    /// True if peers of this version and of [`Version::CURRENT`] understand each other.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self.major == Self::CURRENT.major
    }

    /// True if results of call and auth come as `{payload}` or as a resource (since 1.2.0).
    #[must_use]
    pub fn has_call_result_object(self) -> bool {
        self >= Self { major: 1, minor: 2, patch: 0 }
    }

    /// True if soft references and data values are known (since 1.2.1).
    #[must_use]
    pub fn has_soft_references_and_data(self) -> bool {
        self >= Self { major: 1, minor: 2, patch: 1 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_small_numbers_are_a_version() {
        assert_eq!(Version::parse("1.2.3"), Some(Version::CURRENT));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.2.1000", "1.-2.3", "1.+2.3", " 1.2.3", "1..3"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }

    #[test]
    fn features_come_with_their_version() {
        let [old, results, soft] = ["1.1.1", "1.2.0", "1.2.1"].map(|text| Version::parse(text).unwrap());
        assert!(!old.has_call_result_object() && results.has_call_result_object());
        assert!(!results.has_soft_references_and_data() && soft.has_soft_references_and_data());
        assert!(Version::parse("1.999.0").unwrap().is_supported());
        assert!(!Version::parse("2.0.0").unwrap().is_supported());
    }
}

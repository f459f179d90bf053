//! Resource ids, resource names, patterns over names, and the `{cid}` tag.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// What a client writes in a resource id where the gateway is to put the connection's id.
/// [Connection ID
/// tag](https://resgate.io/docs/specification/res-client-protocol/#connection-id-tag).
pub const CID_TAG: &str = "{cid}";

/// Names a resource: a name of parts divided by dots, and maybe a query after a question mark.
/// Cheap to clone. [Resource
/// IDs](https://resgate.io/docs/specification/res-protocol/#resource-ids).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(Arc<str>);

/// A text that is no resource id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a resource id")]
pub struct InvalidResourceId(String);

/// A pattern over resource names: `*` stands for one part, `>` at the end for one or more.
/// [Resource name
/// pattern](https://resgate.io/docs/specification/res-service-protocol/#resource-name-pattern).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl ResourceId {
    /// Reads a resource id.
    ///
    /// # Errors
    /// [`InvalidResourceId`] if the name is empty, has an empty part, or a character that subjects
    /// cannot carry.
    pub fn parse(text: &str) -> Result<Self, InvalidResourceId> {
        let name = text.split_once('?').map_or(text, |(name, _)| name);
        if is_name(name) { Ok(Self(text.into())) } else { Err(InvalidResourceId(text.to_owned())) }
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the question mark.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('?').map_or(&self.0, |(name, _)| name)
    }

    /// The part after the question mark; an empty one counts as none.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.0.split_once('?').map(|(_, query)| query).filter(|query| !query.is_empty())
    }

    /// True if the id has the [`CID_TAG`], so that it names another resource on every connection.
    #[must_use]
    pub fn has_cid_tag(&self) -> bool {
        self.0.contains(CID_TAG)
    }

    /// The id that services know: each tag replaced by `cid`. `None` if `cid` cannot stand in a
    /// name.
    #[must_use]
    pub fn with_cid(&self, cid: &str) -> Option<Self> {
        if !self.has_cid_tag() {
            return Some(self.clone());
        }
        is_part(cid).then(|| Self(self.0.replace(CID_TAG, cid).into()))
    }
}

/// True if `text` is a resource name: parts divided by dots.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.split('.').all(is_part)
}

/// True if `text` can be one part of a resource name, and so a method or a connection id.
#[must_use]
pub fn is_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'.' | b'*' | b'>' | b'?'))
}

impl Pattern {
    /// Reads a pattern. `None` if it is not one; services send invalid ones at times, and it
    /// matches nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts = text.strip_suffix(".>").unwrap_or(text);
        let valid = text == ">" || parts.split('.').all(|part| part == "*" || is_part(part));
        valid.then(|| Self(text.into()))
    }

    /// The pattern as it was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the resource name `name` is one of those that the pattern stands for.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = name.split('.');
        for wanted in self.0.split('.') {
            match (wanted, parts.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(part)) if wanted == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for ResourceId {
    type Err = InvalidResourceId;

    fn from_str(text: &str) -> Result<Self, InvalidResourceId> {
        Self::parse(text)
    }
}

impl Serialize for ResourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rid(text: &str) -> ResourceId {
        ResourceId::parse(text).unwrap()
    }

    #[test]
    fn names_have_graphic_parts_and_queries_may_be_anything() {
        for text in ["a", "a.b", "session.user.{cid}", "a?b=c", "a.b?", "a?ä ö\n", "a?b?c"] {
            assert_eq!(rid(text).as_str(), text);
        }
        for text in ["", ".", "a.", ".a", "a..b", "a b", "ä", "a.*", "a.>", "?q", "a.?q", "a\n", "a\u{7f}"] {
            assert!(ResourceId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn name_and_query_are_told_apart() {
        let id = rid("a.b?q=1?2");
        assert_eq!((id.name(), id.query()), ("a.b", Some("q=1?2")));
        assert_eq!((rid("a.b").name(), rid("a.b").query()), ("a.b", None));
        assert_eq!(rid("a.b?").query(), None);
    }

    #[test]
    fn the_tag_is_replaced_in_name_and_query() {
        let id = rid("s.{cid}.x?of={cid}");
        assert_eq!(id.with_cid("c1").unwrap().as_str(), "s.c1.x?of=c1");
        assert_eq!(id.with_cid("no.part"), None);
        assert_eq!(rid("s.x").with_cid("no.part"), Some(rid("s.x")));
    }

    #[test]
    fn patterns_match_as_subjects_do() {
        for (pattern, name, matches) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.*.c", "a.b.c", true),
            ("*", "a", true),
            (">", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a*", "*a", "a.>.b", "a>", ">.a", "a?b", "a b", ".>"] {
            assert_eq!(Pattern::parse(text), None, "{text:?}");
        }
    }
}

//! A string with halves of surrogate pairs in it, which Rust's strings cannot hold.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer, Visitor, value::CowStrDeserializer},
};
use serde_json::Error;

/// A string of a message in which half a surrogate pair, which Rust's strings cannot hold, is read
/// as U+FFFD: names of members, and what is for people to read. What says who somebody is, and what
/// is a secret, is a [`String`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lossy<'de>(Cow<'de, str>);

impl Lossy<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, for itself.
    #[must_use]
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Lossy<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, serde_json writes half a pair as UTF-8 would if it could.
        deserializer.deserialize_bytes(LossyVisitor).map(Self)
    }
}

struct LossyVisitor;

impl<'de> Visitor<'de> for LossyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.to_owned().into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(with_replacements(bytes).into())
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(std::str::from_utf8(bytes).map_or_else(|_| with_replacements(bytes).into(), Cow::Borrowed))
    }
}

/// A text as serde_json hands it out as bytes: UTF-8, but for halves of surrogate pairs, which take
/// three bytes each.
fn with_replacements(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // The first byte of such a half; the other two come as chunks of their own.
        if chunk.invalid() == [0xed] {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

impl<'de> IntoDeserializer<'de, Error> for Lossy<'de> {
    type Deserializer = CowStrDeserializer<'de, Error>;

    fn into_deserializer(self) -> Self::Deserializer {
        self.0.into_deserializer()
    }
}

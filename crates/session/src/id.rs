//! Identifiers: sessions, users, connections, attempts.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base64url;

/// Names a session: 128 random bits, written as base64url. It opens nothing by itself, so it may
/// stand in logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// One use of a relogin key, drawn by the client before it sends: 128 random bits, written as
/// base64url. A retry carries the same attempt and gets the same successor (docs/protocol.md,
/// section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub [u8; 16]);

macro_rules! base64url_id {
    ($name:ident) => {
        impl $name {
            /// Reads the base64url form. `None` for anything that is not exactly 128 bits of it.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::parse_bytes(text.as_bytes())
            }

            /// [`Self::parse`], of a text that is part of another.
            pub(crate) fn parse_bytes(text: &[u8]) -> Option<Self> {
                let mut bytes = [0; 16];
                base64url::decode(text, &mut bytes)?;
                Some(Self(bytes))
            }

            /// Its base64url form.
            #[must_use]
            pub fn to_text(self) -> String {
                base64url::encode(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_text())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(&self.to_text())
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    Self::parse(&text).ok_or_else(|| de::Error::custom("not 128 bits of base64url"))
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

base64url_id!(SessionId);
base64url_id!(Attempt);

/// Names a connection to a gateway (RES "cid"). Never a secret: gateways hand out guessable ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConnectionId(Box<str>);

impl ConnectionId {
    /// The longest cid that is taken, in bytes. Resgate's have 20.
    pub const MAX_LEN: usize = 64;

    /// Reads a cid. `None` if it could not be one part of a NATS subject or is too long.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let part = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>' | '?');
        (!text.is_empty() && text.len() <= Self::MAX_LEN && text.chars().all(part)).then(|| Self(text.into()))
    }

    /// The cid as it stands in subjects and payloads.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a connection id"))
    }
}

/// Names a user, as the user directory does: a number or a text, and the same in JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserId {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The form of formats that do not describe themselves.
#[derive(Serialize, Deserialize)]
enum Tagged {
    Number(i64),
    Text(String),
}

/// The form of JSON and TOML.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an integer or a text")]
enum Plain {
    Number(i64),
    Text(String),
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), self) {
            (true, Self::Number(number)) => number.serialize(serializer),
            (true, Self::Text(text)) => text.serialize(serializer),
            (false, Self::Number(number)) => Tagged::Number(*number).serialize(serializer),
            (false, Self::Text(text)) => Tagged::Text(text.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Ok(match Plain::deserialize(deserializer)? {
                Plain::Number(n) => Self::Number(n),
                Plain::Text(t) => Self::Text(t),
            })
        } else {
            Ok(match Tagged::deserialize(deserializer)? {
                Tagged::Number(n) => Self::Number(n),
                Tagged::Text(t) => Self::Text(t),
            })
        }
    }
}

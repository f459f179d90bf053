//! JSON compared to the last digit: numbers, and strings that hold half a surrogate pair, are what
//! they are written as. Space between parts, the order of members and which characters of a string
//! are escaped make no difference.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};
use serde_json::value::RawValue;

/// A JSON value, its primitives as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exact {
    /// A string, number, boolean or null.
    Primitive(String),
    /// An array.
    Array(Vec<Self>),
    /// An object; of equal names the last.
    Object(BTreeMap<String, Self>),
}

/// In what is expected: any string.
const ANY_STRING: &str = r#""…""#;

impl Exact {
    /// Reads a JSON text.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let raw: &RawValue = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                Self::Array(items.into_iter().map(|item| Self::parse(item.get())).collect::<Result<_>>()?)
            }
            Some(b'{') => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
                let members = members.into_iter().map(|(name, member)| Ok((name, Self::parse(member.get())?)));
                Self::Object(members.collect::<Result<_>>()?)
            }
            _ => Self::Primitive(text.to_owned()),
        })
    }

    /// Takes a member out of an object, if it is one and has it.
    pub fn remove(&mut self, name: &str) {
        if let Self::Object(members) = self {
            members.remove(name);
        }
    }

    /// True if it is what is expected, where `"…"` expects any string.
    #[must_use]
    pub fn is(&self, expected: &Self) -> bool {
        match (self, expected) {
            (Self::Primitive(found), Self::Primitive(expected)) => {
                let string = |text: &str| serde_json::from_str::<String>(text).ok();
                found == expected
                    || expected == ANY_STRING && found.starts_with('"')
                    || string(found).is_some_and(|found| Some(found) == string(expected))
            }
            (Self::Array(found), Self::Array(expected)) => {
                found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| found.is(expected))
            }
            (Self::Object(found), Self::Object(expected)) => {
                found.keys().eq(expected.keys())
                    && found.values().zip(expected.values()).all(|(found, expected)| found.is(expected))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primitive(text) => match serde_json::from_str::<String>(text) {
                // However its characters are escaped, it is shown in one way.
                Ok(string) => f.write_str(&serde_json::Value::String(string).to_string()),
                Err(_) => f.write_str(text),
            },
            Self::Array(items) => {
                f.write_str("[")?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (n, (name, member)) in members.iter().enumerate() {
                    write!(f, "{}{name:?}:{member}", if n > 0 { "," } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_counts_and_space_does_not() {
        let is = |found: &str, expected: &str| Exact::parse(found).unwrap().is(&Exact::parse(expected).unwrap());
        assert!(is(r#"{"a":[1e400, "\ud83d"],"b":{}}"#, r#" { "b":{},"a":[1e400,"\ud83d"]}"#));
        assert!(is(r#"{"a":"x"}"#, r#"{"a":"…"}"#));
        assert!(is(r#""a\u0026b""#, r#""a&b""#));
        for (found, expected) in [("1.0", "1"), (r#""\ud83d""#, r#""\ud83e""#), ("1", r#""…""#), ("{}", r#"{"a":1}"#)]
        {
            assert!(!is(found, expected), "{found} {expected}");
        }
    }
}

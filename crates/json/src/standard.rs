//! The way without the feature `lean`: serde_json's, and a second, slower one through the text for
//! what that refuses although it is JSON.

use std::fmt;

use serde::{
    Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value as Json, value::RawValue};

use crate::{DEEPEST, Lossy};

/// Reads a JSON text. `None` if it is not valid.
pub(crate) fn parse(text: &str) -> Option<Json> {
    let read = serde_json::from_str(text).ok();
    // Rare, so it may go through the text once more for each level.
    read.or_else(|| lenient(serde_json::from_str(text).ok()?, DEEPEST))
}

/// Writes `json` behind `out`, without space.
pub(crate) fn write(json: &Json, out: &mut String) {
    out.push_str(&json.to_string());
}

/// Writes a whole number behind `out`.
pub(crate) fn write_number(number: u64, out: &mut String) {
    out.push_str(&number.to_string());
}

/// Writes a string, in its quotes, behind `out`.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a text has no names, and no number that is none"));
}

/// `deepest`: how many levels may lie in the value.
fn lenient(value: &RawValue, deepest: u8) -> Option<Json> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'[' | b'{' if deepest == 0 => Some(Json::Null),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            items.into_iter().map(|item| lenient(item, deepest - 1)).collect()
        }
        b'{' => serde_json::Deserializer::from_str(text).deserialize_map(Members(deepest - 1)).ok().map(Json::Object),
        b'"' => serde_json::from_str(text).ok().map(|text: Lossy<'_>| text.into_owned().into()),
        first => serde_json::from_str(text).ok().or_else(|| {
            // A number that is too large: nothing else is refused by itself.
            Some(if *first == b'-' { f64::MIN } else { f64::MAX }.into())
        }),
    }
}

/// Reads the members of an object, in each of which so many levels may lie.
struct Members(u8);

impl<'de> Visitor<'de> for Members {
    type Value = Map<String, Json>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = map.next_entry::<Lossy<'de>, &'de RawValue>()? {
            let value = lenient(value, self.0).ok_or_else(|| A::Error::custom("no JSON"))?;
            members.insert(name.into_owned(), value);
        }
        Ok(members)
    }
}

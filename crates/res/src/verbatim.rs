//! Values as their service wrote them, digit by digit: what a gateway keeps and passes on.
//!
//! A gateway needs to know of a value which resource it refers to, and whether it is the one that
//! was there before. Everything else in it is between the service and its clients: numbers of any
//! size, halves of surrogate pairs, members of a reference that RES does not define. Clients that
//! work with values read [`Value`](crate::Value)s instead.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use crate::{Change, InvalidValue, Map, ResourceId, read::RawMembers};

/// A value with its text.
#[derive(Clone)]
pub enum Verbatim {
    /// A string, number, boolean or null. A data value that holds one of these is read as this.
    Primitive(Box<RawValue>),
    /// A resource that comes along with this one. Boxed: most values are none, and collections have
    /// thousands of them.
    Reference(Box<Reference>),
    /// A resource that does not.
    SoftReference(Box<Reference>),
    /// A data value: the text of the object around the array or object.
    Data(Box<RawValue>),
}

/// A reference with its text.
#[derive(Clone, Debug)]
pub struct Reference {
    rid: ResourceId,
    text: Box<RawValue>,
}

/// How deep two data values are compared member by member. Below, their texts are.
const COMPARED_LEVELS: u8 = 8;

impl Verbatim {
    /// Reads a value.
    ///
    /// # Errors
    /// [`InvalidValue`] if the JSON is not a value, or a delete action.
    pub fn parse(text: &RawValue) -> Result<Self, InvalidValue> {
        match Change::<Self>::parse_text(text)? {
            Change::Set(value) => Ok(value),
            Change::Delete => Err(InvalidValue::Delete),
        }
    }

    /// The value's text.
    #[must_use]
    pub fn text(&self) -> &RawValue {
        match self {
            Self::Primitive(text) | Self::Data(text) => text,
            Self::Reference(reference) | Self::SoftReference(reference) => &reference.text,
        }
    }

    /// The resource that comes along with the one that has this value: hard references only.
    #[must_use]
    pub fn reference(&self) -> Option<&ResourceId> {
        match self {
            Self::Reference(reference) => Some(&reference.rid),
            _ => None,
        }
    }

    /// The resource that it refers to and that does not come along.
    #[must_use]
    pub fn soft_reference(&self) -> Option<&ResourceId> {
        match self {
            Self::SoftReference(reference) => Some(&reference.rid),
            _ => None,
        }
    }

    /// The array or object of a data value.
    #[must_use]
    pub fn data(&self) -> Option<&RawValue> {
        match self {
            Self::Data(text) => RawMembers::parse(text.get()).ok()?.get("data"),
            _ => None,
        }
    }

    /// What a client of a version before 1.2.1 understands: the id in place of a soft reference, a
    /// place-holder for data.
    #[must_use]
    pub fn without_soft_references_and_data(&self) -> Self {
        let string = |text: &str| {
            let text = serde_json::value::to_raw_value(text).expect("a string is JSON");
            Self::Primitive(text)
        };
        match self {
            Self::SoftReference(reference) => string(reference.rid.as_str()),
            Self::Data(_) => string("[Data]"),
            other => other.clone(),
        }
    }
}

impl Change<Verbatim> {
    /// Reads what a change event says of a member.
    ///
    /// # Errors
    /// [`InvalidValue`] if the JSON is neither a value nor a delete action.
    pub fn parse_text(text: &RawValue) -> Result<Self, InvalidValue> {
        match text.get().as_bytes().first() {
            Some(b'{') => Self::parse_object(text),
            Some(b'[') => Err(InvalidValue::Array),
            _ => Ok(Self::Set(Verbatim::Primitive(text.to_owned()))),
        }
    }

    fn parse_object(text: &RawValue) -> Result<Self, InvalidValue> {
        let object = RawMembers::parse(text.get()).map_err(|_| InvalidValue::Object)?;
        // A null is as good as no member, but for `data`, where it is a value.
        let member = |name: &str| object.get(name).filter(|text| text.get() != "null" || name == "data");
        let string = |text: &RawValue| serde_json::from_str::<String>(text.get()).ok();
        match (member("rid"), member("action"), member("data")) {
            (Some(rid), None, None) => {
                let rid = string(rid).and_then(|rid| ResourceId::parse(&rid).ok()).ok_or(InvalidValue::Reference)?;
                let reference = Box::new(Reference { rid, text: text.to_owned() });
                match member("soft").map(RawValue::get) {
                    None | Some("false") => Ok(Self::Set(Verbatim::Reference(reference))),
                    Some("true") => Ok(Self::Set(Verbatim::SoftReference(reference))),
                    Some(_) => Err(InvalidValue::Reference),
                }
            }
            (None, Some(action), None) if string(action).is_some_and(|action| action == "delete") => Ok(Self::Delete),
            (None, Some(_), None) => Err(InvalidValue::Action),
            (None, None, Some(data)) if data.get().starts_with(['[', '{']) => {
                Ok(Self::Set(Verbatim::Data(text.to_owned())))
            }
            (None, None, Some(primitive)) => Ok(Self::Set(Verbatim::Primitive(primitive.to_owned()))),
            (None, None, None) => Err(InvalidValue::Object),
            _ => Err(InvalidValue::Ambiguous),
        }
    }
}

/// True if a client can tell the values apart: primitives by their texts, references by what they
/// refer to, data by what is in them. Texts, because a number need not fit into any of ours. Where
/// there is doubt, values differ: a change that is sent for nothing does no harm.
impl PartialEq for Verbatim {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Primitive(one), Self::Primitive(other)) => one.get() == other.get(),
            (Self::Reference(one), Self::Reference(other)) | (Self::SoftReference(one), Self::SoftReference(other)) => {
                one.rid == other.rid
            }
            (Self::Data(one), Self::Data(other)) => is_same(one, other, COMPARED_LEVELS),
            _ => false,
        }
    }
}

/// Compares two texts of JSON, whatever the space between their parts and the order of members.
fn is_same(one: &RawValue, other: &RawValue, levels: u8) -> bool {
    if one.get() == other.get() {
        return true;
    }
    let Some(below) = levels.checked_sub(1) else { return false };
    let (one, other) = (one.get(), other.get());
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'{'), Some(b'{')) => {
            // A name that no string can hold makes the objects differ.
            let members = |text| serde_json::from_str::<Map<String, &RawValue>>(text);
            let (Ok(one), Ok(other)) = (members(one), members(other)) else { return false };
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other.iter())
                    .all(|((one_name, one), (other_name, other))| one_name == other_name && is_same(one, other, below))
        }
        (Some(b'['), Some(b'[')) => {
            let items = |text| serde_json::from_str::<Vec<&RawValue>>(text);
            let (Ok(one), Ok(other)) = (items(one), items(other)) else { return false };
            one.len() == other.len() && one.iter().zip(&other).all(|(one, other)| is_same(one, other, below))
        }
        _ => false,
    }
}

impl fmt::Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().get())
    }
}

impl Serialize for Verbatim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Verbatim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(<&RawValue>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value as Json;

    use super::*;
    use crate::Value;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn value(text: &str) -> Verbatim {
        Verbatim::parse(&raw(text)).unwrap()
    }

    fn check(text: &str, expected: &Expect) {
        let found = match Change::parse_text(&raw(text)) {
            Ok(Change::Delete) => "delete".to_owned(),
            Ok(Change::Set(value)) => {
                let kind = match value {
                    Verbatim::Primitive(_) => "primitive",
                    Verbatim::Reference(_) => "reference",
                    Verbatim::SoftReference(_) => "soft reference",
                    Verbatim::Data(_) => "data",
                };
                format!("{kind} {} {}", serde_json::to_string(&value).unwrap(), value.reference().is_some())
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
        // As clients read it, as far as they can.
        if let Ok(json) = serde_json::from_str::<Json>(text) {
            let (one, other) = (Change::parse_text(&raw(text)), Change::<Value>::parse(json));
            assert_eq!(one.is_ok(), other.is_ok(), "{text}");
            let rid = |change: &Change<Value>| change.value().and_then(Value::reference).cloned();
            let found = one.ok().and_then(|change| change.value().and_then(Verbatim::reference).cloned());
            assert_eq!(found, other.ok().as_ref().and_then(rid), "{text}");
        }
    }

    #[test]
    fn every_byte_goes_through() {
        check("1e400", &expect!["primitive 1e400 false"]);
        check("-0.10", &expect!["primitive -0.10 false"]);
        check("123456789012345678901234567890", &expect!["primitive 123456789012345678901234567890 false"]);
        check(r#""\ud83d""#, &expect![[r#"primitive "\ud83d" false"#]]);
        check(r#""\u0041\/""#, &expect![[r#"primitive "\u0041\/" false"#]]);
        check("null", &expect!["primitive null false"]);
        check(r#"{"rid":"a","soft":false}"#, &expect![[r#"reference {"rid":"a","soft":false} true"#]]);
        check(
            r#"{"\ud83d":1e400,"rid" : "\u0061.b" }"#,
            &expect![[r#"reference {"\ud83d":1e400,"rid" : "\u0061.b" } true"#]],
        );
        check(
            r#"{"rid":"a","soft":true,"x":[]}"#,
            &expect![[r#"soft reference {"rid":"a","soft":true,"x":[]} false"#]],
        );
        check(r#"{"data": [1e400]}"#, &expect![[r#"data {"data": [1e400]} false"#]]);
        check(r#"{"data":{"\ude00":"\ud83d"},"x":1}"#, &expect![[r#"data {"data":{"\ude00":"\ud83d"},"x":1} false"#]]);
        check(r#"{"data":1.0}"#, &expect!["primitive 1.0 false"]);
        check(r#"{"data":null}"#, &expect!["primitive null false"]);
        check(r#"{"action":"delete","rid":null}"#, &expect!["delete"]);
        let deep = format!(r#"{{"data":{}1{}}}"#, "[".repeat(9999), "]".repeat(9999));
        assert_eq!(value(&deep).text().get(), deep);
    }

    #[test]
    fn malformed_values_are_refused() {
        check("[1]", &expect!["nested arrays must be wrapped as data values"]);
        check("{}", &expect!["nested objects must be wrapped as data values"]);
        check(r#"{"rid":null}"#, &expect!["nested objects must be wrapped as data values"]);
        check(r#"{"rid":""}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":7}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":["a"]}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":"a","soft":1}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":"a","data":1}"#, &expect!["ambiguous kind of value"]);
        check(r#"{"action":"delete","data":1}"#, &expect!["ambiguous kind of value"]);
        check(r#"{"action":"move"}"#, &expect!["unknown action"]);
        check(r#"{"action":["delete"]}"#, &expect!["unknown action"]);
        assert_eq!(Verbatim::parse(&raw(r#"{"action":"delete"}"#)), Err(InvalidValue::Delete));
    }

    #[test]
    fn values_are_equal_if_no_client_can_tell_them_apart() {
        for (one, other) in [
            ("1", "1"),
            (r#"{"rid":"a"}"#, r#"{"soft":false,"rid":"a"}"#),
            (r#"{"data":1}"#, "1"),
            (r#"{"data":{"a":[1e400],"b":2}}"#, r#"{"data": { "b":2, "a":[ 1e400 ]}}"#),
        ] {
            assert_eq!(value(one), value(other));
        }
        for (one, other) in [
            // As numbers of 64 bits they would be equal.
            ("100000000000000000000000000001", "100000000000000000000000000002"),
            ("1e400", "1e401"),
            ("0.1", "0.10000000000000000001"),
            (r#""\ud83d""#, r#""\ud83e""#),
            (r#""\ud83d""#, "\"\u{fffd}\""),
            (r#"{"data":{"\ud83d":1}}"#, r#"{"data":{"\ud83e":1}}"#),
            (r#"{"data":[1e400]}"#, r#"{"data":[1e401]}"#),
            (r#"{"data":[1]}"#, r#"{"data":[1,2]}"#),
            (r#"{"data":{"a":1}}"#, r#"{"data":{"b":1}}"#),
            (r#"{"rid":"a"}"#, r#"{"rid":"a","soft":true}"#),
            (r#"{"rid":"a"}"#, r#"{"rid":"b"}"#),
            (r#""a""#, r#"{"rid":"a"}"#),
        ] {
            assert_ne!(value(one), value(other));
        }
    }

    #[test]
    fn data_of_any_depth_are_compared_in_a_bounded_time() {
        let deep = |space: &str| value(&format!(r#"{{"data":{}{space}1{}}}"#, "[".repeat(9999), "]".repeat(9999)));
        assert_eq!(deep(""), deep(""));
        assert_ne!(deep(""), deep(" "), "space so deep counts");
    }

    #[test]
    fn old_clients_get_place_holders() {
        let plain = |text: &str| value(text).without_soft_references_and_data().text().get().to_owned();
        assert_eq!(plain(r#"{"rid":"a","soft":true}"#), r#""a""#);
        assert_eq!(plain(r#"{"data":[1]}"#), r#""[Data]""#);
        assert_eq!(plain(r#"{"rid":"a","x":1}"#), r#"{"rid":"a","x":1}"#);
        assert_eq!(plain("1e400"), "1e400");
    }
}

//! Values of models and collections: primitives, references, data values, and the delete action.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::Value as Json;
use thiserror::Error;

use crate::{Map, Members, ResourceId};

/// Named values. [Models](https://resgate.io/docs/specification/res-protocol/#models).
pub type Model = Map<String, Value>;

/// Values in order. [Collections](https://resgate.io/docs/specification/res-protocol/#collections).
pub type Collection = Vec<Value>;

/// One value. [Values](https://resgate.io/docs/specification/res-protocol/#values).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string, number, boolean or null. A data value that holds one of these is read as this.
    Primitive(Json),
    /// A resource that comes along with this one.
    Reference(ResourceId),
    /// A resource that does not.
    SoftReference(ResourceId),
    /// Any array or object.
    Data(Json),
}

/// What a change event says of one member of a model.
/// [Delete action](https://resgate.io/docs/specification/res-service-protocol/#delete-action).
#[derive(Clone, Debug, PartialEq)]
pub enum Change<V = Value> {
    /// It has this value from now on.
    Set(V),
    /// It is gone.
    Delete,
}

/// JSON that is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidValue {
    /// An array that is not wrapped as a data value.
    #[error("nested arrays must be wrapped as data values")]
    Array,
    /// An object that is neither reference, data value nor action.
    #[error("nested objects must be wrapped as data values")]
    Object,
    /// An object that is several of them.
    #[error("ambiguous kind of value")]
    Ambiguous,
    /// A reference whose `rid` is no resource id, or whose `soft` is no boolean.
    #[error("invalid resource reference")]
    Reference,
    /// An action other than `delete`.
    #[error("unknown action")]
    Action,
    /// A delete action where there is nothing to delete from.
    #[error("a delete action is not a value")]
    Delete,
}

impl Value {
    /// The null primitive.
    pub const NULL: Self = Self::Primitive(Json::Null);

    /// Reads a value.
    ///
    /// # Errors
    /// [`InvalidValue`] if the JSON is not a value, or a delete action.
    pub fn parse(json: Json) -> Result<Self, InvalidValue> {
        match json {
            Json::Object(_) | Json::Array(_) => match Change::parse(json)? {
                Change::Set(value) => Ok(value),
                Change::Delete => Err(InvalidValue::Delete),
            },
            // In place, without the moves of the above: collections have thousands of them.
            primitive => Ok(Self::Primitive(primitive)),
        }
    }

    /// The value that stands for `json`: itself if it is a primitive, else a data value.
    #[must_use]
    pub fn of(json: Json) -> Self {
        match json {
            Json::Array(_) | Json::Object(_) => Self::Data(json),
            primitive => Self::Primitive(primitive),
        }
    }

    /// The JSON inside; none for references.
    #[must_use]
    pub fn json(&self) -> Option<&Json> {
        match self {
            Self::Primitive(json) | Self::Data(json) => Some(json),
            Self::Reference(_) | Self::SoftReference(_) => None,
        }
    }

    /// The resource that comes along with the one that has this value: hard references only.
    #[must_use]
    pub fn reference(&self) -> Option<&ResourceId> {
        match self {
            Self::Reference(rid) => Some(rid),
            _ => None,
        }
    }

    /// What a client of a version before 1.2.1 understands: the id in place of a soft reference, a
    /// place-holder for data.
    #[must_use]
    pub fn without_soft_references_and_data(&self) -> Self {
        match self {
            Self::SoftReference(rid) => Self::Primitive(rid.as_str().into()),
            Self::Data(_) => Self::Primitive("[Data]".into()),
            other => other.clone(),
        }
    }
}

impl Change<Value> {
    /// Reads what a change event says of a member.
    ///
    /// # Errors
    /// [`InvalidValue`] if the JSON is neither a value nor a delete action.
    pub fn parse(json: Json) -> Result<Self, InvalidValue> {
        match json {
            Json::Object(object) => Self::parse_object(object),
            Json::Array(_) => Err(InvalidValue::Array),
            primitive => Ok(Self::Set(Value::Primitive(primitive))),
        }
    }

    fn parse_object(mut object: Members) -> Result<Self, InvalidValue> {
        // A null is as good as no member, but for `data`, where it is a value.
        let mut take =
            |name: &str| object.get_mut(name).map(Json::take).filter(|json| !json.is_null() || name == "data");
        match (take("rid"), take("action"), take("data")) {
            (Some(Json::String(rid)), None, None) => {
                let rid = ResourceId::parse(&rid).map_err(|_| InvalidValue::Reference)?;
                match take("soft") {
                    None | Some(Json::Bool(false)) => Ok(Self::Set(Value::Reference(rid))),
                    Some(Json::Bool(true)) => Ok(Self::Set(Value::SoftReference(rid))),
                    Some(_) => Err(InvalidValue::Reference),
                }
            }
            (Some(_), None, None) => Err(InvalidValue::Reference),
            (None, Some(Json::String(action)), None) if action == "delete" => Ok(Self::Delete),
            (None, Some(_), None) => Err(InvalidValue::Action),
            (None, None, Some(data)) => Ok(Self::Set(Value::of(data))),
            (None, None, None) => Err(InvalidValue::Object),
            _ => Err(InvalidValue::Ambiguous),
        }
    }
}

impl<V> Change<V> {
    /// The new value; none if the member is deleted.
    #[must_use]
    pub fn value(&self) -> Option<&V> {
        match self {
            Self::Set(value) => Some(value),
            Self::Delete => None,
        }
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::NULL
    }
}

impl<V> From<V> for Change<V> {
    fn from(value: V) -> Self {
        Self::Set(value)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = match self {
            Self::Primitive(json) => return json.serialize(serializer),
            _ => serializer.serialize_map(None)?,
        };
        match self {
            Self::Primitive(_) => {}
            Self::Reference(rid) => map.serialize_entry("rid", rid)?,
            Self::SoftReference(rid) => {
                map.serialize_entry("rid", rid)?;
                map.serialize_entry("soft", &true)?;
            }
            Self::Data(json) => map.serialize_entry("data", json)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Json::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<V: Serialize> Serialize for Change<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(value) => value.serialize(serializer),
            Self::Delete => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("action", "delete")?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Change<Value> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Json::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(json: &str, expected: &Expect) {
        let found = match serde_json::from_str(json).map(Change::parse).unwrap() {
            Ok(change) => format!("{change:?} {}", serde_json::to_string(&change).unwrap()),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn values_are_read_and_written() {
        check("42", &expect!["Set(Primitive(Number(42))) 42"]);
        check("null", &expect!["Set(Primitive(Null)) null"]);
        check(r#"{"rid":"a.b","x":1}"#, &expect![[r#"Set(Reference("a.b")) {"rid":"a.b"}"#]]);
        check(r#"{"rid":"a.b","soft":false}"#, &expect![[r#"Set(Reference("a.b")) {"rid":"a.b"}"#]]);
        check(r#"{"rid":"a","soft":true}"#, &expect![[r#"Set(SoftReference("a")) {"rid":"a","soft":true}"#]]);
        check(r#"{"data":[1]}"#, &expect![[r#"Set(Data(Array [Number(1)])) {"data":[1]}"#]]);
        check(r#"{"data":7}"#, &expect!["Set(Primitive(Number(7))) 7"]);
        check(r#"{"data":null}"#, &expect!["Set(Primitive(Null)) null"]);
        check(r#"{"action":"delete"}"#, &expect![[r#"Delete {"action":"delete"}"#]]);
    }

    #[test]
    fn malformed_values_are_refused() {
        check("[1]", &expect!["nested arrays must be wrapped as data values"]);
        check("{}", &expect!["nested objects must be wrapped as data values"]);
        check(r#"{"rid":null}"#, &expect!["nested objects must be wrapped as data values"]);
        check(r#"{"rid":""}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":7}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":"a","soft":1}"#, &expect!["invalid resource reference"]);
        check(r#"{"rid":"a","data":1}"#, &expect!["ambiguous kind of value"]);
        check(r#"{"action":"delete","data":1}"#, &expect!["ambiguous kind of value"]);
        check(r#"{"action":"move"}"#, &expect!["unknown action"]);
        assert_eq!(Value::parse(serde_json::json!({"action": "delete"})), Err(InvalidValue::Delete));
    }

    #[test]
    fn numbers_survive_the_way_through() {
        // One of the numbers that a hasty parser reads as its neighbour.
        let text = "[0.30000000000000004,51.24817837550540,18446744073709551615]";
        let values: Collection = serde_json::from_str(text).unwrap();
        assert_eq!(
            serde_json::to_string(&values).unwrap(),
            "[0.30000000000000004,51.2481783755054,18446744073709551615]"
        );
    }
}

//! Converts RES values to JavaScript and back: primitives as they are, everything else as objects
//! in the form of the RES protocol. Must not depend on clients.

use std::fmt;

use js_sys::JsString;
use relogin_res::{Change, Value};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::SerializeSeq as _,
};
use serde_json::Value as Json;
use serde_wasm_bindgen::preserve;
use tsify::Tsify;

/// One value of a model or a collection, or of a change event.
#[derive(Debug, Serialize, Tsify)]
#[serde(untagged)]
pub enum ResValue<'a> {
    /// A text, a number, a boolean or null.
    Primitive(#[tsify(type = "string | number | boolean | null")] Plain<'a>),
    /// A reference to a resource, which is subscribed along.
    Reference {
        /// Its id.
        rid: &'a str,
    },
    /// A soft reference, whose resource is not.
    SoftReference {
        /// Its id.
        rid: &'a str,
        /// Always true.
        #[tsify(type = "true")]
        soft: bool,
    },
    /// An array or an object.
    Data {
        /// The value.
        #[tsify(type = "unknown")]
        data: Plain<'a>,
    },
    /// A change event that deletes the member.
    Action {
        /// Always "delete".
        #[tsify(type = "\"delete\"")]
        action: &'static str,
    },
}

impl<'a> From<&'a Value> for ResValue<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Primitive(json) => Self::Primitive(Plain(json)),
            Value::Data(json) => Self::Data { data: Plain(json) },
            Value::Reference(rid) => Self::Reference { rid: rid.as_str() },
            Value::SoftReference(rid) => Self::SoftReference { rid: rid.as_str(), soft: true },
        }
    }
}

impl<'a> From<&'a Change> for ResValue<'a> {
    fn from(change: &'a Change) -> Self {
        match change {
            Change::Set(value) => value.into(),
            Change::Delete => Self::Action { action: "delete" },
        }
    }
}

/// JSON with all numbers as floats: serde-wasm-bindgen refuses integers that a float cannot
/// represent.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a Json);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Json::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, Plain(value)))),
        }
    }
}

/// For the fields of structs that own JSON.
pub(super) fn plain<S: Serializer>(json: &Json, serializer: S) -> Result<S::Ok, S::Error> {
    Plain(json).serialize(serializer)
}

/// As [`plain`].
pub(super) fn some_plain<S: Serializer>(json: &Option<Json>, serializer: S) -> Result<S::Ok, S::Error> {
    json.as_ref().map(Plain).serialize(serializer)
}

/// JSON from JavaScript. (Reading it as serde_json's own value would add serde_json's parser, which
/// raw values need: 8 kB more to download.)
#[derive(Debug)]
pub(super) struct FromJs(pub(super) Json);

impl<'de> Deserialize<'de> for FromJs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

/// For optional fields of JSON.
pub(super) fn from_js<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Ok(Option::<FromJs>::deserialize(deserializer)?.map(|FromJs(json)| json))
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        // As in JSON.stringify, NaN and the infinities become null.
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(FromJs(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((name, FromJs(value))) = members.next_entry()? {
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

/// Values by their names.
#[derive(Debug)]
pub struct Members<'a, T>(pub(super) &'a [(String, T)]);

impl<'a, T> Serialize for Members<'a, T>
where
    ResValue<'a>: From<&'a T>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, ResValue::from(value))))
    }
}

/// Values in order.
#[derive(Debug)]
pub struct Items<'a>(pub(super) &'a relogin_res::List<Value>);

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(texts) = self.texts() {
            return preserve::serialize(&texts, serializer);
        }
        let mut items = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0.iter() {
            items.serialize_element(&ResValue::from(value))?;
        }
        items.end()
    }
}

impl Items<'_> {
    /// All items in one text that JavaScript splits, if all are texts, as in most collections:
    /// passed one by one they take twice as long.
    fn texts(&self) -> Option<js_sys::Array> {
        const BETWEEN: &str = "\0";
        let mut joined = String::new();
        for (index, value) in self.0.iter().enumerate() {
            let Value::Primitive(Json::String(text)) = value else { return None };
            if text.contains(BETWEEN) {
                return None;
            }
            if index > 0 {
                joined.push_str(BETWEEN);
            }
            joined.push_str(text);
        }
        (!self.0.is_empty()).then(|| JsString::from(joined).split(BETWEEN))
    }
}

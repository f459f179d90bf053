//! Reads resources by serde. References are followed: the values of a model within a model, or of a
//! collection's models, are read in their place. Must not depend on commands.

use std::fmt;

use relogin_client_proto::{Client as Machine, Resource as Values};
use relogin_res::{ResourceId, Value};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor,
        value::{MapDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Value as Json};

/// The name by which a [`Reference`] asks for an id.
const REFERENCE: &str = "relogin::Reference";

/// How many references are followed from one to the next: a longer chain is taken for a cycle.
const MAX_DEPTH: u8 = 64;

/// The id of a resource that a model or collection refers to, by a hard or a soft reference, in
/// place of that resource's values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Reference(ResourceId);

impl Reference {
    /// The id.
    #[must_use]
    pub fn id(&self) -> &ResourceId {
        &self.0
    }

    /// The id as text, as [`Client::model`](crate::Client::model) takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Reads a resource of `machine`, and what it refers to.
pub(crate) fn resource<T: DeserializeOwned>(machine: &Machine, rid: &ResourceId) -> Result<T, Error> {
    let values = machine.resource(rid).ok_or_else(|| Error::custom("there are no values yet"))?;
    T::deserialize(Reader { place: Place::Values(values), machine: Some(machine), depth: 0 })
}

/// Reads values without following references.
pub(crate) fn values<T: DeserializeOwned>(values: &Values) -> Result<T, Error> {
    T::deserialize(Reader { place: Place::Values(values), machine: None, depth: 0 })
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    place: Place<'a>,
    /// Where references are looked up; `None`: they are not followed.
    machine: Option<&'a Machine>,
    depth: u8,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Values(&'a Values),
    Value(&'a Value),
}

impl<'a> Reader<'a> {
    fn value(self, value: &'a Value) -> Self {
        Self { place: Place::Value(value), ..self }
    }

    /// A reader of the resource that this refers to, if this is a reference that can be followed.
    fn followed(self) -> Result<Option<Self>, Error> {
        let Place::Value(Value::Reference(rid)) = self.place else { return Ok(None) };
        let Some(values) = self.machine.and_then(|machine| machine.resource(rid)) else { return Ok(None) };
        if self.depth >= MAX_DEPTH {
            return Err(Error::custom("the references go in a circle: read one as a Reference"));
        }
        Ok(Some(Self { place: Place::Values(values), depth: self.depth + 1, ..self }))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.place {
            Place::Values(Values::Model(model)) => {
                visitor.visit_map(Members { rest: model.iter(), value: None, reader: self })
            }
            Place::Values(Values::Collection(values)) => visitor.visit_seq(Items { rest: values.iter(), reader: self }),
            Place::Value(Value::Primitive(json) | Value::Data(json)) => json.clone().deserialize_any(visitor),
            Place::Value(Value::Reference(rid) | Value::SoftReference(rid)) => match self.followed()? {
                Some(reader) => reader.deserialize_any(visitor),
                None => visitor.visit_map(MapDeserializer::new([("rid", rid.as_str())].into_iter())),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.place {
            Place::Value(Value::Primitive(Json::Null)) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.place {
            Place::Value(Value::Reference(rid) | Value::SoftReference(rid)) if name == REFERENCE => {
                visitor.visit_str(rid.as_str())
            }
            _ if name == REFERENCE => Err(Error::custom("not a reference")),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.place {
            Place::Value(Value::Primitive(json) | Value::Data(json)) => {
                json.clone().deserialize_enum(name, variants, visitor)
            }
            _ => Err(Error::custom("no resource is an enum, unless it is untagged or has its tag inside")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Members<'a> {
    rest: relogin_res::map::Iter<'a, String, Value>,
    value: Option<&'a Value>,
    reader: Reader<'a>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        // Serde asks for a value after each key.
        let value = self.value.take().unwrap_or(&Value::NULL);
        seed.deserialize(self.reader.value(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Items<'a, I> {
    rest: I,
    reader: Reader<'a>,
}

impl<'de, 'a, I: Iterator<Item = &'a Value>> SeqAccess<'de> for Items<'a, I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.rest.next().map(|value| seed.deserialize(self.reader.value(value))).transpose()
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl Visitor<'_> for Id {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Reference, E> {
                ResourceId::parse(text).map(Reference).map_err(E::custom)
            }
        }
        deserializer.deserialize_newtype_struct(REFERENCE, Id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Book {
        title: String,
        #[serde(default)]
        pages: Option<u32>,
        kind: Kind,
        author: Reference,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Novel,
        Poems,
    }

    fn model(json: Json) -> Values {
        Values::Model(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn members_are_read_as_their_types() {
        let book: Book = values(&model(json!({
            "title": "A", "pages": 7, "kind": "novel", "author": {"rid": "authors.1"}, "tags": {"data": ["x"]}, "more": 1,
        })))
        .unwrap();
        assert_eq!((book.title.as_str(), book.pages, book.kind), ("A", Some(7), Kind::Novel));
        assert_eq!((book.author.as_str(), book.tags), ("authors.1", vec!["x".to_owned()]));
        let book: Book = values(&model(
            json!({"title": "B", "pages": null, "kind": "poems", "author": {"rid": "authors.2", "soft": true}}),
        ))
        .unwrap();
        assert_eq!((book.pages, book.author.as_str()), (None, "authors.2"));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for wrong in [
            json!({"title": 1, "kind": "novel", "author": {"rid": "a"}}),
            json!({"title": "A", "kind": "none", "author": {"rid": "a"}}),
            json!({"title": "A", "kind": "novel", "author": "a"}),
            json!({"title": "A", "kind": {"rid": "a"}, "author": {"rid": "a"}}),
        ] {
            assert!(values::<Book>(&model(wrong.clone())).is_err(), "{wrong}");
        }
        let collection = Values::Collection(vec![Value::NULL].into());
        assert!(values::<Book>(&collection).is_err());
        assert_eq!(values::<Vec<Option<u8>>>(&collection).unwrap(), [None]);
    }

    #[test]
    fn everything_can_be_read_as_json() {
        let json = json!({"a": [1, {"rid": "x"}], "b": null});
        let found: Json = values(&model(json!({"a": {"data": [1, {"rid": "x"}]}, "b": null}))).unwrap();
        assert_eq!(found, json);
        let found: Json =
            values(&Values::Collection(vec![Value::Reference(ResourceId::parse("x").unwrap())].into())).unwrap();
        assert_eq!(found, json!([{"rid": "x"}]));
    }
}

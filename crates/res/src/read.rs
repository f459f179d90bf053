//! Reads the structs of the wire from JSON text.
//!
//! Serde's derived readers accept an array for a struct, its items for the fields in their order.
//! On the wire, `{"result":[true,"*"]}` would then grant everything. Here, at any depth, only an
//! object is a struct. Of equal names the last counts, as in `relogin_json`, in JavaScript and in
//! Resgate, and a name with half a surrogate pair is read with U+FFFD in its place; where a message
//! says who somebody is, [`credentials`] refuses both. An untagged enum is out of reach: serde
//! buffers it and reads the buffer itself.
//!
//! Must not depend on any message of RES.

mod strict;

use std::{fmt, iter, mem};

use relogin_json::Lossy;
use serde::{
    Deserialize, Deserializer,
    de::{
        Error as _, IntoDeserializer, MapAccess, Visitor,
        value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer},
    },
};
use serde_json::{Error, value::RawValue};

use self::strict::others_as_they_are;

/// Reads a struct from the text of an object.
///
/// # Errors
/// The text is no JSON object, or the object is not such a struct.
pub fn object<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Error> {
    let text = str::from_utf8(text).map_err(Error::custom)?;
    // Hardly any message has equal names; what else is wrong with one, the second reader says.
    strict::read(text).or_else(|_| T::deserialize(MapDeserializer::new(members(text)?)))
}

/// Reads a struct from the text of an object that says who somebody is: a name of the struct's that
/// comes twice is refused, because another reader may take the other value, and so are names that
/// are no Unicode.
///
/// # Errors
/// The text is no JSON object, or the object is not such a struct.
pub fn credentials<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, Error> {
    strict::read(str::from_utf8(text).map_err(Error::custom)?)
}

/// The name by which raw texts ask for themselves, serde_json's secret. A test tells when it
/// changes, and then it is slower.
const RAW: &str = "$serde_json::private::RawValue";

/// The text of a value, to be read, of equal names the last.
struct Text<'de>(&'de RawValue);

/// The members of an object, to be read.
fn members<'de>(text: &'de str) -> Result<impl Iterator<Item = (Lossy<'de>, Text<'de>)>, Error> {
    Ok(RawMembers::parse(text)?.0.into_iter().map(|(name, value)| (name, Text(value))))
}

/// The members of an object and their texts.
pub(crate) struct RawMembers<'de>(Vec<(Lossy<'de>, &'de RawValue)>);

impl<'de> RawMembers<'de> {
    /// Reads the members of an object, of equal names the last.
    pub(crate) fn parse(text: &'de str) -> Result<Self, Error> {
        let mut members: Self = serde_json::from_str(text)?;
        // Stable, so that of equal names the last stays last.
        members.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        members.0.dedup_by(|later, kept| {
            let again = later.0 == kept.0;
            if again {
                mem::swap(later, kept);
            }
            again
        });
        Ok(members)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (String, &'de RawValue)> {
        self.0.into_iter().map(|(name, text)| (name.into_owned(), text))
    }

    /// The text of the member `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&'de RawValue> {
        self.0.iter().find(|(other, _)| other.as_str() == name).map(|(_, text)| *text)
    }
}

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawMembers(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

impl<'de> IntoDeserializer<'de, Error> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Error;

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(members(self.0.get())?))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items: Vec<&'de RawValue> = serde_json::from_str(self.0.get())?;
        let mut items = SeqDeserializer::new(items.into_iter().map(Text));
        let found = visitor.visit_seq(&mut items)?;
        items.end()?;
        Ok(found)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.get() == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == RAW {
            // As serde_json hands out a text that it has found, without looking for its end once
            // more.
            visitor.visit_map(MapDeserializer::new(iter::once((name, BorrowedStrDeserializer::new(self.0.get())))))
        } else if name.starts_with('$') {
            self.0.deserialize_newtype_struct(name, visitor)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    others_as_they_are!();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer<'a> {
        #[serde(default)]
        n: u8,
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        named: BTreeMap<String, Inner>,
        #[serde(default)]
        any: Json,
        #[serde(borrow)]
        text: Option<&'a str>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner(Innermost);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Innermost {
        x: u8,
    }

    fn check(text: &str, is_read: bool) {
        let found = object::<Outer<'_>>(text.as_bytes());
        assert_eq!(found.is_ok(), is_read, "{text}: {found:?}");
    }

    #[test]
    fn objects_alone_are_structs_at_any_depth() {
        check(r#" {"n":1,"inner":{"x":1},"list":[{"x":1}],"named":{"a":{"x":1}},"any":[[1]],"text":"a"} "#, true);
        check(r#"{"inner":null,"text":null,"other":[{}]}"#, true);
        for text in [
            "[1,null,[],{},null,null]",
            r#"{"inner":[1]}"#,
            r#"{"list":[[1]]}"#,
            r#"{"list":{"x":1}}"#,
            r#"{"named":{"a":[1]}}"#,
            r#"{"named":[]}"#,
            r#"{"n":256}"#,
            r#"{"n":1}}"#,
            r#"{"n":1"#,
            "null",
            "",
        ] {
            check(text, false);
        }
        assert!(serde_json::from_str::<Outer<'_>>(r#"{"inner":[1]}"#).is_ok(), "serde now refuses arrays itself");
        assert!(object::<Json>(b"[1]").is_err());
        assert!(object::<(u8,)>(b"[1]").is_err());
    }

    #[test]
    fn raw_texts_are_what_stands_there() {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(borrow)]
            borrowed: &'a RawValue,
            owned: Option<Box<RawValue>>,
        }
        let read: Raw<'_> = object(br#" { "borrowed" : [ 1e400 ] , "owned" : "\ud83d" } "#).unwrap();
        assert_eq!((read.borrowed.get(), read.owned.unwrap().get()), ("[ 1e400 ]", r#""\ud83d""#));
        let read: Raw<'_> = object(br#"{"borrowed":null,"owned":null}"#).unwrap();
        assert!(read.borrowed.get() == "null" && read.owned.is_none());
        // The name is serde_json's.
        struct Asked;
        impl<'de> Visitor<'de> for Asked {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
                while map.next_entry::<&str, &str>()?.is_some() {}
                Ok(())
            }
        }
        let asks = serde_json::from_str::<&RawValue>("1").unwrap().deserialize_newtype_struct(RAW, Asked);
        assert!(asks.is_ok(), "serde_json has another name for it");
        for text in [&b"{} x"[..], b"{\"a\":1}}", b"{\"a\":\xff}", b"\xff", b" "] {
            assert!(object::<Json>(text).is_err());
        }
    }

    #[test]
    fn of_equal_names_the_last_counts() {
        let read = object::<Outer<'_>>(br#"{"n":1,"inner":{"x":"no","x":2},"n":3,"\u006e":4}"#).unwrap();
        assert_eq!((read.n, read.inner), (4, Some(Inner(Innermost { x: 2 }))));
        let refused = |text: &str| credentials::<Outer<'_>>(text.as_bytes()).is_err();
        assert!(!refused(r#"{"n":1,"inner":{"x":2},"named":{"a":{"x":1}},"other":1,"other":2}"#));
        for text in [r#"{"n":1,"\u006e":2}"#, r#"{"inner":{"x":1,"x":1}}"#, r#"{"list":[{"x":1,"x":1}]}"#, "[1]"] {
            assert!(refused(text), "{text}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_in_a_name_spoils_nothing() {
        let read: BTreeMap<String, u8> = object(br#"{"a\ud83d":1,"\ude00b\ud83d\ud83d\ude00":2,"c":3}"#).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a\u{fffd}", "c", "\u{fffd}b\u{fffd}\u{1f600}"]);
        check(r#"{"n":1,"\ud83d":1e400}"#, true);
        assert!(credentials::<Outer<'_>>(br#"{"n":1,"\ud83d":1}"#).is_err());
        // Who somebody is, and what is a secret, is never guessed.
        check(r#"{"text":"\ud83d"}"#, false);
    }

    /// Texts, many of which are an [`Outer`] but for something. If not `is_strict`, their objects
    /// may have equal names, and names with half a surrogate pair.
    fn texts(is_strict: bool) -> impl Strategy<Value = String> {
        const NAMES: [&str; 10] = ["n", r"\u006e", "inner", "list", "named", "any", "text", "x", "y", r"\ud83d"];
        let leaf =
            ["null", "1", "1", "1", "256", "1e400", r#""a""#, r#""\n""#, r#""\ud83d""#, "[]", "{}"].map(str::to_owned);
        prop::sample::select(leaf.to_vec()).prop_recursive(4, 32, 8, move |inner| {
            let names = prop::sample::select(NAMES[..if is_strict { NAMES.len() - 1 } else { NAMES.len() }].to_vec());
            let object = prop::collection::vec((names, inner.clone()), 0..8).prop_map(move |mut members| {
                if is_strict {
                    let meaning = |name: &str| if name == NAMES[1] { NAMES[0].to_owned() } else { name.to_owned() };
                    members.sort_by_key(|(name, _)| meaning(name));
                    members.dedup_by_key(|(name, _)| meaning(name));
                }
                let members: Vec<_> = members.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
                format!("{{{}}}", members.join(","))
            });
            let array = prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" , ")));
            prop_oneof![3 => object, 1 => array]
        })
    }

    fn as_the_last_counts<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
        T::deserialize(MapDeserializer::new(members(text).ok()?)).ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn both_readers_find_the_same(text in texts(true)) {
            prop_assert_eq!(strict::read::<Outer<'_>>(&text).ok(), as_the_last_counts(&text));
            prop_assert_eq!(strict::read::<Inner>(&text).ok(), as_the_last_counts(&text));
            let named = strict::read::<BTreeMap<String, Innermost>>(&text).ok();
            prop_assert_eq!(named, as_the_last_counts(&text));
        }

        #[test]
        fn the_strict_reader_finds_what_the_last_of_equal_names_says_or_nothing(text in texts(false)) {
            if let Ok(found) = strict::read::<Outer<'_>>(&text) {
                prop_assert_eq!(Some(found), as_the_last_counts(&text));
            }
        }
    }
}

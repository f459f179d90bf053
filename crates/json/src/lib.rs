//! Reads and writes the JSON text of messages, as serde_json's values.
//!
//! It reads what serde_json reads, and to the same values. What serde_json refuses although it is
//! JSON costs no more than itself: half a surrogate pair is read as U+FFFD (there are services that
//! cut texts in the middle of one), a number that is too large as the largest, and an array or
//! object that lies too deep as null. Of equal names in an object the last counts.
//!
//! serde_json does it, or, with the feature `lean`, code of our own that is less to download for a
//! page. Both are held to the same tests. Must not depend on RES.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(any(feature = "lean", test))]
mod lean;
mod lossy;
#[cfg(any(not(feature = "lean"), test))]
mod standard;

use serde_json::Value as Json;

#[cfg(feature = "lean")]
use lean as with;
pub use lossy::Lossy;
#[cfg(not(feature = "lean"))]
use standard as with;

/// How deep arrays and objects may lie in each other: as deep as serde_json reads them.
const DEEPEST: u8 = 127;

/// Reads a JSON text. `None` if it is not valid.
#[must_use]
pub fn parse(text: &str) -> Option<Json> {
    with::parse(text)
}

/// The JSON text of `json`, without space.
#[must_use]
pub fn to_text(json: &Json) -> String {
    let mut text = String::new();
    write(json, &mut text);
    text
}

/// Writes `json` behind `out`, without space.
pub fn write(json: &Json, out: &mut String) {
    with::write(json, out);
}

/// Writes a whole number behind `out`.
pub fn write_number(number: u64, out: &mut String) {
    with::write_number(number, out);
}

/// Writes a string, in its quotes, behind `out`.
pub fn write_text(text: &str, out: &mut String) {
    with::write_text(text, out);
}

/// Writes an object, member by member.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Object<'o> {
    /// An object without members yet, behind `out`.
    pub fn behind(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    /// Begins a member: its value is to be written behind what this returns.
    pub fn member(&mut self, name: &str) -> &mut String {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        write_text(name, self.out);
        self.out.push(':');
        self.out
    }

    /// A member with a string.
    pub fn text(&mut self, name: &str, text: &str) {
        write_text(text, self.member(name));
    }

    /// A member with a whole number.
    pub fn number(&mut self, name: &str, number: u64) {
        write_number(number, self.member(name));
    }

    /// The last member was written.
    pub fn end(self) {
        self.out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to read.
    fn parse(text: &str) -> Option<Json> {
        let read = standard::parse(text);
        assert_eq!(read, lean::parse(text), "{}", text.get(..80).unwrap_or(text));
        read
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        for text in [
            "null",
            " [1, -2, 3.5e-7, true, \"a\\ud83d\\ude00\\n\"] ",
            r#"{"a":{"b":[{}]},"c":null,"c":2}"#,
            "18446744073709551615",
            "-9223372036854775808",
            "123456789012345678901234567890",
            "1e-400",
        ] {
            assert_eq!(parse(text), Some(serde_json::from_str(text).unwrap()), "{text}");
        }
        for text in ["", " ", "nul", "[1,]", "[1", "1 2", "{\"a\"}", "{1:2}", "01", "1.", "\"\\x\"", "\"\n\"", "+1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_what_serde_json_writes() {
        let json = serde_json::json!({"a\"\u{1}": [null, true, "\\\n😀", -1, u64::MAX, 0.1], "b": {}});
        let written = |write: fn(&Json, &mut String)| {
            let mut text = "x".to_owned();
            write(&json, &mut text);
            text
        };
        assert_eq!(written(standard::write), format!("x{json}"));
        assert_eq!(written(lean::write), format!("x{json}"));
        let (mut one, mut other) = (String::new(), String::new());
        standard::write_text("\u{1f}\t", &mut one);
        standard::write_number(u64::MAX, &mut one);
        lean::write_text("\u{1f}\t", &mut other);
        lean::write_number(u64::MAX, &mut other);
        assert_eq!(one, other);
    }

    #[test]
    fn an_odd_value_costs_no_more_than_itself() {
        let read = parse(r#"{"a":"\ud83d","\ude00":[1e400,-1e400,"x\ud83dy",2,null,false],"n":{"n":1,"n":3}}"#);
        let expected = serde_json::json!({
            "a": "\u{fffd}",
            "\u{fffd}": [f64::MAX, f64::MIN, "x\u{fffd}y", 2, null, false],
            "n": {"n": 3},
        });
        assert_eq!(read, Some(expected));
        assert_eq!(parse(r#"{"a":"\ud83d","b":"#), None, "no JSON");
    }

    #[test]
    fn half_a_surrogate_pair_spoils_nothing_else() {
        for (text, expected) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ude00b""#, "\u{fffd}b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\n""#, "\u{fffd}\n"),
            (r#""\ud83dA""#, "\u{fffd}A"),
        ] {
            assert_eq!(parse(text), Some(expected.into()), "{text}");
        }
    }

    #[test]
    fn a_number_too_large_is_read_as_the_largest() {
        for text in ["1e309", "1e99999999999", &"9".repeat(400)] {
            assert_eq!(parse(text), Some(f64::MAX.into()), "{text}");
            assert_eq!(parse(&format!("[-{text},1]")), Some(serde_json::json!([-f64::MAX, 1])), "{text}");
        }
    }

    #[test]
    fn no_depth_and_no_length_overflows_the_stack() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            for depth in [1, 126, 127, 128, 129, 1_000_000] {
                let text = format!("{}null{}", open.repeat(depth), close.repeat(depth));
                let found = parse(&text).unwrap();
                assert_eq!(serde_json::from_str::<Json>(&text).ok(), (depth <= 127).then(|| found.clone()), "{depth}");
                // What lies too deep is null, and nothing else is.
                let beside = parse(&format!(r#"[{text},"]",1]"#)).unwrap();
                assert_eq!((&beside[1], &beside[2]), (&Json::from("]"), &Json::from(1)), "{depth}");
                assert_eq!(parse(&text[..text.len() - 1]), None, "{depth}");
            }
        }
    }

    #[test]
    fn objects_are_written_member_by_member() {
        let mut text = "x".to_owned();
        let mut object = Object::behind(&mut text);
        object.text("a\"", "\u{1}\u{1f}\u{7f}/\\");
        object.number("n", u64::MAX);
        object.member("m").push_str("[]");
        object.end();
        assert_eq!(text, "x{\"a\\\"\":\"\\u0001\\u001f\u{7f}/\\\\\",\"n\":18446744073709551615,\"m\":[]}");
    }
}

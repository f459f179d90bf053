//! The way of the feature `lean`: a tenth of the code that serde's way takes. Must not differ from
//! `standard` in what it reads.

mod number;

use serde_json::{Map, Value as Json};

use crate::DEEPEST;

/// Reads a JSON text. `None` if it is not valid.
pub(crate) fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { text, at: 0 };
    let json = reader.value(DEEPEST)?;
    reader.skip_space();
    (reader.at == text.len()).then_some(json)
}

/// Writes `json` behind `out`, without space.
pub(crate) fn write(json: &Json, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => write_number(number, out),
            (_, Some(number), _) => {
                out.push('-');
                write_number(number.unsigned_abs(), out);
            }
            (_, _, float) => number::write(float.unwrap_or_default(), out),
        },
        Json::String(text) => write_text(text, out),
        Json::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (n, (name, member)) in members.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

/// Writes a whole number behind `out`.
pub(crate) fn write_number(number: u64, out: &mut String) {
    if number > 9 {
        write_number(number / 10, out);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

/// Writes a string, in its quotes, behind `out`.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        let byte = rest.as_bytes()[at];
        out.push_str(&rest[..at]);
        out.push('\\');
        match ESCAPES.iter().find(|(_, escaped)| *escaped == byte) {
            Some((letter, _)) => out.push(char::from(*letter)),
            None => {
                out.push_str("u00");
                out.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// What stands behind a backslash, and what for.
const ESCAPES: [(u8, u8); 8] = [
    (b'"', b'"'),
    (b'\\', b'\\'),
    (b'b', 8),
    (b'f', 12),
    (b'n', b'\n'),
    (b'r', b'\r'),
    (b't', b'\t'),
    // Read, but never written.
    (b'/', b'/'),
];
const HEX: &[u8; 16] = b"0123456789abcdef";

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// `deepest`: how many levels may lie in it.
    fn value(&mut self, deepest: u8) -> Option<Json> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string().map(Json::String),
            b'[' | b'{' if deepest == 0 => self.skip(),
            b'[' => {
                let (deepest, mut items) = (deepest - 1, Vec::new());
                self.at += 1;
                while !self.ends(b']', items.is_empty())? {
                    items.push(self.value(deepest)?);
                }
                Some(Json::Array(items))
            }
            b'{' => {
                let (deepest, mut members) = (deepest - 1, Map::new());
                self.at += 1;
                while !self.ends(b'}', members.is_empty())? {
                    self.skip_space();
                    let name = self.string()?;
                    self.skip_space();
                    self.eat(b":").then_some(())?;
                    let member = self.value(deepest)?;
                    members.insert(name, member);
                }
                Some(Json::Object(members))
            }
            b'n' => self.eat(b"null").then_some(Json::Null),
            b't' => self.eat(b"true").then_some(Json::Bool(true)),
            b'f' => self.eat(b"false").then_some(Json::Bool(false)),
            _ => self.number(),
        }
    }

    /// Goes past an array or object without looking at what it holds.
    fn skip(&mut self) -> Option<Json> {
        let mut open = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'[' | b'{' => open += 1,
                b']' | b'}' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(Json::Null);
            }
        }
    }

    /// Whether an array or object ends here with `end`, or goes on. `None`: neither.
    fn ends(&mut self, end: u8, first: bool) -> Option<bool> {
        self.skip_space();
        let ends = self.eat(&[end]);
        (ends || first || self.eat(b",")).then_some(ends)
    }

    fn string(&mut self) -> Option<String> {
        self.eat(b"\"").then_some(())?;
        let mut found = self.plain()?.to_owned();
        while !self.eat(b"\"") {
            self.eat(b"\\").then_some(())?;
            found.push(self.escaped()?);
            found.push_str(self.plain()?);
        }
        Some(found)
    }

    /// What stands before the next character that a string does not have as it is.
    fn plain(&mut self) -> Option<&'t str> {
        let rest = &self.text[self.at..];
        let plain = rest.bytes().position(|byte| byte < b' ' || matches!(byte, b'"' | b'\\'))?;
        self.at += plain;
        Some(&rest[..plain])
    }

    /// The character that stands behind a backslash.
    fn escaped(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        if letter != b'u' {
            return ESCAPES.iter().find(|(escape, _)| *escape == letter).map(|(_, byte)| char::from(*byte));
        }
        let mut unit = self.hex()?;
        let behind = self.at;
        if unit & 0xfc00 == 0xd800 && self.eat(b"\\u") {
            let second = self.hex()?;
            if second & 0xfc00 == 0xdc00 {
                unit = 0x1_0000 + ((unit & 0x3ff) << 10) + (second & 0x3ff);
            } else {
                self.at = behind;
            }
        }
        Some(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + char::from(self.peek()?).to_digit(16)?;
            self.at += 1;
        }
        Some(unit)
    }

    fn number(&mut self) -> Option<Json> {
        let negative = self.eat(b"-");
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with(b"0") {
            return None;
        }
        let fraction = if self.eat(b".") { self.digits()? } else { b"" };
        let exponent = if self.eat(b"e") || self.eat(b"E") {
            let below = self.eat(b"-");
            let _ = below || self.eat(b"+");
            let exponent = self
                .digits()?
                .iter()
                .fold(0_i32, |exponent, digit| exponent.saturating_mul(10).saturating_add(i32::from(digit - b'0')));
            Some(if below { -exponent } else { exponent })
        } else {
            None
        };
        if fraction.is_empty() && exponent.is_none() {
            let number = whole
                .iter()
                .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            match number {
                Some(number) if !negative => return Some(number.into()),
                Some(number @ 1..=0x8000_0000_0000_0000) => return Some((number as i64).wrapping_neg().into()),
                _ => {}
            }
        }
        let float = number::read(whole, fraction, exponent.unwrap_or(0)).unwrap_or(f64::MAX);
        Some(if negative { -float } else { float }.into())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<&'t [u8]> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then(|| &rest[..count])
    }

    fn eat(&mut self, wanted: &[u8]) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to_text(json: &Json) -> String {
        let mut text = String::new();
        write(json, &mut text);
        text
    }

    /// Reads as serde_json does, and what is written reads as the same.
    fn check(text: &str) {
        let found = parse(text);
        let expected: Option<Json> = match serde_json::from_str(text) {
            Err(error) if error.to_string().starts_with("number out of range") => {
                let largest = |float: Option<f64>| float.is_some_and(|float| float.abs() == f64::MAX);
                return assert!(found.is_none_or(|found| !found.is_number() || largest(found.as_f64())), "{text}");
            }
            expected => expected.ok(),
        };
        assert_eq!(found, expected, "{text}");
        if let Some(found) = found {
            let again = to_text(&found);
            assert_eq!(serde_json::from_str::<Json>(&again).unwrap(), found, "{again}");
            // Negative zero is equal to zero.
            assert_eq!(format!("{:?}", parse(&again)), format!("{expected:?}"), "{again}");
        }
    }

    #[test]
    fn texts_are_read_as_serde_json_reads_them() {
        for text in [
            "",
            " ",
            "null",
            " null ",
            "nul",
            "nulll",
            "null null",
            "true",
            "false",
            "True",
            "[]",
            "[ ]",
            "[,]",
            "[1,]",
            "[1 2]",
            "[1,2]",
            "[",
            "]",
            "[[]",
            "{}",
            "{ }",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a" : 1 , "b":[2]}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"b":{"a":1},"a":[{}]}"#,
            "{1:2}",
            r#"{"a":1"b":2}"#,
            r#"{"\u0061":1,"a":2}"#,
            "\"",
            "\"a",
            r#""""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u00e4\u20AC""#,
            r#""\ud83d\ude00""#,
            r#""\u12g4""#,
            r#""\u+123""#,
            r#""\u12""#,
            r#""\x""#,
            "\"\n\"",
            "\"\u{1f}\"",
            "\"\u{7f}ä€😀\u{2028}\"",
            "'a'",
            "\u{feff}1",
            "\u{a0}1",
            "\u{b}1",
            "1\u{0}",
            "/**/1",
            "NaN",
            "Infinity",
            "-Infinity",
            "+1",
            "01",
            "-01",
            "00",
            "-",
            "1.",
            ".1",
            "1.e1",
            "1e",
            "1e+",
            "1e-",
            "1E5",
            "1e+5",
            "0x1",
            "1_0",
            "1 ",
            "--1",
        ] {
            check(text);
        }
    }

    #[test]
    fn numbers_survive_to_the_last_bit() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "0e5",
            "0e-5",
            "-0e99999999999",
            "1",
            "-1",
            "9007199254740991",
            "9007199254740993",
            "-9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "-18446744073709551616",
            "0.1",
            "0.30000000000000004",
            "51.24817837550540",
            "5e-324",
            "2e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "1e-400",
            "1e-99999999999",
            "2.2250738585072011e-308",
            "2.2250738585072014e-308",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "1e308",
            "1e309",
            "-1e309",
            "1e99999999999",
            "1e22",
            "1e23",
            "8.5e22",
            "123456789012345678901234567890",
            "0.000000000000000000000000000000123456789",
            "9007199254740992.5",
            "9007199254740993.0",
            "9007199254740993.00000000000000000000000000000000000000000000001",
            "6.02214076e23",
        ] {
            check(text);
        }
        check(&format!("0.{}1", "0".repeat(400)));
        check(&format!("1{}", "0".repeat(308)));
        check(&format!("1{}", "0".repeat(309)));
        check(&format!("1{}e-400", "0".repeat(400)));
        check(&format!("0.{}1e400", "0".repeat(400)));
        check(&format!("{}.{}e-1000", "9".repeat(1000), "9".repeat(1000)));
        // Half way between two numbers, and a digit far behind.
        let half = "9007199254740993";
        check(&format!("{half}.{}", "0".repeat(900)));
        check(&format!("{half}.{}1", "0".repeat(900)));
        check(&format!("{half}{}1e-900", "0".repeat(899)));
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            any::<u64>().prop_map(|bits| Json::from(f64::from_bits(bits))),
            any::<String>().prop_map(Json::from),
            "[\\x00-\\x7f]{0,9}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read(json in any_json()) {
            check(&to_text(&json));
            check(&serde_json::to_string(&json).unwrap());
            check(&serde_json::to_string_pretty(&json).unwrap());
        }

        #[test]
        fn text_with_a_fault_is_read_as_serde_json_reads_it(json in any_json(), at: prop::sample::Index, put in "[\\[\\]{}\",:0-9.eE+\\-a-z \\\\]?") {
            let mut text: Vec<char> = serde_json::to_string(&json).unwrap().chars().collect();
            let at = at.index(text.len());
            text.splice(at..=at, put.chars());
            let text: String = text.into_iter().collect();
            // Half a pair can come of it.
            if !text.contains("\\ud") {
                check(&text);
            }
        }

        #[test]
        fn decimals_are_read_to_the_nearest(text in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?") {
            check(&text);
        }

        #[test]
        fn the_neighbourhood_of_half_way_is_read_to_the_nearest(bits in any::<u64>(), last in 0..10_u8) {
            let float = f64::from_bits(bits & !(1 << 63));
            prop_assume!(float.is_finite());
            check(&format!("{float:.30e}"));
            // Half way to the next, to all its digits, and a little more or less.
            let (whole, exponent) = (format!("{float:.1100e}"), format!("{:.1100e}", f64::from_bits(float.to_bits() + 1)));
            check(&whole.replace('e', &format!("{last}e")));
            check(&exponent.replace('e', &format!("{last}e")));
        }
    }
}

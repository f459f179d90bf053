//! Finds the line and the key of what is wrong in a TOML text, for messages to people. Must not
//! depend on what the text is for.

use toml::de::{DeTable, DeValue};

/// A place in a TOML text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TomlPlace {
    /// The line, from 1.
    pub line: usize,
    /// The key whose value is there.
    pub key: Option<String>,
}

impl TomlPlace {
    /// The place of the byte `at`, or of the beginning if that is not known.
    #[must_use]
    pub fn of(text: &str, at: Option<usize>) -> Self {
        let at = at.unwrap_or_default();
        let before = text.get(..at).unwrap_or_default();
        let key = DeTable::parse(text).ok().and_then(|table| key_at(table.get_ref(), at));
        Self { line: before.matches('\n').count() + 1, key }
    }
}

/// The lines of the keys of a TOML text, without those in its tables.
#[must_use]
pub fn lines_of_keys(text: &str) -> Vec<(String, usize)> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    table.get_ref().keys().map(|key| (key.get_ref().to_string(), line(key.span().start))).collect()
}

/// The key whose value is at the byte `at`. A table is no value, but what is in it.
fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| match value.get_ref() {
        DeValue::Table(table) => key_at(table, at),
        DeValue::Array(values) if values.iter().any(|value| value.get_ref().is_table()) => {
            values.iter().filter_map(|value| value.get_ref().as_table()).find_map(|table| key_at(table, at))
        }
        _ => value.span().contains(&at).then(|| key.get_ref().to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_and_key_of_a_value_are_found_in_tables_too() {
        let text = "a = 1\nb = [\n  2,\n  3,\n]\n[t]\nc = \"x\"\n[[u]]\nd = 4\n[[u]]\nd = 5\n";
        for (what, line, key) in
            [("1", 1, Some("a")), ("3", 4, Some("b")), ("\"x", 7, Some("c")), ("5", 11, Some("d")), ("[[u]]", 8, None)]
        {
            let expected = TomlPlace { line, key: key.map(str::to_owned) };
            assert_eq!(TomlPlace::of(text, text.find(what)), expected, "{what}");
        }
        assert_eq!(TomlPlace::of("a = ", Some(4)), TomlPlace { line: 1, key: None }, "not TOML");
        assert_eq!(TomlPlace::of(text, None).line, 1);
        let lines = lines_of_keys(text);
        assert!(lines.contains(&("a".to_owned(), 1)) && lines.contains(&("b".to_owned(), 2)), "{lines:?}");
    }
}

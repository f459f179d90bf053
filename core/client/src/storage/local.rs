//! The entry of localStorage. It is the storage text itself, so that people find the key where they expect it; only a text that the
//! log has not taken says so, in one member more.

use std::collections::BTreeMap;

use relogin_res::json;
use serde_json::{Map, Value as Json};

use super::text::Content;
use crate::Secret;

/// The member that marks a text which the log has not taken.
const UNLOGGED: &str = "unlogged";

/// How many sessions a mark can name.
const MAX_NAMED: usize = 32;

/// What localStorage has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LocalEntry {
    /// The storage text.
    pub(super) text: Option<Secret>,
    /// The log has not taken it yet.
    pub(super) unlogged: Option<Replaced>,
}

/// Sessions that a text has replaced or removed, each with the generation that it had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced(BTreeMap<String, u64>);

impl Replaced {
    /// Those of `self`, and that of `before` if `after` is of another session or of none.
    pub(super) fn and(mut self, before: Content, after: Content) -> Self {
        if let Content::Key { generation, .. } = before
            && !before.is_same_session(after)
        {
            if self.0.len() >= MAX_NAMED {
                self.0.pop_first();
            }
            self.0.insert(before.name(), generation);
        }
        if after.is_key() {
            self.0.remove(&after.name());
        }
        self
    }

    /// Whether the key of `content` is of one of them, and no newer.
    pub(super) fn has(&self, content: Content) -> bool {
        let Content::Key { generation, .. } = content else { return false };
        self.0.get(&content.name()).is_some_and(|replaced| generation <= *replaced)
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl LocalEntry {
    /// The entry of a text that the log has.
    pub(super) fn logged(text: Option<Secret>) -> Self {
        Self { text, unlogged: None }
    }

    pub(super) fn parse(entry: Option<Secret>) -> Self {
        let Some(entry) = entry else { return Self::default() };
        match json::parse(entry.expose()) {
            Some(Json::Object(mut members)) if members.contains_key(UNLOGGED) => {
                let replaced = members.remove(UNLOGGED).unwrap_or_default();
                let replaced = replaced.as_object().into_iter().flatten();
                let replaced = replaced.filter_map(|(name, generation)| Some((name.clone(), generation.as_u64()?)));
                let unlogged = Some(Replaced(replaced.collect()));
                let text = (!members.is_empty()).then(|| Secret::new(json::to_text(&Json::Object(members))));
                Self { text, unlogged }
            }
            _ => Self::logged(Some(entry)),
        }
    }

    pub(super) fn write(&self) -> Option<Secret> {
        let Some(Replaced(replaced)) = &self.unlogged else { return self.text.clone() };
        let mut members = match self.text.as_ref().map(|text| json::parse(text.expose())) {
            None => Map::new(),
            Some(Some(Json::Object(members))) => members,
            // No text of ours: there is no room for a mark in it.
            Some(_) => return self.text.clone(),
        };
        let replaced = replaced.iter().map(|(name, generation)| (name.clone(), Json::from(*generation))).collect();
        members.insert(UNLOGGED.to_owned(), Json::Object(replaced));
        Some(Secret::new(json::to_text(&Json::Object(members))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text.to_owned()))
    }

    #[test]
    fn what_is_logged_is_the_text_itself() {
        for text in [None, secret(r#"{"key":"k","generation":3}"#), secret("nonsense")] {
            let entry = LocalEntry::logged(text.clone());
            assert_eq!(entry.write(), text);
            assert_eq!(LocalEntry::parse(text), entry);
        }
    }

    #[test]
    fn what_is_not_logged_is_marked() {
        let before = Content::Key { session: None, generation: 7, is_begun: false };
        let entry = |text| LocalEntry { text, unlogged: Some(Replaced::default().and(before, Content::Nothing)) };
        let removal = entry(None).write().unwrap();
        assert_eq!(removal.expose(), r#"{"unlogged":{"":7}}"#);
        assert_eq!(LocalEntry::parse(Some(removal)), entry(None));
        let text = secret(r#"{"generation":3,"key":"k"}"#);
        let marked = entry(text.clone()).write().unwrap();
        assert!(crate::keeper::Record::parse(Some(&marked)).is_some(), "a reader who knows no mark finds the key");
        assert_eq!(LocalEntry::parse(Some(marked)), entry(text));
    }

    #[test]
    fn nonsense_in_the_mark_is_a_mark_without_sessions() {
        for mark in ["null", "7", "[7]", r#"{"x":"y"}"#] {
            let entry = LocalEntry::parse(secret(&format!(r#"{{"unlogged":{mark}}}"#)));
            assert_eq!(entry, LocalEntry { text: None, unlogged: Some(Replaced::default()) });
        }
    }
}

//! The entry of localStorage. It is the storage text itself, so that people find the key where they expect it; only a text that the
//! log has not taken says so, in one member more.

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

/// Sessions that a text has replaced or removed, each with the generation that it had. They are few: a map would be a kilobyte
/// and more in a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced(Vec<(String, u64)>);

impl Replaced {
    /// Those of `self`, and that of `before` if `after` is of another session or of none.
    pub(super) fn and(mut self, before: Content, after: Content) -> Self {
        if let Content::Key { generation, .. } = before
            && !before.is_same_session(after)
        {
            self.forget(before);
            if self.0.len() >= MAX_NAMED {
                self.0.remove(0);
            }
            self.0.push((before.name(), generation));
        }
        if after.is_key() {
            self.forget(after);
        }
        self
    }

    fn forget(&mut self, content: Content) {
        let forgotten = content.name();
        self.0.retain(|(name, _)| *name != forgotten);
    }

    /// Whether the key of `content` is of one of them, and no newer.
    pub(super) fn has(&self, content: Content) -> bool {
        let Content::Key { generation, .. } = content else { return false };
        let wanted = content.name();
        self.0.iter().any(|(name, replaced)| *name == wanted && generation <= *replaced)
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
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
            Some(Json::Object(all)) if all.contains_key(UNLOGGED) => {
                let (mut members, mut replaced) = (Map::new(), Vec::new());
                for (name, value) in all {
                    if name != UNLOGGED {
                        members.insert(name, value);
                    } else if let Json::Object(sessions) = value {
                        replaced.extend(sessions.into_iter().filter_map(|(name, at)| Some((name, at.as_u64()?))));
                    }
                }
                let text = (!members.is_empty()).then(|| Secret::new(json::to_text(&Json::Object(members))));
                Self { text, unlogged: Some(Replaced(replaced)) }
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
        let mut sessions = Map::new();
        for (name, generation) in replaced {
            sessions.insert(name.clone(), Json::from(*generation));
        }
        members.insert(UNLOGGED.to_owned(), Json::Object(sessions));
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

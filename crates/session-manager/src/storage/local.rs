//! The entry of localStorage. It is the storage text itself, so that people find the key where they
//! expect it; only a text that the log has not taken says so, in one member more, before its own.
//! Those stay as they are, to the letter.

use super::text::Content;
use crate::Secret;

/// The start of a text that is not in the log yet. The value of this member lists the replaced
/// sessions, separated by spaces, each as `name=generation`; it contains no quotes.
const MARK: &str = r#"{"unlogged":""#;

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

/// Sessions that a text has replaced or removed, each with the generation that it had. They are
/// few: a map would be a kilobyte and more in a page.
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

    fn parse(text: &str) -> Self {
        let mut replaced = Vec::new();
        for session in text.split(' ') {
            if let Some((name, generation)) = session.split_once('=')
                && let Ok(generation) = generation.parse()
            {
                replaced.push((name.to_owned(), generation));
            }
        }
        Self(replaced)
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, generation) in &self.0 {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(&generation.to_string());
        }
        text
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
        let marked = entry.as_ref().and_then(|entry| entry.expose().strip_prefix(MARK)?.split_once('"'));
        let Some((replaced, rest)) = marked else { return Self::logged(entry) };
        let text = rest.strip_prefix(',').map(|members| Secret::new(["{", members].concat()));
        Self { text, unlogged: Some(Replaced::parse(replaced)) }
    }

    pub(super) fn write(&self) -> Option<Secret> {
        let Some(replaced) = &self.unlogged else { return self.text.clone() };
        let (between, members) = match self.text.as_ref().map(|text| text.expose().strip_prefix('{')) {
            None => ("", "}"),
            Some(Some(members)) => (",", members),
            // No text of ours: there is no room for a mark in it.
            Some(None) => return self.text.clone(),
        };
        Some(Secret::new([MARK, &replaced.to_text(), "\"", between, members].concat()))
    }
}

#[cfg(test)]
mod tests {
    use relogin_session::SessionId;

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
        assert_eq!(removal.expose(), r#"{"unlogged":"=7"}"#);
        assert_eq!(LocalEntry::parse(Some(removal)), entry(None));
        let text = secret(r#"{"key":"k","generation":3}"#);
        let marked = entry(text.clone()).write().unwrap();
        assert_eq!(marked.expose(), r#"{"unlogged":"=7","key":"k","generation":3}"#);
        assert!(crate::record::Record::parse(Some(&marked)).is_some(), "a reader who knows no mark finds the key");
        assert_eq!(LocalEntry::parse(Some(marked)), entry(text));
    }

    #[test]
    fn the_sessions_of_a_mark_have_names_and_generations() {
        let names = [[1; 16], [2; 16]].map(|session| SessionId(session).to_text());
        let replaced = Replaced(vec![(names[0].clone(), 7), (names[1].clone(), u64::MAX), (String::new(), 0)]);
        let entry = LocalEntry { text: None, unlogged: Some(replaced) };
        assert_eq!(LocalEntry::parse(entry.write()), entry);
    }

    #[test]
    fn a_malformed_mark_names_no_sessions() {
        for mark in ["", " ", "x", "x=", "x=y", "= =-1", "x=18446744073709551616"] {
            let entry = LocalEntry::parse(secret(&format!(r#"{{"unlogged":"{mark}"}}"#)));
            assert_eq!(entry, LocalEntry { text: None, unlogged: Some(Replaced::default()) });
        }
        for text in [r#"{"unlogged":7}"#, r#"{"unlogged":""#, r#"{"key":"k","unlogged":""}"#, r#"{"unlogged":"x"#] {
            let entry = LocalEntry::parse(secret(text));
            assert!(entry == LocalEntry::logged(secret(text)) || entry.text.is_none(), "{text}: {entry:?}");
        }
    }
}

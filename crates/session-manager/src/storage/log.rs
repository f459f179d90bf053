//! The log: which of its entries counts, and how another is appended. A swap appends one entry that
//! names the entry it follows; of two that follow the same, the first alone counts. So who was
//! first is settled by the order in which the browser took the entries, and every tab reads the
//! same.
//!
//! The texts lie beside the entries, under random names: a swap removes the text of the entry that
//! it follows, and leaves the entry, without which a swap that comes too late would look like the
//! first of the log.

use relogin_session::SessionId;

use super::{local::Replaced, text::Content};
use crate::Secret;

/// How many ended sessions an entry remembers. They matter only to a text in localStorage that is
/// marked as unlogged and outlived its session there, which takes a crash.
const MAX_ENDED: usize = 32;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogEntry {
    /// Its number, from the browser: greater than that of all entries before it.
    pub at: u64,
    /// The number of the entry that it follows.
    pub from: Option<u64>,
    /// The name of its text; `None`: the text was removed.
    pub text: Option<String>,
    /// Sessions that were removed or replaced, the last ones. No key of theirs comes back.
    pub ended: Vec<SessionId>,
}

/// All that the log has, as one transaction has read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The entries, by number.
    pub entries: Vec<LogEntry>,
    /// The texts, by name.
    pub texts: Vec<(String, Secret)>,
}

/// What one transaction is to do: append an entry, and remove what no longer counts. All of it is
/// committed at once, whatever the log has by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAppend {
    /// The number of the entry that the new one follows.
    pub from: Option<u64>,
    /// The new entry's text, to be put under a new random name.
    pub text: Option<Secret>,
    /// The new entry's `ended`.
    pub ended: Vec<SessionId>,
    /// What goes.
    pub remove: LogRemoval,
}

/// What is to be removed; some of it may be gone already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRemoval {
    /// Numbers of entries.
    pub entries: Vec<u64>,
    /// Names of texts.
    pub texts: Vec<String>,
}

/// What counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) at: u64,
    pub(super) text: Option<Secret>,
    pub(super) ended: Vec<SessionId>,
}

impl Log {
    /// The entry that counts; `None` if there never was one.
    #[must_use]
    pub fn last(&self) -> Option<&LogEntry> {
        self.chain().last()
    }

    /// The same with its text.
    pub(super) fn head(&self) -> Option<Head> {
        let entry = self.last()?;
        let text = entry.text.as_ref().and_then(|name| self.texts.iter().find(|(other, _)| other == name));
        Some(Head { at: entry.at, text: text.map(|(_, text)| text.clone()), ended: entry.ended.clone() })
    }

    /// The entries that follow each other; the last one counts. The first one that is left has
    /// followed the last that was removed.
    fn chain(&self) -> impl Iterator<Item = &LogEntry> {
        let mut last = None;
        self.entries.iter().filter(move |entry| {
            let counts = last.is_none() || entry.from == last;
            if counts {
                last = Some(entry.at);
            }
            counts
        })
    }

    /// What puts `to` in the place of what counts; `replaced`: sessions that are over beside that.
    pub(super) fn append(&self, to: Option<Secret>, replaced: &Replaced) -> LogAppend {
        let head = self.head();
        let (from, before) = match &head {
            Some(head) => (Some(head.at), Content::of(head.text.as_ref())),
            None => (None, Content::Nothing),
        };
        let after = Content::of(to.as_ref());
        let mut known = head.as_ref().map(|head| head.ended.clone()).unwrap_or_default();
        for name in replaced.names() {
            known.extend(SessionId::parse(name));
        }
        known.extend(before.session());
        let ended = ended_by(&known, after);
        // All texts that are there are that of the head, and those of swaps that came too late.
        let mut remove = LogRemoval::default();
        for entry in &self.entries {
            if Some(entry.at) != from {
                remove.entries.push(entry.at);
            }
        }
        for (name, _) in &self.texts {
            remove.texts.push(name.clone());
        }
        LogAppend { from, text: to, ended, remove }
    }

    /// What is to be removed because the entry `at` came too late; `None` if it counted.
    pub(super) fn too_late(&self, at: u64) -> Option<LogRemoval> {
        if self.chain().any(|entry| entry.at == at) {
            return None;
        }
        // If it is not there at all, whoever removed it removed its text.
        let entry = self.entries.iter().find(|entry| entry.at == at)?;
        Some(LogRemoval { entries: vec![at], texts: entry.text.iter().cloned().collect() })
    }
}

/// Those of `known` that are over when `to` comes, each once.
fn ended_by(known: &[SessionId], to: Content) -> Vec<SessionId> {
    let mut ended: Vec<SessionId> = Vec::new();
    for sid in known {
        if Some(*sid) != to.session() && !ended.contains(sid) {
            ended.push(*sid);
        }
    }
    ended.split_off(ended.len().saturating_sub(MAX_ENDED))
}

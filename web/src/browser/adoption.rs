//! Takes over, once, the key that a legacy client of this origin has kept in localStorage. Must not
//! depend on how storage works.
//!
//! The key is written as the storage record beside the log, from where it moves into a new log. If
//! storage has or has had a session, the legacy client's key is left alone.

use relogin_client_proto::{AdoptedKey, Secret};

use super::{local_storage::LocalStorageEntry, random, storage::RecordEntry};

/// A key that is being taken over.
#[derive(Debug)]
pub(super) struct Adoption {
    key: AdoptedKey,
    /// The legacy client's entry for it.
    from: LocalStorageEntry,
    /// The storage record's.
    to: RecordEntry,
    /// Whether it had no record.
    is_new: bool,
}

impl Adoption {
    /// Begins to take over the key `from` into the storage record `to`, which is not open yet.
    /// `None` if there is no such key.
    pub(super) fn begin(from: &str, to: &str) -> Option<Self> {
        let (from, to) = (LocalStorageEntry::new(from), RecordEntry::new(to));
        let key = from.read().ok()?.filter(|key| !key.expose().is_empty())?;
        let key = AdoptedKey::new(key.expose(), random::id());
        let is_new = to.read().ok()?.is_none();
        if is_new {
            to.write(Some(key.text())).ok()?;
        }
        Some(Self { key, from, to, is_new })
    }

    /// Ends the adoption: storage has `text` now.
    pub(super) fn end(self, text: Option<&Secret>) {
        // An entry that cannot be removed does no harm: the key has been used.
        if self.key.is_in(text) {
            let _ = self.from.write(None);
        } else if self.is_new && self.to.read().is_ok_and(|text| text.as_ref() == Some(self.key.text())) {
            let _ = self.to.write(None);
        }
    }
}

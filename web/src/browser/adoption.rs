//! Takes over, once, the key that a legacy client of this origin has kept in localStorage. Must not
//! depend on how storage works.
//!
//! The key is written to localStorage as the storage record, from where it moves into a new log. If
//! storage has or has had a session, the legacy client's key is left alone.

use relogin_client_proto::{AdoptedKey, Secret};

use super::{global, random};

/// A key that is being taken over.
#[derive(Debug)]
pub(super) struct Adoption {
    key: AdoptedKey,
    /// The legacy client's name for it.
    from: String,
    /// The name of the storage record.
    to: String,
    /// Whether localStorage had no record.
    is_new: bool,
}

impl Adoption {
    /// Begins to take over the key `from` into the storage record `to`, which is not open yet.
    /// `None` if there is no such key.
    pub(super) fn begin(from: &str, to: &str) -> Option<Self> {
        let storage = local_storage()?;
        let key = storage.get_item(from).ok()?.filter(|key| !key.is_empty())?;
        let key = AdoptedKey::new(&key, random::id());
        let is_new = storage.get_item(to).ok()?.is_none();
        if is_new {
            storage.set_item(to, key.text().expose()).ok()?;
        }
        Some(Self { key, from: from.to_owned(), to: to.to_owned(), is_new })
    }

    /// Ends the adoption: storage has `text` now.
    pub(super) fn end(self, text: Option<&Secret>) {
        let Some(storage) = local_storage() else { return };
        let ours = Some(self.key.text().expose());
        // If it cannot be removed, that does no harm: the key has been used.
        if self.key.is_in(text) {
            let _ = storage.remove_item(&self.from);
        } else if self.is_new && storage.get_item(&self.to).ok().flatten().as_deref() == ours {
            let _ = storage.remove_item(&self.to);
        }
    }
}

fn local_storage() -> Option<web_sys::Storage> {
    global().local_storage().ok().flatten()
}

//! One entry of localStorage, by gloo-storage: a text, read and written as it is. Must not depend
//! on what it says.

use std::rc::Rc;

use gloo_events::EventListener;
use gloo_storage::{LocalStorage, Storage as _};
use relogin_client_proto::{Secret, storage::Unavailable};
use wasm_bindgen::JsCast as _;
use web_sys::StorageEvent;

use super::global;

/// The entry of one name.
#[derive(Clone, Debug)]
pub(super) struct LocalStorageEntry {
    name: Rc<str>,
}

impl LocalStorageEntry {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// Reads the entry.
    pub(super) fn read(&self) -> Result<Option<Secret>, Unavailable> {
        let text = storage()?.get_item(&self.name).map_err(|_| Unavailable)?;
        Ok(text.map(Secret::new))
    }

    /// Writes the entry. If that fails it is removed, because the text before no longer counts.
    pub(super) fn write(&self, text: Option<&Secret>) -> Result<(), Unavailable> {
        let storage = storage()?;
        let written = text.is_some_and(|text| storage.set_item(&self.name, text.expose()).is_ok());
        if written {
            return Ok(());
        }
        storage.remove_item(&self.name).map_err(|_| Unavailable)?;
        if text.is_none() { Ok(()) } else { Err(Unavailable) }
    }

    /// Calls `heard` with each text that another tab writes, until the listener is dropped.
    pub(super) fn watch(&self, heard: impl Fn(Option<Secret>) + 'static) -> EventListener {
        let name = Rc::clone(&self.name);
        EventListener::new(&global(), "storage", move |event| {
            let Some(event) = event.dyn_ref::<StorageEvent>() else { return };
            // Without a key: all of localStorage was cleared.
            if event.key().is_none_or(|key| *key == *name) {
                heard(event.new_value().map(Secret::new));
            }
        })
    }
}

/// localStorage, if the browser has it. Browsers that block cookies throw when it is accessed, and
/// gloo-storage would pass that on.
fn storage() -> Result<web_sys::Storage, Unavailable> {
    match global().local_storage() {
        Ok(Some(_)) => Ok(LocalStorage::raw()),
        _ => Err(Unavailable),
    }
}

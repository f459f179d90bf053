//! An entry of localStorage, by gloo-storage: a text, read and written as it is. Knows nothing of what is
//! in it.

use std::rc::Rc;

use gloo_events::EventListener;
use gloo_storage::{LocalStorage, Storage as _};
use relogin_client_proto::{Secret, storage::Unavailable};
use wasm_bindgen::JsCast as _;
use web_sys::StorageEvent;

use super::global;

/// The entry of this name.
#[derive(Clone, Debug)]
pub(super) struct LocalEntry {
    name: Rc<str>,
}

impl LocalEntry {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// What is there.
    pub(super) fn read(&self) -> Result<Option<Secret>, Unavailable> {
        let text = storage()?.get_item(&self.name).map_err(|_| Unavailable)?;
        Ok(text.map(Secret::new))
    }

    /// Puts `text` there. What cannot be written is removed, for the text before it counts no more.
    pub(super) fn write(&self, text: Option<&Secret>) -> Result<(), Unavailable> {
        let storage = storage()?;
        let written = text.is_some_and(|text| storage.set_item(&self.name, text.expose()).is_ok());
        if written {
            return Ok(());
        }
        storage.remove_item(&self.name).map_err(|_| Unavailable)?;
        if text.is_none() { Ok(()) } else { Err(Unavailable) }
    }

    /// Calls `heard` with what another tab has written there, until it is dropped.
    pub(super) fn watch(&self, heard: impl Fn(Option<Secret>) + 'static) -> EventListener {
        let name = Rc::clone(&self.name);
        EventListener::new(&global(), "storage", move |event| {
            let Some(event) = event.dyn_ref::<StorageEvent>() else { return };
            // No key: everything was cleared.
            if event.key().is_none_or(|key| *key == *name) {
                heard(event.new_value().map(Secret::new));
            }
        })
    }
}

/// Browsers that block cookies throw at the mere name of localStorage, and so does gloo-storage.
fn storage() -> Result<web_sys::Storage, Unavailable> {
    match global().local_storage() {
        Ok(Some(_)) => Ok(LocalStorage::raw()),
        _ => Err(Unavailable),
    }
}

//! localStorage: one text under one name, shared by the tabs of an origin.

use std::cell::RefCell;

use gloo_storage::{LocalStorage, Storage as _};

use super::listener::Listener;

/// One entry of localStorage. Where the browser has none to give (cookies blocked, a full disk), the entry lives as
/// long as the page: logged in until it is left.
#[derive(Debug)]
pub struct Storage {
    name: String,
    /// What localStorage would not take.
    fallback: RefCell<Option<String>>,
}

impl Storage {
    /// The entry called `name`.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, fallback: RefCell::new(None) }
    }

    /// The entry's text, afresh from localStorage: another tab may have written it a moment ago.
    #[must_use]
    pub fn read(&self) -> Option<String> {
        if let Some(text) = self.fallback.borrow().as_ref() {
            return Some(text.clone());
        }
        available().then(LocalStorage::raw).and_then(|storage| storage.get_item(&self.name).ok().flatten())
    }

    /// Writes `to` if the entry has `from`; `None` is no entry.
    pub fn swap(&self, from: Option<&str>, to: Option<&str>) {
        if self.read().as_deref() == from {
            self.write(to);
        }
    }

    /// Writes the entry; `None` removes it.
    pub fn write(&self, text: Option<&str>) {
        let written = available()
            && match text {
                Some(text) => LocalStorage::raw().set_item(&self.name, text).is_ok(),
                None => LocalStorage::raw().remove_item(&self.name).is_ok(),
            };
        *self.fallback.borrow_mut() = if written { None } else { text.map(str::to_owned) };
    }

    /// Calls back whenever *another* tab has changed the entry.
    #[must_use]
    pub fn watch(&self, call_back: impl Fn() + 'static) -> Watch {
        let name = self.name.clone();
        Watch {
            _listener: web_sys::window().map(|window| {
                Listener::new(&window, "storage", move |event| {
                    // No key: everything was cleared.
                    let key = js_sys::Reflect::get(&event, &"key".into()).ok().and_then(|key| key.as_string());
                    if key.is_none_or(|key| key == name) {
                        call_back();
                    }
                })
            }),
        }
    }
}

/// Keeps [`Storage::watch`] going until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _listener: Option<Listener>,
}

/// True if this page may use localStorage: asking gloo for one that is refused would panic.
fn available() -> bool {
    web_sys::window().and_then(|window| window.local_storage().ok().flatten()).is_some()
}

//! A text in localStorage. Browsers do not keep that in step between their processes: for where there is nothing better.

use gloo_storage::{LocalStorage, Storage as _};
use relogin_client::Secret;

/// The text. Where the browser has no localStorage (cookies blocked, a full disk), it lives as long as the page.
#[derive(Debug)]
pub(super) struct Local {
    name: String,
    /// What localStorage would not take.
    fallback: Option<Secret>,
}

impl Local {
    pub(super) fn new(name: String) -> Self {
        Self { name, fallback: None }
    }

    /// The text, afresh: another tab may have written it a moment ago.
    pub(super) fn read(&self) -> Option<Secret> {
        if self.fallback.is_some() {
            return self.fallback.clone();
        }
        available().then(LocalStorage::raw)?.get_item(&self.name).ok().flatten().map(Secret::new)
    }

    /// If the text is `from`, replaces it by `to`. Answers the text that counts then.
    pub(super) fn swap(&mut self, from: Option<&Secret>, to: Option<&Secret>) -> Option<Secret> {
        if self.read().as_ref() == from {
            self.write(to);
        }
        self.read()
    }

    fn write(&mut self, text: Option<&Secret>) {
        let written = available()
            && match text {
                Some(text) => LocalStorage::raw().set_item(&self.name, text.expose()).is_ok(),
                None => LocalStorage::raw().remove_item(&self.name).is_ok(),
            };
        self.fallback = if written { None } else { text.cloned() };
    }
}

/// True if this page may use localStorage: asking gloo for one that is refused would panic.
fn available() -> bool {
    web_sys::window().and_then(|window| window.local_storage().ok().flatten()).is_some()
}

//! One text that the tabs of an origin share, and exchange by compare-and-swap: in IndexedDB, else in localStorage, else in this
//! page's memory.
//!
//! In IndexedDB a swap is one: of two tabs that swap from the same text, one finds the other's. In localStorage it is as good as
//! the browser makes it.

mod local;
mod log;

use std::rc::Rc;

use relogin_client::Secret;
use wasm_bindgen::JsValue;
use web_sys::{BroadcastChannel, EventTarget};

use self::{local::Local, log::Log};
use super::{indexed_db::Database, listener::Listener};

/// The text.
#[derive(Debug)]
pub struct Storage {
    name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// IndexedDB, and what tells other tabs of a change: that there is one, never which.
    Log(Log, Option<BroadcastChannel>),
    Local(Local),
    Memory(Option<Secret>),
}

impl Storage {
    /// The text called `name`, of the database likewise called. Where IndexedDB is missing, refused, or does not answer within
    /// three seconds: the entry of localStorage that is called so.
    pub async fn open(name: String, database: Rc<Database>) -> Self {
        let mut local = Local::new(name.clone());
        let place = match Log::open(database).await {
            Ok(mut log) => {
                // Left by a page that could not get at IndexedDB, or knew nothing of it: it moves in.
                if let Some(text) = local.read().filter(|_| log.is_new()) {
                    log.swap(None, Some(&text)).await;
                    local.swap(Some(&text), None);
                }
                Place::Log(log, BroadcastChannel::new(&name).ok())
            }
            Err(_) => Place::Local(local),
        };
        Self { name, place }
    }

    /// A text that nobody else has, and that ends with the page.
    #[must_use]
    pub fn in_memory(name: String, text: Option<Secret>) -> Self {
        Self { name, place: Place::Memory(text) }
    }

    /// The text, afresh: another tab may have written it a moment ago.
    pub async fn read(&mut self) -> Option<Secret> {
        match &mut self.place {
            Place::Log(log, _) => log.read().await,
            Place::Local(local) => local.read(),
            Place::Memory(text) => text.clone(),
        }
    }

    /// If the text is `from`, replaces it by `to`; `None` is no text. Answers the text that there is then, whoever wrote it.
    pub async fn swap(&mut self, from: Option<&Secret>, to: Option<&Secret>) -> Option<Secret> {
        match &mut self.place {
            Place::Log(log, channel) => {
                let (text, replaced) = log.swap(from, to).await;
                if let Some(channel) = channel.as_ref().filter(|_| replaced) {
                    // Fails for a channel that is closed, and ours is not.
                    let _ = channel.post_message(&JsValue::NULL);
                }
                text
            }
            Place::Local(local) => local.swap(from, to),
            Place::Memory(text) => {
                if text.as_ref() == from {
                    *text = to.cloned();
                }
                text.clone()
            }
        }
    }

    /// Calls back whenever *another* tab has changed the text.
    #[must_use]
    pub fn watch(&self, call_back: impl Fn() + 'static) -> Watch {
        let listener = match &self.place {
            Place::Log(_, Some(channel)) => {
                let channel: &EventTarget = channel;
                Some(Listener::new(channel, "message", move |_| call_back()))
            }
            Place::Log(_, None) | Place::Memory(_) => None,
            Place::Local(_) => {
                let name = self.name.clone();
                web_sys::window().map(|window| {
                    Listener::new(&window, "storage", move |event| {
                        // No key: everything was cleared.
                        let key = js_sys::Reflect::get(&event, &"key".into()).ok().and_then(|key| key.as_string());
                        if key.is_none_or(|key| key == name) {
                            call_back();
                        }
                    })
                })
            }
        };
        Watch { _listener: listener }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Place::Log(_, Some(channel)) = &self.place {
            channel.close();
        }
    }
}

/// Keeps [`Storage::watch`] going until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _listener: Option<Listener>,
}

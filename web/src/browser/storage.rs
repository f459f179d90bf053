//! The storage record, which has the relogin key: in localStorage, under `relogin:<name>` (with
//! `:bearer` behind it where a page asks for that: `StorageMode` in `session.rs`; a copy's is in
//! memory), and in the log of the IndexedDB database of that name (`record_log.rs`; the device key
//! is in the same database, `device_key.rs`). Where both are refused, it is in this page's memory.
//! The session manager makes the text, and may put a mark before it in localStorage
//! (`crates/session-manager/src/storage.rs`). Of a cookie session there is no key, but a text that
//! names the session.
//!
//! Carries out the actions of `RecordStorage`, which decides what is read and written
//! (docs/protocol.md, section 4). Must not decide anything.

use std::{cell::RefCell, rc::Rc};

use futures_util::future::LocalBoxFuture;
use gloo_events::EventListener;
use gloo_timers::future::TimeoutFuture;
use relogin_client_proto::{
    Secret,
    storage::{RecordStorage, StorageAction, StorageInput},
};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;
use web_sys::BroadcastChannel;

use super::{database::Database, local_storage::LocalStorageEntry, record_log::RecordLog};

/// The place of the record beside the log, for all that use it. (What a legacy client has kept is
/// in localStorage whatever this is: `adoption.rs`.)
pub(super) type RecordEntry = LocalStorageEntry;

/// How long a browser may take to show other tabs what one tab has written to localStorage, in
/// milliseconds.
const SETTLING: u32 = 100;

/// The storage record. Dropping it ends its listeners.
#[derive(Debug)]
pub(super) enum Storage {
    /// The record that the tabs of an origin share.
    Shared(SharedStorage),
    /// A record of this page alone.
    Memory(MemoryStorage),
}

/// The record in localStorage and in the log.
#[derive(Debug)]
pub(super) struct SharedStorage {
    record: Rc<RefCell<RecordStorage>>,
    local: RecordEntry,
    log: RecordLog,
    /// Tells other tabs that the record has changed, never what it says.
    channel: Option<BroadcastChannel>,
    _listeners: Vec<EventListener>,
}

/// A record in this page's memory.
#[derive(Debug)]
pub(super) struct MemoryStorage(RefCell<Option<Secret>>);

impl Storage {
    /// The record `name`, whose log is in `database`. Calls `heard` whenever another tab may have
    /// changed it.
    pub(super) fn open(name: &str, database: &Database, heard: impl Fn() + 'static) -> Self {
        Self::Shared(SharedStorage::open(name, database, heard))
    }

    /// A record in memory, which begins with a copy of the entry `name` of localStorage.
    pub(super) fn copy(name: &str) -> Self {
        let text = RecordEntry::new(name).read().unwrap_or_default();
        Self::Memory(MemoryStorage(RefCell::new(text)))
    }

    /// Reads the record. What it returns may be out of date.
    pub(super) async fn read(&self) -> Option<Secret> {
        match self {
            Self::Shared(shared) => shared.run(StorageInput::Read).await,
            Self::Memory(memory) => memory.swap(None, None),
        }
    }

    /// Replaces `from` by `to`: a compare-and-swap. Returns the record after that, whoever wrote
    /// it.
    pub(super) async fn swap(&self, from: Option<&Secret>, to: Option<&Secret>) -> Option<Secret> {
        match self {
            Self::Shared(shared) => shared.run(StorageInput::Swap { from: from.cloned(), to: to.cloned() }).await,
            Self::Memory(memory) => memory.swap(from, to),
        }
    }
}

impl SharedStorage {
    fn open(name: &str, database: &Database, heard: impl Fn() + 'static) -> Self {
        let heard = Rc::new(heard);
        let record = Rc::<RefCell<RecordStorage>>::default();
        let (local, log) = (RecordEntry::new(name), RecordLog::new(database));
        let mut listeners = Vec::new();
        // Without a channel, other tabs find out when they read the record.
        let channel = BroadcastChannel::new(name).ok();
        if let Some(channel) = &channel {
            let heard = Rc::clone(&heard);
            listeners.push(EventListener::new(channel, "message", move |_| heard()));
        }
        let (looked_at, news) = (Rc::clone(&record), Rc::clone(&heard));
        listeners.push(local.watch(move |entry| {
            if looked_at.borrow().is_news(entry) {
                news();
            }
        }));
        // The first swap needs the database, once the page has a connection: it is opened before
        // that.
        let ahead = database.clone();
        spawn_local(async move { drop(ahead.open().await) });
        Self { record, local, log, channel, _listeners: listeners }
    }

    fn run(&self, input: StorageInput) -> LocalBoxFuture<'_, Option<Secret>> {
        Box::pin(self.run_all(input))
    }

    async fn run_all(&self, mut input: StorageInput) -> Option<Secret> {
        loop {
            let action = self.record.borrow_mut().handle(input);
            input = match action {
                StorageAction::ReadLocal => StorageInput::Local(self.local.read()),
                StorageAction::WriteLocal(text) => StorageInput::LocalWritten(self.local.write(text.as_ref())),
                StorageAction::ReadLog => StorageInput::Log(self.log.read().await),
                StorageAction::Append(append) => StorageInput::Appended(self.log.append(&append).await),
                StorageAction::Remove(removal) => {
                    // What could not be removed is removed with the next swap.
                    let _ = self.log.remove(&removal).await;
                    StorageInput::Removed
                }
                StorageAction::Settle => {
                    TimeoutFuture::new(SETTLING).await;
                    StorageInput::Settled
                }
                StorageAction::Done { text, is_changed } => {
                    if is_changed && let Some(channel) = &self.channel {
                        // It fails only if the channel is closed.
                        let _ = channel.post_message(&JsValue::NULL);
                    }
                    return text;
                }
            };
        }
    }
}

impl Drop for SharedStorage {
    fn drop(&mut self) {
        if let Some(channel) = &self.channel {
            channel.close();
        }
    }
}

impl MemoryStorage {
    fn swap(&self, from: Option<&Secret>, to: Option<&Secret>) -> Option<Secret> {
        let mut text = self.0.borrow_mut();
        if text.as_ref() == from {
            *text = to.cloned();
        }
        text.clone()
    }
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests;

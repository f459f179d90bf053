//! The format of a session's database (docs/protocol.md, section 4), and its creation and upgrade.
//! Must not depend on how the database is used.

use gloo_events::EventListener;
use js_sys::Array;
use relogin_client_proto::storage::{Log, LogEntry};
use relogin_session::SessionId;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{IdbDatabase, IdbObjectStore, IdbObjectStoreParameters, IdbOpenDbRequest};

use super::{member, object, random};

/// The version of the format. Version 1 had entries and texts in one object store, `log`.
pub(super) const VERSION: u32 = 2;

/// Object store of the log's entries, by ascending numbers.
pub(super) const ENTRIES: &str = "entries";
/// Object store of the log's texts, by random names.
pub(super) const TEXTS: &str = "texts";
/// Object store of device keys, by name.
pub(super) const KEYS: &str = "keys";

/// Object store of version 1: entries with the texts in them.
const LOG: &str = "log";

/// A new entry, which the browser will number: the entry that it follows, the name of its text, and
/// the sessions that have ended.
pub(super) fn new_entry(from: Option<u64>, text: Option<&str>, ended: &[SessionId]) -> JsValue {
    let from = from.map_or(JsValue::NULL, |number| JsValue::from_f64(number as f64));
    let list = Array::new();
    for sid in ended {
        list.push(&sid.to_text().into());
    }
    object(&[("from", from), ("text", text.map_or(JsValue::NULL, JsValue::from_str)), ("ended", list.into())]).into()
}

/// Reads an entry of either version. In version 1, `text` is the text itself.
pub(super) fn entry(value: &JsValue) -> Option<LogEntry> {
    let number = |name| member(value, name)?.as_f64().map(|number| number as u64);
    let ended = member(value, "ended").filter(JsValue::is_object).map(|ended| Array::from(&ended)).unwrap_or_default();
    Some(LogEntry {
        at: number("at")?,
        from: number("from"),
        text: member(value, "text")?.as_string(),
        ended: ended.iter().filter_map(|sid| SessionId::parse(&sid.as_string()?)).collect(),
    })
}

/// Creates or upgrades the database that `request` opens, in the transaction that the browser
/// provides for that.
///
/// # Errors
/// The exception that the browser has thrown.
pub(super) fn upgrade(request: &IdbOpenDbRequest) -> Result<(), JsValue> {
    let database = request.result()?.dyn_into::<IdbDatabase>()?;
    let stores = database.object_store_names();
    if !stores.contains(KEYS) {
        database.create_object_store(KEYS)?;
    }
    let entries = create_entries(&database)?;
    let texts = database.create_object_store(TEXTS)?;
    if !stores.contains(LOG) {
        return Ok(());
    }
    let upgrading = request.transaction().ok_or(JsValue::UNDEFINED)?;
    let all = upgrading.object_store(LOG)?.get_all()?;
    let reading = all.clone();
    let carry_over = move || {
        carry_over(&reading.result()?, &entries, &texts)?;
        database.delete_object_store(LOG)
    };
    let carrying_over = EventListener::new(&all, "success", move |_| {
        if carry_over().is_err() {
            let _ = upgrading.abort();
        }
    });
    // It is called once, long after this function has returned.
    carrying_over.forget();
    Ok(())
}

/// Turns the entry that counts among `old` ones into the first new one.
fn carry_over(old: &JsValue, entries: &IdbObjectStore, texts: &IdbObjectStore) -> Result<(), JsValue> {
    let old = Array::from(old).iter().filter_map(|value| entry(&value)).collect();
    let old = Log { entries: old, texts: Vec::new() };
    let Some(LogEntry { text, .. }) = old.last() else { return Ok(()) };
    let name = text.as_ref().map(|_| random::name());
    if let (Some(name), Some(text)) = (&name, text) {
        texts.add_with_key(&text.into(), &name.into())?;
    }
    entries.add(&new_entry(None, name.as_deref(), &[]))?;
    Ok(())
}

/// Creates the object store of entries.
fn create_entries(database: &IdbDatabase) -> Result<IdbObjectStore, JsValue> {
    let ascending = IdbObjectStoreParameters::new();
    ascending.set_auto_increment(true);
    ascending.set_key_path(&"at".into());
    database.create_object_store_with_optional_parameters(ENTRIES, &ascending)
}

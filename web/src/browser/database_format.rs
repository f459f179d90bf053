//! What a session's database has in it, and how one is made, or one of an earlier version brought up to
//! date, in the transaction that the browser gives for that.

use gloo_events::EventListener;
use js_sys::Array;
use relogin_client_proto::storage::{Log, LogEntry};
use relogin_session::SessionId;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{IdbDatabase, IdbObjectStore, IdbObjectStoreParameters, IdbOpenDbRequest};

use super::{member, object, random};

/// The version of the format. Version 1 had entries and texts in one object store, `log`.
pub(super) const VERSION: u32 = 2;

/// Object store: the entries of the log, by ascending numbers.
pub(super) const ENTRIES: &str = "entries";
/// Object store: the texts of the log, by random names.
pub(super) const TEXTS: &str = "texts";
/// Object store: keys of the device, by name.
pub(super) const KEYS: &str = "keys";

/// The log of version 1: its entries had the texts themselves.
const LOG: &str = "log";

/// What an entry is when it has not been numbered yet: what it follows, the name of its text, and what has
/// ended.
pub(super) fn new_entry(from: Option<u64>, text: Option<&str>, ended: &[SessionId]) -> JsValue {
    let from = from.map_or(JsValue::NULL, |number| JsValue::from_f64(number as f64));
    let list = Array::new();
    for sid in ended {
        list.push(&sid.to_text().into());
    }
    object(&[("from", from), ("text", text.map_or(JsValue::NULL, JsValue::from_str)), ("ended", list.into())]).into()
}

/// An entry of the log, of whichever version: in the first, its text is the text itself.
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

/// Upgrades the database that `request` opens.
///
/// # Errors
/// What the browser has thrown.
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
    // Once only, and long after this has returned.
    carrying_over.forget();
    Ok(())
}

/// What counted among `old` entries becomes the first new one.
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

/// The object store that has the entries.
fn create_entries(database: &IdbDatabase) -> Result<IdbObjectStore, JsValue> {
    let ascending = IdbObjectStoreParameters::new();
    ascending.set_auto_increment(true);
    ascending.set_key_path(&"at".into());
    database.create_object_store_with_optional_parameters(ENTRIES, &ascending)
}

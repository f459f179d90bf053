//! The log of the storage record, in the database. Must not decide which entry counts: that is up
//! to `RecordStorage`.

use std::cell::RefCell;

use js_sys::Array;
use relogin_client_proto::{
    Secret,
    storage::{Log, LogAppend, LogRemoval, Unavailable},
};
use wasm_bindgen::JsValue;
use web_sys::IdbTransactionMode as Mode;

use super::{
    database::{Connection, Database, DatabaseError, Request},
    database_format::{ENTRIES, TEXTS, entry, new_entry},
    random,
};

/// The log.
#[derive(Debug)]
pub(super) struct RecordLog {
    database: Database,
    /// The connection on which the log was read last. Writes use this one only, because a database
    /// that was opened later may have another log.
    connection: RefCell<Option<Connection>>,
}

impl RecordLog {
    /// The log in `database`.
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), connection: RefCell::default() }
    }

    /// Reads the whole log.
    pub(super) async fn read(&self) -> Result<Log, Unavailable> {
        let all = [Request::GetAll(ENTRIES), Request::GetAllKeys(TEXTS), Request::GetAll(TEXTS)];
        let (results, connection) = self.database.transact(Mode::Readonly, &all).await?;
        *self.connection.borrow_mut() = Some(connection);
        let [entries, names, texts] = results.as_slice() else { return Err(Unavailable) };
        let (entries, names, texts) = (Array::from(entries), Array::from(names), Array::from(texts));
        let mut log = Log::default();
        for at in 0..entries.length() {
            log.entries.push(entry(&entries.get(at)).ok_or(Unavailable)?);
        }
        for at in 0..names.length() {
            if let (Some(name), Some(text)) = (names.get(at).as_string(), texts.get(at).as_string()) {
                log.texts.push((name, Secret::new(text)));
            }
        }
        Ok(log)
    }

    /// Appends to the log that was read last. Returns the new entry's number.
    pub(super) async fn append(&self, append: &LogAppend) -> Result<u64, Unavailable> {
        let name = append.text.as_ref().map(|_| random::name());
        let entry = new_entry(append.from, name.as_deref(), &append.ended);
        let mut requests = requests(&append.remove);
        if let Some(text) = &append.text {
            requests.push(Request::Add(TEXTS, text.expose().into(), name.as_deref()));
        }
        requests.push(Request::Add(ENTRIES, entry, None));
        let results = self.write(&requests).await?;
        results.last().and_then(JsValue::as_f64).map(|at| at as u64).ok_or(Unavailable)
    }

    /// Removes entries and texts from the log that was read last.
    pub(super) async fn remove(&self, removal: &LogRemoval) -> Result<(), Unavailable> {
        self.write(&requests(removal)).await.map(drop)
    }

    async fn write(&self, requests: &[Request<'_>]) -> Result<Vec<JsValue>, Unavailable> {
        let connection = self.connection.borrow().clone().ok_or(Unavailable)?;
        Ok(connection.transact(Mode::Readwrite, requests).await?)
    }
}

impl From<DatabaseError> for Unavailable {
    fn from(_: DatabaseError) -> Self {
        Self
    }
}

fn requests(removal: &LogRemoval) -> Vec<Request<'_>> {
    let mut requests = Vec::new();
    for at in &removal.entries {
        requests.push(Request::Delete(ENTRIES, JsValue::from_f64(*at as f64)));
    }
    for name in &removal.texts {
        requests.push(Request::Delete(TEXTS, name.into()));
    }
    requests
}

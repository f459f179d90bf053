//! The log of the storage record, in the database: as relogin_client::storage wants it read and written.

use std::cell::RefCell;

use futures_util::future::LocalBoxFuture;
use js_sys::Array;
use relogin_client::{
    Secret,
    storage::{Log, LogAppend, LogRemoval, Unavailable},
};
use wasm_bindgen::JsValue;
use web_sys::{IdbTransaction, IdbTransactionMode as Mode};

use super::{
    database::{Connection, Database, DatabaseError, Work},
    database_format::{ENTRIES, TEXTS, entry, new_entry},
    random,
};

/// The log.
#[derive(Debug)]
pub(super) struct RecordLog {
    database: Database,
    /// On which it was read last. What is written goes there, or nowhere: another database has another log.
    connection: RefCell<Option<Connection>>,
}

impl RecordLog {
    /// The log in `database`.
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), connection: RefCell::default() }
    }

    /// All of it.
    pub(super) async fn read(&self) -> Result<Log, Unavailable> {
        let read = |transaction: &IdbTransaction| {
            let texts = transaction.object_store(TEXTS)?;
            let entries = transaction.object_store(ENTRIES)?.get_all()?;
            Ok(vec![entries, texts.get_all_keys()?, texts.get_all()?])
        };
        let (results, connection) = self.database.transact(&[ENTRIES, TEXTS], Mode::Readonly, &read).await?;
        *self.connection.borrow_mut() = Some(connection);
        let [entries, names, texts] = results.as_slice() else { return Err(Unavailable) };
        let [entries, names, texts] = [entries, names, texts].map(Array::from);
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

    /// Appends to the log that was read last. The new entry's number.
    pub(super) async fn append(&self, append: &LogAppend) -> Result<u64, Unavailable> {
        let name = append.text.as_ref().map(|_| random::name());
        let entry = new_entry(append.from, name.as_deref(), &append.ended).map_err(|_| Unavailable)?;
        let results = self
            .write(&|transaction| {
                remove(transaction, &append.remove)?;
                if let (Some(name), Some(text)) = (&name, &append.text) {
                    transaction.object_store(TEXTS)?.add_with_key(&text.expose().into(), &name.into())?;
                }
                Ok(vec![transaction.object_store(ENTRIES)?.add(&entry)?])
            })
            .await?;
        results.first().and_then(JsValue::as_f64).map(|at| at as u64).ok_or(Unavailable)
    }

    /// Removes from it.
    pub(super) async fn remove(&self, removal: &LogRemoval) -> Result<(), Unavailable> {
        self.write(&|transaction| remove(transaction, removal).map(|()| Vec::new())).await.map(drop)
    }

    fn write<'a>(&'a self, work: Work<'a>) -> LocalBoxFuture<'a, Result<Vec<JsValue>, Unavailable>> {
        Box::pin(async move {
            let connection = self.connection.borrow().clone().ok_or(Unavailable)?;
            Ok(connection.transact(&[ENTRIES, TEXTS], Mode::Readwrite, work).await?)
        })
    }
}

impl From<DatabaseError> for Unavailable {
    fn from(_: DatabaseError) -> Self {
        Self
    }
}

fn remove(transaction: &IdbTransaction, removal: &LogRemoval) -> Result<(), JsValue> {
    let (entries, texts) = (transaction.object_store(ENTRIES)?, transaction.object_store(TEXTS)?);
    for at in &removal.entries {
        entries.delete(&JsValue::from_f64(*at as f64))?;
    }
    for name in &removal.texts {
        texts.delete(&name.into())?;
    }
    Ok(())
}

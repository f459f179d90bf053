//! The IndexedDB database of a session, on web-sys. It has the log of the storage record and the
//! device key. Must not depend on what they say.
//!
//! Each transaction is handed to the browser as a whole, with its commit, and is durable
//! ("strict"). The browser finishes it without the page, so a page that is frozen or closed in the
//! middle of one keeps no other tab waiting.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;
use gloo_events::EventListener;
use js_sys::{Array, Object, Promise};
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use web_sys::{EventTarget, IdbDatabase, IdbRequest, IdbTransaction, IdbTransactionMode as Mode};

use super::{
    database_format::{ENTRIES, KEYS, TEXTS, VERSION, upgrade},
    global, member, object,
};

/// How long a database may take to open, in milliseconds. Some browsers have been known never to
/// answer.
const OPENING: i32 = 3000;
/// How long a transaction may take, in milliseconds. The first one of a connection may take as long
/// as opening the database: only after that is it known that the database answers, if slowly.
const TRANSACTION: i32 = 10_000;

#[wasm_bindgen]
extern "C" {
    // web-sys has the options of transactions as unstable, and their commit as deprecated.
    #[wasm_bindgen(extends = IdbDatabase)]
    type Transactions;

    #[wasm_bindgen(catch, method)]
    fn transaction(this: &Transactions, stores: &Array, mode: Mode, options: &Object) -> Result<Commit, JsValue>;

    #[wasm_bindgen(extends = IdbTransaction)]
    type Commit;

    #[wasm_bindgen(catch, method)]
    fn commit(this: &Commit) -> Result<(), JsValue>;
}

/// A request of a transaction. The first field is the object store.
#[derive(Debug)]
pub(super) enum Request<'a> {
    /// Get the value of this key.
    Get(&'a str, &'a str),
    /// Get all values, in the order of their keys.
    GetAll(&'a str),
    /// Get all keys, in their order.
    GetAllKeys(&'a str),
    /// Add a value under a key, which must not exist, or else under a key that the browser chooses.
    /// The result is the key.
    Add(&'a str, JsValue, Option<&'a str>),
    /// Remove the value of this key, if there is one.
    Delete(&'a str, JsValue),
}

/// Why a database did not carry out a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DatabaseError {
    /// The browser has no databases for this page.
    #[error("the browser has no databases for this page")]
    Missing,
    /// The browser has databases, but refuses the request.
    #[error("the browser refuses")]
    Refused,
    /// The database did not answer in time.
    #[error("no answer in time")]
    Silent,
}

/// A database. It is opened at its first use, and again if the browser has closed it, and closed
/// with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Database(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    open: RefCell<Option<Connection>>,
    /// It has not answered once, and is not waited for again.
    is_silent: Cell<bool>,
}

/// A connection to an open database.
#[derive(Clone, Debug)]
pub(super) struct Connection(Rc<Open>);

#[derive(Debug)]
struct Open {
    database: IdbDatabase,
    /// Whether a transaction has completed.
    answers: Cell<bool>,
    /// Closes it when another page wants to delete or upgrade it.
    _version_change: EventListener,
}

impl Database {
    /// The database `name`.
    pub(super) fn new(name: &str) -> Self {
        Self(Rc::new(Shared { name: name.to_owned(), open: RefCell::default(), is_silent: Cell::new(false) }))
    }

    /// Does what [`Connection::transact`] does, on a connection that is opened if necessary.
    /// Returns that connection too.
    pub(super) fn transact<'a>(
        &'a self,
        mode: Mode,
        requests: &'a [Request<'a>],
    ) -> LocalBoxFuture<'a, Result<(Vec<JsValue>, Connection), DatabaseError>> {
        // Boxed, like the futures below: otherwise each caller would contain a copy of the code.
        Box::pin(async move {
            let mut tries = 2;
            loop {
                let connection = self.open().await?;
                let error = match connection.transact(mode, requests).await {
                    Ok(results) => return Ok((results, connection)),
                    Err(error) => error,
                };
                // Browsers close databases when the user clears them, when a phone has slept, and
                // after disk errors.
                drop(self.0.open.take());
                // It has opened, and then not answered.
                self.0.is_silent.set(error == DatabaseError::Silent && !connection.0.answers.get());
                tries -= 1;
                if tries == 0 {
                    return Err(error);
                }
            }
        })
    }

    /// Returns the connection; opens the database if it is not open.
    pub(super) fn open(&self) -> LocalBoxFuture<'_, Result<Connection, DatabaseError>> {
        Box::pin(async {
            if let Some(connection) = &*self.0.open.borrow() {
                return Ok(connection.clone());
            }
            if self.0.is_silent.get() {
                return Err(DatabaseError::Silent);
            }
            let opened = open(&self.0.name).await;
            self.0.is_silent.set(matches!(opened, Err(DatabaseError::Silent)));
            let connection = opened?;
            *self.0.open.borrow_mut() = Some(connection.clone());
            Ok(connection)
        })
    }
}

impl Connection {
    /// Carries out all of `requests`, or none, and returns their results. They are then on disk, as
    /// far as the browser keeps its promise.
    pub(super) fn transact<'a>(
        &'a self,
        mode: Mode,
        requests: &'a [Request<'a>],
    ) -> LocalBoxFuture<'a, Result<Vec<JsValue>, DatabaseError>> {
        Box::pin(async move {
            let Open { database, answers, .. } = &*self.0;
            let stores = Array::of3(&ENTRIES.into(), &TEXTS.into(), &KEYS.into());
            let database: &Transactions = database.unchecked_ref();
            let options = object(&[("durability", "strict".into())]);
            let transaction = database.transaction(&stores, mode, &options).map_err(|thrown| refused(&thrown))?;
            let mut asked = Vec::new();
            for request in requests {
                let Ok(request) = request.ask(&transaction) else {
                    // Otherwise the browser would carry out the requests before this one.
                    let _ = transaction.abort();
                    return Err(DatabaseError::Refused);
                };
                asked.push(request);
            }
            // Browsers that do not know it commit by themselves, once the page has seen the
            // results.
            let _ = transaction.commit();
            let limit = if answers.get() { TRANSACTION } else { OPENING };
            happens(&transaction, "complete", "abort", limit).await?;
            answers.set(true);
            let mut results = Vec::new();
            for request in asked {
                results.push(request.result().map_err(|thrown| refused(&thrown))?);
            }
            Ok(results)
        })
    }
}

impl Request<'_> {
    fn ask(&self, transaction: &IdbTransaction) -> Result<IdbRequest, JsValue> {
        let (Self::Get(store, _)
        | Self::GetAll(store)
        | Self::GetAllKeys(store)
        | Self::Add(store, ..)
        | Self::Delete(store, _)) = self;
        let store = transaction.object_store(store)?;
        match self {
            Self::Get(_, key) => store.get(&JsValue::from_str(key)),
            Self::GetAll(_) => store.get_all(),
            Self::GetAllKeys(_) => store.get_all_keys(),
            Self::Add(_, value, Some(key)) => store.add_with_key(value, &JsValue::from_str(key)),
            Self::Add(_, value, None) => store.add(value),
            Self::Delete(_, key) => store.delete(key),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.database.close();
    }
}

async fn open(name: &str) -> Result<Connection, DatabaseError> {
    let factory = global().indexed_db().ok().flatten().ok_or(DatabaseError::Missing)?;
    let request = factory.open_with_u32(name, VERSION).map_err(|thrown| refused(&thrown))?;
    let upgrading = request.clone();
    let _upgrade = EventListener::new(&request, "upgradeneeded", move |_| {
        // If the upgrade fails, opening fails, and the storage record is still in localStorage.
        if upgrade(&upgrading).is_err()
            && let Some(transaction) = upgrading.transaction()
        {
            let _ = transaction.abort();
        }
    });
    match happens(&request, "success", "error", OPENING).await {
        Err(DatabaseError::Refused) => return Err(refused(&request.error().ok().flatten().into())),
        opened => opened?,
    }
    let database: IdbDatabase = request.result().map_err(|thrown| refused(&thrown))?.unchecked_into();
    let closes = database.clone();
    let _version_change = EventListener::new(&database, "versionchange", move |_| closes.close());
    Ok(Connection(Rc::new(Open { database, answers: Cell::new(false), _version_change })))
}

/// Waits for the event `good`, for at most `limit` milliseconds. Fails at the event `bad`.
async fn happens(target: &EventTarget, good: &str, bad: &str, limit: i32) -> Result<(), DatabaseError> {
    let happens = Promise::new(&mut |resolve, reject| {
        // None of these fails. A promise takes the first result only.
        let _ = target.add_event_listener_with_callback(good, &resolve);
        let _ = target.add_event_listener_with_callback(bad, &reject);
        let _ = global().set_timeout_with_callback_and_timeout_and_arguments_0(&reject, limit);
    });
    match happens.await {
        Ok(_) => Ok(()),
        Err(event) if event.is_undefined() => Err(DatabaseError::Silent),
        Err(_) => Err(DatabaseError::Refused),
    }
}

fn refused(thrown: &JsValue) -> DatabaseError {
    let is_missing = member(thrown, "name").is_some_and(|name| name == "SecurityError");
    if is_missing { DatabaseError::Missing } else { DatabaseError::Refused }
}

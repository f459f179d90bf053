//! The IndexedDB database of a session, on web-sys: it has the log of the storage record and the device
//! key.
//!
//! Each transaction is handed to the browser whole, its commit included, and lasts ("strict"): the browser
//! finishes it without the page, so one that is frozen or closed in the middle keeps no other tab waiting.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures_channel::oneshot;
use futures_util::future::{Either, LocalBoxFuture, select};
use gloo_events::EventListener;
use gloo_timers::future::TimeoutFuture;
use js_sys::Array;
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use web_sys::{EventTarget, IdbDatabase, IdbRequest, IdbTransaction, IdbTransactionMode as Mode};

use super::{
    database_format::{VERSION, upgrade},
    global,
};

/// How long a database may take to open, in milliseconds. Some browsers have been known never to answer.
const OPENING: u32 = 3000;
/// How long a transaction may take: longer, but for the first, for by then it is known that the database is there, if slow.
const TRANSACTION: u32 = 10_000;

#[wasm_bindgen]
extern "C" {
    // web-sys has the options of transactions as unstable, and their commit as deprecated.
    #[wasm_bindgen(extends = IdbDatabase)]
    type Transactions;

    #[wasm_bindgen(catch, method)]
    fn transaction(
        this: &Transactions,
        stores: &Array,
        mode: Mode,
        options: &TransactionOptions,
    ) -> Result<Commit, JsValue>;

    #[wasm_bindgen(extends = IdbTransaction)]
    type Commit;

    #[wasm_bindgen(catch, method)]
    fn commit(this: &Commit) -> Result<(), JsValue>;

    #[wasm_bindgen(extends = js_sys::Object)]
    type TransactionOptions;

    #[wasm_bindgen(method, setter)]
    fn set_durability(this: &TransactionOptions, durability: &str);
}

/// What a transaction is to do: asks for all of it at once.
pub(super) type Work<'a> = &'a dyn Fn(&IdbTransaction) -> Result<Vec<IdbRequest>, JsValue>;

/// Why a database did not do as it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DatabaseError {
    /// The browser has none, or refuses.
    #[error("the browser refuses")]
    Refused,
    /// It did not answer in time.
    #[error("no answer in time")]
    Silent,
}

/// A database, opened when it is first used, and again if the browser has taken it from us. Closed with the
/// last clone.
#[derive(Clone, Debug)]
pub(super) struct Database(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    open: RefCell<Option<Connection>>,
    /// A transaction has come to its end.
    answers: Cell<bool>,
    /// It did not answer once: who waits for it again waits in vain.
    is_silent: Cell<bool>,
}

/// A database that is open.
#[derive(Clone, Debug)]
pub(super) struct Connection(Rc<Open>);

#[derive(Debug)]
struct Open {
    database: IdbDatabase,
    /// Lets go of it when another page wants to delete or upgrade it.
    _version_change: EventListener,
}

impl Database {
    /// The database called `name`.
    pub(super) fn new(name: &str) -> Self {
        Self(Rc::new(Shared {
            name: name.to_owned(),
            open: RefCell::default(),
            answers: Cell::new(false),
            is_silent: Cell::new(false),
        }))
    }

    /// As [`Connection::transact`], on a connection that is opened if need be, and comes back.
    pub(super) async fn transact(
        &self,
        stores: &[&str],
        mode: Mode,
        work: Work<'_>,
    ) -> Result<(Vec<JsValue>, Connection), DatabaseError> {
        let open = self.0.open.borrow().clone();
        if let Some(connection) = open {
            match self.transact_on(&connection, stores, mode, work).await {
                Ok(results) => return Ok((results, connection)),
                // Browsers close databases when the user clears them, when a phone has slept, after errors
                // of the disk.
                Err(_) => drop(self.0.open.take()),
            }
        }
        let connection = self.open().await?;
        Ok((self.transact_on(&connection, stores, mode, work).await?, connection))
    }

    fn transact_on<'a>(
        &'a self,
        connection: &'a Connection,
        stores: &'a [&'a str],
        mode: Mode,
        work: Work<'a>,
    ) -> LocalBoxFuture<'a, Result<Vec<JsValue>, DatabaseError>> {
        Box::pin(async move {
            let Shared { answers, is_silent, .. } = &*self.0;
            let limit = if answers.get() { TRANSACTION } else { OPENING };
            let results = connection.transact_within(limit, stores, mode, work).await;
            if results.is_ok() {
                answers.set(true);
            } else if !answers.get() && matches!(results, Err(DatabaseError::Silent)) {
                // It opened, and that was all.
                is_silent.set(true);
            }
            results
        })
    }

    /// Opens it ahead of its first use.
    pub(super) async fn open_ahead(&self) {
        if self.0.open.borrow().is_none() {
            let _ = self.open().await;
        }
    }

    fn open(&self) -> LocalBoxFuture<'_, Result<Connection, DatabaseError>> {
        // Boxed, as `happens`.
        Box::pin(async {
            if self.0.is_silent.get() {
                return Err(DatabaseError::Silent);
            }
            let opened = open(&self.0.name).await;
            self.0.is_silent.set(opened == Err(DatabaseError::Silent));
            let database = opened?;
            let closes = database.clone();
            let _version_change = EventListener::new(&database, "versionchange", move |_| closes.close());
            let connection = Connection(Rc::new(Open { database, _version_change }));
            *self.0.open.borrow_mut() = Some(connection.clone());
            Ok(connection)
        })
    }
}

impl Connection {
    /// Does all that `work` wants with these object stores, or nothing. Once it is done, it is on disk, as
    /// far as the browser keeps its word. Gives the results of the requests.
    pub(super) async fn transact(
        &self,
        stores: &[&str],
        mode: Mode,
        work: Work<'_>,
    ) -> Result<Vec<JsValue>, DatabaseError> {
        self.transact_within(TRANSACTION, stores, mode, work).await
    }

    async fn transact_within(
        &self,
        limit: u32,
        stores: &[&str],
        mode: Mode,
        work: Work<'_>,
    ) -> Result<Vec<JsValue>, DatabaseError> {
        let stores: Array = stores.iter().copied().map(JsValue::from_str).collect();
        let options: TransactionOptions = js_sys::Object::new().unchecked_into();
        options.set_durability("strict");
        let database: &Transactions = self.0.database.unchecked_ref();
        let transaction = database.transaction(&stores, mode, &options).map_err(refused)?;
        let Ok(requests) = work(&transaction) else {
            // Else the browser would do what it was asked up to there.
            let _ = transaction.abort();
            return Err(DatabaseError::Refused);
        };
        // Browsers that do not know it commit by themselves, once the page has seen the results.
        let _ = transaction.commit();
        happens(transaction.clone().unchecked_into(), "complete", "abort", limit).await?;
        requests.iter().map(|request| request.result().map_err(refused)).collect()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.database.close();
    }
}

async fn open(name: &str) -> Result<IdbDatabase, DatabaseError> {
    let factory = global().indexed_db().ok().flatten().ok_or(DatabaseError::Refused)?;
    let request = factory.open_with_u32(name, VERSION).map_err(refused)?;
    let upgrading = request.clone();
    let _upgrade = EventListener::new(&request, "upgradeneeded", move |_| {
        // What cannot be upgraded is refused, and the storage record is in localStorage still.
        if upgrade(&upgrading).is_err()
            && let Some(transaction) = upgrading.transaction()
        {
            let _ = transaction.abort();
        }
    });
    happens(request.clone().unchecked_into(), "success", "error", OPENING).await?;
    request.result().map_err(refused)?.dyn_into().map_err(refused)
}

/// Waits for the first of two events, no longer than `limit` milliseconds. Fails at the second.
fn happens(
    target: EventTarget,
    good: &'static str,
    bad: &'static str,
    limit: u32,
) -> LocalBoxFuture<'static, Result<(), DatabaseError>> {
    let happening = async move {
        let (sender, happened) = oneshot::channel();
        let sender = Rc::new(Cell::new(Some(sender)));
        let listen = |event, is_good| {
            let sender = Rc::clone(&sender);
            EventListener::new(&target, event, move |_| {
                if let Some(sender) = sender.take() {
                    let _ = sender.send(is_good);
                }
            })
        };
        let _listeners = (listen(good, true), listen(bad, false));
        match select(happened, TimeoutFuture::new(limit)).await {
            Either::Left((Ok(true), _)) => Ok(()),
            Either::Left(_) => Err(DatabaseError::Refused),
            Either::Right(_) => Err(DatabaseError::Silent),
        }
    };
    // Boxed, for the compiler would put a copy wherever it is waited for.
    Box::pin(happening)
}

fn refused<E>(_error: E) -> DatabaseError {
    DatabaseError::Refused
}

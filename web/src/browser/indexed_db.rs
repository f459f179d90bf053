//! IndexedDB, as little of it as a few small values need.
//!
//! Each transaction is handed to the browser whole, its commit included. So the browser finishes it without the page: one that
//! is frozen or closed in the middle keeps no other tab waiting.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Object, Reflect};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use web_sys::{
    EventTarget, IdbDatabase, IdbObjectStore, IdbObjectStoreParameters, IdbOpenDbRequest, IdbRequest, IdbTransaction,
    window,
};

use super::{Exception, listener::Listener};

/// The object store whose values get ascending numbers, in their member [`NUMBER`].
pub(super) const LOG: &str = "log";
/// The member of a value in [`LOG`] that has its number.
pub(super) const NUMBER: &str = "at";
/// The object store whose values are put under names.
pub(super) const KEYS: &str = "keys";

/// How long a database may take to open. Some browsers have been known never to answer.
const OPENING: Duration = Duration::from_secs(3);
/// How long a transaction may take. Longer: by then it is known that the database is there, if slow.
const TRANSACTION: Duration = Duration::from_secs(10);

/// A database, opened when it is first used, and again if the browser has taken it from us.
#[derive(Debug)]
pub struct Database {
    name: String,
    handle: RefCell<Option<Handle>>,
    /// It did not answer once; who waits for it again waits in vain.
    silent: Cell<bool>,
}

/// What is done with an object store; the result of the last request is what comes of it. No type parameter: each kind of work would
/// have its own copy of all the waiting.
type Work<'w> = dyn Fn(&IdbObjectStore) -> Result<IdbRequest, JsValue> + 'w;

#[derive(Clone, Debug)]
struct Handle {
    database: IdbDatabase,
    /// Lets go of the database when another page wants to delete it.
    _gives_way: Rc<Listener>,
}

#[wasm_bindgen]
extern "C" {
    // web-sys has the options behind its unstable flag, which every build of the workspace would have to set.
    #[wasm_bindgen(js_name = IDBDatabase)]
    type WithOptions;

    #[wasm_bindgen(method, catch)]
    fn transaction(this: &WithOptions, store: &str, mode: &str, options: &Object) -> Result<IdbTransaction, JsValue>;

    // And it has this one marked as going away, which it is not.
    #[wasm_bindgen(js_name = IDBTransaction)]
    type WithCommit;

    #[wasm_bindgen(method, catch)]
    fn commit(this: &WithCommit) -> Result<(), JsValue>;
}

impl Database {
    /// The database called `name`.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, handle: RefCell::new(None), silent: Cell::new(false) }
    }

    /// What `ask` asks of the object store `store`.
    ///
    /// # Errors
    /// If there is no IndexedDB, it does not answer, or says no.
    pub(super) async fn read(&self, store: &str, ask: &Work<'_>) -> Result<JsValue, Exception> {
        self.transact(store, "readonly", ask).await
    }

    /// Does what `change` wants with the object store `store`: all of it or nothing. Once this returns, it is on disk, as far
    /// as the browser keeps its word.
    ///
    /// # Errors
    /// If there is no IndexedDB, it does not answer, or says no.
    pub(super) async fn write(&self, store: &str, change: &Work<'_>) -> Result<(), Exception> {
        self.transact(store, "readwrite", change).await.map(drop)
    }

    async fn transact(&self, store: &str, mode: &str, work: &Work<'_>) -> Result<JsValue, Exception> {
        let opened = self.handle.borrow().clone();
        if let Some(handle) = opened {
            match handle.transact(store, mode, work).await {
                Err(error) if !error.is("ConstraintError") => {}
                outcome => return outcome,
            }
            // Browsers close databases when the user clears them, when a phone has slept, after errors of the disk.
            handle.database.close();
        }
        if self.silent.get() {
            return Err(Exception::new("TimeoutError", "no answer in time"));
        }
        let opened = within(OPENING, Handle::open(&self.name)).await;
        self.silent.set(matches!(&opened, Err(error) if error.is("TimeoutError")));
        let handle = opened?;
        *self.handle.borrow_mut() = Some(handle.clone());
        handle.transact(store, mode, work).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.database.close();
        }
    }
}

impl Handle {
    async fn open(name: &str) -> Result<Self, Exception> {
        let factory = window().and_then(|window| window.indexed_db().transpose());
        let factory = factory.ok_or_else(|| Exception::new("NotSupportedError", "no IndexedDB"))??;
        let request: IdbOpenDbRequest = factory.open(name)?;
        let making = request.clone();
        let _make = Listener::new(&request, "upgradeneeded", move |_| {
            if let Some(database) = making.result().ok().and_then(|made| made.dyn_into::<IdbDatabase>().ok()) {
                // Fails for stores that are there already, and then all is well.
                let _ = make_stores(&database);
            }
        });
        if !happens(&request, "success", "error").await {
            return Err(failure(request.error().ok().flatten()));
        }
        let database: IdbDatabase = request.result()?.unchecked_into();
        let ours = database.clone();
        let gives_way = Listener::new(&database, "versionchange", move |_| ours.close());
        Ok(Self { database, _gives_way: Rc::new(gives_way) })
    }

    async fn transact(&self, store: &str, mode: &str, work: &Work<'_>) -> Result<JsValue, Exception> {
        let options = Object::new();
        // Setting a property of an ordinary object cannot fail.
        let _ = Reflect::set(&options, &"durability".into(), &"strict".into());
        let transaction = self.database.unchecked_ref::<WithOptions>().transaction(store, mode, &options)?;
        let request = work(&transaction.object_store(store)?)?;
        // Browsers that do not know it commit by themselves once the page has seen the results.
        let _ = transaction.unchecked_ref::<WithCommit>().commit();
        if !within(TRANSACTION, async { Ok(happens(&transaction, "complete", "abort").await) }).await? {
            return Err(failure(transaction.error()));
        }
        Ok(request.result()?)
    }
}

fn make_stores(database: &IdbDatabase) -> Result<(), JsValue> {
    let numbered = IdbObjectStoreParameters::new();
    numbered.set_auto_increment(true);
    numbered.set_key_path(&NUMBER.into());
    database.create_object_store_with_optional_parameters(LOG, &numbered)?;
    database.create_object_store(KEYS)?;
    Ok(())
}

/// Waits for one of two events; true for the first.
async fn happens(target: &EventTarget, good: &'static str, bad: &'static str) -> bool {
    let (tell, told) = oneshot::channel();
    let tell = Rc::new(RefCell::new(Some(tell)));
    let end = |event, outcome| {
        let tell = Rc::clone(&tell);
        Listener::new(target, event, move |_| {
            if let Some(tell) = tell.borrow_mut().take() {
                // Fails if nobody waits any more.
                let _ = tell.send(outcome);
            }
        })
    };
    let _listeners = [end(good, true), end(bad, false)];
    told.await.unwrap_or(false)
}

/// What `work` comes to, if that does not take longer than `limit`.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Exception>>) -> Result<T, Exception> {
    match select(pin!(work), TimeoutFuture::new(limit.as_secs() as u32 * 1000)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(Exception::new("TimeoutError", "no answer in time")),
    }
}

fn failure(error: Option<web_sys::DomException>) -> Exception {
    // None: the browser has closed the database, or the page has aborted, which it does not do.
    error.map_or_else(|| Exception::new("AbortError", "the database was closed"), |error| JsValue::from(error).into())
}

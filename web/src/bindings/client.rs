//! A plain RES client, raw: commands are promises, and all that happens to its resources is told.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use js_sys::{Function, Promise};
use relogin_client::{Resource as Values, ResourceChange};
use relogin_handle::Engine;
use relogin_res::{ResourceId, delta::Step, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::{
    Alive,
    errors::{error, parts, request_error},
    values,
};
use crate::{Client, ConnectionState, Error, Event, Freshness, Options, Resource, Returned};

/// A client at work, until it is freed.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawClient {
    client: Client,
    held: RefCell<BTreeMap<String, Resource>>,
}

#[wasm_bindgen]
impl RawClient {
    /// Begins to connect. `greet`: whether each connection is greeted ([`RawClient::greeted`]) before resources are subscribed
    /// again.
    ///
    /// # Errors
    /// If the gateway's address is none.
    pub async fn connect(gateway: String, greet: bool, tell: Function) -> Result<RawClient, JsValue> {
        let tell = Tell {
            function: tell.unchecked_into(),
            last: RefCell::default(),
            waits: Cell::new(false),
            _alive: Alive::new(),
        };
        let options = Options::new(gateway).configure(|config| config.greet = greet);
        let observer = Box::new(move |event: Option<&Event>, engine: &Engine| match event {
            Some(event) => tell_event(&tell, event, engine),
            None => tell.told(),
        });
        match options.connect_observed(Some(observer)).await {
            Ok(client) => Ok(Self { client, held: RefCell::default() }),
            Err(exception) => Err(parts("client.invalid", &exception.to_string(), None)),
        }
    }

    /// Fulfilled when the resource is there. It is let go then, and stays for a moment, in which it can be held.
    pub fn get(&self, rid: String) -> Promise {
        let client = self.client.clone();
        future_to_promise(async move {
            let resource = client.resource(&rid).await.map_err(|e| error(&e))?;
            drop(resource);
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Subscribes to the resource until it is released.
    pub fn hold(&self, rid: String) {
        if let Ok(resource) = self.client.follow(&rid) {
            self.held.borrow_mut().insert(rid, resource);
        }
    }

    /// Ends that.
    pub fn release(&self, rid: &str) {
        let released = self.held.borrow_mut().remove(rid);
        drop(released);
    }

    /// Calls a method, or with `auth` an auth method. `params`: JSON. Fulfilled with what it gave back as JSON, or, in an array,
    /// with the id of the resource that it gave back.
    pub fn call(&self, auth: bool, rid: String, method: String, params: Option<String>) -> Promise {
        let client = self.client.clone();
        future_to_promise(async move {
            let returned = call(&client, auth, &rid, &method, params).await.map_err(|e| error(&e))?;
            Ok(match returned {
                Returned::Payload(json) => values::plain(&json),
                Returned::Resource(resource) => js_sys::Array::of1(&resource.id().as_str().into()).into(),
            })
        })
    }

    /// The connection was greeted.
    pub fn greeted(&self) {
        self.client.greeted();
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        // Promises that wait have clones of it.
        self.client.stop();
    }
}

async fn call(client: &Client, auth: bool, rid: &str, method: &str, params: Option<String>) -> Result<Returned, Error> {
    // The package writes what it sends; what is no JSON is nothing.
    let params = params.and_then(|params| json::parse(&params));
    client.request(auth, rid, method, params).await
}

/// What is told.
#[wasm_bindgen]
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The connection's state is another one.
    Connection = "connection",
    /// How far a resource can be trusted is another thing.
    Freshness = "freshness",
    /// A model is there.
    Model = "model",
    /// A collection is there.
    Collection = "collection",
    /// A model has changed.
    Change = "change",
    /// A collection has got a value.
    Add = "add",
    /// It has lost one.
    Remove = "remove",
    /// A custom event.
    Event = "event",
    /// A resource was deleted.
    Deleted = "deleted",
    /// A resource is not kept any longer.
    Forgotten = "forgotten",
    /// What was told belongs together: now is the time to take it in.
    Told = "told",
}

#[wasm_bindgen]
extern "C" {
    /// The package's function, which throws nothing. Called without a detour by arrays, and with
    /// as few texts as can be: each one that crosses is decoded.
    #[derive(Debug)]
    type Hearer;

    #[wasm_bindgen(method, js_name = call)]
    fn hear(this: &Hearer, nobody: &JsValue, kind: Kind, rid: &JsValue);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_value(this: &Hearer, nobody: &JsValue, kind: Kind, rid: &JsValue, value: JsValue, more: JsValue);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_text(this: &Hearer, nobody: &JsValue, kind: Kind, rid: &JsValue, text: &str);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_texts(this: &Hearer, nobody: &JsValue, kind: Kind, rid: &JsValue, name: &str, text: &str);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_index(this: &Hearer, nobody: &JsValue, kind: Kind, rid: &JsValue, index: u32);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_item(this: &Hearer, nobody: &JsValue, kind: Kind, rid: &JsValue, index: u32, text: &str);
}

/// Tells JavaScript: what kind of thing has happened to which resource, and what belongs to it.
#[derive(Debug)]
struct Tell {
    function: Hearer,
    /// The resource that was told of last, whose id JavaScript has: much often happens to one.
    last: RefCell<Option<(ResourceId, JsValue)>>,
    /// Whether something was told that is not taken in yet.
    waits: Cell<bool>,
    _alive: Alive,
}

const NOBODY: &JsValue = &JsValue::UNDEFINED;

impl Tell {
    fn told(&self) {
        if self.waits.take() {
            self.function.hear(NOBODY, Kind::Told, NOBODY);
        }
    }

    fn id(&self, rid: &ResourceId) -> JsValue {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((known, id)) if known == rid => id.clone(),
            _ => {
                let id = JsValue::from(rid.as_str());
                *last = Some((rid.clone(), id.clone()));
                id
            }
        }
    }
}

fn tell_event(tell: &Tell, event: &Event, engine: &Engine) {
    let function = &tell.function;
    tell.waits.set(true);
    match event {
        Event::Connection(state) => function.hear(NOBODY, Kind::Connection, &connection(*state).into()),
        Event::Changed(rid, change) => changed(tell, rid, change, engine),
        Event::Freshness(rid, freshness) => {
            let (word, error) = match freshness {
                Freshness::Loading => ("loading", JsValue::UNDEFINED),
                Freshness::Live => ("live", JsValue::UNDEFINED),
                Freshness::Stale => ("stale", JsValue::UNDEFINED),
                Freshness::Failed(error) => ("failed", request_error(error)),
            };
            function.hear_value(NOBODY, Kind::Freshness, &tell.id(rid), word.into(), error);
        }
        Event::Custom { rid, name, data } => {
            function.hear_texts(NOBODY, Kind::Event, &tell.id(rid), name, &json::to_text(data));
        }
        Event::Forgotten(rid) => function.hear(NOBODY, Kind::Forgotten, &tell.id(rid)),
        // Of a session, which this client has not.
        Event::Session(_) | Event::Binding(_) | Event::Refresh(_) => {}
    }
}

fn changed(tell: &Tell, rid: &ResourceId, change: &ResourceChange, engine: &Engine) {
    let (function, id) = (&tell.function, &tell.id(rid));
    match change {
        ResourceChange::Loaded => {
            let loaded = engine.read(rid, |loaded| {
                let kind = if matches!(loaded, Values::Model(_)) { Kind::Model } else { Kind::Collection };
                (kind, values::resource(loaded))
            });
            if let Some((kind, text)) = loaded {
                function.hear_text(NOBODY, kind, id, &text);
            }
        }
        ResourceChange::Model(changes) => function.hear_text(NOBODY, Kind::Change, id, &values::changes(changes)),
        ResourceChange::Collection(Step::Add(index, value)) => {
            function.hear_item(NOBODY, Kind::Add, id, *index as u32, &values::value(value));
        }
        ResourceChange::Collection(Step::Remove(index)) => function.hear_index(NOBODY, Kind::Remove, id, *index as u32),
        ResourceChange::Deleted => function.hear(NOBODY, Kind::Deleted, id),
    }
}

fn connection(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Reconnecting { .. } => "reconnecting",
        ConnectionState::Stopped => "stopped",
    }
}

//! A plain RES client, raw: commands are promises, and all that happens to its resources is told.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
};

use js_sys::{Function, Promise};
use relogin_client::{Resource as Values, ResourceChange};
use relogin_handle::Engine;
use relogin_res::{Change, Map, ResourceId, Value, delta::Step, json};
use serde_json::Value as Json;
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
            names: RefCell::default(),
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

    /// Tries to connect now, whatever the back-off.
    #[wasm_bindgen(js_name = connectNow)]
    pub fn connect_now(&self) {
        self.client.connect_now();
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
    /// From now on the number is a resource's, whose id follows.
    Named = "named",
    /// The connection's state is another one.
    Connection = "connection",
    /// How far a resource can be trusted is another thing.
    Freshness = "freshness",
    /// A model is there: JSON.
    Model = "model",
    /// A collection is there: JSON.
    Collection = "collection",
    /// A collection is there whose values are all texts: one behind the other, and their lengths.
    Texts = "texts",
    /// A model has changed: JSON.
    Change = "change",
    /// One value of a model has changed: its name, and the value as it is.
    Value = "value",
    /// A collection has got a value: JSON.
    Add = "add",
    /// A collection has got this very value.
    Item = "item",
    /// It has lost one.
    Remove = "remove",
    /// A custom event.
    Event = "event",
    /// A resource was deleted.
    Deleted = "deleted",
    /// A resource is not kept any longer, and its number is free.
    Forgotten = "forgotten",
    /// What was told belongs together: now is the time to take it in.
    Told = "told",
}

#[wasm_bindgen]
extern "C" {
    /// The package's function, which throws nothing. Called without a detour by arrays, with numbers for resources, and with
    /// as few texts as can be: each one that crosses is decoded.
    #[derive(Debug)]
    type Hearer;

    #[wasm_bindgen(method, js_name = call)]
    fn hear(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_value(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, value: JsValue, more: JsValue);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_text(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, text: &str);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_texts(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, name: &str, text: &str);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_lengths(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, text: &str, lengths: &[u32]);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_index(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, index: u32);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_item(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, index: u32, text: &str);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_count(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, index: u32, value: f64);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_member(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, name: &JsValue, text: &str);
    #[wasm_bindgen(method, js_name = call)]
    fn hear_amount(this: &Hearer, nobody: &JsValue, kind: Kind, number: u32, name: &JsValue, value: f64);
}

/// Tells JavaScript: what kind of thing has happened to which resource, and what belongs to it.
#[derive(Debug)]
struct Tell {
    function: Hearer,
    names: RefCell<Names>,
    /// Whether something was told that may wait for what belongs to it.
    waits: Cell<bool>,
    _alive: Alive,
}

/// What JavaScript was told of once, to be spoken of without a text.
#[derive(Debug, Default)]
struct Names {
    resources: HashMap<ResourceId, u32>,
    /// Numbers of resources that are forgotten.
    free: Vec<u32>,
    /// Names of models' members.
    members: Map<String, JsValue>,
}

const NOBODY: &JsValue = &JsValue::UNDEFINED;

/// More names than this are no names, but values in their place.
const MOST_MEMBERS: usize = 1024;

impl Tell {
    fn told(&self) {
        if self.waits.take() {
            self.function.hear(NOBODY, Kind::Told, 0);
        }
    }

    /// The number of a resource, of which JavaScript is told the first time.
    fn number(&self, rid: &ResourceId) -> u32 {
        let names = &mut *self.names.borrow_mut();
        if let Some(known) = names.resources.get(rid) {
            return *known;
        }
        let number = names.free.pop().unwrap_or(names.resources.len() as u32);
        names.resources.insert(rid.clone(), number);
        self.function.hear_text(NOBODY, Kind::Named, number, rid.as_str());
        number
    }

    fn forgotten(&self, rid: &ResourceId) {
        self.function.hear(NOBODY, Kind::Forgotten, self.number(rid));
        let names = &mut *self.names.borrow_mut();
        names.free.extend(names.resources.remove(rid));
    }

    /// A member's name, as JavaScript has it.
    fn member(&self, name: &str, tell: impl FnOnce(&JsValue)) {
        let members = &mut self.names.borrow_mut().members;
        if let Some(known) = members.get(name) {
            return tell(known);
        }
        if members.len() >= MOST_MEMBERS {
            *members = Map::new();
        }
        tell(members.or_insert_with(&name.to_owned(), || name.into()));
    }
}

fn tell_event(tell: &Tell, event: &Event, engine: &Engine) {
    let function = &tell.function;
    if let Event::Changed(rid, change) = event
        && told_by_itself(tell, rid, change)
    {
        return;
    }
    tell.waits.set(true);
    match event {
        Event::Connection(state) => function.hear_text(NOBODY, Kind::Connection, 0, connection(*state)),
        Event::Changed(rid, change) => changed(tell, rid, change, engine),
        Event::Freshness(rid, freshness) => {
            let (word, error) = match freshness {
                Freshness::Loading => ("loading", JsValue::UNDEFINED),
                Freshness::Live => ("live", JsValue::UNDEFINED),
                Freshness::Stale => ("stale", JsValue::UNDEFINED),
                Freshness::Failed(error) => ("failed", request_error(error)),
            };
            function.hear_value(NOBODY, Kind::Freshness, tell.number(rid), word.into(), error);
        }
        Event::Custom { rid, name, data } => {
            function.hear_texts(NOBODY, Kind::Event, tell.number(rid), name, &json::to_text(data));
        }
        Event::Forgotten(rid) => tell.forgotten(rid),
        // Of a session, which this client has not.
        Event::Session(_) | Event::Binding(_) | Event::Refresh(_) => {}
    }
}

/// Tells of a change of one value that refers to nothing, which is taken in at once. False if it is another one.
fn told_by_itself(tell: &Tell, rid: &ResourceId, change: &ResourceChange) -> bool {
    let function = &tell.function;
    match change {
        ResourceChange::Model(changes) => {
            let mut members = changes.iter();
            let (Some((name, Change::Set(Value::Primitive(value)))), None) = (members.next(), members.next()) else {
                return false;
            };
            let number = tell.number(rid);
            match (value, values::number(value)) {
                (Json::String(text), _) => {
                    tell.member(name, |name| function.hear_member(NOBODY, Kind::Value, number, name, text));
                }
                (_, Some(value)) => {
                    tell.member(name, |name| function.hear_amount(NOBODY, Kind::Value, number, name, value));
                }
                _ => return false,
            }
        }
        ResourceChange::Collection(Step::Add(index, Value::Primitive(value))) => {
            let (number, index) = (tell.number(rid), *index as u32);
            match (value, values::number(value)) {
                (Json::String(text), _) => function.hear_item(NOBODY, Kind::Item, number, index, text),
                (_, Some(value)) => function.hear_count(NOBODY, Kind::Item, number, index, value),
                _ => return false,
            }
        }
        ResourceChange::Collection(Step::Remove(index)) => {
            function.hear_index(NOBODY, Kind::Remove, tell.number(rid), *index as u32);
        }
        _ => return false,
    }
    true
}

fn changed(tell: &Tell, rid: &ResourceId, change: &ResourceChange, engine: &Engine) {
    let (function, number) = (&tell.function, tell.number(rid));
    match change {
        ResourceChange::Loaded => {
            let _ = engine.read(rid, |loaded| match values::texts(loaded) {
                Some((text, lengths)) => function.hear_lengths(NOBODY, Kind::Texts, number, &text, &lengths),
                None => {
                    let kind = if matches!(loaded, Values::Model(_)) { Kind::Model } else { Kind::Collection };
                    function.hear_text(NOBODY, kind, number, &values::resource(loaded));
                }
            });
        }
        ResourceChange::Model(changes) => function.hear_text(NOBODY, Kind::Change, number, &values::changes(changes)),
        ResourceChange::Collection(Step::Add(index, value)) => {
            function.hear_item(NOBODY, Kind::Add, number, *index as u32, &values::value(value));
        }
        // Of one value always.
        ResourceChange::Collection(Step::Remove(_)) => {}
        ResourceChange::Deleted => function.hear(NOBODY, Kind::Deleted, number),
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

//! A plain RES client, raw: commands are promises, and all that happens to its resources is told.

use std::{cell::RefCell, collections::BTreeMap};

use js_sys::{Function, Promise};
use relogin_client::{Resource as Values, ResourceChange};
use relogin_handle::Engine;
use relogin_res::{ResourceId, delta::Step, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use super::{
    Tell,
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
        let tell = Tell::new(tell);
        let options = Options::new(gateway).configure(|config| config.greet = greet);
        let observer = Box::new(move |event: &Event, engine: &Engine| tell_event(&tell, event, engine));
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

fn tell_event(tell: &Tell, event: &Event, engine: &Engine) {
    match event {
        Event::Connection(state) => tell.tell("connection", &[connection(*state).into()]),
        Event::Changed(rid, change) => changed(tell, rid, change, engine),
        Event::Freshness(rid, freshness) => {
            let (word, error) = match freshness {
                Freshness::Loading => ("loading", JsValue::UNDEFINED),
                Freshness::Live => ("live", JsValue::UNDEFINED),
                Freshness::Stale => ("stale", JsValue::UNDEFINED),
                Freshness::Failed(error) => ("failed", request_error(error)),
            };
            tell.tell("freshness", &[id(rid), word.into(), error]);
        }
        Event::Custom { rid, name, data } => tell.tell("event", &[id(rid), name.into(), values::plain(data)]),
        Event::Forgotten(rid) => tell.tell("forgotten", &[id(rid)]),
        // Of a session, which this client has not.
        Event::Session(_) | Event::Binding(_) | Event::Refresh(_) => {}
    }
}

fn changed(tell: &Tell, rid: &ResourceId, change: &ResourceChange, engine: &Engine) {
    match change {
        ResourceChange::Loaded => match engine.values(rid) {
            Some(loaded @ Values::Model(_)) => tell.tell("model", &[id(rid), values::resource(&loaded)]),
            Some(loaded @ Values::Collection(_)) => tell.tell("collection", &[id(rid), values::resource(&loaded)]),
            None => {}
        },
        ResourceChange::Model(changes) => tell.tell("change", &[id(rid), values::changes(changes)]),
        ResourceChange::Collection(Step::Add(index, value)) => {
            tell.tell("add", &[id(rid), JsValue::from(*index as u32), values::value(value)]);
        }
        ResourceChange::Collection(Step::Remove(index)) => {
            tell.tell("remove", &[id(rid), JsValue::from(*index as u32)]);
        }
        ResourceChange::Deleted => tell.tell("deleted", &[id(rid)]),
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

fn id(rid: &ResourceId) -> JsValue {
    rid.as_str().into()
}

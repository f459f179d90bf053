//! A plain RES client for JavaScript: commands are promises, and events go to an observer. Must not
//! depend on sessions.

use std::{cell::RefCell, time::Duration};

use js_sys::{Array, Promise};
use relogin_client::Engine;
use relogin_res::Map;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tsify::{Ts, Tsify};
use wasm_bindgen::prelude::*;

use super::{
    Alive,
    client_event::{self, Ids},
    error::ErrorValue,
    promise, to_js, value,
};
use crate::{Client, Error, Event, Options, Resource, Returned};

/// How to connect.
#[derive(Debug, Deserialize, Tsify)]
pub struct ClientOptions {
    /// The gateways' addresses, absolute or relative; an empty one is `/ws` on the origin that
    /// served the page.
    pub urls: Vec<String>,
    /// `Config::spread`, in milliseconds.
    pub spread: f64,
    /// Whether each connection is greeted ([`RawClient::greeted`]) before resources are subscribed
    /// again.
    pub greet: bool,
}

/// A call of a method.
#[derive(Debug, Deserialize, Tsify)]
pub struct CallRequest {
    /// Whether it is an auth method.
    pub auth: bool,
    /// The resource id.
    pub rid: String,
    /// The method's name.
    pub method: String,
    /// The method's params: JSON.
    #[serde(default, deserialize_with = "value::from_js")]
    #[tsify(optional, type = "unknown")]
    pub params: Option<Json>,
}

/// The result of a method.
#[derive(Debug, Serialize, Tsify)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Called {
    /// A value.
    Payload {
        /// The value.
        #[serde(serialize_with = "value::plain")]
        #[tsify(type = "unknown")]
        payload: Json,
    },
    /// A resource.
    Resource {
        /// Its id.
        rid: String,
    },
}

#[wasm_bindgen]
extern "C" {
    /// A function of the package. It never throws: it catches what listeners throw.
    #[wasm_bindgen(typescript_type = "(events: ClientEvent[]) => void")]
    #[derive(Debug)]
    pub type ClientObserver;

    #[wasm_bindgen(method, js_name = call)]
    fn call(this: &ClientObserver, this_value: &JsValue, events: Array);
}

/// A client, which runs until it is freed.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawClient {
    client: Client,
    held: RefCell<Map<String, Resource>>,
}

#[wasm_bindgen]
impl RawClient {
    /// Begins to connect. The observer gets events that belong together in one call: a resource may
    /// come before or after the one that refers to it.
    ///
    /// # Errors
    /// If an address is not a URL.
    pub async fn connect(options: Ts<ClientOptions>, observer: ClientObserver) -> Result<RawClient, JsValue> {
        let ClientOptions { urls, spread, greet } = options.to_rust().map_err(ErrorValue::invalid)?;
        let options = Options::new(urls).configure(|config| {
            config.greet = greet;
            config.spread = Duration::from_millis(spread as u64);
        });
        let forwarder =
            Forwarder { observer, pending: RefCell::default(), ids: RefCell::default(), _alive: Alive::new() };
        let observer = Box::new(move |event: Option<&Event>, engine: &Engine| forwarder.forward(event, engine));
        let client = options.connect_observed(Some(observer)).await.map_err(ErrorValue::invalid)?;
        Ok(Self { client, held: RefCell::default() })
    }

    /// Fulfilled when the resource has been loaded. It is then released, but stays for a moment, in
    /// which [`RawClient::hold`] can keep it.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn get(&self, rid: String) -> Promise {
        let client = self.client.clone();
        promise(Box::pin(async move {
            let resource = client.resource(&rid).await.map_err(|error| ErrorValue::from(&error))?;
            drop(resource);
            Ok(JsValue::UNDEFINED)
        }))
    }

    /// Subscribes to a resource until it is released.
    pub fn hold(&self, rid: String) {
        if let Ok(resource) = self.client.follow(&rid) {
            self.held.borrow_mut().insert(rid, resource);
        }
    }

    /// Unsubscribes from a resource.
    pub fn release(&self, rid: &str) {
        let released = self.held.borrow_mut().remove(rid);
        drop(released);
    }

    /// Calls a method.
    #[wasm_bindgen(unchecked_return_type = "Promise<Called>")]
    pub fn call(&self, request: Ts<CallRequest>) -> Promise {
        let client = self.client.clone();
        promise(Box::pin(async move {
            let request = request.to_rust().map_err(ErrorValue::invalid)?;
            let called = call(&client, request).await.map_err(|error| ErrorValue::from(&error))?;
            Ok(to_js(&called))
        }))
    }

    /// Connects at once, whatever the back-off says.
    #[wasm_bindgen(js_name = connectNow)]
    pub fn connect_now(&self) {
        self.client.connect_now();
    }

    /// Says that the greeting of the connection is over ([`ClientOptions::greet`]).
    pub fn greeted(&self) {
        self.client.greeted();
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        // Pending promises have clones of it.
        self.client.stop();
    }
}

async fn call(client: &Client, request: CallRequest) -> Result<Called, Error> {
    let CallRequest { auth, rid, method, params } = request;
    Ok(match client.request(auth, &rid, &method, params).await? {
        Returned::Payload(payload) => Called::Payload { payload },
        Returned::Resource(resource) => Called::Resource { rid: resource.id().as_str().to_owned() },
    })
}

/// Passes events to the observer.
#[derive(Debug)]
struct Forwarder {
    observer: ClientObserver,
    /// Events that belong together and have not been passed on yet.
    pending: RefCell<Array>,
    ids: RefCell<Ids>,
    _alive: Alive,
}

impl Forwarder {
    /// Collects an event; `None` passes on those collected.
    fn forward(&self, event: Option<&Event>, engine: &Engine) {
        if let Some(event) = event {
            if let Some(value) = client_event::to_value(event, engine, &mut self.ids.borrow_mut()) {
                self.pending.borrow().push(&value);
            }
        } else if self.pending.borrow().length() > 0 {
            let events = self.pending.take();
            self.observer.call(&JsValue::UNDEFINED, events);
        }
    }
}

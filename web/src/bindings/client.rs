//! A plain RES client: its commands are promises, and what happens to its resources is told to an observer.

use std::cell::RefCell;

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
    /// The gateway's address, absolute or relative; empty: `/ws` on the origin that served the page.
    pub url: String,
    /// Whether each connection is greeted ([`RawClient::greeted`]) before resources are subscribed again.
    pub greet: bool,
}

/// A method to call.
#[derive(Debug, Deserialize, Tsify)]
pub struct CallRequest {
    /// Whether it is an auth method.
    pub auth: bool,
    /// Whose.
    pub rid: String,
    /// Its name.
    pub method: String,
    /// What it is given: JSON.
    #[serde(default, deserialize_with = "value::given")]
    #[tsify(optional, type = "unknown")]
    pub params: Option<Json>,
}

/// What a method gave back.
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
    /// The package's function, which throws nothing: it catches what listeners throw.
    #[wasm_bindgen(typescript_type = "(events: ClientEvent[]) => void")]
    #[derive(Debug)]
    pub type ClientObserver;

    #[wasm_bindgen(method, js_name = call)]
    fn told(this: &ClientObserver, nobody: &JsValue, events: Array);
}

/// A client at work, until it is freed.
#[wasm_bindgen]
#[derive(Debug)]
pub struct RawClient {
    client: Client,
    held: RefCell<Map<String, Resource>>,
}

#[wasm_bindgen]
impl RawClient {
    /// Begins to connect. The observer is told together what belongs together: a resource may come before
    /// or after the one that refers to it.
    ///
    /// # Errors
    /// If the gateway's address is unusable.
    pub async fn connect(options: Ts<ClientOptions>, observer: ClientObserver) -> Result<RawClient, JsValue> {
        let ClientOptions { url, greet } = options.to_rust().map_err(ErrorValue::invalid)?;
        let options = Options::new(url).configure(|config| config.greet = greet);
        let telling = Telling { observer, pending: RefCell::default(), ids: RefCell::default(), _alive: Alive::new() };
        let observer = Box::new(move |event: Option<&Event>, engine: &Engine| telling.tell(event, engine));
        let client = options.connect_observed(Some(observer)).await.map_err(ErrorValue::invalid)?;
        Ok(Self { client, held: RefCell::default() })
    }

    /// Fulfilled when the resource is there. It is let go then, and stays for a moment, in which it can be
    /// held.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn get(&self, rid: String) -> Promise {
        let client = self.client.clone();
        promise(Box::pin(async move {
            let resource = client.resource(&rid).await.map_err(|error| ErrorValue::from(&error))?;
            drop(resource);
            Ok(JsValue::UNDEFINED)
        }))
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

async fn call(client: &Client, request: CallRequest) -> Result<Called, Error> {
    let CallRequest { auth, rid, method, params } = request;
    Ok(match client.request(auth, &rid, &method, params).await? {
        Returned::Payload(payload) => Called::Payload { payload },
        Returned::Resource(resource) => Called::Resource { rid: resource.id().as_str().to_owned() },
    })
}

/// Tells the observer.
#[derive(Debug)]
struct Telling {
    observer: ClientObserver,
    /// What belongs together, until it is told.
    pending: RefCell<Array>,
    ids: RefCell<Ids>,
    _alive: Alive,
}

impl Telling {
    /// Takes in an event, or, by none, that those before belong together.
    fn tell(&self, event: Option<&Event>, engine: &Engine) {
        if let Some(event) = event {
            if let Some(value) = client_event::to_value(event, engine, &mut self.ids.borrow_mut()) {
                self.pending.borrow().push(&value);
            }
        } else if self.pending.borrow().length() > 0 {
            let events = self.pending.take();
            self.observer.told(&JsValue::UNDEFINED, events);
        }
    }
}

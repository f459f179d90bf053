//! The browser's own key pair: it signs, and nobody can read its private half, script of this page
//! included.

use js_sys::Promise;
use relogin_client_proto::{PublicKey, Signature};
use wasm_bindgen::prelude::wasm_bindgen;

use super::database::{Database, RawDatabase};

#[wasm_bindgen(module = "/src/browser/device_key.js")]
extern "C" {
    #[derive(Debug)]
    #[wasm_bindgen(js_name = DeviceKey)]
    type RawDeviceKey;

    #[wasm_bindgen(constructor, js_class = DeviceKey)]
    fn new_raw(database: &RawDatabase) -> RawDeviceKey;

    #[wasm_bindgen(method, js_class = DeviceKey, js_name = make)]
    fn make_raw(this: &RawDeviceKey) -> Promise;

    #[wasm_bindgen(method, js_class = DeviceKey, js_name = sign)]
    fn sign_raw(this: &RawDeviceKey, message: &str) -> Promise;
}

/// The key pair of a database.
#[derive(Debug)]
pub(super) struct DeviceKey(RawDeviceKey);

impl DeviceKey {
    /// The pair in `database`, which need not be there yet.
    pub(super) fn new(database: &Database) -> Self {
        Self(RawDeviceKey::new_raw(database.raw()))
    }

    /// The public half of the pair, which is made if there is none. `None` where the browser can
    /// keep none.
    pub(super) async fn make(&self) -> Option<PublicKey> {
        let members = self.0.make_raw().await.ok()?.as_string()?;
        let mut members = members.split(' ').map(str::to_owned);
        Some(PublicKey { kty: members.next()?, crv: members.next()?, x: members.next()?, y: members.next() })
    }

    /// The signature of `message` by the pair.
    pub(super) async fn sign(&self, message: &str) -> Signature {
        match self.0.sign_raw(message).await {
            Ok(signature) => signature.as_string().map_or(Signature::NoKey, Signature::Made),
            // The database does not answer.
            Err(_) => Signature::Unavailable,
        }
    }
}

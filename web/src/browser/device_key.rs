//! The browser's own key pair (WebCrypto), kept in IndexedDB: it signs, and nobody can read its private half, script of this page
//! included.

use std::rc::Rc;

use base64ct::{Base64UrlUnpadded, Encoding};
use js_sys::{Array, ArrayBuffer, Object, Promise, Reflect, Uint8Array};
use relogin_session::api::PublicKey;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CryptoKey, CryptoKeyPair, SubtleCrypto};

use super::{
    Exception,
    indexed_db::{Database, KEYS},
};

/// What the pair is called in its object store.
const NAME: &str = "device";

/// The key pair of a database's object store.
#[derive(Debug)]
pub struct DeviceKey {
    database: Rc<Database>,
}

#[wasm_bindgen]
extern "C" {
    /// Missing on pages that were served without TLS.
    #[wasm_bindgen(thread_local_v2, js_namespace = crypto, js_name = subtle)]
    static SUBTLE: Option<SubtleCrypto>;
}

impl DeviceKey {
    /// The key pair in `database`.
    #[must_use]
    pub fn new(database: Rc<Database>) -> Self {
        Self { database }
    }

    /// The public half of the pair, which is made if there is none: Ed25519, or ECDSA P-256 where the browser does not know
    /// that. Tabs that make one at the same time get the same. `None` where the browser has no WebCrypto or does not keep its
    /// keys.
    pub async fn make(&self) -> Option<PublicKey> {
        let subtle = SUBTLE.with(Clone::clone)?;
        if let Some(public_key) = self.public_key(&subtle).await {
            return Some(public_key);
        }
        let ecdsa = object(&[("name", "ECDSA".into()), ("namedCurve", "P-256".into())]);
        for algorithm in [object(&[("name", "Ed25519".into())]), ecdsa] {
            // What counts is what is kept: another tab may have been first, and browsers differ in how they tell us that.
            let _ = self.keep_new(&subtle, &algorithm).await;
            if let Some(public_key) = self.public_key(&subtle).await {
                return Some(public_key);
            }
        }
        None
    }

    /// The signature of `message` by the pair, base64url; `None` if there is no pair.
    pub async fn sign(&self, message: &[u8]) -> Option<String> {
        let subtle = SUBTLE.with(Clone::clone)?;
        let pair = self.pair().await.ok()??;
        signature(&subtle, &pair.get_private_key(), message).await.ok()
    }

    /// The public half of a pair that is there and signs.
    async fn public_key(&self, subtle: &SubtleCrypto) -> Option<PublicKey> {
        let pair = self.pair().await.ok()??;
        signature(subtle, &pair.get_private_key(), &[]).await.ok()?;
        let jwk = settled(subtle.export_key("jwk", &pair.get_public_key())).await.ok()?;
        let member = |name| Reflect::get(&jwk, &JsValue::from_str(name)).ok()?.as_string();
        Some(PublicKey { kty: member("kty")?, crv: member("crv")?, x: member("x")?, y: member("y") })
    }

    async fn pair(&self) -> Result<Option<CryptoKeyPair>, Exception> {
        let found = self.database.read(KEYS, &|store| store.get(&NAME.into())).await?;
        Ok(found.is_object().then(|| found.unchecked_into()))
    }

    /// Makes a pair and keeps it, unless another tab was first.
    async fn keep_new(&self, subtle: &SubtleCrypto, algorithm: &Object) -> Result<(), Exception> {
        let uses = Array::of2(&"sign".into(), &"verify".into());
        let pair = settled(subtle.generate_key_with_object(algorithm, false, &uses)).await?;
        self.database.write(KEYS, &|store| store.add_with_key(&pair, &NAME.into())).await
    }
}

async fn signature(subtle: &SubtleCrypto, private_key: &CryptoKey, message: &[u8]) -> Result<String, Exception> {
    let name = Reflect::get(&private_key.algorithm()?.into(), &"name".into())?;
    let algorithm = object(&[("name", name), ("hash", "SHA-256".into())]);
    let message = Uint8Array::from(message);
    let signed = settled(subtle.sign_with_object_and_js_u8_array(&algorithm, private_key, &message)).await?;
    Ok(Base64UrlUnpadded::encode_string(&Uint8Array::new(&signed.unchecked_into::<ArrayBuffer>()).to_vec()))
}

async fn settled(promise: Result<Promise, JsValue>) -> Result<JsValue, Exception> {
    Ok(JsFuture::from(promise?).await?)
}

fn object(members: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in members {
        // Setting a property of an ordinary object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

//! The browser's own key pair (WebCrypto), kept in the database of a session: it signs, and nobody can
//! read its private half, script of this page included. Knows nothing of what it signs.

use std::cell::RefCell;

use futures_util::future::LocalBoxFuture;
use js_sys::{Array, Uint8Array};
use relogin_client_proto::{PublicKey, Signature};
use relogin_session::base64url;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{CryptoKey, IdbTransactionMode as Mode, SubtleCrypto};

use super::{
    database::{Database, DatabaseError, Request},
    database_format::KEYS,
    global, member, object,
};

/// What the pair is called in its object store.
const NAME: &str = "device";

/// The key pair of a database.
#[derive(Debug)]
pub(super) struct DeviceKey {
    database: Database,
    /// The pair as it was read last. It stands in for a database that no longer answers.
    pair: RefCell<Option<JsValue>>,
}

impl DeviceKey {
    /// The pair in `database`, which need not be there yet.
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), pair: RefCell::default() }
    }

    /// The public half of the pair, which is made if there is none: Ed25519, or ECDSA P-256 where the
    /// browser does not know that. Tabs that make one at the same time get the same. `None` where the
    /// browser has no WebCrypto (a page that was served without TLS) or does not keep its keys.
    pub(super) fn make(&self) -> LocalBoxFuture<'_, Option<PublicKey>> {
        Box::pin(async {
            let mut public_key = self.public_key().await;
            for algorithm in ["Ed25519", "ECDSA"] {
                if public_key.is_none() {
                    // Only a kept pair counts: another tab may have been first, and browsers differ in how
                    // they tell us that.
                    let _ = self.generate(algorithm).await;
                    public_key = self.public_key().await;
                }
            }
            public_key
        })
    }

    /// The signature of `message` by the pair.
    pub(super) async fn sign(&self, message: &str) -> Signature {
        match self.read().await {
            Ok(Some(pair)) => sign(&pair, message.as_bytes()).await.map_or(Signature::NoKey, Signature::Made),
            Ok(None) => Signature::NoKey,
            Err(_) => Signature::Unavailable,
        }
    }

    /// Makes a pair, and keeps it if there is none yet.
    fn generate<'a>(&'a self, algorithm: &'a str) -> LocalBoxFuture<'a, Option<()>> {
        Box::pin(async move {
            // The curve is ECDSA's; Ed25519 has one only.
            let algorithm = object(&[("name", algorithm.into()), ("namedCurve", "P-256".into())]);
            let uses = Array::of2(&"sign".into(), &"verify".into());
            let pair = subtle()?.generate_key_with_object(&algorithm, false, &uses).ok()?.await.ok()?;
            let keep = [Request::Add(KEYS, pair, Some(NAME))];
            self.database.transact(Mode::Readwrite, &keep).await.ok().map(drop)
        })
    }

    /// The public half of a pair that is there and signs.
    fn public_key(&self) -> LocalBoxFuture<'_, Option<PublicKey>> {
        Box::pin(async {
            let pair = self.read().await.ok()??;
            sign(&pair, &[]).await?;
            let public_key: CryptoKey = member(&pair, "publicKey")?.unchecked_into();
            let jwk = subtle()?.export_key("jwk", &public_key).ok()?.await.ok()?;
            let text = |name| member(&jwk, name)?.as_string();
            Some(PublicKey { kty: text("kty")?, crv: text("crv")?, x: text("x")?, y: text("y") })
        })
    }

    /// The pair. `None`: there is none, and the browser has none to come back. An error: the database does
    /// not say whether there is one.
    fn read(&self) -> LocalBoxFuture<'_, Result<Option<JsValue>, DatabaseError>> {
        Box::pin(async {
            match self.database.transact(Mode::Readonly, &[Request::Get(KEYS, NAME)]).await {
                Ok((results, _)) => {
                    *self.pair.borrow_mut() = results.into_iter().next().filter(|pair| !pair.is_undefined());
                }
                Err(error) if error != DatabaseError::Missing && self.pair.borrow().is_none() => return Err(error),
                Err(_) => {}
            }
            Ok(self.pair.borrow().clone())
        })
    }
}

/// The signature of `message` by `pair`, base64url.
fn sign<'a>(pair: &'a JsValue, message: &'a [u8]) -> LocalBoxFuture<'a, Option<String>> {
    Box::pin(async move {
        let key: CryptoKey = member(pair, "privateKey")?.dyn_into().ok()?;
        let algorithm = [("name", member(&key.algorithm().ok()?.into(), "name")?), ("hash", "SHA-256".into())];
        let signing = subtle()?.sign_with_object_and_u8_array(&object(&algorithm), &key, message).ok()?;
        Some(base64url::encode(&Uint8Array::new(&signing.await.ok()?).to_vec()))
    })
}

/// Missing on pages that were served without TLS.
fn subtle() -> Option<SubtleCrypto> {
    let subtle = global().crypto().ok()?.subtle();
    (!subtle.is_undefined()).then_some(subtle)
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests;

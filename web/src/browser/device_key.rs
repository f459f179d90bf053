//! The device key: a key pair of WebCrypto in the session's database. No script can read its
//! private half, not even this page's. Must not depend on what it signs.

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

/// The pair's key in its object store.
const NAME: &str = "device";

/// The key pair in a database.
#[derive(Debug)]
pub(super) struct DeviceKey {
    database: Database,
    /// The pair as it was read last, for when the database no longer answers.
    pair: RefCell<Option<JsValue>>,
}

impl DeviceKey {
    /// The pair in `database`, which may not exist yet.
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone(), pair: RefCell::default() }
    }

    /// Returns the public half of the pair. Creates the pair if there is none: Ed25519, or ECDSA
    /// P-256 if the browser does not support that. Tabs that do so at the same time get the same
    /// pair. `None` if the browser has no WebCrypto (on pages served without TLS) or cannot store
    /// its keys.
    pub(super) fn make(&self) -> LocalBoxFuture<'_, Option<PublicKey>> {
        Box::pin(async {
            let mut public_key = self.public_key().await;
            for algorithm in ["Ed25519", "ECDSA"] {
                if public_key.is_none() {
                    // Only a stored pair counts: another tab may have been first, and browsers
                    // differ in how they report that.
                    let _ = self.generate(algorithm).await;
                    public_key = self.public_key().await;
                }
            }
            public_key
        })
    }

    /// Signs `message`.
    pub(super) async fn sign(&self, message: &str) -> Signature {
        match self.read().await {
            Ok(Some(pair)) => sign(&pair, message.as_bytes()).await.map_or(Signature::NoKey, Signature::Made),
            Ok(None) => Signature::NoKey,
            Err(_) => Signature::Unavailable,
        }
    }

    /// Creates a pair, and stores it unless there is one.
    fn generate<'a>(&'a self, algorithm: &'a str) -> LocalBoxFuture<'a, Option<()>> {
        Box::pin(async move {
            // The curve is for ECDSA; Ed25519 ignores it.
            let algorithm = object(&[("name", algorithm.into()), ("namedCurve", "P-256".into())]);
            let uses = Array::of2(&"sign".into(), &"verify".into());
            let pair = subtle()?.generate_key_with_object(&algorithm, false, &uses).ok()?.await.ok()?;
            let keep = [Request::Add(KEYS, pair, Some(NAME))];
            self.database.transact(Mode::Readwrite, &keep).await.ok().map(drop)
        })
    }

    /// The public half of the stored pair, if there is one and it can sign.
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

    /// Reads the pair. `None`: there is no pair, or the browser has no databases. An error: the
    /// database does not say whether there is one.
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

/// The signature of `message` by `pair`, in base64url.
fn sign<'a>(pair: &'a JsValue, message: &'a [u8]) -> LocalBoxFuture<'a, Option<String>> {
    Box::pin(async move {
        let key: CryptoKey = member(pair, "privateKey")?.dyn_into().ok()?;
        let algorithm = [("name", member(&key.algorithm().ok()?.into(), "name")?), ("hash", "SHA-256".into())];
        let signing = subtle()?.sign_with_object_and_u8_array(&object(&algorithm), &key, message).ok()?;
        Some(base64url::encode(&Uint8Array::new(&signing.await.ok()?).to_vec()))
    })
}

/// WebCrypto, which is missing on pages served without TLS.
fn subtle() -> Option<SubtleCrypto> {
    let subtle = global().crypto().ok()?.subtle();
    (!subtle.is_undefined()).then_some(subtle)
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests;

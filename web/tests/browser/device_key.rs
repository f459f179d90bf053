//! The browser's own key pair: the same for all tabs, read by none.

use base64ct::{Base64UrlUnpadded, Encoding};
use futures_util::future;
use js_sys::{Array, Object, Reflect, Uint8Array};
use relogin_session::api::PublicKey;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{CryptoKey, SubtleCrypto};

use crate::support::{Database, Sabotage, kept, sabotage, settled, within};

#[wasm_bindgen(module = "/src/browser/device_key.js")]
extern "C" {
    #[wasm_bindgen(js_name = DeviceKey)]
    type RawDeviceKey;

    #[wasm_bindgen(constructor, js_class = DeviceKey)]
    fn new(database: &Database) -> RawDeviceKey;

    #[wasm_bindgen(method)]
    fn make(this: &RawDeviceKey) -> JsValue;

    #[wasm_bindgen(method)]
    fn sign(this: &RawDeviceKey, message: &str) -> JsValue;
}

struct DeviceKey(RawDeviceKey);

impl DeviceKey {
    async fn make(&self) -> Option<PublicKey> {
        let text = settled(self.0.make()).await.as_string()?;
        let mut members = text.split(' ').map(str::to_owned);
        let mut member = || members.next();
        Some(PublicKey { kty: member()?, crv: member()?, x: member()?, y: member() })
    }

    async fn sign(&self, message: &str) -> Option<String> {
        settled(self.0.sign(message)).await.as_string()
    }

    /// Whether it is not known if there is a pair.
    async fn is_unavailable(&self) -> bool {
        JsFuture::from(self.0.sign("a message").unchecked_into::<js_sys::Promise>()).await.is_err()
    }
}

fn device_key(name: &str) -> DeviceKey {
    DeviceKey(RawDeviceKey::new(&Database::new(name)))
}

fn subtle() -> SubtleCrypto {
    web_sys::window().unwrap().crypto().unwrap().subtle()
}

fn object(members: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in members {
        Reflect::set(&object, &(*name).into(), value).unwrap();
    }
    object
}

/// Whether `signature` is that of `message`, by WebCrypto's own word.
async fn verifies(public_key: &PublicKey, message: &str, signature: &str) -> bool {
    let algorithm = match public_key.crv.as_str() {
        "Ed25519" => object(&[("name", "Ed25519".into())]),
        "P-256" => object(&[("name", "ECDSA".into()), ("namedCurve", "P-256".into()), ("hash", "SHA-256".into())]),
        other => panic!("no curve of ours: {other}"),
    };
    let jwk = js_sys::JSON::parse(&serde_json::to_string(public_key).unwrap()).unwrap();
    let uses = Array::of1(&"verify".into());
    let key = subtle().import_key_with_object("jwk", &jwk.unchecked_into(), &algorithm, true, &uses).unwrap();
    let key: CryptoKey = JsFuture::from(key).await.unwrap().unchecked_into();
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    assert_eq!(signature.len(), 64);
    let (signature, message) = (Uint8Array::from(&signature[..]), Uint8Array::from(message.as_bytes()));
    let verified = subtle().verify_with_object_and_js_u8_array_and_js_u8_array(&algorithm, &key, &signature, &message);
    JsFuture::from(verified.unwrap()).await.unwrap() == JsValue::TRUE
}

#[wasm_bindgen_test]
async fn what_it_signs_verifies_and_nothing_else_does() {
    let key = device_key("test:signs");
    assert_eq!(key.sign("before there is one").await, None, "signing makes no pair");
    let public_key = key.make().await.unwrap();
    let signature = key.sign("a message").await.unwrap();
    assert!(verifies(&public_key, "a message", &signature).await);
    assert!(!verifies(&public_key, "another", &signature).await);
    assert_eq!((public_key.kty.as_str(), public_key.crv.as_str()), ("OKP", "Ed25519"));
}

#[wasm_bindgen_test]
async fn without_ed25519_it_is_p_256() {
    let key = device_key("test:p-256");
    let public_key = {
        let _old = sabotage(Sabotage::Ed25519);
        key.make().await.unwrap()
    };
    assert_eq!((public_key.kty.as_str(), public_key.crv.as_str()), ("EC", "P-256"));
    let signature = key.sign("a message").await.unwrap();
    assert!(verifies(&public_key, "a message", &signature).await);
    assert_eq!(key.make().await, Some(public_key), "a browser that has learnt Ed25519 keeps the pair that it has");
}

#[wasm_bindgen_test]
async fn tabs_get_the_same_pair_however_close_they_come() {
    let tabs: Vec<_> = (0..6).map(|_| device_key("test:same")).collect();
    let made = within("the pairs", future::join_all(tabs.iter().map(DeviceKey::make))).await;
    assert!(made[0].is_some() && made.iter().all(|public_key| *public_key == made[0]), "{made:?}");
    assert_eq!(device_key("test:same").make().await, made[0], "a later tab too");
    assert_ne!(device_key("test:other").make().await, made[0], "each name has its own");
}

#[wasm_bindgen_test]
async fn nobody_can_read_its_private_half() {
    device_key("test:unreadable").make().await.unwrap();
    let pair = within("the pair", JsFuture::from(kept("test:unreadable", "device"))).await.unwrap();
    let private_key: CryptoKey = Reflect::get(&pair, &"privateKey".into()).unwrap().unchecked_into();
    assert!(!private_key.extractable());
    for format in ["jwk", "pkcs8", "raw"] {
        let exported = subtle().export_key(format, &private_key).unwrap();
        assert!(JsFuture::from(exported).await.is_err(), "exported as {format}");
    }
}

#[wasm_bindgen_test]
async fn where_the_browser_keeps_no_keys_there_is_none() {
    for broken in [Sabotage::Missing, Sabotage::Refused, Sabotage::Writes, Sabotage::Algorithms] {
        let _broken = sabotage(broken);
        let key = device_key("test:none");
        assert_eq!(within("the answer", key.make()).await, None, "{broken:?}");
        assert_eq!(within("the answer", key.sign("a message")).await, None, "{broken:?}");
    }
    assert!(device_key("test:none").make().await.is_some());
}

#[wasm_bindgen_test]
async fn a_pair_that_was_read_outlives_a_database_that_breaks() {
    let key = device_key("test:breaks");
    let public_key = key.make().await.unwrap();
    {
        let _broken = sabotage(Sabotage::Breaks);
        let signature = within("the signature", key.sign("a message")).await.unwrap();
        assert!(verifies(&public_key, "a message", &signature).await);
        assert_eq!(within("the pair", key.make()).await.as_ref(), Some(&public_key), "a login can be bound, too");
        let other = device_key("test:breaks");
        assert!(within("the answer", other.is_unavailable()).await, "no word on whether there is a pair");
    }
    assert!(!device_key("test:breaks").is_unavailable().await);
}

//! The browser's own key pair: the same for all tabs, read by none.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

use base64ct::{Base64UrlUnpadded, Encoding};
use futures_util::future;
use js_sys::{Array, Uint8Array};
use relogin_client_proto::{PublicKey, Signature};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::CryptoKey;

use super::{
    super::testing::{Broken, Sabotage, forget, kept, within},
    Database, DeviceKey, member, object, subtle,
};

fn device_key(name: &str) -> DeviceKey {
    DeviceKey::new(&Database::new(name))
}

fn signed(signature: Signature) -> String {
    match signature {
        Signature::Made(signature) => signature,
        other => panic!("no signature: {other:?}"),
    }
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
    let key = subtle().unwrap().import_key_with_object("jwk", &jwk.unchecked_into(), &algorithm, true, &uses).unwrap();
    let key: CryptoKey = (key).await.unwrap().unchecked_into();
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    assert_eq!(signature.len(), 64);
    let (signature, message) = (Uint8Array::from(&signature[..]), Uint8Array::from(message.as_bytes()));
    let verified =
        subtle().unwrap().verify_with_object_and_js_u8_array_and_js_u8_array(&algorithm, &key, &signature, &message);
    (verified.unwrap()).await.unwrap() == JsValue::TRUE
}

#[wasm_bindgen_test]
async fn what_it_signs_verifies_and_nothing_else_does() {
    let key = device_key("test:signs");
    assert_eq!(key.sign("before there is one").await, Signature::NoKey, "signing makes no pair");
    let public_key = key.make().await.unwrap();
    let signature = signed(key.sign("a message").await);
    assert!(verifies(&public_key, "a message", &signature).await);
    assert!(!verifies(&public_key, "another", &signature).await);
    assert_eq!((public_key.kty.as_str(), public_key.crv.as_str()), ("OKP", "Ed25519"));
}

#[wasm_bindgen_test]
async fn without_ed25519_it_is_p_256() {
    let key = device_key("test:p-256");
    let public_key = {
        let _old = Broken::new(Sabotage::Ed25519);
        key.make().await.unwrap()
    };
    assert_eq!((public_key.kty.as_str(), public_key.crv.as_str()), ("EC", "P-256"));
    let signature = signed(key.sign("a message").await);
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
    let pair = within("the pair", kept("test:unreadable", "device")).await.unwrap();
    let private_key: CryptoKey = member(&pair, "privateKey").unwrap().unchecked_into();
    assert!(!private_key.extractable());
    for format in ["jwk", "pkcs8", "raw"] {
        let exported = subtle().unwrap().export_key(format, &private_key).unwrap();
        assert!((exported).await.is_err(), "exported as {format}");
    }
}

#[wasm_bindgen_test]
async fn where_the_browser_keeps_no_keys_there_is_none() {
    for broken in [Sabotage::Missing, Sabotage::Refused, Sabotage::Writes, Sabotage::Algorithms] {
        let _broken = Broken::new(broken);
        let key = device_key("test:none");
        assert_eq!(within("the answer", key.make()).await, None, "{broken:?}");
        assert_eq!(within("the answer", key.sign("a message")).await, Signature::NoKey, "{broken:?}");
    }
    assert!(device_key("test:none").make().await.is_some());
}

#[wasm_bindgen_test]
async fn a_pair_that_was_read_outlives_a_database_that_breaks() {
    let key = device_key("test:breaks");
    let public_key = key.make().await.unwrap();
    {
        let _broken = Broken::new(Sabotage::Breaks);
        let signature = signed(within("the signature", key.sign("a message")).await);
        assert!(verifies(&public_key, "a message", &signature).await);
        assert_eq!(within("the pair", key.make()).await.as_ref(), Some(&public_key), "a login can be bound, too");
        let other = device_key("test:breaks");
        let answer = within("the answer", other.sign("a message")).await;
        assert_eq!(answer, Signature::Unavailable, "no word on whether there is a pair");
    }
    signed(device_key("test:breaks").sign("a message").await);
    within("the deletion", forget("test:breaks")).await.unwrap();
    assert_eq!(key.sign("a message").await, Signature::NoKey, "that is a word");
}

//! A fake device key pair: it signs by adding up, yet only its own signatures verify.

use std::hash::{DefaultHasher, Hash, Hasher};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use relogin_client_proto::PublicKey;
use relogin_session::{
    DeviceKey, ReloginKey,
    api::{SignedChallenge, proof_message},
};

use super::Rng;

/// A key pair.
#[derive(Clone, Debug)]
pub(crate) struct KeyPair([u8; 32]);

impl KeyPair {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self(rng.bytes())
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey { kty: "OKP".into(), crv: "Ed25519".into(), x: URL_SAFE_NO_PAD.encode(self.0), y: None }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> String {
        signature(&self.0, message)
    }
}

/// True if the device with `key` has signed.
pub(crate) fn verifies(key: &DeviceKey, proof: &SignedChallenge, relogin_key: &ReloginKey) -> bool {
    let DeviceKey::Ed25519(bytes) = key else { return false };
    proof.signature == signature(bytes, &proof_message(&proof.challenge, relogin_key))
}

fn signature(key: &[u8; 32], message: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    (key, message).hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

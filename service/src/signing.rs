//! Signs JWT relogin keys: one Ed25519 key pair for each of the server's secrets. Must not know
//! claims.

use relogin_session::{
    Keyring,
    key::jwt::{Signer, Tokens},
};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// How relogin keys are written; both formats are always read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyFormat {
    /// As bytes in base64url, which only this service understands.
    #[default]
    Opaque,
    /// As JSON Web Tokens, which others can verify.
    Jwt,
}

/// The claims of JWT relogin keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTokens {
    /// The format of keys.
    pub format: KeyFormat,
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
}

/// A keyring that writes keys in `format`, and reads those of either format.
#[must_use]
pub fn with_tokens(keyring: Keyring, format: KeyFormat, issuer: String, audience: String) -> Keyring {
    let signers = keyring.signing_seeds().iter().map(|seed| Box::new(Pair::new(seed)) as Box<dyn Signer>).collect();
    keyring.with_tokens(Tokens::new(issuer, audience, format == KeyFormat::Jwt, signers))
}

/// A key pair. It lives as long as the process.
struct Pair(Ed25519KeyPair);

impl Pair {
    fn new(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed"))
    }
}

impl Signer for Pair {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("a point has 32 bytes")
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("a signature has 64 bytes")
    }

    fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0.public_key()).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let pair = Pair::new(&seed.try_into().unwrap());
        let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert_eq!((pair.public_key().to_vec(), pair.sign(b"\x72").to_vec()), (public, signature));
        let signature = pair.sign(b"\x72");
        assert!(pair.verify(b"\x72", &signature) && !pair.verify(b"\x73", &signature));
    }
}

//! Device keys: the public half of the key pair that a bound session's device signs with, as it
//! comes and as it is kept. Looks at the form alone: whether the bytes are a point of their curve,
//! and what was signed, is for those to say who have the curve's arithmetic, which the browser does
//! not load.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::api::PublicKey;

/// A device's public key, as records keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceKey {
    /// Ed25519: the point as RFC 8032 writes it.
    Ed25519([u8; 32]),
    /// ECDSA over P-256 and SHA-256: the point's coordinates, big endian.
    P256 {
        /// The x coordinate.
        x: [u8; 32],
        /// The y coordinate.
        y: [u8; 32],
    },
}

impl DeviceKey {
    /// Reads the JSON Web Key of a login. `None` if it is not one of ours: another kind or curve,
    /// members that are missing, too many, too long or too short, not in the one canonical form of
    /// base64url, or zero.
    #[must_use]
    pub fn read(key: &PublicKey) -> Option<Self> {
        let y = key.y.as_deref();
        match (key.kty.as_str(), key.crv.as_str(), y) {
            ("OKP", "Ed25519", None) => Some(Self::Ed25519(coordinate(&key.x)?)),
            ("EC", "P-256", Some(y)) => Some(Self::P256 { x: coordinate(&key.x)?, y: coordinate(y)? }),
            _ => None,
        }
    }
}

/// 32 bytes that are not all zero.
fn coordinate(text: &str) -> Option<[u8; 32]> {
    /// Characters of base64url, without padding, for 32 bytes.
    const CHARS: usize = (32_usize * 8).div_ceil(6);
    // Longer than it can be: refused before any work is done on it.
    if text.len() != CHARS {
        return None;
    }
    let mut bytes = [0; 32];
    // The decoder takes the canonical form alone, so no two texts are one key.
    URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    (bytes != [0; 32]).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwk(kty: &str, crv: &str, x: &str, y: Option<&str>) -> PublicKey {
        PublicKey { kty: kty.to_owned(), crv: crv.to_owned(), x: x.to_owned(), y: y.map(str::to_owned) }
    }

    fn text(byte: u8) -> String {
        URL_SAFE_NO_PAD.encode([byte; 32])
    }

    #[test]
    fn both_kinds_are_read() {
        let (x, y) = (text(1), text(2));
        assert_eq!(DeviceKey::read(&jwk("OKP", "Ed25519", &x, None)), Some(DeviceKey::Ed25519([1; 32])));
        let p256 = DeviceKey::P256 { x: [1; 32], y: [2; 32] };
        assert_eq!(DeviceKey::read(&jwk("EC", "P-256", &x, Some(&y))), Some(p256));
    }

    #[test]
    fn other_kinds_and_curves_are_refused() {
        let (x, y) = (text(1), text(2));
        for (kty, crv, y) in [
            ("OKP", "X25519", None),
            ("OKP", "Ed448", None),
            ("OKP", "P-256", Some(&*y)),
            ("OKP", "ed25519", None),
            ("EC", "Ed25519", None),
            ("EC", "P-384", Some(&*y)),
            ("EC", "secp256k1", Some(&*y)),
            ("RSA", "", None),
            ("", "", None),
            // Too few members, and too many.
            ("EC", "P-256", None),
            ("OKP", "Ed25519", Some(&*y)),
        ] {
            assert_eq!(DeviceKey::read(&jwk(kty, crv, &x, y)), None, "{kty} {crv} {y:?}");
        }
    }

    #[test]
    fn zero_other_lengths_and_other_forms_are_refused() {
        let good = text(1);
        let standard = text(0xfb).replace('-', "+").replace('_', "/");
        // The last character has two bits that mean nothing: they must be zero.
        let loose = format!("{}F", &good[..42]);
        assert_ne!(loose, good);
        let (short, long) = (URL_SAFE_NO_PAD.encode([1; 31]), URL_SAFE_NO_PAD.encode([1; 33]));
        let oversized = "A".repeat(60_000);
        let padded = format!("{good}=");
        let (spaced, wide) = (format!(" {}", &good[..42]), "é".repeat(21) + "A");
        for bad in [&text(0), &standard, &loose, &short, &long, &oversized, &padded, &spaced, &wide, ""] {
            assert_eq!(DeviceKey::read(&jwk("OKP", "Ed25519", bad, None)), None, "{bad:.50}");
            assert_eq!(DeviceKey::read(&jwk("EC", "P-256", bad, Some(&good))), None, "x {bad:.50}");
            assert_eq!(DeviceKey::read(&jwk("EC", "P-256", &good, Some(bad))), None, "y {bad:.50}");
        }
    }
}

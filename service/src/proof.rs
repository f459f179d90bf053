//! Checks a device's public keys and signatures. The only place that knows elliptic curves. Must
//! not depend on sessions or challenges.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use curve25519_dalek::edwards::CompressedEdwardsY;
use relogin_session::{
    DeviceKey, ReloginKey,
    api::{PublicKey, SignedChallenge, proof_message},
};
use ring::{
    agreement::{self, ECDH_P256, EphemeralPrivateKey},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey},
};
use zeroize::Zeroizing;

/// Parses the public key that a login registers. `None` if it does not have the form of a key
/// ([`DeviceKey::read`]), or is a point that no key pair can have: one that is off its curve, or
/// one for which others could sign.
#[must_use]
pub fn admit(key: &PublicKey) -> Option<DeviceKey> {
    DeviceKey::read(key).filter(|key| match key {
        DeviceKey::Ed25519(point) => is_ed25519_key(*point),
        DeviceKey::P256 { x, y } => is_p256_key(x, y),
    })
}

/// The proof of a relogin: a signature, and what it should have been made over.
pub struct Signed {
    message: Zeroizing<Vec<u8>>,
    signature: [u8; SIGNATURE_BYTES],
}

impl Signed {
    /// Parses the proof of a relogin with `key`. `None` if the signature cannot be valid.
    #[must_use]
    pub fn read(proof: &SignedChallenge, key: &ReloginKey) -> Option<Self> {
        Self::over(proof_message(&proof.challenge, key), &proof.signature)
    }

    /// A `signature` over `message`, as base64url. `None` if it cannot be valid.
    #[must_use]
    pub fn over(message: Zeroizing<Vec<u8>>, signature: &str) -> Option<Self> {
        // Longer than a signature: refused before any work is done on it.
        if signature.len() != SIGNATURE_CHARS {
            return None;
        }
        let mut bytes = [0; SIGNATURE_BYTES];
        URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).ok()?;
        Some(Self { message, signature: bytes })
    }

    /// True if the device with this key has signed. An ECDSA signature has a second form, with the
    /// other s, which browsers produce as often as not. It opens nothing that the first one does
    /// not, because using a challenge twice gains nothing.
    #[must_use]
    pub fn is_by(&self, key: &DeviceKey) -> bool {
        let verified = match key {
            DeviceKey::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(&self.message, &self.signature),
            DeviceKey::P256 { x, y } => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed(x, y))
                .verify(&self.message, &self.signature),
        };
        verified.is_ok()
    }
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The message contains the relogin key.
        f.write_str("Signed(…)")
    }
}

/// Both kinds have 64: R ‖ s, or r ‖ s.
const SIGNATURE_BYTES: usize = 64;
/// Characters of base64url, without padding, for [`SIGNATURE_BYTES`].
const SIGNATURE_CHARS: usize = (SIGNATURE_BYTES * 8).div_ceil(6);

/// A point of the curve in its one form, in the group of key pairs. Points outside of it have a
/// component of small order: for the worst of them anybody can sign.
fn is_ed25519_key(bytes: [u8; 32]) -> bool {
    let compressed = CompressedEdwardsY(bytes);
    compressed
        .decompress()
        .is_some_and(|point| point.compress() == compressed && !point.is_small_order() && point.is_torsion_free())
}

/// A point of the curve. All of them except the one without coordinates are in the group of key
/// pairs.
fn is_p256_key(x: &[u8; 32], y: &[u8; 32]) -> bool {
    // ring rejects an invalid public key only when it is used. Verifying a signature fails for
    // either reason; a key agreement, whose result is discarded, fails only for this one.
    let key = agreement::UnparsedPublicKey::new(&ECDH_P256, uncompressed(x, y));
    EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())
        .and_then(|secret| agreement::agree_ephemeral(secret, &key, |_| ()))
        .is_ok()
}

/// The point in SEC 1 form.
fn uncompressed(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
    let mut bytes = [4; 65];
    bytes[1..33].copy_from_slice(x);
    bytes[33..].copy_from_slice(y);
    bytes
}

#[cfg(test)]
pub(crate) mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};

    use super::*;

    /// A browser's device: its key pair, of either kind.
    #[derive(Debug)]
    pub(crate) enum TestDevice {
        Ed25519(Ed25519KeyPair),
        P256(EcdsaKeyPair),
    }

    impl TestDevice {
        pub(crate) fn ed25519() -> Self {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            Self::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
        }

        pub(crate) fn p256() -> Self {
            let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
        }

        pub(crate) fn public_key(&self) -> PublicKey {
            match self {
                Self::Ed25519(pair) => ed25519(pair.public_key().as_ref()),
                Self::P256(pair) => p256(&pair.public_key().as_ref()[1..33], &pair.public_key().as_ref()[33..]),
            }
        }

        pub(crate) fn sign(&self, challenge: &str, key: &ReloginKey) -> SignedChallenge {
            let signature = self.sign_bytes(&proof_message(challenge, key));
            SignedChallenge { challenge: challenge.to_owned(), signature }
        }

        pub(crate) fn sign_bytes(&self, message: &[u8]) -> String {
            URL_SAFE_NO_PAD.encode(match self {
                Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
                Self::P256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            })
        }
    }

    pub(crate) fn ed25519(x: &[u8]) -> PublicKey {
        let x = URL_SAFE_NO_PAD.encode(x);
        PublicKey { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), x, y: None }
    }

    pub(crate) fn p256(x: &[u8], y: &[u8]) -> PublicKey {
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), Some(URL_SAFE_NO_PAD.encode(y)));
        PublicKey { kty: "EC".to_owned(), crv: "P-256".to_owned(), x, y }
    }

    fn bytes(hex: &str) -> [u8; 32] {
        let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }

    fn key(text: &str) -> ReloginKey {
        ReloginKey::new(text.to_owned())
    }

    fn is_by(proof: &SignedChallenge, relogin_key: &ReloginKey, device: &DeviceKey) -> bool {
        Signed::read(proof, relogin_key).is_some_and(|signed| signed.is_by(device))
    }

    #[test]
    fn a_device_proves_itself() {
        for (device, other) in
            [(TestDevice::ed25519(), TestDevice::p256()), (TestDevice::p256(), TestDevice::ed25519())]
        {
            let admitted = admit(&device.public_key()).unwrap();
            let proof = device.sign("challenge", &key("k"));
            assert!(is_by(&proof, &key("k"), &admitted));
            assert!(!is_by(&proof, &key("l"), &admitted), "another relogin key");
            let elsewhere = SignedChallenge { challenge: "challengf".to_owned(), ..proof.clone() };
            assert!(!is_by(&elsewhere, &key("k"), &admitted), "another challenge");
            // A device of the same kind, and one of the other.
            let same_kind = match device {
                TestDevice::Ed25519(_) => TestDevice::ed25519(),
                TestDevice::P256(_) => TestDevice::p256(),
            };
            for other in [other, same_kind] {
                assert!(!is_by(&proof, &key("k"), &admit(&other.public_key()).unwrap()), "another device");
                assert!(!is_by(&other.sign("challenge", &key("k")), &key("k"), &admitted), "another device");
            }
        }
    }

    /// RFC 8032, section 7.1, test 3, and NIST's P-256 example of RFC 6979, A.2.5 ("sample"): not
    /// only what we sign ourselves.
    #[test]
    fn signatures_made_by_others_verify() {
        let public = bytes("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let r = bytes("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac");
        let s = bytes("18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a");
        let signed = |message: &[u8], r: [u8; 32], s: [u8; 32]| Signed {
            message: Zeroizing::new(message.to_vec()),
            signature: [r, s].concat().try_into().unwrap(),
        };
        let rfc8032 = admit(&ed25519(&public)).unwrap();
        assert!(signed(&[0xaf, 0x82], r, s).is_by(&rfc8032) && !signed(&[0xaf, 0x83], r, s).is_by(&rfc8032));

        let x = bytes("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6");
        let y = bytes("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
        let r = bytes("efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716");
        let s = bytes("f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");
        let rfc6979 = admit(&p256(&x, &y)).unwrap();
        assert!(signed(b"sample", r, s).is_by(&rfc6979) && !signed(b"samples", r, s).is_by(&rfc6979));
        // The same signature with the other s.
        let other_s = bytes("0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9");
        assert!(signed(b"sample", r, other_s).is_by(&rfc6979));
    }

    #[test]
    fn keys_that_are_not_points_are_refused() {
        let x = bytes("60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6");
        let y = bytes("7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
        assert!(admit(&p256(&x, &y)).is_some());
        let mut off = y;
        off[31] ^= 1;
        // The field's prime, and x + p, where it fits: not the one form of a coordinate.
        let p = bytes("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
        for (x, y) in [(x, off), (y, x), ([1; 32], [1; 32]), (p, y), (x, p), ([0xff; 32], [0xff; 32])] {
            assert_eq!(admit(&p256(&x, &y)), None, "{x:?} {y:?}");
        }
        // Not every y is on the curve.
        let none = (2..=255)
            .find(|&y| CompressedEdwardsY([&[y][..], &[0; 31]].concat().try_into().unwrap()).decompress().is_none());
        let mut point = [0; 32];
        point[0] = none.unwrap();
        assert_eq!(admit(&ed25519(&point)), None);
    }

    /// All points of order 1, 2, 4 and 8, in each form that some decoder takes: for such a key,
    /// anybody can sign.
    #[test]
    fn keys_of_small_order_are_refused() {
        for hex in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            // Not canonical: a y of p or more, or the sign of an x that is zero.
            "0100000000000000000000000000000000000000000000000000000000000080",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            assert_eq!(admit(&ed25519(&bytes(hex))), None, "{hex}");
        }
    }

    /// A good key and a point of small order: its holder alone can sign, but it has eight forms
    /// that verify alike.
    #[test]
    fn keys_of_mixed_order_are_refused() {
        use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
        assert!(admit(&ed25519(&ED25519_BASEPOINT_POINT.compress().0)).is_some());
        for torsion in &EIGHT_TORSION[1..] {
            let mixed = (ED25519_BASEPOINT_POINT + torsion).compress();
            assert_eq!(admit(&ed25519(&mixed.0)), None, "{mixed:?}");
        }
    }

    #[test]
    fn malformed_signatures_prove_nothing() {
        // The orders of the two groups: an s of the order or more is another text of a signature
        // that verifies.
        let l = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        for device in [TestDevice::ed25519(), TestDevice::p256()] {
            let admitted = admit(&device.public_key()).unwrap();
            let good = device.sign("challenge", &key("k"));
            let raw = URL_SAFE_NO_PAD.decode(&good.signature).unwrap();
            let proves =
                |signature: String| is_by(&SignedChallenge { signature, ..good.clone() }, &key("k"), &admitted);
            let proves_raw = |raw: &[u8]| proves(URL_SAFE_NO_PAD.encode(raw));
            assert!(proves_raw(&raw));
            for bit in 0..raw.len() * 8 {
                let mut raw = raw.clone();
                raw[bit / 8] ^= 1 << (bit % 8);
                assert!(!proves_raw(&raw), "bit {bit}");
            }
            for length in 0..raw.len() {
                assert!(!proves_raw(&raw[..length]), "{length} bytes");
            }
            let (r, s) = raw.split_at(32);
            for raw in [
                [&raw[..], &[0]].concat(),
                [&raw[..], &raw[..]].concat(),
                [0; 64].into(),
                [0xff; 64].into(),
                [r, &[0; 32]].concat(),
                [&[0; 32], s].concat(),
                [s, r].concat(),
                // With DER around it, as other libraries write it.
                [&[0x30, 0x44, 0x02, 0x20], r, &[0x02, 0x20], s].concat(),
            ] {
                assert!(!proves_raw(&raw), "{raw:?}");
            }
            if matches!(device, TestDevice::Ed25519(_)) {
                let mut carry = 0;
                let above: Vec<u8> = s
                    .iter()
                    .zip(l)
                    .map(|(&a, b)| {
                        let sum = u16::from(a) + u16::from(b) + carry;
                        carry = sum >> 8;
                        sum.to_le_bytes()[0]
                    })
                    .collect();
                assert!(!proves_raw(&[r, &above].concat()), "s + the order");
            }
            let text = &good.signature;
            let loose = format!("{}{}", &text[..85], char::from(text.as_bytes()[85] + 1));
            let standard = text.replace('-', "+").replace('_', "/");
            for text in [String::new(), format!("{text}=="), loose, "A".repeat(100_000), "é".repeat(43)] {
                assert!(!proves(text.clone()), "{text:.90}");
            }
            assert!(standard == *text || !proves(standard));
        }
    }
}

//! Encrypts secrets under a passphrase, for a place that others can read. Must not know where that
//! is.
//!
//! A sealed text is `1 ‖ salt (16 bytes) ‖ nonce (12 bytes) ‖ ciphertext and tag`:
//! ChaCha20-Poly1305 under a key that Argon2id makes of passphrase and salt. Salt and nonce are
//! drawn for each text.

use argon2::{Algorithm, Argon2, Params, Version};
use rand::{TryRng, rngs::SysRng};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const SALT_LEN: usize = 16;
const PURPOSE: &[u8] = b"relogin secrets 1";

/// Argon2id's KiB of memory, passes and lanes: the second choice of RFC 9106, on one thread.
const COST: (u32, u32, u32) = (65_536, 3, 1);

/// Encrypts `text`.
///
/// # Errors
/// If the system returns no randomness.
pub(super) fn seal(passphrase: &[u8], text: &[u8]) -> Result<Vec<u8>, rand::rngs::SysError> {
    let (mut salt, mut nonce) = ([0; SALT_LEN], [0; NONCE_LEN]);
    SysRng.try_fill_bytes(&mut salt)?;
    SysRng.try_fill_bytes(&mut nonce)?;
    let mut sealed = Zeroizing::new(text.to_vec());
    key(passphrase, &salt)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut *sealed)
        .expect("secrets are shorter than 256 GiB");
    Ok([&[FORMAT][..], &salt, &nonce, &sealed].concat())
}

/// Decrypts what [`seal`] made; none with another passphrase, or if it was changed.
pub(super) fn open(passphrase: &[u8], sealed: &[u8]) -> Option<Zeroizing<String>> {
    let sealed = sealed.strip_prefix(&[FORMAT])?;
    let (salt, sealed) = sealed.split_first_chunk::<SALT_LEN>()?;
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = key(passphrase, salt).open_in_place(nonce, Aad::from(PURPOSE), &mut text).ok()?;
    Some(Zeroizing::new(std::str::from_utf8(opened).ok()?.to_owned()))
}

fn key(passphrase: &[u8], salt: &[u8; SALT_LEN]) -> LessSafeKey {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).expect("the cost is one that Argon2 allows");
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, key.as_mut_slice())
        .expect("salt and key have lengths that Argon2 allows");
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).expect("the key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_passphrase_opens_it_and_only_as_it_was() {
        let text = b"a secret, not to be seen";
        let sealed = seal(b"correct horse", text).unwrap();
        assert_eq!(open(b"correct horse", &sealed).unwrap().as_bytes(), text);
        assert!(open(b"another horse", &sealed).is_none());
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_ne!(seal(b"correct horse", text).unwrap(), sealed, "salt and nonce are random");
        for at in [0, 1, SALT_LEN + 1, sealed.len() - 20, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(b"correct horse", &changed).is_none(), "{at}");
        }
        for length in [0, 1, 20, sealed.len() - 1] {
            assert!(open(b"correct horse", &sealed[..length]).is_none(), "{length}");
        }
    }
}

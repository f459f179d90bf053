//! Challenges: what a device signs beside its relogin key, so that a proof is good on one
//! connection and for a minute only. Stateless: minted and verified with the server's secrets
//! alone. Knows no signatures.
//!
//! A challenge is `base64url(expiry[8, big endian, milliseconds since the epoch] ‖ tag[16])`, where
//! the tag is the first half of HMAC-SHA256 over `cid ‖ expiry`, under HKDF-SHA256(server secret,
//! no salt, "relogin challenge 1"). What else is made in this way has a name that no connection has
//! in the place of the cid ([`crate::exchange`], [`crate::device_session`]).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::{ConnectionId, Keyring, Timestamp, api::Challenge};

/// How long a challenge is good for, in milliseconds.
pub const LIFETIME: u64 = 60_000;

/// A challenge for `connection`, good for [`LIFETIME`] from `now` on.
#[must_use]
pub fn mint(keyring: &Keyring, connection: &ConnectionId, now: Timestamp) -> Challenge {
    Challenge { challenge: mint_until(keyring, connection.as_str(), now.plus(LIFETIME)), expires_in: LIFETIME }
}

/// True if `text` is a challenge of ours for `connection`, and good at the time `now`.
#[must_use]
pub fn verify(keyring: &Keyring, text: &str, connection: &ConnectionId, now: Timestamp) -> bool {
    // One from the future was made before the clock was set back: it would live for longer than it
    // should.
    expiry_of(keyring, text, connection.as_str()).is_some_and(|expiry| now < expiry && expiry.since(now) <= LIFETIME)
}

/// A text for what is called `name`, which says until when it is good.
pub(crate) fn mint_until(keyring: &Keyring, name: &str, expiry: Timestamp) -> String {
    URL_SAFE_NO_PAD.encode([&expiry.0.to_be_bytes()[..], &mint_tag(keyring, name, expiry)].concat())
}

/// The expiry in a text that was made for `name`; none if the text is not genuine.
pub(crate) fn expiry_of(keyring: &Keyring, text: &str, name: &str) -> Option<Timestamp> {
    let (expiry, presented) = parse(text)?;
    is_tag(keyring, &presented, name, expiry).then_some(expiry)
}

/// The tag of what is called `name`.
pub(crate) fn mint_tag(keyring: &Keyring, name: &str, expiry: Timestamp) -> ChallengeTag {
    tag(keyring.challenge_keys().next().expect("a keyring is never made without a secret"), name, expiry)
}

/// True if one of our secrets made this tag. Takes as long wherever it is wrong.
pub(crate) fn is_tag(keyring: &Keyring, presented: &ChallengeTag, name: &str, expiry: Timestamp) -> bool {
    let keys = keyring.challenge_keys();
    keys.fold(Choice::from(0), |genuine, key| genuine | tag(key, name, expiry).ct_eq(presented)).into()
}

pub(crate) const TAG_BYTES: usize = 16;
const BYTES: usize = 8 + TAG_BYTES;
/// Characters of base64url, without padding, for [`BYTES`].
const CHARS: usize = (BYTES * 8).div_ceil(6);

pub(crate) type ChallengeTag = [u8; TAG_BYTES];

fn parse(text: &str) -> Option<(Timestamp, ChallengeTag)> {
    // Longer than it can be: refused before any work is done on it.
    if text.len() != CHARS {
        return None;
    }
    let mut bytes = [0; BYTES];
    URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    let (expiry, tag) = bytes.split_first_chunk()?;
    Some((Timestamp(u64::from_be_bytes(*expiry)), *tag.first_chunk()?))
}

fn tag(key: &[u8; 32], name: &str, expiry: Timestamp) -> ChallengeTag {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(name.as_bytes());
    // Of fixed length and last: no other name and expiry make the same text.
    mac.update(&expiry.0.to_be_bytes());
    let whole: [u8; 32] = mac.finalize().into_bytes().into();
    *whole.first_chunk().expect("16 of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn keyring(secrets: &[u8]) -> Keyring {
        Keyring::new(secrets.iter().map(|&byte| vec![byte; 32]).collect()).unwrap()
    }

    fn cid(name: &str) -> ConnectionId {
        ConnectionId::parse(name).unwrap()
    }

    #[test]
    fn a_challenge_is_good_for_its_connection_and_a_minute() {
        let keyring = keyring(&[1]);
        let Challenge { challenge, expires_in } = mint(&keyring, &cid("a"), NOW);
        assert_eq!(expires_in, 60_000);
        let good = |on: &str, at: Timestamp| verify(&keyring, &challenge, &cid(on), at);
        assert!(good("a", NOW) && good("a", NOW.plus(59_999)));
        assert!(!good("a", NOW.plus(60_000)) && !good("a", Timestamp(u64::MAX)), "expired");
        assert!(!good("b", NOW) && !good("aa", NOW), "another connection's");
        assert!(!good("a", Timestamp(NOW.0 - 1)) && !good("a", Timestamp(0)), "the clock was set back");
    }

    #[test]
    fn a_changed_challenge_is_refused() {
        let keyring = keyring(&[1]);
        let text = mint(&keyring, &cid("a"), NOW).challenge;
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&keyring, &URL_SAFE_NO_PAD.encode(bytes), &cid("a"), NOW), "bit {bit}");
        }
        for length in 0..text.len() {
            assert!(!verify(&keyring, &text[..length], &cid("a"), NOW), "{length} characters");
        }
        for text in [format!("{text}A"), format!("{text}="), "é".repeat(16), "A".repeat(100_000), "!".repeat(32)] {
            assert!(!verify(&keyring, &text, &cid("a"), NOW), "{text:.40}");
        }
        assert!(!verify(&keyring, &URL_SAFE_NO_PAD.encode([0; 24]), &cid("a"), Timestamp(0)));
    }

    #[test]
    fn a_rotated_secret_still_verifies_and_the_first_signs() {
        let (old, both, new) = (keyring(&[1]), keyring(&[2, 1]), keyring(&[2]));
        let by = |keyring: &Keyring| mint(keyring, &cid("a"), NOW).challenge;
        let good = |keyring: &Keyring, text: &str| verify(keyring, text, &cid("a"), NOW);
        assert!(good(&both, &by(&old)) && good(&new, &by(&both)));
        assert!(!good(&old, &by(&both)) && !good(&new, &by(&old)));
    }

    /// Of a service that is replaced under traffic, the new one takes the challenges of the old
    /// one.
    #[test]
    fn the_form_of_a_challenge_is_fixed() {
        expect_test::expect!["AAABoMRRVmBr8RI6ayKQcSn2bCDHZqW1"]
            .assert_eq(&mint(&keyring(&[1]), &cid("a"), NOW).challenge);
    }
}

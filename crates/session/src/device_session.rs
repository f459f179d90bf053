//! Device Bound Session Credentials: the texts by which a browser registers a device key with its
//! session, proves it, and shows that it has (docs/protocol.md, section 5). Stateless, as
//! challenges are. Must not know signatures, HTTP or JSON Web Tokens.
//!
//! All are made as challenges are, with another name in the place of the connection's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    DeviceKey, Keyring, Proof, SessionId, Timestamp,
    challenge::{self, ChallengeTag, TAG_BYTES, expiry_of, is_tag, mint_tag, mint_until},
};

/// How long a browser shows a proof, in milliseconds. Whoever copies its cookies can use them for
/// as long.
pub const PROOF_LIFETIME: u64 = 600_000;

/// How much longer a proof is accepted, in milliseconds: a request may be on its way.
pub const LEEWAY: u64 = 60_000;

/// A session whose newest key is of a later generation is not offered to register a key any more.
/// Who copies cookies later cannot lock out the owner by it.
pub const OFFERS: u64 = 3;

/// The challenge with which the browser of session `sid` is offered to register a key. It is good
/// for a minute.
#[must_use]
pub fn offer(keyring: &Keyring, sid: SessionId, now: Timestamp) -> String {
    let challenge = mint_until(keyring, &name("offer", sid), now.plus(challenge::LIFETIME));
    URL_SAFE_NO_PAD.encode(sid.0) + &challenge
}

/// The session with which the challenge `text` offers to register a key.
#[must_use]
pub fn offered(keyring: &Keyring, text: &str, now: Timestamp) -> Option<SessionId> {
    let (sid, challenge) = text.split_at_checked(SID_CHARS)?;
    let sid = SessionId(URL_SAFE_NO_PAD.decode(sid).ok()?.try_into().ok()?);
    is_current(expiry_of(keyring, challenge, &name("offer", sid))?, now).then_some(sid)
}

/// The identifier under which the browser registers `key`, a key of P-256, for a session:
/// `base64url(sid[16] ‖ x[32] ‖ y[32] ‖ tag[16])`. Nothing is stored until the browser has proven
/// the key. None for other keys.
#[must_use]
pub fn identifier(keyring: &Keyring, sid: SessionId, key: &DeviceKey) -> Option<String> {
    let DeviceKey::P256 { x, y } = key else { return None };
    let claims = [&sid.0[..], x, y].concat();
    let tag = mint_tag(keyring, &registration(&claims), Timestamp(0));
    Some(URL_SAFE_NO_PAD.encode([&claims[..], &tag].concat()))
}

/// The content of an [`identifier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedDevice {
    /// The session.
    pub sid: SessionId,
    /// The device key.
    pub key: DeviceKey,
    /// Whether one of our secrets has made it. Once the key is stored, that does not matter.
    pub is_genuine: bool,
}

impl NamedDevice {
    /// Reads an identifier. None if it cannot be one.
    #[must_use]
    pub fn read(keyring: &Keyring, text: &str) -> Option<Self> {
        // Longer than it can be: refused before any work is done on it.
        if text.len() != IDENTIFIER_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (claims, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
        let (sid, point) = claims.split_first_chunk()?;
        let (x, y) = point.split_first_chunk()?;
        let key = DeviceKey::P256 { x: *x, y: y.try_into().ok()? };
        let tag: &ChallengeTag = tag;
        let is_genuine = is_tag(keyring, tag, &registration(claims), Timestamp(0));
        Some(Self { sid: SessionId(*sid), key, is_genuine })
    }
}

/// The challenge that the device of session `sid` signs. It is good for a minute.
#[must_use]
pub fn challenge(keyring: &Keyring, sid: SessionId, now: Timestamp) -> String {
    mint_until(keyring, &name("device", sid), now.plus(challenge::LIFETIME))
}

/// True if `text` is a challenge for session `sid`, and good at the time `now`.
#[must_use]
pub fn is_challenge(keyring: &Keyring, text: &str, sid: SessionId, now: Timestamp) -> bool {
    expiry_of(keyring, text, &name("device", sid)).is_some_and(|expiry| is_current(expiry, now))
}

/// The text that a browser shows for [`PROOF_LIFETIME`] from `now` on, after its device has signed.
#[must_use]
pub fn proof(keyring: &Keyring, sid: SessionId, now: Timestamp) -> String {
    mint_until(keyring, &name("proven", sid), now.plus(PROOF_LIFETIME))
}

/// Judges the text `shown` that a browser shows for session `sid`. `has_skipped`: the browser says
/// that it could not have its device sign.
#[must_use]
pub fn shown(keyring: &Keyring, shown: Option<&str>, has_skipped: bool, sid: SessionId, now: Timestamp) -> Proof {
    match shown.and_then(|text| expiry_of(keyring, text, &name("proven", sid))) {
        // One from the future was made before the clock was set back.
        Some(expiry) if now < expiry.plus(LEEWAY) && expiry.since(now) <= PROOF_LIFETIME => Proof::Valid,
        // Its browser would have had it replaced, if that had the time that we have.
        Some(_) => Proof::Late,
        None if has_skipped => Proof::Late,
        None => Proof::None,
    }
}

/// Characters of base64url, without padding, for a session id.
const SID_CHARS: usize = (16_usize * 8).div_ceil(6);
/// The same for an identifier.
const IDENTIFIER_CHARS: usize = ((16 + 64 + TAG_BYTES) * 8).div_ceil(6);

fn is_current(expiry: Timestamp, now: Timestamp) -> bool {
    now < expiry && expiry.since(now) <= challenge::LIFETIME
}

/// The name of one of these texts.
fn name(what: &str, sid: SessionId) -> String {
    format!("{what}-{sid}")
}

fn registration(claims: &[u8]) -> String {
    format!("registered-{}", URL_SAFE_NO_PAD.encode(claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const SID: SessionId = SessionId([0xa5; 16]);
    const OTHER: SessionId = SessionId([0x5a; 16]);
    const KEY: DeviceKey = DeviceKey::P256 { x: [1; 32], y: [2; 32] };

    fn keyring(secrets: &[u8]) -> Keyring {
        Keyring::new(secrets.iter().map(|&byte| vec![byte; 32]).collect()).unwrap()
    }

    /// Each text with one character changed.
    fn changed(text: &str) -> impl Iterator<Item = String> {
        (0..text.len()).map(move |at| {
            let mut changed = text.to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(changed).unwrap()
        })
    }

    #[test]
    fn an_offer_names_its_session_and_lasts_a_minute() {
        let keyring = keyring(&[1]);
        let text = offer(&keyring, SID, NOW);
        assert_eq!(offered(&keyring, &text, NOW.plus(59_999)), Some(SID));
        assert_eq!(offered(&keyring, &text, NOW.plus(60_000)), None, "too late");
        assert_eq!(offered(&keyring, &text, Timestamp(NOW.0 - 1)), None, "the clock was set back");
        for text in changed(&text) {
            assert_eq!(offered(&keyring, &text, NOW), None, "{text}");
        }
        for text in ["", "é", &challenge(&keyring, SID, NOW), &"A".repeat(100_000)] {
            assert_eq!(offered(&keyring, text, NOW), None, "{text:.40}");
        }
    }

    #[test]
    fn an_identifier_carries_its_key_and_is_not_made_up() {
        let keyring = keyring(&[1]);
        let text = identifier(&keyring, SID, &KEY).unwrap();
        assert_eq!(NamedDevice::read(&keyring, &text), Some(NamedDevice { sid: SID, key: KEY, is_genuine: true }));
        let other = self::keyring(&[2]);
        assert_eq!(NamedDevice::read(&other, &text), Some(NamedDevice { sid: SID, key: KEY, is_genuine: false }));
        assert!(NamedDevice::read(&self::keyring(&[2, 1]), &text).unwrap().is_genuine, "by a secret that was replaced");
        for text in changed(&text) {
            assert!(NamedDevice::read(&keyring, &text).is_none_or(|named| !named.is_genuine), "{text}");
        }
        for length in 0..text.len() {
            assert_eq!(NamedDevice::read(&keyring, &text[..length]), None, "{length} characters");
        }
        assert_eq!(identifier(&keyring, SID, &DeviceKey::Ed25519([1; 32])), None);
    }

    #[test]
    fn a_challenge_is_for_its_session_and_a_minute() {
        let keyring = keyring(&[1]);
        let text = challenge(&keyring, SID, NOW);
        let good = |sid, at| is_challenge(&keyring, &text, sid, at);
        assert!(good(SID, NOW) && good(SID, NOW.plus(59_999)));
        assert!(!good(SID, NOW.plus(60_000)) && !good(OTHER, NOW) && !good(SID, Timestamp(NOW.0 - 1)));
        for text in changed(&text) {
            assert!(!is_challenge(&keyring, &text, SID, NOW), "{text}");
        }
        // No text of one kind is one of another.
        let offer = &offer(&keyring, SID, NOW)[SID_CHARS..];
        assert!(!is_challenge(&keyring, offer, SID, NOW));
        assert!(!is_challenge(&keyring, &proof(&keyring, SID, NOW), SID, NOW));
        assert_eq!(shown(&keyring, Some(&text), false, SID, NOW), Proof::None);
    }

    #[test]
    fn a_proof_is_shown_for_ten_minutes() {
        let keyring = keyring(&[1]);
        let text = proof(&keyring, SID, NOW);
        let at = |at| shown(&keyring, Some(&text), false, SID, at);
        assert_eq!((at(NOW), at(NOW.plus(600_000)), at(NOW.plus(659_999))), (Proof::Valid, Proof::Valid, Proof::Valid));
        assert_eq!((at(NOW.plus(660_000)), at(Timestamp(u64::MAX))), (Proof::Late, Proof::Late));
        assert_eq!(at(Timestamp(NOW.0 - 1)), Proof::Late, "the clock was set back");
        assert_eq!(shown(&keyring, Some(&text), false, OTHER, NOW), Proof::None, "another session's");
        for text in changed(&text).map(Some).chain([None, Some(String::new())]) {
            let text = text.as_deref();
            assert_eq!(shown(&keyring, text, false, SID, NOW), Proof::None, "{text:?}");
            assert_eq!(shown(&keyring, text, true, SID, NOW), Proof::Late, "{text:?}");
        }
    }

    /// Of a service that is replaced under traffic, the new one knows what the old one has made.
    #[test]
    fn the_forms_are_fixed() {
        let keyring = keyring(&[1]);
        let texts = [offer(&keyring, SID, NOW), challenge(&keyring, SID, NOW), proof(&keyring, SID, NOW)];
        expect_test::expect![[r#"
            paWlpaWlpaWlpaWlpaWlpQAAABoMRRVmBEBqNVXskGM6FcvTkpp5hw
            AAABoMRRVmDlqFSglwiknTJkc0BIY7Hz
            AAABoMRZk8D-5-T3QROwmda4_OK_DCfS"#]]
        .assert_eq(&texts.join("\n"));
        expect_test::expect!["paWlpaWlpaWlpaWlpaWlpQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgJ8GzH_imcocnyHeaBPS94F"].assert_eq(&identifier(&keyring, SID, &KEY).unwrap());
    }
}

//! What script holds of a session whose key travels in a cookie: a text of a key's form that names
//! the session and opens nothing. By HTTP it is exchanged for the cookie, for a minute and by the
//! browser that logged in alone. Stateless, as challenges are.
//!
//! It is `base64url(sid[16] ‖ generation[8] ‖ expiry and tag of a challenge[24] ‖ "incookie")`, the
//! challenge being one for the connection `exchange-<sid>`, which no gateway has. As a relogin key
//! it is never genuine.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{ConnectionId, Keyring, ReloginKey, SessionId, Timestamp, challenge};

/// What such a text ends with.
pub const MARK: &str = "aW5jb29raWU";

/// The text for the session `sid` whose newest key is of `generation`.
#[must_use]
pub fn mint(keyring: &Keyring, sid: SessionId, generation: u64, now: Timestamp) -> ReloginKey {
    let names = [&sid.0[..], &generation.to_be_bytes()].concat();
    let challenge = challenge::mint(keyring, &connection(sid), now).challenge;
    ReloginKey::new([&URL_SAFE_NO_PAD.encode(names), &challenge, MARK].concat())
}

/// The session that a text names, if it is one of these; good or not.
#[must_use]
pub fn named(text: &ReloginKey) -> Option<SessionId> {
    text.expose().ends_with(MARK).then(|| text.parse())?.map(|parts| parts.sid)
}

/// The session whose cookie a text may be exchanged for at the time `now`.
#[must_use]
pub fn verify(keyring: &Keyring, text: &ReloginKey, now: Timestamp) -> Option<SessionId> {
    let sid = named(text)?;
    let challenge = text.expose().get(CHALLENGE)?;
    challenge::verify(keyring, challenge, &connection(sid), now).then_some(sid)
}

/// Where the challenge is: 24 bytes are 32 characters, as those before it and those of it.
const CHALLENGE: std::ops::Range<usize> = 32..64;

fn connection(sid: SessionId) -> ConnectionId {
    ConnectionId::parse(&format!("exchange-{sid}")).expect("a session id is one part of a subject")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const SID: SessionId = SessionId([0xa5; 16]);

    #[test]
    fn an_exchange_code_names_its_session_opens_nothing_and_lasts_a_minute() {
        let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
        let text = mint(&keyring, SID, 7, NOW);
        let parts = text.parse().unwrap();
        assert_eq!((parts.sid, parts.generation), (SID, 7));
        assert!(!keyring.verify(&parts, &[0; 16]));
        assert_eq!((named(&text), verify(&keyring, &text, NOW)), (Some(SID), Some(SID)));
        assert_eq!(verify(&keyring, &text, NOW.plus(challenge::LIFETIME)), None);
        assert_eq!(named(&text), Some(SID), "also later");
        let other = Keyring::new(vec![vec![2; 32]]).unwrap();
        assert_eq!(verify(&other, &text, NOW), None);
    }

    #[test]
    fn a_changed_text_is_refused() {
        let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
        let text = mint(&keyring, SID, 7, NOW).expose().to_owned();
        for at in (0..text.len()).filter(|at| !(22..32).contains(at)) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = ReloginKey::new(String::from_utf8(changed).unwrap());
            assert_eq!(verify(&keyring, &changed, NOW), None, "character {at}");
        }
        for none in ["", "constructor", MARK, keyring.mint(SID, &[0; 16], 7).expose()] {
            assert_eq!(named(&ReloginKey::new(none.to_owned())), None, "{none}");
        }
    }
}

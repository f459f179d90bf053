//! Relogin keys: mint, verify, parse. See docs/protocol.md, section 2. Must not know what a key
//! means: that is `rotation`.
//!
//! A key is `base64url(sid[16] ‖ generation[8, big endian] ‖ tag[32])`, where the tag is
//! HMAC-SHA256 over what stands before it, under HKDF-SHA256(server secret, salt of the session,
//! "relogin key 1"). Nothing of it is ever stored. The other format that a key may have, a JSON Web
//! Token, is in [`jwt`].

pub mod jwt;

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::{Secret, SessionId, base64url};

/// The text of a relogin key, on its way from or to a client: a [`Secret`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReloginKey(Secret);

impl ReloginKey {
    /// Takes the text as it is; whether it is a key is found out by [`ReloginKey::parse`].
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// The text, for the wire and for storage.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The session that the key names, whichever format it has. For those who hold keys and want to
    /// tell whose they are: nothing else is looked at. `None` if it cannot be a key.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        let text = self.expose();
        if jwt::is_like(text) {
            return jwt::session(text);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        base64url::decode(text.as_bytes(), bytes.as_mut())?;
        bytes.first_chunk().copied().map(SessionId)
    }

    /// Takes the key apart, whichever format it has, without telling whether it is genuine. `None`
    /// if it cannot be a key. Services read keys with [`Keyring::read`].
    #[must_use]
    pub fn parse(&self) -> Option<PresentedKey> {
        let text = self.expose();
        if jwt::is_like(text) {
            return jwt::parse(text);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        // What is longer is refused before any work is done on it; and no two texts are one key.
        base64url::decode(text.as_bytes(), bytes.as_mut())?;
        let (sid, rest) = bytes.split_first_chunk::<16>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let generation = u64::from_be_bytes(*generation);
        // Login makes generation 1: there never is a key of generation 0.
        (generation > 0).then_some(PresentedKey { sid: SessionId(*sid), generation, tag: *rest.first_chunk()? })
    }
}

/// The parts of a key that a client sent: whose it claims to be, and the proof of it. The proof is
/// wiped on drop.
#[derive(Clone)]
pub struct PresentedKey {
    /// The session that the key names.
    pub sid: SessionId,
    /// The generation that the key names; 1 or more.
    pub generation: u64,
    tag: Tag,
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedKey")
            .field("sid", &self.sid)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Drop for PresentedKey {
    fn drop(&mut self) {
        self.tag.zeroize();
    }
}

/// The server's secrets, each at least [`Keyring::SECRET_MIN_LEN`] bytes: the first signs, all
/// verify. Wiped on drop.
pub struct Keyring {
    secrets: Vec<ServerSecret>,
    tokens: Option<jwt::Tokens>,
}

struct ServerSecret {
    secret: Zeroizing<Vec<u8>>,
    /// Derived once, for challenges do not differ in a salt as keys do.
    challenge_key: Zeroizing<[u8; 32]>,
}

impl Keyring {
    /// The length of the shortest secret that is taken, in bytes.
    pub const SECRET_MIN_LEN: usize = 32;

    /// A keyring of `secrets`. `None` if there is none, or one is shorter than
    /// [`Keyring::SECRET_MIN_LEN`].
    #[must_use]
    pub fn new(secrets: Vec<Vec<u8>>) -> Option<Self> {
        let secrets: Vec<_> = secrets.into_iter().map(Zeroizing::new).collect();
        let good = !secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= Self::SECRET_MIN_LEN);
        let secrets = secrets.into_iter().map(|secret| {
            let challenge_key = derived(&secret, None, CHALLENGE_INFO);
            ServerSecret { secret, challenge_key }
        });
        good.then(|| Self { secrets: secrets.collect(), tokens: None })
    }

    /// What makes and verifies the keys of the sessions with this `salt`: deriving it costs more
    /// than a key.
    #[must_use]
    pub fn of_session<'a>(&'a self, salt: &'a [u8; 16]) -> SessionKeyring<'a> {
        let signing = self.secrets.first().expect("a keyring is never made without a secret");
        SessionKeyring { keyring: self, salt, signing: mac_of(&signing.secret, salt) }
    }

    /// The key of generation `generation` of a session. The same arguments give the same key.
    #[must_use]
    pub fn mint(&self, sid: SessionId, salt: &[u8; 16], generation: u64) -> ReloginKey {
        self.of_session(salt).mint(sid, generation)
    }

    /// True if one of our secrets made `key` for a session with this `salt`. Takes as long wherever
    /// the tag is wrong.
    #[must_use]
    pub fn verify(&self, key: &PresentedKey, salt: &[u8; 16]) -> bool {
        self.of_session(salt).verify(key)
    }

    /// True if a secret of one is a secret of the other: then keys that either has made live on
    /// with the other.
    #[must_use]
    pub fn has_secret_of(&self, other: &Self) -> bool {
        let pairs = self.secrets.iter().flat_map(|ours| other.secrets.iter().map(move |theirs| (ours, theirs)));
        pairs.fold(Choice::from(0), |found, (ours, theirs)| found | ours.secret.ct_eq(&theirs.secret)).into()
    }

    /// What each secret is recognised by, in the same order, without being told: half of a digest
    /// that it cannot be found from.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        let of = |secret: &ServerSecret| URL_SAFE_NO_PAD.encode(&derived(&secret.secret, None, FINGERPRINT_INFO)[..16]);
        self.secrets.iter().map(of).collect()
    }

    /// How many secrets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.secrets.len()
    }

    /// What challenges are made with: the first signs, all verify.
    pub(crate) fn challenge_keys(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.secrets.iter().map(|secret| &*secret.challenge_key)
    }
}

/// A [`Keyring`] for the keys of one session.
pub struct SessionKeyring<'a> {
    keyring: &'a Keyring,
    salt: &'a [u8; 16],
    /// Of the secret that signs. Wiped on drop.
    signing: Hmac<Sha256>,
}

impl SessionKeyring<'_> {
    /// See [`Keyring::mint`].
    #[must_use]
    pub fn mint(&self, sid: SessionId, generation: u64) -> ReloginKey {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let (claims, tag) = bytes.split_at_mut(KEY_BYTES - TAG_BYTES);
        claims.copy_from_slice(&claims_of(sid, generation));
        tag.copy_from_slice(self::tag(self.signing.clone(), claims).as_ref());
        ReloginKey::new(URL_SAFE_NO_PAD.encode(bytes.as_ref()))
    }

    /// See [`Keyring::verify`].
    #[must_use]
    pub fn verify(&self, key: &PresentedKey) -> bool {
        let claims = claims_of(key.sid, key.generation);
        let mut genuine = tag(self.signing.clone(), &claims).ct_eq(&key.tag);
        for ServerSecret { secret, .. } in self.keyring.secrets.iter().skip(1) {
            genuine |= tag(mac_of(secret, self.salt), &claims).ct_eq(&key.tag);
        }
        genuine.into()
    }
}

impl fmt::Debug for SessionKeyring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeyring").field("keyring", &self.keyring).finish_non_exhaustive()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} secrets)", self.secrets.len())
    }
}

const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 16 + 8 + TAG_BYTES;
/// Keep what is derived for one purpose apart from all else that comes from the same secret.
const KEY_INFO: &[u8] = b"relogin key 1";
const FINGERPRINT_INFO: &[u8] = b"relogin secret fingerprint 1";
const CHALLENGE_INFO: &[u8] = b"relogin challenge 1";

type Tag = [u8; TAG_BYTES];

fn claims_of(sid: SessionId, generation: u64) -> [u8; KEY_BYTES - TAG_BYTES] {
    let mut claims = [0; KEY_BYTES - TAG_BYTES];
    let (head, tail) = claims.split_at_mut(16);
    head.copy_from_slice(&sid.0);
    tail.copy_from_slice(&generation.to_be_bytes());
    claims
}

fn mac_of(secret: &[u8], salt: &[u8; 16]) -> Hmac<Sha256> {
    let key = derived(secret, Some(salt), KEY_INFO);
    Hmac::new_from_slice(key.as_ref()).expect("HMAC takes keys of any length")
}

fn tag(mut mac: Hmac<Sha256>, claims: &[u8]) -> Zeroizing<Tag> {
    mac.update(claims);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn derived(secret: &[u8], salt: Option<&[u8]>, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(salt, secret)
        .expand(info, derived.as_mut())
        .expect("32 bytes are one block of SHA-256, and HKDF gives 255");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: SessionId = SessionId([7; 16]);
    const SALT: [u8; 16] = [9; 16];

    fn keyring(secrets: &[u8]) -> Keyring {
        Keyring::new(secrets.iter().map(|&byte| vec![byte; 32]).collect()).unwrap()
    }

    fn genuine(keyring: &Keyring, key: &ReloginKey) -> bool {
        key.parse().is_some_and(|key| keyring.verify(&key, &SALT))
    }

    #[test]
    fn a_minted_key_says_whose_it_is_and_verifies() {
        let keyring = keyring(&[1]);
        let key = keyring.mint(SID, &SALT, 0x0102_0304);
        let parsed = key.parse().unwrap();
        assert_eq!((parsed.sid, parsed.generation), (SID, 0x0102_0304));
        assert!(keyring.verify(&parsed, &SALT));
        assert!(!keyring.verify(&parsed, &[8; 16]), "another session's salt");
        assert_eq!(key, keyring.mint(SID, &SALT, 0x0102_0304), "the same successor can be handed out again");
    }

    #[test]
    fn keyrings_with_a_common_secret_are_recognised() {
        assert!(keyring(&[2, 1]).has_secret_of(&keyring(&[1])) && keyring(&[1]).has_secret_of(&keyring(&[3, 1])));
        assert!(!keyring(&[2, 3]).has_secret_of(&keyring(&[1])));
        assert_eq!(keyring(&[2, 3]).count(), 2);
    }

    /// Keys outlive the binary that made them: this form may only change with a new format beside
    /// it.
    #[test]
    fn the_form_of_a_key_is_fixed() {
        expect_test::expect!["BwcHBwcHBwcHBwcHBwcHBwAAAAAAAAACzYjHxHoFAR-8LzESrp1e0PwWsJD4FwcHLlBbHMH1vb0"]
            .assert_eq(keyring(&[1]).mint(SID, &SALT, 2).expose());
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let keyring = keyring(&[1]);
        let key = keyring.mint(SID, &SALT, 3);
        let bytes = URL_SAFE_NO_PAD.decode(key.expose()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!genuine(&keyring, &ReloginKey::new(URL_SAFE_NO_PAD.encode(bytes))), "bit {bit}");
        }
        for length in 0..key.expose().len() {
            assert!(ReloginKey::new(key.expose()[..length].to_owned()).parse().is_none(), "{length} characters");
        }
        assert!(ReloginKey::new(format!("{}A", key.expose())).parse().is_none());
    }

    #[test]
    fn a_key_has_one_text() {
        let key = keyring(&[1]).mint(SID, &SALT, 3);
        // The last character carries two bits that mean nothing: they must be zero.
        let last = key.expose().chars().last().unwrap();
        for other in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).filter(|&other| other != last) {
            let text = format!("{}{other}", &key.expose()[..key.expose().len() - 1]);
            assert!(!genuine(&keyring(&[1]), &ReloginKey::new(text)), "{other}");
        }
    }

    #[test]
    fn texts_that_are_not_keys_are_refused() {
        for text in ["", "constructor", "__proto__", "é", "=", &"A".repeat(75), &"é".repeat(40), &"A".repeat(100_000)]
        {
            assert!(ReloginKey::new(text.to_owned()).parse().is_none(), "{text:.20}");
        }
    }

    #[test]
    fn a_rotated_secret_still_verifies_and_the_first_signs() {
        let (old, both, new) = (keyring(&[1]), keyring(&[2, 1]), keyring(&[2]));
        let by_old = old.mint(SID, &SALT, 1);
        assert!(genuine(&both, &by_old));
        let by_both = both.mint(SID, &SALT, 2);
        assert!(genuine(&new, &by_both) && !genuine(&old, &by_both));
        assert!(!genuine(&new, &by_old), "a secret that is gone opens nothing");
    }

    #[test]
    fn weak_keyrings_are_refused() {
        assert!(Keyring::new(vec![]).is_none());
        assert!(Keyring::new(vec![vec![1; 32], vec![2; 31]]).is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        let keyring = keyring(&[1]);
        let key = keyring.mint(SID, &SALT, 1);
        assert_eq!(format!("{key:?} {keyring:?}"), "ReloginKey(Secret(…)) Keyring(1 secrets)");
        let of_session = format!("{:?}", keyring.of_session(&SALT));
        assert_eq!(of_session, "SessionKeyring { keyring: Keyring(1 secrets), .. }");
        let parsed = format!("{:?}", key.parse().unwrap());
        assert_eq!(parsed, format!("PresentedKey {{ sid: {SID:?}, generation: 1, .. }}"));
    }
}

//! Relogin keys as JSON Web Tokens, for those whose other services are to verify them: what is in
//! one, and whether one is ours. Knows no curves: its caller passes in a signer and a verifier.
//!
//! The header is `{"alg":"EdDSA","typ":"relogin+jwt","kid":…}`, the claims are those of `Claims`
//! below, in that order. The claim `jti` is the tag that the same key has in the other format, so
//! all that holds for that one holds for this: the secret alone makes no key of a session whose
//! salt it does not know. The signature is for others, and keeps each key to one text: what is not,
//! byte for byte, what we would have written is refused, whatever else it may say.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Keyring, PresentedKey, ReloginKey, SessionKeyring, TAG_BYTES, Tag, derived};
use crate::{SessionId, Timestamp, UserId, base64url};

/// An Ed25519 key pair (RFC 8032). Pure: the same message has the same signature always, so that
/// the same successor of a key can be handed out again.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> [u8; 32];
    /// Signs `message`.
    fn sign(&self, message: &[u8]) -> [u8; 64];
    /// True if `signature` is this key pair's, over `message`.
    fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool;
}

/// How keys are written and read as JSON Web Tokens.
pub struct Tokens {
    issuer: String,
    audience: String,
    is_minted: bool,
    signers: Vec<Named>,
}

struct Named {
    signer: Box<dyn Signer>,
    /// The thumbprint of the public key (RFC 7638).
    kid: String,
    /// The header of what it signs, in base64url, with the dot behind it.
    head: String,
}

/// What a key is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The session.
    pub sid: SessionId,
    /// The generation.
    pub generation: u64,
    /// The user.
    pub user: &'a UserId,
    /// When the generation was made.
    pub made: Timestamp,
    /// When it expires, for others.
    pub expires: Timestamp,
}

/// What a key says, in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyClaims {
    /// The session. First, so that clients find it without reading JSON.
    sid: SessionId,
    /// The generation.
    r#gen: u64,
    /// The tag.
    jti: String,
    /// The user's id, as a text whatever its type: that is what the claim has to be.
    sub: String,
    /// When the generation was made, in seconds since the epoch.
    iat: u64,
    /// When it expires if it is not used, in seconds since the epoch. For others: what ends a
    /// session is its record's deadline.
    exp: u64,
    iss: String,
    aud: String,
}

/// The longest JWT that is taken for a key, and that is handed out, in bytes: all of it fits into a
/// cookie.
pub const MAX_LEN: usize = 4000;

const TYPE: &str = "relogin+jwt";
const INFO: &[u8] = b"relogin jwt 1";
/// How each payload begins; the session id follows.
const BEGIN: &[u8] = br#"{"sid":""#;
/// How much of it it takes to say which session it is of.
const NAMING: usize = BEGIN.len() + SESSION_CHARS;
/// A session id's length.
const SESSION_CHARS: usize = 22;

impl Tokens {
    /// Keys of `issuer` for `audience`, signed by the first of `signers`, verified by all. With
    /// `is_minted`, keys are handed out like this; without, those that were handed out before are
    /// still taken.
    #[must_use]
    pub fn new(issuer: String, audience: String, is_minted: bool, signers: Vec<Box<dyn Signer>>) -> Self {
        let signers = signers.into_iter().map(|signer| {
            let kid = thumbprint(&signer.public_key());
            let head = format!(r#"{{"alg":"EdDSA","typ":"{TYPE}","kid":"{kid}"}}"#);
            Named { head: URL_SAFE_NO_PAD.encode(head) + ".", kid, signer }
        });
        Self { issuer, audience, is_minted, signers: signers.collect() }
    }

    /// The public keys as a JWK Set (RFC 7517), for others to verify with; none if no such keys are
    /// handed out.
    #[must_use]
    pub fn jwks(&self) -> Option<String> {
        #[derive(Serialize)]
        struct Jwk<'a> {
            kty: &'a str,
            crv: &'a str,
            #[serde(rename = "use")]
            usage: &'a str,
            alg: &'a str,
            kid: &'a str,
            x: String,
        }
        #[derive(Serialize)]
        struct Set<'a> {
            keys: Vec<Jwk<'a>>,
        }
        let keys = self.signers.iter().map(|Named { signer, kid, .. }| {
            let x = URL_SAFE_NO_PAD.encode(signer.public_key());
            Jwk { kty: "OKP", crv: "Ed25519", usage: "sig", alg: "EdDSA", kid, x }
        });
        self.is_minted.then(|| written(&Set { keys: keys.collect() }))
    }

    /// The key of these claims. None if there is nobody to sign it, or it would be longer than is
    /// taken.
    fn mint(&self, claims: &KeyClaims) -> Option<ReloginKey> {
        let Named { signer, head, .. } = self.signers.first()?;
        let payload = Zeroizing::new(written(claims));
        let mut text = Zeroizing::new(format!("{head}{}", URL_SAFE_NO_PAD.encode(payload.as_bytes())));
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes()));
        text.push('.');
        text.push_str(&signature);
        (text.len() <= MAX_LEN).then(|| ReloginKey::new(text.to_string()))
    }

    /// True if `text` is, byte for byte, what one of our signers has signed, and for us.
    fn has_signed(&self, text: &str) -> bool {
        let Some((message, signature)) = text.rsplit_once('.') else { return false };
        // The whole header is known: no other algorithm, type or key is ever looked at.
        let Some((signed_by, payload)) =
            self.signers.iter().find_map(|named| Some((named, message.strip_prefix(&named.head)?)))
        else {
            return false;
        };
        let mut bytes = [0; 64];
        if URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes) != Ok(64)
            || !signed_by.signer.verify(message.as_bytes(), &bytes)
        {
            return false;
        }
        let Ok(payload) = URL_SAFE_NO_PAD.decode(payload).map(Zeroizing::new) else { return false };
        serde_json::from_slice::<KeyClaims>(&payload).is_ok_and(|claims| {
            claims.iss == self.issuer
                && claims.aud == self.audience
                && Zeroizing::new(written(&claims)).as_bytes() == payload.as_slice()
        })
    }
}

impl Keyring {
    /// The same, with another way to write keys and to read them.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// What the key pairs that sign JWTs are made from, one for each secret, in their order.
    #[must_use]
    pub fn signing_seeds(&self) -> Vec<Zeroizing<[u8; 32]>> {
        self.secrets.iter().map(|secret| derived(&secret.secret, None, INFO)).collect()
    }

    /// How keys are written and read as JWTs, if they are.
    #[must_use]
    pub fn tokens(&self) -> Option<&Tokens> {
        self.tokens.as_ref()
    }

    /// Reads what a client sent for a key, of either format. `None` if it cannot be one of ours.
    /// Whether it is genuine is found out by [`Keyring::verify`] for both.
    #[must_use]
    pub fn read(&self, key: &ReloginKey) -> Option<PresentedKey> {
        let parts = key.parse()?;
        let is_ours =
            !is_like(key.expose()) || self.tokens.as_ref().is_some_and(|tokens| tokens.has_signed(key.expose()));
        is_ours.then_some(parts)
    }
}

impl SessionKeyring<'_> {
    /// A key, in the format that keys are handed out in. The same arguments give the same key.
    #[must_use]
    pub fn hand_out(&self, facts: Facts<'_>) -> ReloginKey {
        let Facts { sid, generation, user, made, expires } = facts;
        let key = self.mint(sid, generation);
        let token = self.keyring.tokens.as_ref().filter(|tokens| tokens.is_minted).and_then(|tokens| {
            let tag = key.parse().map(|key| key.tag.to_vec()).map(Zeroizing::new)?;
            tokens.mint(&KeyClaims {
                sid,
                r#gen: generation,
                jti: URL_SAFE_NO_PAD.encode(&tag),
                sub: user.to_string(),
                iat: made.0 / 1000,
                // Never later than it expires for us.
                exp: expires.0 / 1000,
                iss: tokens.issuer.clone(),
                aud: tokens.audience.clone(),
            })
        });
        // A user id that leaves no room: the other format is taken as well.
        token.unwrap_or(key)
    }
}

/// True if it is to be read as a JWT.
pub(super) fn is_like(text: &str) -> bool {
    text.contains('.')
}

/// What a JWT says of whose it is. Neither its signature nor the rest of it is looked at.
pub(super) fn parse(text: &str) -> Option<PresentedKey> {
    // Longer than a key: refused before any work is done on it.
    if text.len() > MAX_LEN {
        return None;
    }
    let payload = text.split('.').nth(1)?;
    let mut bytes = Zeroizing::new(vec![0; payload.len() * 3 / 4]);
    base64url::decode(payload.as_bytes(), &mut bytes)?;
    let payload = bytes;
    let (sid, rest) = text_before(payload.strip_prefix(BEGIN)?, br#"","gen":"#)?;
    let (generation, rest) = text_before(rest, br#","jti":""#)?;
    let (jti, _) = text_before(rest, br#"","#)?;
    let mut tag: Tag = [0; TAG_BYTES];
    base64url::decode(jti.as_bytes(), &mut tag)?;
    let generation = generation.parse().ok().filter(|generation| *generation > 0)?;
    Some(PresentedKey { sid: SessionId::parse(sid)?, generation, tag })
}

/// The session that a JWT names.
pub(super) fn session(text: &str) -> Option<SessionId> {
    let payload = text.split('.').nth(1)?.as_bytes().get(..NAMING.div_ceil(3) * 4)?;
    let mut bytes = [0; NAMING.div_ceil(3) * 3];
    base64url::decode(payload, &mut bytes)?;
    SessionId::parse_bytes(bytes.strip_prefix(BEGIN)?.get(..SESSION_CHARS)?)
}

fn text_before<'a>(bytes: &'a [u8], end: &[u8]) -> Option<(&'a str, &'a [u8])> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some((std::str::from_utf8(&bytes[..at]).ok()?, &bytes[at + end.len()..]))
}

fn thumbprint(public_key: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)))
}

fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are written without fail")
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.signers.iter().map(|named| &named.kid).collect();
        f.debug_struct("Tokens")
            .field("issuer", &self.issuer)
            .field("is_minted", &self.is_minted)
            .field("kids", &kids)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};

    use super::*;

    /// Signs with HMAC, for want of a curve: what is looked at here is what is signed, and what
    /// becomes of the signature.
    struct Fake(Zeroizing<[u8; 32]>);

    impl Signer for Fake {
        fn public_key(&self) -> [u8; 32] {
            Sha256::digest(*self.0).into()
        }

        fn sign(&self, message: &[u8]) -> [u8; 64] {
            let half = |n: u8| {
                let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_ref()).unwrap();
                mac.update(&[n]);
                mac.update(message);
                mac.finalize().into_bytes()
            };
            [half(0), half(1)].concat().try_into().unwrap()
        }

        fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
            self.sign(message) == *signature
        }
    }

    fn tokens(keyring: &Keyring, issuer: &str, audience: &str, is_minted: bool) -> Tokens {
        let signers = keyring.signing_seeds().into_iter().map(|seed| Box::new(Fake(seed)) as Box<dyn Signer>);
        Tokens::new(issuer.to_owned(), audience.to_owned(), is_minted, signers.collect())
    }

    fn keyring(secrets: &[u8], is_minted: bool) -> Keyring {
        let keyring = Keyring::new(secrets.iter().map(|&byte| vec![byte; 32]).collect()).unwrap();
        let tokens = tokens(&keyring, "https://example.org", "session", is_minted);
        keyring.with_tokens(tokens)
    }

    const SALT: [u8; 16] = [9; 16];
    const USER: UserId = UserId::Number(3);
    const FACTS: Facts<'static> = Facts {
        sid: SessionId([7; 16]),
        generation: 2,
        user: &USER,
        made: Timestamp(1_790_000_000_999),
        expires: Timestamp(1_790_003_600_999),
    };

    fn key(text: impl Into<String>) -> ReloginKey {
        ReloginKey::new(text.into())
    }

    /// True if the key opens the session of [`FACTS`].
    fn opens(keyring: &Keyring, key: &ReloginKey) -> bool {
        keyring.read(key).is_some_and(|key| key.sid == FACTS.sid && keyring.verify(&key, &SALT))
    }

    fn parts(key: &ReloginKey) -> [String; 3] {
        let parts: Vec<_> = key.expose().split('.').collect();
        [0, 1]
            .map(|at| String::from_utf8(URL_SAFE_NO_PAD.decode(parts[at]).unwrap()).unwrap())
            .into_iter()
            .chain([parts[2].to_owned()])
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    /// A text with this header and payload, with our own signature: what only a mistake of ours
    /// could make.
    fn signed(head: &str, payload: &str) -> ReloginKey {
        let signer = Fake(keyring(&[1], true).signing_seeds().remove(0));
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(payload));
        key(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()))))
    }

    /// Keys outlive the binary that made them, and others read them.
    #[test]
    fn the_form_of_a_token_is_fixed() {
        let keyring = keyring(&[1], true);
        let key = keyring.of_session(&SALT).hand_out(FACTS);
        let [head, payload, signature] = parts(&key);
        expect_test::expect![[r#"
            {"alg":"EdDSA","typ":"relogin+jwt","kid":"0motBtqHxBbyVYoF9RAj2Im4vRQ0hwlJ7C4fVMw73Qw"}
            {"sid":"BwcHBwcHBwcHBwcHBwcHBw","gen":2,"jti":"zYjHxHoFAR-8LzESrp1e0PwWsJD4FwcHLlBbHMH1vb0","sub":"3","iat":1790000000,"exp":1790003600,"iss":"https://example.org","aud":"session"}
            86 characters"#]].assert_eq(&format!("{head}\n{payload}\n{} characters", signature.len()));
        expect_test::expect![[r#"{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"0motBtqHxBbyVYoF9RAj2Im4vRQ0hwlJ7C4fVMw73Qw","x":"kL-ueyQ9DaVPM-l5N5GfgBEy5_JiljIEIQvRDW-5pjM"}]}"#]].assert_eq(&keyring.tokens().unwrap().jwks().unwrap());
        assert!(opens(&keyring, &key));
        let read = keyring.read(&key).unwrap();
        assert_eq!((read.sid, read.generation), (FACTS.sid, 2));
        assert_eq!(key, keyring.of_session(&SALT).hand_out(FACTS), "the same successor can be handed out again");
    }

    /// Both ways: a client with a key of the other format keeps the session, and gets a key of this
    /// one at its next use.
    #[test]
    fn keys_of_both_formats_open_a_session_whichever_is_handed_out() {
        let (opaque, jwt) = (keyring(&[1], false), keyring(&[1], true));
        let (old, new) = (opaque.of_session(&SALT).hand_out(FACTS), jwt.of_session(&SALT).hand_out(FACTS));
        assert!(!old.expose().contains('.') && new.expose().contains('.'));
        for keyring in [&opaque, &jwt] {
            assert!(opens(keyring, &old) && opens(keyring, &new));
        }
        assert_eq!((opaque.tokens().unwrap().jwks(), jwt.tokens().unwrap().jwks().is_some()), (None, true));
        let without = Keyring::new(vec![vec![1; 32]]).unwrap();
        assert!(opens(&without, &old) && !opens(&without, &new), "no signer, no signature");
    }

    #[test]
    fn a_rotated_secret_still_verifies_and_the_first_signs() {
        let (old, both, new) = (keyring(&[1], true), keyring(&[2, 1], true), keyring(&[2], true));
        let by = |keyring: &Keyring| keyring.of_session(&SALT).hand_out(FACTS);
        assert!(opens(&both, &by(&old)) && opens(&both, &by(&both)) && opens(&new, &by(&both)));
        assert!(!opens(&old, &by(&both)) && !opens(&new, &by(&old)));
        let kids = |keyring: &Keyring| keyring.tokens().unwrap().jwks().unwrap().matches("\"kid\"").count();
        assert_eq!((kids(&old), kids(&both)), (1, 2), "others verify with the old one, too");
    }

    #[test]
    fn the_secret_alone_makes_no_key() {
        let keyring = keyring(&[1], true);
        let guessed = keyring.of_session(&[8; 16]).hand_out(FACTS);
        assert!(keyring.read(&guessed).is_some() && !opens(&keyring, &guessed));
    }

    #[test]
    fn a_user_id_that_leaves_no_room_gets_a_key_of_the_other_format() {
        let keyring = keyring(&[1], true);
        let with = |id: String| keyring.of_session(&SALT).hand_out(Facts { user: &UserId::Text(id), ..FACTS });
        assert!(with("j".repeat(2_000)).expose().contains('.') && opens(&keyring, &with("j".repeat(2_000))));
        assert!(!with("j".repeat(3_000)).expose().contains('.') && opens(&keyring, &with("j".repeat(3_000))));
        for odd in ["", "\"", "jürgen\n", "\u{0}", "</script>", "😀"] {
            assert!(opens(&keyring, &with(odd.to_owned())), "{odd:?}");
        }
    }

    #[test]
    fn another_algorithm_type_or_key_is_refused() {
        let keyring = keyring(&[1], true);
        let [head, payload, _] = parts(&keyring.of_session(&SALT).hand_out(FACTS));
        assert!(opens(&keyring, &signed(&head, &payload)));
        let kid = head.split('"').nth(11).unwrap();
        for other in [
            head.replace("EdDSA", "none"),
            head.replace("EdDSA", "None"),
            head.replace("EdDSA", "HS256"),
            head.replace("EdDSA", "RS256"),
            head.replace("EdDSA", "Ed25519"),
            head.replace("EdDSA", "eddsa"),
            head.replace("relogin+jwt", "JWT"),
            head.replace("relogin+jwt", "at+jwt"),
            head.replace(kid, &thumbprint(&[1; 32])),
            head.replace(kid, ""),
            head.replace(&format!(r#","kid":"{kid}""#), ""),
            head.replace("{", r#"{"alg":"none","#),
            head.replace("}", r#","crit":["exp"]}"#),
            head.replace("}", r#","jwk":{"kty":"oct","k":""}}"#),
            head.replace("}", r#","jku":"https://evil.example"}"#),
            head.replace(":", ": "),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(!opens(&keyring, &signed(&other, &payload)), "{other}");
        }
        // With the public key for a secret, as some take it.
        let public = Fake(Zeroizing::new(Fake(keyring.signing_seeds().remove(0)).public_key()));
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(head.replace("EdDSA", "HS256")), URL_SAFE_NO_PAD.encode(&payload));
        let confused = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&public.sign(message.as_bytes())[..32]));
        assert!(!opens(&keyring, &key(confused)));
    }

    #[test]
    fn another_issuer_or_audience_is_refused() {
        let ours = keyring(&[1], true);
        for (issuer, audience) in
            [("https://example.com", "session"), ("https://example.org", "other"), ("https://example.org/", "session")]
        {
            let other = Keyring::new(vec![vec![1; 32]]).unwrap();
            let tokens = tokens(&other, issuer, audience, true);
            let other = other.with_tokens(tokens);
            let key = other.of_session(&SALT).hand_out(FACTS);
            assert!(opens(&other, &key) && !opens(&ours, &key), "{issuer} {audience}");
        }
    }

    /// Whatever is signed, only what we would have written ourselves is a key: a claim twice, one
    /// too many or too few, of another type or in another order; white space; escapes.
    #[test]
    fn claims_have_one_form() {
        let keyring = keyring(&[1], true);
        let [head, payload, _] = parts(&keyring.of_session(&SALT).hand_out(FACTS));
        for other in [
            payload.replace(r#""gen":2,"#, r#""gen":2,"gen":2,"#),
            payload.replace(r#""gen":2,"#, r#""gen":1,"gen":2,"#),
            payload.replace(r#","iss""#, r#","gen":1,"iss""#),
            payload.replace(r#""sub":"3""#, r#""sub":"3","sub":"4""#),
            payload.replace(r#""sub":"3""#, r#""sub":3"#),
            payload.replace(r#""sub":"3""#, r#""sub":"\u0033""#),
            payload.replace(r#""gen":2,"#, r#""gen":02,"#),
            payload.replace(r#""gen":2,"#, r#""gen":2.0,"#),
            payload.replace(r#""gen":2,"#, r#""gen":"2","#),
            payload.replace(r#""gen":2,"#, r#""gen":0,"#),
            payload.replace(r#""gen":2,"#, r#""gen":-2,"#),
            payload.replace(r#""gen":2,"#, r#""gen":18446744073709551616,"#),
            payload.replace(r#""gen":2,"#, ""),
            payload.replace(r#""aud":"session""#, r#""aud":["session"]"#),
            payload.replace(r#","aud":"session""#, ""),
            payload.replace(r#""aud":"session""#, r#""aud":"session","role":"admin""#),
            payload.replace(r#""iat":"#, r#""nbf":9999999999,"iat":"#),
            payload.replace(',', ", "),
            payload.replace('}', "} "),
            payload.replace('}', "}}"),
            payload.replace("sid", "s\\u0069d"),
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
        ] {
            assert_ne!(other, payload);
            assert!(!opens(&keyring, &signed(&head, &other)), "{other}");
        }
    }

    #[test]
    fn a_changed_or_truncated_text_is_refused() {
        let keyring = keyring(&[1], true);
        let good = keyring.of_session(&SALT).hand_out(FACTS);
        let text = good.expose();
        for length in 0..text.len() {
            assert!(!opens(&keyring, &key(&text[..length])), "{length} characters");
        }
        // Each character for its neighbour: a bit of what it stands for.
        for at in 0..text.len() {
            let mut other = text.as_bytes().to_vec();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(!opens(&keyring, &key(String::from_utf8(other).unwrap())), "character {at}");
        }
        let [head, payload, signature]: [&str; 3] = text.split('.').collect::<Vec<_>>().try_into().unwrap();
        let last = |part: &str| {
            // What means nothing of the last character.
            let (start, end) = part.split_at(part.len() - 1);
            format!("{start}{}", char::from(end.as_bytes()[0] + 1))
        };
        for other in [
            format!("{head}=.{payload}.{signature}"),
            format!("{head}.{payload}=.{signature}"),
            format!("{head}.{payload}.{signature}="),
            format!("{head}.{payload}.{signature}=="),
            format!("{head}.{payload}.{}", last(signature)),
            format!("{head}.{payload}.{}", signature.replace(['-', '_'], "+")) + "/",
            format!("{text}."),
            format!(".{text}"),
            format!("{text}.{signature}"),
            format!("{head}..{signature}"),
            format!("{head}.{payload}."),
            format!("{head}.{payload}"),
            format!(" {text}"),
            format!("{text}\n"),
            format!("Bearer {text}"),
            "..".to_owned(),
            ".".repeat(3_000),
            "é.é.é".to_owned(),
        ] {
            assert!(!opens(&keyring, &key(other.clone())), "{other}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        let keyring = keyring(&[1], true);
        let [head, payload, _] = parts(&keyring.of_session(&SALT).hand_out(FACTS));
        let long = signed(&head, &payload.replace(r#""sub":"3""#, &format!(r#""sub":"{}""#, "3".repeat(4_000))));
        assert!(long.expose().len() > MAX_LEN && long.parse().is_none() && !opens(&keyring, &long));
        assert!(key(format!("a.{}.b", "A".repeat(100_000))).parse().is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        let keyring = keyring(&[1], true);
        let shown = format!("{:?} {:?}", keyring.tokens(), keyring.of_session(&SALT).hand_out(FACTS));
        assert!(shown.ends_with("ReloginKey(Secret(…))") && !shown.contains("01010101"), "{shown}");
    }
}

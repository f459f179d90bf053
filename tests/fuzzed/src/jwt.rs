//! JSON Web Tokens, our own keys and those of issuers: unsigned ones are refused, and signed ones
//! are read or refused.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use relogin::{
    issuers::{
        keys::{Algorithm, keys_in},
        token::{ClaimNames, Rules, TokenRefusal, read},
    },
    signing,
    signing::KeyFormat,
};
use relogin_session::{Keyring, ReloginKey, SessionId, Timestamp, UserId, key::jwt::Facts};
use sha2::Sha256;

use crate::supply::Supply;

/// Relogin keys that are tokens.
pub(crate) fn key(input: &[u8]) {
    let keyring = |secret| {
        let keyring = Keyring::new(vec![vec![secret; 32]]).unwrap();
        signing::with_tokens(keyring, KeyFormat::Jwt, "https://example.org".to_owned(), "session".to_owned())
    };
    let (ours, other) = (keyring(7), keyring(8));
    if let Ok(text) = std::str::from_utf8(input) {
        let key = ReloginKey::new(text.to_owned());
        assert!(ours.read(&key).is_none() || !text.contains('.'), "reads a token that it has not made");
    }

    let mut supply = Supply::new(input);
    let (sid, salt, generation) =
        (SessionId(supply.array()), supply.array(), u64::from_be_bytes(supply.array()).max(1));
    let user = UserId::Text(supply.text());
    let (made, expires) = (Timestamp(1_790_000_000_000), Timestamp(u64::MAX));
    let genuine = ours.of_session(&salt).hand_out(Facts { sid, generation, user: &user, made, expires });
    let parts = ours.read(&genuine).unwrap();
    assert_eq!((parts.sid, parts.generation), (sid, generation));
    assert!(ours.verify(&parts, &salt));
    assert!(other.read(&genuine).is_none_or(|parts| !other.verify(&parts, &salt)), "another secret's");

    // Any other text is another key or none, and not genuine.
    let mut text = genuine.expose().as_bytes().to_vec();
    for _ in 0..supply.below(4) {
        let at = usize::from(u16::from_be_bytes(supply.array())) % text.len();
        text[at] = supply.byte();
    }
    text.truncate(text.len() - usize::from(supply.below(4)));
    text.extend(supply.line());
    if text != genuine.expose().as_bytes()
        && let Ok(text) = String::from_utf8(text)
        && let Some(forged) = ours.read(&ReloginKey::new(text))
    {
        assert!(!ours.verify(&forged, &salt), "forged");
    }
}

const SECRET: [u8; 32] = [9; 32];
const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Tokens of an issuer: as they come, and with a header and claims that it has signed, whatever
/// they are.
pub(crate) fn issuer(input: &[u8]) {
    let keys = keys_in(&"09".repeat(32)).unwrap();
    let rules = Rules {
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
        algorithms: vec![Algorithm::Hs256],
        kind: None,
        leeway: 30,
        names: ClaimNames { id: "sub".to_owned(), name: "name".to_owned(), role: "role".to_owned() },
        default_role: None,
        id_prefix: String::new(),
    };
    if let Ok(text) = std::str::from_utf8(input) {
        let refusal = read(text, &rules, &keys, NOW).expect_err("nobody has signed it");
        assert!(!refusal.is_of_a_genuine_token());
        // Key files are an operator's, and may be anything all the same.
        let _ = keys_in(text);
    }
    let mut supply = Supply::new(input);
    let head = if supply.below(2) == 0 { br#"{"alg":"HS256"}"# } else { supply.line() };
    let claims = supply.line();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap();
    mac.update(message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    match read(&token, &rules, &keys, NOW) {
        Ok(said) => {
            assert!(said.until > NOW && !said.user.name.is_empty() && !said.user.role.is_empty());
            assert_ne!(said.user.id, UserId::Text(String::new()));
        }
        Err(refusal) => assert_ne!(refusal, TokenRefusal::Signature),
    }
}

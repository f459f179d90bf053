//! Reads and writes the HTTP headers of Device Bound Session Credentials (the W3C's draft), and the
//! JSON Web Tokens in them. Must not know sessions: whose key has signed, and whether the challenge
//! is good, is for others to say.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use relogin_res::service::Headers;
use relogin_session::{DeviceKey, api::PublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::proof::{Signed, admit};

/// The header that offers a browser to register a key.
pub const REGISTRATION: &str = "Secure-Session-Registration";
/// The header with the challenge to be signed.
pub const CHALLENGE: &str = "Secure-Session-Challenge";
/// The header with what was signed.
const RESPONSE: &str = "Secure-Session-Response";
/// The header with what the browser calls its session.
const SESSION_ID: &str = "Sec-Secure-Session-Id";
/// The header of a request for which the browser could not have its device sign.
const SKIPPED: &str = "Secure-Session-Skipped";

/// The longest token that is read, in bytes; one with a key has about 400.
const MAX_LEN: usize = 4096;

/// The token that a device has signed.
#[derive(Debug)]
pub struct DeviceProof {
    /// The challenge in it.
    pub challenge: String,
    /// The key in it, where one is registered: a point of P-256 that a key pair can have.
    pub key: Option<DeviceKey>,
    signed: Signed,
}

#[derive(Deserialize)]
struct ProofHeader {
    alg: String,
    typ: String,
    jwk: Option<PublicKey>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    /// Where earlier drafts have the key.
    key: Option<PublicKey>,
}

impl DeviceProof {
    /// The proof in the headers. None if there is none, or one that cannot be valid: of another
    /// algorithm than ES256, of another type, or with a key that is none.
    #[must_use]
    pub fn read(headers: &Headers) -> Option<Self> {
        let token = item(headers, RESPONSE).filter(|token| token.len() <= MAX_LEN)?;
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: ProofHeader = part(header)?;
        let claims: Claims = part(claims)?;
        if header.alg != "ES256" || header.typ != "dbsc+jwt" {
            return None;
        }
        let key = match header.jwk.or(claims.key) {
            Some(key) => Some(admit(&key).filter(|key| matches!(key, DeviceKey::P256 { .. }))?),
            None => None,
        };
        let signed = Signed::over(Zeroizing::new(message.as_bytes().to_vec()), signature)?;
        Some(Self { challenge: claims.jti, key, signed })
    }

    /// True if the device with this key has signed.
    #[must_use]
    pub fn is_by(&self, key: &DeviceKey) -> bool {
        self.signed.is_by(key)
    }
}

/// The identifier of the session that the browser wants to prove.
#[must_use]
pub fn identifier(headers: &Headers) -> Option<&str> {
    item(headers, SESSION_ID)
}

/// True if the browser says that it could not have its device sign.
#[must_use]
pub fn has_skipped(headers: &Headers) -> bool {
    headers.contains_key(SKIPPED)
}

/// The value of [`REGISTRATION`]: a key is to be registered at `path`, relative to the request.
#[must_use]
pub fn registration(path: &str, challenge: &str) -> String {
    format!(r#"(ES256);path="{path}";challenge="{challenge}""#)
}

/// The value of [`CHALLENGE`] for the session that its browser calls `identifier`.
#[must_use]
pub fn challenge(challenge: &str, identifier: &str) -> String {
    format!(r#""{challenge}";id="{identifier}""#)
}

/// The instructions for a browser that has registered a key for a session.
#[derive(Debug, Serialize)]
pub struct Instructions<'a> {
    session_identifier: &'a str,
    refresh_url: &'a str,
    scope: Scope,
    credentials: [Credential<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Scope {
    include_site: bool,
}

#[derive(Debug, Serialize)]
struct Credential<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    attributes: &'a str,
}

impl<'a> Instructions<'a> {
    /// To all requests of this origin belongs the cookie `name` with these attributes; where it is
    /// missing, `refresh_url` gives it.
    #[must_use]
    pub fn new(session_identifier: &'a str, refresh_url: &'a str, name: &'a str, attributes: &'a str) -> Self {
        let credentials = [Credential { kind: "cookie", name, attributes }];
        Self { session_identifier, refresh_url, scope: Scope { include_site: false }, credentials }
    }
}

/// The one value of a header that is a string of a structured field (RFC 9651), or, as Chromium
/// sends some, a bare one. Parameters are ignored, and no escapes are read: what is ours has none.
fn item<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let [value] = headers.get(name)?.as_slice() else { return None };
    let value = value.trim();
    match value.strip_prefix('"') {
        Some(rest) => rest.split_once('"').map(|(value, _)| value),
        None => value.split(';').next(),
    }
}

/// A part of a token.
fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use relogin_res::service::Origin;
    use serde_json::{Value, json};

    use super::*;
    use crate::proof::tests::TestDevice;

    /// A token of these parts, signed by `device`.
    pub(crate) fn token(device: &TestDevice, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = device.sign_bytes(message.as_bytes());
        format!("{message}.{signature}")
    }

    /// What a browser sends to register its key, and to prove it.
    pub(crate) fn signed(device: &TestDevice, challenge: &str, is_new: bool) -> String {
        let header = match is_new {
            true => json!({"alg": "ES256", "jwk": device.public_key(), "typ": "dbsc+jwt"}),
            false => json!({"alg": "ES256", "typ": "dbsc+jwt"}),
        };
        token(device, &header, &json!({"jti": challenge}))
    }

    fn headers(name: &str, values: &[&str]) -> Headers {
        let mut origin = Origin::default();
        values.iter().for_each(|value| origin.push_header(name, *value));
        origin.header
    }

    fn read(token: &str) -> Option<DeviceProof> {
        DeviceProof::read(&headers("secure-session-response", &[token]))
    }

    /// What Chromium 156 has sent.
    #[test]
    fn a_browsers_own_token_is_read() {
        const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImp3ayI6eyJjcnYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6IjQ1REFOemZGMnJtc09qdkI5NnZwbVdramxtTXZpVjczTHJYc1duY0E0T1UiLCJ5IjoibE43ZHIteXVabG51NDU1bUN0c3ZtTGYteXF6dk1JOGpZbC1sbHgzTmdEcyJ9LCJ0eXAiOiJkYnNjK2p3dCJ9.eyJqdGkiOiJjMSJ9.4NH8B7McmsqxPbX5akipn2ktQA0oxg6BaJfGLTJuh9zUp6jfrPgVQXSdoDL9WEm9xLK8jHOv_iGMmEfYen5qFw";
        for value in [TOKEN.to_owned(), format!("\"{TOKEN}\""), format!("\"{TOKEN}\";a=1"), format!(" {TOKEN}")] {
            let proof = read(&value).unwrap();
            assert_eq!(proof.challenge, "c1");
            assert!(proof.is_by(&proof.key.unwrap()), "{value}");
        }
    }

    #[test]
    fn a_token_without_a_key_is_its_devices_alone() {
        let (device, other) = (TestDevice::p256(), TestDevice::p256());
        let proof = read(&signed(&device, "challenge", false)).unwrap();
        assert_eq!((proof.challenge.as_str(), proof.key), ("challenge", None));
        let key = |device: &TestDevice| admit(&device.public_key()).unwrap();
        assert!(proof.is_by(&key(&device)) && !proof.is_by(&key(&other)));
        // Where the first drafts have the key.
        let claims = json!({"jti": "c", "aud": "https://example.org", "key": device.public_key()});
        let earlier = token(&device, &json!({"alg": "ES256", "typ": "dbsc+jwt"}), &claims);
        assert_eq!(read(&earlier).unwrap().key, Some(key(&device)));
    }

    #[test]
    fn other_tokens_are_none() {
        let (device, edwards) = (TestDevice::p256(), TestDevice::ed25519());
        let (jwk, claims) = (device.public_key(), json!({"jti": "c"}));
        let off = json!({"kty": "EC", "crv": "P-256", "x": jwk.x, "y": jwk.x});
        for header in [
            json!({"alg": "none", "typ": "dbsc+jwt"}),
            json!({"alg": "RS256", "typ": "dbsc+jwt"}),
            json!({"alg": "EdDSA", "typ": "dbsc+jwt"}),
            json!({"alg": "ES256", "typ": "JWT"}),
            json!({"alg": "ES256"}),
            json!({"typ": "dbsc+jwt"}),
            json!({"alg": "ES256", "typ": "dbsc+jwt", "jwk": off}),
            json!({"alg": "ES256", "typ": "dbsc+jwt", "jwk": edwards.public_key()}),
            json!({"alg": "ES256", "typ": "dbsc+jwt", "jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}),
            json!([]),
        ] {
            assert!(read(&token(&device, &header, &claims)).is_none(), "{header}");
        }
        let good = signed(&device, "c", true);
        assert!(read(&good).is_some());
        for claims in [json!({}), json!({"jti": 1}), json!("jti")] {
            let header = json!({"alg": "ES256", "typ": "dbsc+jwt"});
            assert!(read(&token(&device, &header, &claims)).is_none(), "{claims}");
        }
        let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","alg":"ES256","typ":"dbsc+jwt"}"#);
        let (_, rest) = good.split_once('.').unwrap();
        for text in ["", ".", "..", "a.b.c", &good[1..], &format!("{twice}.{rest}"), &"A".repeat(100_000)] {
            assert!(read(text).is_none(), "{text:.40}");
        }
        // Good ones as well, but for what is too long.
        for (len, is_read) in [(2_900, true), (3_000, false)] {
            let claims = json!({"jti": "c", "aud": "a".repeat(len)});
            let long = token(&device, &json!({"alg": "ES256", "typ": "dbsc+jwt"}), &claims);
            assert_eq!((long.len() <= MAX_LEN, read(&long).is_some()), (is_read, is_read), "{}", long.len());
        }
        let (message, signature) = good.rsplit_once('.').unwrap();
        for signature in ["", &signature[1..], &format!("{signature}=")] {
            assert!(read(&format!("{message}.{signature}")).is_none(), "{signature}");
        }
        assert!(DeviceProof::read(&headers("secure-session-response", &[&good, &good])).is_none(), "two");
        assert!(DeviceProof::read(&Headers::default()).is_none());
    }

    #[test]
    fn headers_are_read_and_written() {
        let name = |value| identifier(&headers("sec-secure-session-id", &[value])).map(str::to_owned);
        assert_eq!((name("\"id\""), name("id")), (Some("id".to_owned()), Some("id".to_owned())));
        assert_eq!((name("\"id\";x=1"), name("\"id")), (Some("id".to_owned()), None));
        assert_eq!(name("id;x=1"), Some("id".to_owned()));
        assert!(has_skipped(&headers("secure-session-skipped", &["unreachable;session_identifier=\"id\""])));
        assert!(!has_skipped(&headers("sec-secure-session-id", &["\"id\""])));
        assert_eq!(registration("there", "c"), r#"(ES256);path="there";challenge="c""#);
        assert_eq!(challenge("c", "id"), r#""c";id="id""#);
        let instructions = serde_json::to_value(Instructions::new("id", "there", "name", "Path=/")).unwrap();
        let credential = json!({"type": "cookie", "name": "name", "attributes": "Path=/"});
        let scope = json!({"include_site": false});
        let expected =
            json!({"session_identifier": "id", "refresh_url": "there", "scope": scope, "credentials": [credential]});
        assert_eq!(instructions, expected);
    }
}

//! Reads cookies from the headers in auth requests, and makes the cookie that distinguishes
//! browsers. Must not depend on sessions or the bus.
//!
//! The **browser's cookie** is 128 random bits that scripts cannot read. It says only that two
//! requests come from one browser; a login binds its session to it. Where cookies are restricted to
//! TLS ([`Origins`]), its name has the prefix `__Host-`: browsers then accept it only over TLS, for
//! the whole host and for no other, so that neither a neighbouring host nor somebody on the network
//! can plant one.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng, rngs::SysRng};
use relogin_res::service::{Headers, Origin};
use relogin_session::{SessionId, device_session::PROOF_LIFETIME};
use sha2::{Digest, Sha256};

use crate::origins::Origins;

/// The browser's cookie of one resource name.
#[derive(Clone, Debug)]
pub struct BrowserCookie {
    name: String,
    origins: Arc<Origins>,
}

/// The cookie in which a session's relogin key travels, of one resource name.
#[derive(Clone, Debug)]
pub struct KeyCookie {
    name: String,
    origins: Arc<Origins>,
}

/// The cookie with which a browser shows that its device has signed, of one resource name. Each
/// session has its own: what a browser shows for one must not keep it from signing for another.
#[derive(Clone, Debug)]
pub struct DeviceCookie {
    name: String,
    origins: Arc<Origins>,
}

/// How long a cookie is kept, in seconds: as long as browsers allow. Each connection renews it.
const MAX_AGE: u64 = 400 * 86_400;

/// Characters of base64url, without padding, for 128 bits.
const CHARS: usize = 22;

impl BrowserCookie {
    /// The cookie for the resource `name`, on a server with these origins.
    #[must_use]
    pub fn new(name: &str, origins: Arc<Origins>) -> Self {
        Self { name: format!("relogin-{}", token_of(name)), origins }
    }

    /// The digest of the cookie that the client sent, which is what is stored. None if it sent
    /// none, or one that the service cannot have made.
    #[must_use]
    pub fn digest(&self, origin: &Origin) -> Option<[u8; 32]> {
        self.value(origin, self.origins.are_cookies_secure(origin)).map(|value| Sha256::digest(value).into())
    }

    /// The `Set-Cookie` that gives the client its cookie: the one it sent, renewed, or a new one.
    ///
    /// # Errors
    /// If the system returns no random bits.
    pub fn offer(&self, origin: &Origin) -> Result<String, rand::rngs::SysError> {
        let is_secure = self.origins.are_cookies_secure(origin);
        let value = match self.value(origin, is_secure) {
            Some(value) => value.to_owned(),
            None => {
                let mut bits = [0; 16];
                SysRng.try_fill_bytes(&mut bits)?;
                URL_SAFE_NO_PAD.encode(bits)
            }
        };
        Ok(set(&self.name, &value, MAX_AGE, is_secure))
    }

    /// True if the client sent a valid one.
    #[must_use]
    pub fn is_there(&self, origin: &Origin) -> bool {
        self.value(origin, self.origins.are_cookies_secure(origin)).is_some()
    }

    fn value<'a>(&self, origin: &'a Origin, is_secure: bool) -> Option<&'a str> {
        let value = read(&origin.header, &full_name(&self.name, is_secure))?;
        let is_ours = value.len() == CHARS && URL_SAFE_NO_PAD.decode(value).is_ok_and(|bits| bits.len() == 16);
        is_ours.then_some(value)
    }
}

impl KeyCookie {
    /// The cookie for the resource `name`, on a server with these origins.
    #[must_use]
    pub fn new(name: &str, origins: Arc<Origins>) -> Self {
        Self { name: format!("relogin-key-{}", token_of(name)), origins }
    }

    /// The text that the client sent, whether or not it is a key.
    #[must_use]
    pub fn read<'a>(&self, origin: &'a Origin) -> Option<&'a str> {
        read(&origin.header, &full_name(&self.name, self.origins.are_cookies_secure(origin)))
            .filter(|value| !value.is_empty())
    }

    /// The `Set-Cookie` for a key that is valid for this many milliseconds.
    #[must_use]
    pub fn hand_out(&self, key: &str, expires_in: u64, origin: &Origin) -> String {
        set(&self.name, key, expires_in.div_ceil(1000), self.origins.are_cookies_secure(origin))
    }

    /// The `Set-Cookie` that removes the key.
    #[must_use]
    pub fn take_away(&self, origin: &Origin) -> String {
        set(&self.name, "", 0, self.origins.are_cookies_secure(origin))
    }
}

impl DeviceCookie {
    /// What browsers are told of the cookie's attributes. They use it over TLS only.
    pub const ATTRIBUTES: &str = "Path=/; HttpOnly; SameSite=Strict; Secure";

    /// The cookie for the resource `name`, on a server with these origins.
    #[must_use]
    pub fn new(name: &str, origins: Arc<Origins>) -> Self {
        Self { name: format!("relogin-device-{}", token_of(name)), origins }
    }

    /// Its name in requests of a browser that uses it.
    #[must_use]
    pub fn name(&self, sid: SessionId) -> String {
        full_name(&self.of(sid), true).into_owned()
    }

    /// True if the client's browser may use it: over TLS.
    #[must_use]
    pub fn is_for(&self, origin: &Origin) -> bool {
        self.origins.are_cookies_secure(origin)
    }

    /// The text that the client sent for session `sid`.
    #[must_use]
    pub fn read<'a>(&self, sid: SessionId, origin: &'a Origin) -> Option<&'a str> {
        read(&origin.header, &self.name(sid))
    }

    /// The `Set-Cookie` for what a browser is to show.
    #[must_use]
    pub fn hand_out(&self, sid: SessionId, proof: &str) -> String {
        set(&self.of(sid), proof, PROOF_LIFETIME / 1000, true)
    }

    /// The `Set-Cookie` that removes it, so that the browser has its device sign again.
    #[must_use]
    pub fn take_away(&self, sid: SessionId) -> String {
        set(&self.of(sid), "", 0, true)
    }

    fn of(&self, sid: SessionId) -> String {
        format!("{}-{sid}", self.name)
    }
}

/// The value of the cookie `name`. None if there is none, or several that differ, because nobody
/// can tell which is the service's.
#[must_use]
pub fn read<'a>(header: &'a Headers, name: &str) -> Option<&'a str> {
    let lines = header.get("Cookie").into_iter().flatten();
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
    let first = values.next()?;
    values.all(|other| other == first).then_some(first)
}

/// The `Set-Cookie` of a cookie that no script can read and no page of another site sends, for
/// `max_age` seconds.
fn set(name: &str, value: &str, max_age: u64, is_secure: bool) -> String {
    let (name, secure) = (full_name(name, is_secure), if is_secure { "; Secure" } else { "" });
    format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}")
}

/// The name of a cookie: over TLS, with the prefix that keeps others from setting it.
fn full_name(name: &str, is_secure: bool) -> Cow<'_, str> {
    if is_secure { format!("__Host-{name}").into() } else { name.into() }
}

/// A resource name as part of a cookie's name, which may contain only letters, digits and a few
/// signs.
fn token_of(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const OTHER: &str = "BBBBBBBBBBBBBBBBBBBBBA";

    fn origin(host: &str, headers: &[(&str, &str)]) -> Origin {
        let mut origin = Origin { host: Some(host.to_owned()), ..Origin::default() };
        headers.iter().for_each(|(name, value)| origin.push_header(name, *value));
        origin
    }

    fn brought(host: &str, cookies: &[&str]) -> Option<[u8; 32]> {
        let lines: Vec<_> = cookies.iter().map(|cookie| ("cookie", *cookie)).collect();
        BrowserCookie::new("session", Arc::default()).digest(&origin(host, &lines))
    }

    #[test]
    fn a_new_cookie_is_for_this_host_alone_and_no_script() {
        let cookie = BrowserCookie::new("session", Arc::default());
        let offered = cookie.offer(&origin("example.org", &[("origin", "https://example.org")])).unwrap();
        let (pair, rest) = offered.split_once("; ").unwrap();
        assert_eq!(rest, "Path=/; Max-Age=34560000; HttpOnly; SameSite=Strict; Secure");
        let value = pair.strip_prefix("__Host-relogin-session=").unwrap();
        assert_eq!(value.len(), CHARS);
        assert!(brought("example.org", &[pair]).is_some());
        assert_ne!(offered, cookie.offer(&origin("example.org", &[])).unwrap(), "two browsers have two");

        let local = cookie.offer(&origin("127.0.0.1:8080", &[("origin", "http://localhost:8080")])).unwrap();
        assert!(local.starts_with("relogin-session=") && !local.contains("Secure"), "{local}");
    }

    #[test]
    fn the_cookie_that_is_there_is_kept() {
        let cookie = BrowserCookie::new("session", Arc::default());
        let there = format!("a=b; relogin-session={VALUE}");
        let offered = cookie.offer(&origin("localhost", &[("cookie", &there)])).unwrap();
        assert!(offered.starts_with(&format!("relogin-session={VALUE}; Path=/; Max-Age=")), "{offered}");
        assert!(cookie.is_there(&origin("localhost", &[("cookie", &there)])));
    }

    #[test]
    fn only_values_that_the_service_could_have_made_count() {
        let ours = |name: &str, value: &str| format!("{name}={value}");
        let name = "__Host-relogin-session";
        let good = brought("example.org", &[&ours(name, VALUE)]);
        assert!(good.is_some());
        assert_ne!(good, brought("example.org", &[&ours(name, OTHER)]));
        let long = "A".repeat(60_000);
        for value in ["", "A", "é", &VALUE[1..], "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAA=", &long] {
            assert_eq!(brought("example.org", &[&ours(name, value)]), None, "{value:.30}");
        }
        // What a neighbouring host, or a page without TLS, could have planted.
        assert_eq!(brought("example.org", &[&ours("relogin-session", VALUE)]), None);
        assert_eq!(brought("localhost", &[&ours(name, VALUE)]), None);
        assert_eq!(brought("example.org", &["__host-relogin-session=x", "nonsense", ";;=", ""]), None);
    }

    #[test]
    fn of_several_cookies_that_differ_none_counts() {
        let pair = |value: &str| format!("__Host-relogin-session={value}");
        let (one, other) = (pair(VALUE), pair(OTHER));
        let alone = brought("example.org", &[&one]);
        assert_eq!(brought("example.org", &[&format!("{one}; {one}")]), alone);
        assert_eq!(brought("example.org", &[&one, &one]), alone, "in two lines");
        assert_eq!(brought("example.org", &[&format!("{one}; x=1; {other}")]), None);
        assert_eq!(brought("example.org", &[&one, &other]), None, "in two lines");
        let header = origin("h", &[("cookie", "a=1; b=2;c=3 ; b=2"), ("cookie", "d=x=y")]).header;
        let value = |name| read(&header, name);
        assert_eq!(
            (value("a"), value("b"), value("c"), value("d"), value("e")),
            (Some("1"), Some("2"), Some("3"), Some("x=y"), None)
        );
    }

    #[test]
    fn a_key_is_handed_out_and_taken_away() {
        let cookie = KeyCookie::new("session", Arc::default());
        let at = origin("example.org", &[("cookie", "__Host-relogin-key-session=k; relogin-key-session=x")]);
        assert_eq!(cookie.read(&at), Some("k"));
        assert_eq!(cookie.read(&origin("example.org", &[("cookie", "__Host-relogin-key-session=")])), None);
        let rest = "Path=/; Max-Age=2; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(cookie.hand_out("k", 1001, &at), format!("__Host-relogin-key-session=k; {rest}"));
        assert!(cookie.take_away(&at).starts_with("__Host-relogin-key-session=; Path=/; Max-Age=0;"));
    }

    /// What browsers are told of the cookie is what they are sent.
    #[test]
    fn a_devices_cookie_is_its_sessions_and_for_tls_alone() {
        let cookie = DeviceCookie::new("session", Arc::default());
        let (sid, other) = (SessionId([1; 16]), SessionId([2; 16]));
        let (pair, attributes) = (format!("{}=p", cookie.name(sid)), DeviceCookie::ATTRIBUTES);
        let (head, flags) = attributes.split_once("; ").unwrap();
        assert_eq!(cookie.hand_out(sid, "p"), format!("{pair}; {head}; Max-Age=600; {flags}"));
        assert!(pair.starts_with("__Host-relogin-device-session-"), "{pair}");
        let at = origin("example.org", &[("cookie", &pair)]);
        assert_eq!((cookie.read(sid, &at), cookie.read(other, &at)), (Some("p"), None));
        assert!(cookie.is_for(&at) && !cookie.is_for(&origin("localhost", &[])));
        assert!(cookie.take_away(sid).contains("=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn any_resource_name_makes_a_cookies_name() {
        assert_eq!(BrowserCookie::new("log=in;x", Arc::default()).name, "relogin-log%3din%3bx");
        assert_eq!(BrowserCookie::new("ü", Arc::default()).name, "relogin-%c3%bc");
    }
}

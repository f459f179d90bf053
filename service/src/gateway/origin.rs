//! What a WebSocket is opened with: whether its page may open it, and what auth requests tell of it. Knows no machine.

use axum::http::{HeaderMap, header, request::Parts};
use relogin_res::service::{Headers, Origin, canonical_header};

use crate::{client_address::ClientAddress, config::AllowOrigin, cookie::is_same_origin};

/// Whether a page of the request's `Origin` may connect. Always: no origin (no browser), `null` (a file, a sandboxed frame),
/// the origin that the request itself went to, and on a machine of one's own its other ports. It keeps strange pages from using
/// their visitors' access to this server; what is done with cookies asks for more ([`crate::cookie::may_use`]).
pub(super) fn is_allowed(allow: &AllowOrigin, headers: &HeaderMap) -> bool {
    let AllowOrigin::List(allowed) = allow else { return true };
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if origin == "null" || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| is_same_origin(origin, host))
}

/// What is known of a client by its request: what auth requests tell of the connection, taken down once.
pub(crate) fn origin_of(parts: &Parts, client: ClientAddress) -> Origin {
    let mut header = Headers::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::HOST) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        header.entry(canonical_header(name.as_str())).or_default().push(value);
    }
    let host = parts.headers.get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    Origin { header, host, remote_addr: Some(client.to_string()), uri: Some(parts.uri.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::http::{HeaderValue, Request};

    use super::*;

    fn allowed(list: &[&str], origin: Option<&str>, host: &str) -> bool {
        let allow = AllowOrigin::List(list.iter().map(|&origin| origin.to_owned()).collect());
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        }
        assert!(is_allowed(&AllowOrigin::Any, &headers));
        is_allowed(&allow, &headers)
    }

    #[test]
    fn pages_of_the_same_origin_and_what_is_no_page_may_connect() {
        for (origin, host) in [
            (None, "example.org"),
            (Some("null"), "example.org"),
            (Some("https://example.org"), "example.org"),
            (Some("https://EXAMPLE.org"), "example.org:443"),
            (Some("http://example.org"), "example.org:80"),
            (Some("https://example.org:8443"), "example.org:8443"),
            (Some("http://[2001:db8::1]:8080"), "[2001:db8::1]:8080"),
            (Some("http://localhost:8081"), "127.0.0.1:8080"),
            (Some("http://127.0.0.1:8081"), "localhost:8080"),
            (Some("http://[::1]:8081"), "[::1]:8080"),
        ] {
            assert!(allowed(&[], origin, host), "{origin:?} {host}");
        }
    }

    #[test]
    fn other_pages_must_be_named() {
        for (origin, host) in [
            ("https://example.com", "example.org"),
            ("https://example.org.evil.com", "example.org"),
            ("https://evil.com/example.org", "example.org"),
            ("https://example.org@evil.com", "example.org"),
            ("http://example.org:8081", "example.org:8080"),
            ("http://example.org", "example.org:8080"),
            ("https://evil.com", "127.0.0.1:8080"),
            ("http://localhost.evil.com", "localhost"),
            ("file://", "example.org"),
            ("", "example.org"),
            ("\u{e9}", "example.org"),
        ] {
            assert!(!allowed(&["https://app.example"], Some(origin), host), "{origin} {host}");
            assert!(allowed(&["https://app.example"], Some("https://app.example"), host), "{host}");
        }
    }

    #[test]
    fn auth_requests_are_told_headers_by_their_canonical_names() {
        let request = Request::get("/ws?a=1")
            .header("host", "example.org")
            .header("user-agent", "Tester/1")
            .header("sec-websocket-version", "13")
            .header("COOKIE", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        let origin = origin_of(&request.into_parts().0, "127.0.0.1:4711".parse::<SocketAddr>().unwrap().into());
        assert_eq!(origin.host.as_deref(), Some("example.org"));
        assert_eq!(origin.remote_addr.as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(origin.uri.as_deref(), Some("/ws?a=1"));
        let header: Vec<_> =
            origin.header.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
        assert_eq!(header, ["Cookie=a=1,b=2", "Sec-Websocket-Version=13", "User-Agent=Tester/1"]);
    }
}

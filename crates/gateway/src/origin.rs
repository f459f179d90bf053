//! The request that opened a WebSocket, as auth requests report it. Must not know the state
//! machine.

use std::net::SocketAddr;

use axum::http::{HeaderMap, Uri, header};
use relogin_res::service::{Headers, Origin, canonical_header};

/// What a client's request says about it: what auth requests report of the connection, recorded
/// once. `client` is its address; port 0 if that is not known.
#[must_use]
pub fn origin_of(headers: &HeaderMap, uri: &Uri, client: SocketAddr) -> Origin {
    let mut header = Headers::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != header::HOST) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        header.entry(canonical_header(name.as_str())).or_default().push(value);
    }
    let host = headers.get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    Origin { header, host, remote_addr: Some(client.to_string()), uri: Some(uri.to_string()) }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn auth_requests_have_headers_by_their_canonical_names() {
        let request = Request::get("/ws?a=1")
            .header("host", "example.org")
            .header("user-agent", "Tester/1")
            .header("sec-websocket-version", "13")
            .header("COOKIE", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        let origin = origin_of(request.headers(), request.uri(), "127.0.0.1:4711".parse().unwrap());
        assert_eq!(origin.host.as_deref(), Some("example.org"));
        assert_eq!(origin.remote_addr.as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(origin.uri.as_deref(), Some("/ws?a=1"));
        let header: Vec<_> =
            origin.header.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
        assert_eq!(header, ["Cookie=a=1,b=2", "Sec-Websocket-Version=13", "User-Agent=Tester/1"]);
    }
}

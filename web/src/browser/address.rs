//! Where the gateway is.

use web_sys::{Url, window};

use super::Exception;

/// What is asked for where a page names no gateway: this path on its own origin.
const DEFAULT: &str = "/ws";

/// The WebSocket address that `address` means on this page: absolute or relative, `ws:`, `wss:`, `http:` or `https:`;
/// empty: `/ws` on the origin that served the page.
///
/// # Errors
/// If it is no address.
pub fn gateway(address: &str) -> Result<String, Exception> {
    let address = match address.trim() {
        "" => DEFAULT,
        address => address,
    };
    let base = window().and_then(|window| window.location().href().ok()).unwrap_or_default();
    let url = Url::new_with_base(address, &base)?;
    let protocol = match url.protocol().as_str() {
        "https:" | "wss:" => "wss:",
        _ => "ws:",
    };
    url.set_protocol(protocol);
    Ok(url.href())
}

/// Where the gateway at the WebSocket address `gateway` answers the HTTP requests of the session `name`: what their method's name is
/// put behind. Without a gateway: on the origin that served the page.
///
/// # Errors
/// If the address is none.
pub fn calls(gateway: Option<&str>, name: &str) -> Result<String, Exception> {
    let base = window().and_then(|window| window.location().href().ok()).unwrap_or_default();
    let url = Url::new_with_base(gateway.unwrap_or("/"), &base)?;
    let protocol = match url.protocol().as_str() {
        "https:" | "wss:" => "https:",
        _ => "http:",
    };
    Ok([protocol, "//", &url.host(), "/api/", name, "/"].concat())
}

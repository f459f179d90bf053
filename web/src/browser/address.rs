//! The gateway's addresses for WebSockets and for HTTP requests. Must not depend on connections.

use web_sys::Url;

use super::{Exception, global};

/// The WebSocket URLs of the gateways at `addresses`.
///
/// # Errors
/// If one of them is not a URL.
pub(crate) fn gateways(addresses: &[String]) -> Result<Vec<String>, Exception> {
    addresses.iter().map(|address| gateway(address)).collect()
}

/// The WebSocket URL of the gateway at `address`, which may be absolute or relative, with `ws:`,
/// `wss:`, `http:` or `https:`; an empty one is `/ws` on the origin that served the page.
///
/// # Errors
/// If it is not a URL.
fn gateway(address: &str) -> Result<String, Exception> {
    let address = address.trim();
    let url = resolve(if address.is_empty() { "/ws" } else { address })?;
    url.set_protocol(if is_safe(&url) { "wss:" } else { "ws:" });
    Ok(url.href())
}

/// The URL for HTTP requests of the session `name` to the gateway at `address`, to which the
/// method's name is appended. An empty address is the origin that served the page.
///
/// # Errors
/// If it is not a URL.
pub(super) fn http_methods(address: &str, name: &str) -> Result<String, Exception> {
    let url = resolve(address)?;
    let scheme = if is_safe(&url) { "https" } else { "http" };
    Ok(format!("{scheme}://{}/api/{name}/", url.host()))
}

fn resolve(address: &str) -> Result<Url, Exception> {
    Ok(Url::new_with_base(address, &global().location().href()?)?)
}

fn is_safe(url: &Url) -> bool {
    matches!(url.protocol().as_str(), "https:" | "wss:")
}

#[cfg(test)]
#[cfg(target_arch = "wasm32")]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test]
    fn the_gateway_is_found() {
        let host = global().location().host().unwrap();
        assert_eq!(gateway("").unwrap(), format!("ws://{host}/ws"));
        assert_eq!(gateway("/elsewhere?a=b").unwrap(), format!("ws://{host}/elsewhere?a=b"));
        assert_eq!(gateway("wss://api.example.com").unwrap(), "wss://api.example.com/");
        assert_eq!(gateway(" https://api.example.com/res ").unwrap(), "wss://api.example.com/res");
        assert!(gateway("http://").unwrap_err().message().starts_with("TypeError: "));
        assert_eq!(http_methods("", "session").unwrap(), format!("http://{host}/api/session/"));
        let elsewhere = http_methods("wss://api.example.com/res", "session").unwrap();
        assert_eq!(elsewhere, "https://api.example.com/api/session/");
    }
}

//! Leads pages that are written for the demo to the gateway of a test.

/// Where the demo's gateway is.
pub(crate) const DEMO: &str = "ws://localhost:8080";

/// A script that leads what connects to the gateway at `from` to the one at `to`.
pub(crate) fn leads_to(from: &str, to: &str) -> String {
    format!(
        "window.WebSocket = class extends WebSocket {{
            constructor(url) {{ super(['{from}', '{from}/'].includes(String(url)) ? '{to}' : url); }}
        }};"
    )
}

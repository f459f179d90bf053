//! The whole page in Rust that README.md shows, letter by letter: a test compares them, and plays
//! it.

use futures_util::StreamExt as _;
use relogin_web::{Options, SessionState};

fn main() {
    wasm_bindgen_futures::spawn_local(async { page().await.expect("a gateway, and the right password") });
}

async fn page() -> Result<(), Box<dyn std::error::Error>> {
    let client = Options::new("ws://localhost:8080").session("session")?.connect().await?;
    let (window, mut states) = (web_sys::window().ok_or("no page")?, client.events());
    let text = window.document().and_then(|document| document.body()).ok_or("no page")?;
    let ask = || window.prompt_with_message("Jane's password?").ok().flatten().unwrap_or_default();
    loop {
        match client.session() {
            SessionState::LoggedIn(user) => text.set_inner_text(&format!("Hello {}!", user.name)),
            SessionState::Resuming | SessionState::Reconnecting(_) => {} // assumed to be logged in
            SessionState::Anonymous | SessionState::Ended(_) => client.login("jane", &ask()).await?,
        }
        states.next().await;
    }
}

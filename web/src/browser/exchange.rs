//! The exchange of cookies by HTTP, for sessions whose key no script sees (docs/protocol.md, section 5).

use futures_channel::mpsc::{self, UnboundedSender};
use futures_util::StreamExt as _;
use js_sys::Promise;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Headers, RequestCredentials, RequestInit, Response, window};

use super::Exception;

/// Asks for cookies, one request after the other, so that a later one has the last word.
#[derive(Debug)]
pub struct Exchange(UnboundedSender<Wish>);

/// What is to become of the browser's cookie.
#[derive(Clone, Debug)]
pub enum Wish {
    /// It is to have the key of the session that this text names.
    Key(String),
    /// It is to go, and its session to end.
    Nothing,
}

/// How long is waited before each try that follows one which nobody answered, in milliseconds. What was not had then is asked for with
/// the next refresh.
const WAITS: [i32; 4] = [500, 2_000, 8_000, 16_000];

impl Exchange {
    /// Asks at `url`, which ends before the method's name.
    #[must_use]
    pub fn new(url: String) -> Self {
        let (sender, mut wishes) = mpsc::unbounded();
        spawn_local(async move {
            while let Some(wish) = wishes.next().await {
                for wait in WAITS {
                    if matches!(post(&url, &wish).await, Ok(status) if status < 500) {
                        break;
                    }
                    sleep(wait).await;
                }
            }
        });
        Self(sender)
    }

    /// Asks for it.
    pub fn wish(&self, wish: Wish) {
        // Whoever listens lives as long as the page.
        let _ = self.0.unbounded_send(wish);
    }
}

async fn post(url: &str, wish: &Wish) -> Result<u16, Exception> {
    let request = RequestInit::new();
    request.set_method("POST");
    request.set_credentials(RequestCredentials::Include);
    let method = match wish {
        Wish::Key(text) => {
            let headers = Headers::new()?;
            headers.set("X-Relogin", text)?;
            request.set_headers(&headers);
            "refresh"
        }
        Wish::Nothing => "logout",
    };
    let Some(window) = window() else { return Ok(0) };
    let response = JsFuture::from(window.fetch_with_str_and_init(&[url, method].concat(), &request)).await?;
    Ok(response.unchecked_into::<Response>().status())
}

async fn sleep(milliseconds: i32) {
    let promise = Promise::new(&mut |resolve, _| {
        if let Some(window) = window() {
            let _ = window.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, milliseconds);
        }
    });
    let _ = JsFuture::from(promise).await;
}

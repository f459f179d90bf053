//! Requests by HTTP that the gateway refresh or remove the key's cookie, for cookie sessions
//! (docs/protocol.md, section 5). Must not depend on how storage works.

use futures_channel::mpsc::{self, UnboundedSender};
use futures_util::StreamExt as _;
use gloo_timers::future::TimeoutFuture;
use relogin_client_proto::stored_key;
use relogin_session::exchange::MARK;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;
use web_sys::{Headers, RequestCredentials, RequestInit, Response};

use super::{Exception, global};

/// The waits after requests that were not answered, in milliseconds. A cookie that is not refreshed
/// by then is refreshed with the next key.
const WAITS: [u32; 4] = [500, 2000, 8000, 16_000];

/// A change of the browser's cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CookieChange {
    /// Set it to the key that this exchange text names.
    Refresh(String),
    /// Remove it, and end its session.
    Remove,
}

impl CookieChange {
    /// The change that follows from a swap of the storage record `from` for `to`. In a cookie
    /// session, storage has an exchange text in place of the key, and the cookie follows storage.
    pub(super) fn of(from: Option<&str>, to: Option<&str>) -> Option<Self> {
        match (from.and_then(name_in), to.and_then(name_in)) {
            // A new key, not only a claim of the same one.
            (before, Some(name)) if before.as_ref() != Some(&name) => Some(Self::Refresh(name)),
            (Some(_), None) if to.is_none_or(|text| stored_key(text).is_none()) => Some(Self::Remove),
            _ => None,
        }
    }
}

/// The exchange text in the storage record `text`, if the key is in a cookie.
fn name_in(text: &str) -> Option<String> {
    let key = stored_key(text)?;
    // Keys that are not in a cookie are not copied.
    key.expose().ends_with(MARK).then(|| key.expose().to_owned())
}

/// Requests one change after the other, so that the last one wins.
#[derive(Debug)]
pub(super) struct CookieRefresher {
    changes: UnboundedSender<(String, CookieChange)>,
}

impl CookieRefresher {
    pub(super) fn new() -> Self {
        let (changes, mut wanted) = mpsc::unbounded::<(String, CookieChange)>();
        spawn_local(async move {
            while let Some((methods, change)) = wanted.next().await {
                ask(&methods, &change).await;
            }
        });
        Self { changes }
    }

    /// Requests a change after those before it, even if this is dropped meanwhile: at the URL
    /// `methods` with the method's name appended.
    pub(super) fn ask(&self, methods: String, change: CookieChange) {
        // It fails only if the task has ended, which it does with us.
        let _ = self.changes.unbounded_send((methods, change));
    }
}

async fn ask(methods: &str, change: &CookieChange) {
    for wait in WAITS {
        // An exception means that nobody has answered.
        if post(methods, change).await.is_ok_and(|status| status < 500) {
            return;
        }
        TimeoutFuture::new(wait).await;
    }
}

/// Sends the request. Returns the HTTP status of the answer.
async fn post(methods: &str, change: &CookieChange) -> Result<u16, Exception> {
    let (request, headers) = (RequestInit::new(), Headers::new()?);
    let method = match change {
        CookieChange::Refresh(name) => {
            headers.append("X-Relogin", name)?;
            "refresh"
        }
        CookieChange::Remove => "logout",
    };
    request.set_method("POST");
    request.set_credentials(RequestCredentials::Include);
    request.set_headers(&headers);
    let answer = global().fetch_with_str_and_init(&format!("{methods}{method}"), &request).await?;
    Ok(answer.unchecked_into::<Response>().status())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_follows_what_storage_is_swapped_for() {
        let record = |key: &str, more: &str| Some(format!(r#"{{"key":"{key}","generation":1{more}}}"#));
        let change = |from: &Option<String>, to: &Option<String>| CookieChange::of(from.as_deref(), to.as_deref());
        let (one, other) = (format!("one{MARK}"), format!("other{MARK}"));
        let named = record(&one, "");
        assert_eq!(change(&None, &named), Some(CookieChange::Refresh(one.clone())));
        assert_eq!(change(&named, &record(&other, "")), Some(CookieChange::Refresh(other)));
        assert_eq!(change(&named, &None), Some(CookieChange::Remove));
        let left = Some(format!(r#"{{"pendingLogouts":[{{"key":"{one}","generation":1}}]}}"#));
        assert_eq!(change(&named, &left), Some(CookieChange::Remove), "the user has logged out");
        assert_eq!(change(&left, &None), None, "it is gone");
        assert_eq!(change(&named, &record(&one, r#","attempt":"a""#)), None, "only claimed");
        assert_eq!(change(&named, &record("a key", "")), None, "the key is no cookie's any more");
        assert_eq!(change(&record("a key", ""), &None), None, "no cookie has it");
        assert_eq!(change(&None, &record("a key", "")), None);
        assert_eq!(change(&Some("no record".to_owned()), &None), None);
    }
}

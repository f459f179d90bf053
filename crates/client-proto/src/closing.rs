//! What the close frame of a WebSocket says about coming back. Must not decide when that is done.

use std::time::Duration;

use relogin_res::json;

/// What the gateway has said when a socket closed. The default: nothing, as in a crash or without a
/// network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Whether the gateway goes away.
    pub(crate) is_leaving: bool,
    /// Within which time to come back.
    pub(crate) retry_after: Option<Duration>,
}

/// The endpoint goes away, the service restarts, the server is overloaded (the IANA registry of
/// WebSocket close codes).
const LEAVING: [u16; 3] = [1001, 1012, 1013];

impl Closing {
    /// Reads the code and the reason of a close frame. A reason that is an object in JSON may have
    /// a member `retryAfter`: milliseconds.
    #[must_use]
    pub fn read(code: u16, reason: &str) -> Self {
        let retry_after = json::parse(reason).and_then(|reason| reason.get("retryAfter")?.as_u64());
        Self { is_leaving: LEAVING.contains(&code), retry_after: retry_after.map(Duration::from_millis) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_says_that_it_goes_and_when_to_come_back() {
        let is = |is_leaving, ms: Option<u64>| Closing { is_leaving, retry_after: ms.map(Duration::from_millis) };
        assert_eq!(Closing::read(1001, r#"{"message":"stopping","retryAfter":1500}"#), is(true, Some(1500)));
        assert_eq!(Closing::read(1012, "the message bus was lost"), is(true, None));
        assert_eq!(Closing::read(1013, ""), is(true, None));
        assert_eq!(Closing::read(1006, ""), is(false, None));
        assert_eq!(Closing::read(1008, r#"{"retryAfter":7}"#), is(false, Some(7)));
        for reason in ["{", "[]", "1", "{}", r#"{"retryAfter":-1}"#, r#"{"retryAfter":"1"}"#, r#"{"retryAfter":1.5}"#] {
            assert_eq!(Closing::read(1001, reason), is(true, None), "{reason}");
        }
    }
}

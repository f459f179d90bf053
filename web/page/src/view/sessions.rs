//! Words of the list of the user's sessions. Must not know the DOM.

use serde_json::Value as Json;

use super::number;

/// What the page knows of the user's sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// The list, as far as it has come.
    pub(crate) rows: Vec<Row>,
    /// What became of the last attempt to end one.
    pub(crate) ending: Ending,
}

/// What became of an attempt to end sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Ending {
    /// The list shows it, or there was none.
    #[default]
    Done,
    /// The user has to log in again first.
    LoginTooOld,
    /// The service did not do it, or did not answer.
    Failed,
}

/// A session on the list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) detail: String,
    /// Whether it is this page's own.
    pub(crate) is_current: bool,
}

impl Ending {
    /// What the page says of it.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::LoginTooOld => "Your login is too long ago for this. Log out, log in again, and try once more.",
            Self::Failed => "That did not work. Please try again.",
        }
    }
}

/// The row of a session whose model has these members, at a time of day in milliseconds; none while
/// it has no id.
pub(crate) fn row(member: &dyn Fn(&str) -> Option<Json>, now: u64) -> Option<Row> {
    let text = |name| match member(name) {
        Some(Json::String(text)) => Some(text),
        _ => None,
    };
    let is_current = matches!(member("current"), Some(Json::Bool(true)));
    let name = match (text("browser"), text("system")) {
        (Some(browser), Some(system)) => [&browser, " on ", &system].concat(),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "Unknown device".to_owned(),
    };
    let used = if is_current {
        "this session".to_owned()
    } else {
        // The server's clock may be ahead.
        let last_seen = member("lastSeen").and_then(|seen| seen.as_u64());
        ["used ", &ago(now.saturating_sub(last_seen?) / 60_000)].concat()
    };
    let detail = match text("address") {
        Some(address) => [&address, ", ", &used].concat(),
        None => used,
    };
    Some(Row { id: text("id")?, name, detail, is_current })
}

/// How many minutes ago something was, as coarse as the key is refreshed.
fn ago(minutes: u64) -> String {
    match minutes {
        0 => "just now".to_owned(),
        1..60 => [&number(minutes), " min ago"].concat(),
        60..1440 => [&number(minutes / 60), " h ago"].concat(),
        _ => [&number(minutes / 1440), " d ago"].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The row of a session with other members than usual, seen after some minutes.
    fn seen(minutes: u64, changed: &Json) -> Row {
        let usual = json!({
            "id": "AQ", "browser": "Firefox", "system": "Linux", "address": "203.0.113.7", "lastSeen": 60_000,
            "current": false,
        });
        let member = |name: &str| changed.get(name).or(usual.get(name)).cloned();
        row(&member, (minutes + 1) * 60_000).unwrap()
    }

    #[test]
    fn a_session_is_named_by_what_is_known_of_it() {
        let named = |changed| seen(0, &changed).name;
        assert_eq!(named(json!({})), "Firefox on Linux");
        assert_eq!(named(json!({"system": null})), "Firefox");
        assert_eq!(named(json!({"browser": null})), "Linux");
        assert_eq!(named(json!({"browser": null, "system": null})), "Unknown device");
        assert_eq!(row(&|_| None, 0), None, "it has not come yet");
    }

    #[test]
    fn a_session_says_from_where_and_when_it_was_used() {
        for (minutes, words) in [
            (0, "just now"),
            (1, "1 min ago"),
            (59, "59 min ago"),
            (60, "1 h ago"),
            (1439, "23 h ago"),
            (2880, "2 d ago"),
        ] {
            assert_eq!(seen(minutes, &json!({})).detail, ["203.0.113.7, used ", words].concat());
        }
        assert_eq!(seen(0, &json!({"address": null, "lastSeen": 99_999_999})).detail, "used just now");
        let own = seen(9, &json!({"current": true}));
        assert_eq!((own.detail.as_str(), own.is_current), ("203.0.113.7, this session", true));
    }
}

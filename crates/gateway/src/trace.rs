//! Traces frames and messages, for whoever looks for a fault: what they are and how large what is
//! in them, but not what that says. Params, results, events and payloads may be passwords, tokens
//! and keys, and so may queries. Complains of malformed messages of services in the same way. Must
//! not decide anything.

use std::{borrow::Cow, fmt};

use relogin_gateway_proto::Malformed;
use relogin_host::spans::SPANS;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::{Level, Span, info_span, span_enabled, trace, warn};

/// The target of the lines.
const TARGET: &str = "relogin::gateway::frames";

/// The first parts of the subjects of requests.
const KINDS: [&str; 4] = ["access", "auth", "call", "get"];

/// How many characters of a service's name are in a span. Clients choose it.
const SERVICE: usize = 64;

/// How many characters of a name are shown.
const NAME: usize = 200;

/// A frame, or a message of the bus, without what may be secret.
struct Redacted<'a>(&'a [u8]);

/// A subject or a method: without a query, and not longer than needed.
struct Name<'a>(&'a str);

/// What frames and answers have in common.
#[derive(Deserialize)]
struct Shape<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// The span of a request to a service: its kind, and the first part of the resource's name.
pub(crate) fn request(subject: &str) -> Span {
    let of = |subject: &str| {
        let (kind, resource) = subject.split_once('.')?;
        let kind = KINDS.into_iter().find(|known| *known == kind)?;
        Some((kind, resource.split('.').next()?.chars().take(SERVICE).collect::<String>()))
    };
    if !span_enabled!(target: SPANS, Level::INFO) {
        return Span::none();
    }
    // Query requests go to whatever subject a service has chosen.
    let (kind, service) = of(subject).unwrap_or_else(|| ("query", String::new()));
    info_span!(target: SPANS, "request to a service", otel.name = kind, otel.kind = "client", service)
}

/// A client has sent a frame.
pub(crate) fn received(connection: u64, text: &str) {
    trace!(target: TARGET, connection, frame = %Redacted(text.as_bytes()), "from a client");
}

/// A frame goes to a client.
pub(crate) fn sent(connection: u64, text: &[u8]) {
    trace!(target: TARGET, connection, frame = %Redacted(text), "to a client");
}

/// A service has sent something that makes no sense. Lines of one place in the program are limited,
/// so a service that does so all the time does not fill the log.
pub(crate) fn complain(Malformed { kind, subject, problem }: &Malformed) {
    warn!(subject = %Name(subject), problem, "a malformed message of a service ({})", kind.name());
}

/// A service is asked.
pub(crate) fn asked(tag: u64, subject: &str, payload: &[u8]) {
    trace!(target: TARGET, tag, subject = %Name(subject), bytes = payload.len(), "to a service");
}

/// A service has answered.
pub(crate) fn answered(tag: u64, payload: &[u8]) {
    trace!(target: TARGET, tag, answer = %Redacted(payload), "from a service");
}

/// A service has published something.
pub(crate) fn published(subject: &str, payload: &[u8]) {
    trace!(target: TARGET, subject = %Name(subject), bytes = payload.len(), "from the bus");
}

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(shape) = serde_json::from_slice::<Shape<'_>>(self.0) else {
            return write!(f, "{} bytes that are not a frame", self.0.len());
        };
        let mut space = "";
        let mut word = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            let written = write!(f, "{space}{text}");
            space = " ";
            written
        };
        if let Some(id) = shape.id {
            word(f, format_args!("id={id}"))?;
        }
        for (what, name) in [("method", &shape.method), ("event", &shape.event)] {
            if let Some(name) = name {
                word(f, format_args!("{what}={}", Name(name)))?;
            }
        }
        if let Some(Failure { code }) = &shape.error {
            word(f, format_args!("error={}", Name(code)))?;
        }
        let contents =
            [("params", shape.params), ("result", shape.result), ("resource", shape.resource), ("data", shape.data)];
        for (what, content) in contents {
            if let Some(content) = content {
                word(f, format_args!("{what}=({} bytes)", content.get().len()))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, query) = self.0.split_once('?').map_or((self.0, ""), |(name, _)| (name, "?\u{2026}"));
        // Nothing that would look like another line.
        name.chars().take(NAME).try_for_each(|c| write!(f, "{}", if c.is_control() { '\u{fffd}' } else { c }))?;
        if name.chars().nth(NAME).is_some() {
            f.write_str("\u{2026}")?;
        }
        f.write_str(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_secrets_are_not_shown() {
        let secret = "hunter2";
        for (frame, shown) in [
            (
                r#"{"id":1,"method":"auth.session.login","params":{"password":"hunter2"}}"#,
                "id=1 method=auth.session.login params=(22 bytes)",
            ),
            (r#"{"id":2,"method":"call.a?key=hunter2.set"}"#, "id=2 method=call.a?\u{2026}"),
            (r#"{"result":{"payload":{"reloginKey":"hunter2"}},"id":1}"#, "id=1 result=(36 bytes)"),
            (
                r#"{"event":"session.user.c1.rotated","data":{"key":"hunter2"}}"#,
                "event=session.user.c1.rotated data=(17 bytes)",
            ),
            (
                r#"{"error":{"code":"system.notFound","message":"hunter2","data":"hunter2"},"id":3}"#,
                "id=3 error=system.notFound",
            ),
            (r#"{"resource":{"rid":"a?key=hunter2"}}"#, "resource=(23 bytes)"),
            (r#"{"id":4,"method":"a\nb"}"#, "id=4 method=a\u{fffd}b"),
            (r#"{"id":5,"password":"hunter2"}"#, "id=5"),
            ("{\"method\":\"hunter2", "18 bytes that are not a frame"),
            ("[\"hunter2\"]", "11 bytes that are not a frame"),
            ("", "0 bytes that are not a frame"),
        ] {
            let text = Redacted(frame.as_bytes()).to_string();
            assert_eq!(text, shown);
            assert!(!text.contains(secret));
        }
        let long = Name(&"x".repeat(NAME + 1)).to_string();
        assert_eq!(long.chars().count(), NAME + 1);
    }
}

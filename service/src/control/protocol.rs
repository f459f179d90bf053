//! Requests of operators and their answers, as JSON: one line each. Must not know who carries them,
//! nor how they come about.
//!
//! A program on either end may be older than the other. So an answer may have members that its
//! reader does not know, and a request may not: what the service would pass over could be what
//! matters.

use std::fmt;

use relogin_session::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest request, in bytes, without its line break.
pub const MAX_REQUEST: usize = 4096;

/// How many sessions are on a page: with the longest texts, less than the 1 MiB that NATS takes.
pub const PAGE: usize = 100;

/// How many sessions of a user a request ends; the rest is for the next one.
pub const REVOKED_AT_ONCE: usize = 1024;

/// A request of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", deny_unknown_fields)]
pub enum ControlRequest {
    /// How it is.
    Status,
    /// A page of the live sessions.
    Sessions {
        /// Those of this user only: a name to log in with, or an id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Those after the last page: its `next`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Cursor>,
    },
    /// All of one session.
    Session {
        /// The session.
        id: SessionId,
    },
    /// To end one session.
    Revoke {
        /// The session.
        id: SessionId,
    },
    /// To end all sessions of a user, or as many as one request may.
    RevokeUser {
        /// A name to log in with, or an id.
        user: String,
    },
    /// All its sessions, for a backup.
    Export,
}

/// The answer to a [`ControlRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlAnswer {
    /// To [`ControlRequest::Status`].
    Status(Box<Status>),
    /// To [`ControlRequest::Sessions`].
    Sessions(SessionsPage),
    /// To [`ControlRequest::Session`].
    Session(Box<SessionDetails>),
    /// To [`ControlRequest::Revoke`] and [`ControlRequest::RevokeUser`].
    Revoked {
        /// How many sessions were ended.
        revoked: u64,
        /// Whether the user has more: ask again.
        more: bool,
    },
    /// To [`ControlRequest::Export`]: the sessions follow, each as a line with an [`ExportLine`].
    Export {},
    /// What was asked was not done.
    Error(ControlRefusal),
}

/// A line of the sessions that a service sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExportLine {
    /// A session: its record as stores encode it, in base64. If it comes again, the last one
    /// counts.
    Session(String),
    /// The session with this id has ended since it was sent.
    Ended(String),
    /// All were sent. Without this line some are missing.
    End {
        /// The ids of those that are stored and cannot be read.
        unreadable: Vec<String>,
    },
    /// They cannot all be sent.
    Error(ControlRefusal),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRefusal {
    /// What programs tell cases apart by.
    pub code: RefusalCode,
    /// The same for people.
    pub message: String,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalCode {
    /// The request makes no sense to this version of the service.
    InvalidRequest,
    /// The request is longer than [`MAX_REQUEST`].
    TooLong,
    /// There is no such session or user.
    NotFound,
    /// The service cannot do it now; it may be done in part.
    Failed,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its resource name (`--name`).
    pub name: String,
    /// Whether it can answer the requests of clients, as `/healthz` says.
    pub ready: bool,
    /// Why not; null if it can.
    pub problem: Option<String>,
    /// When it began to answer, in milliseconds since 1970.
    pub started: u64,
    /// For how many seconds it has.
    pub uptime: u64,
    /// Its store: `sled`, `jetstream` or `memory`.
    pub store: String,
    /// How many sessions the store has; null if it does not answer.
    pub sessions: Option<u64>,
    /// How many WebSockets its embedded gateway has; null without one, or if it does not answer.
    pub connections: Option<u64>,
    /// The message bus.
    pub bus: BusStatus,
    /// The instances with the same sessions; null if there can only be one.
    pub instances: Option<InstancesStatus>,
}

/// The message bus of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BusStatus {
    /// What it is.
    pub kind: BusStatusKind,
    /// Whether messages get through.
    pub connected: bool,
}

/// The kinds of message bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BusStatusKind {
    /// Within the process.
    Local,
    /// NATS.
    Nats,
}

/// The instances of a service with the same sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstancesStatus {
    /// The one that answers.
    pub this: String,
    /// Those that it has heard of lately.
    pub others: Vec<String>,
}

/// Some of the live sessions, those that end first at the top. A session that is used while pages
/// are asked for may be on two of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionsPage {
    /// The sessions: at most [`PAGE`].
    pub sessions: Vec<SessionInfo>,
    /// Where the next page begins; null if this is the last one.
    pub next: Option<Cursor>,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// The user's id.
    pub user_id: UserId,
    /// The name by which the user logs in; null if the service does not keep it.
    pub username: Option<String>,
    /// What others call the user; null if the service would have to ask for it.
    pub name: Option<String>,
    /// What the user calls the device.
    pub label: Option<String>,
    /// The browser that logged in, in words: `Firefox`.
    pub browser: Option<String>,
    /// Its system, in words: `Windows`.
    pub system: Option<String>,
    /// The IP address from which the session was used last.
    pub address: Option<String>,
    /// When the user logged in, in milliseconds since 1970.
    pub created: u64,
    /// When the session's key was used last, likewise.
    pub last_seen: u64,
    /// When it ends if its key is not used before, likewise.
    pub expires: u64,
    /// On how many connections it is.
    pub connections: u64,
    /// Whether its key is of no use outside its browser.
    pub bound: bool,
}

/// All that is known of a session and is not secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetails {
    /// What a list has.
    pub session: SessionInfo,
    /// The user's role; null if they are removed or disabled, or nobody can say it now.
    pub role: Option<String>,
    /// The issuer of tokens that vouches for the user; null if it is the service's own directory.
    pub issuer: Option<String>,
    /// The browser's User-Agent header.
    pub user_agent: Option<String>,
    /// When the session ends, used or not, in milliseconds since 1970.
    pub ends: u64,
    /// The generation of its newest key.
    pub generation: u64,
    /// When that was made, likewise.
    pub generation_made: u64,
    /// Whether its keys need a signature of the device.
    pub bound_to_device: bool,
    /// Whether they need a cookie.
    pub bound_to_cookie: bool,
    /// Whether they are in a cookie themselves.
    pub in_cookie: bool,
    /// The connections that hold it, oldest first.
    pub connections: Vec<String>,
}

/// Where a page of sessions begins. Only the service knows what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// The deadline of the session before it.
    pub deadline: Timestamp,
    /// That session.
    pub sid: SessionId,
}

/// Not a [`Cursor`].
#[derive(Debug, Error)]
#[error("not the `next` of a page")]
pub struct CursorError;

impl TryFrom<String> for Cursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        let (deadline, sid) = text.split_once('.').ok_or(CursorError)?;
        let deadline = Timestamp(deadline.parse().map_err(|_| CursorError)?);
        Ok(Self { deadline, sid: SessionId::parse(sid).ok_or(CursorError)? })
    }
}

impl From<Cursor> for String {
    fn from(Cursor { deadline, sid }: Cursor) -> Self {
        format!("{}.{sid}", deadline.0)
    }
}

impl ControlRequest {
    /// Reads the text of a line.
    ///
    /// # Errors
    /// If it is no request of this version.
    pub fn read(line: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(line)
    }
}

impl ControlRefusal {
    /// The request makes no sense.
    #[must_use]
    pub fn invalid(why: &dyn fmt::Display) -> Self {
        Self { code: RefusalCode::InvalidRequest, message: format!("the service does not know this request: {why}") }
    }

    /// There is no such session or user.
    #[must_use]
    pub fn not_found(message: String) -> Self {
        Self { code: RefusalCode::NotFound, message }
    }

    /// The service cannot do it now.
    #[must_use]
    pub fn failed(why: &dyn fmt::Display) -> Self {
        Self { code: RefusalCode::Failed, message: format!("the service cannot do it now: {why}") }
    }

    /// Its sessions are not in its data folder.
    #[must_use]
    pub fn not_its_own() -> Self {
        let message = "the sessions of this service are in a bucket; name it with --from jetstream:BUCKET and --nats";
        Self { code: RefusalCode::Failed, message: message.to_owned() }
    }

    /// What is asked for has more lines than the answer on NATS.
    #[must_use]
    pub fn needs_the_socket() -> Self {
        let message = "sessions are exported on the control socket alone";
        Self { code: RefusalCode::InvalidRequest, message: message.to_owned() }
    }

    /// All instances were asked for what one of them would do.
    #[must_use]
    pub fn is_for_one() -> Self {
        let message = "all instances are asked for their status alone; ask one of them for this";
        Self { code: RefusalCode::InvalidRequest, message: message.to_owned() }
    }

    /// The request is too long.
    #[must_use]
    pub fn too_long() -> Self {
        Self { code: RefusalCode::TooLong, message: format!("a request has at most {MAX_REQUEST} bytes") }
    }
}

/// The text of a request or an answer, without line breaks.
#[must_use]
pub fn text(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("texts and numbers are written without fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_another_version_are_not_taken_for_one_of_this() {
        assert_eq!(ControlRequest::read(br#"{"command":"status"}"#).unwrap(), ControlRequest::Status);
        let id = SessionId([7; 16]);
        let cursor = Cursor { deadline: Timestamp(12), sid: id };
        for request in [
            ControlRequest::Sessions { user: None, after: None },
            ControlRequest::Sessions { user: Some("jane".to_owned()), after: Some(cursor) },
            ControlRequest::Session { id },
            ControlRequest::Revoke { id },
            ControlRequest::RevokeUser { user: "7".to_owned() },
        ] {
            assert_eq!(ControlRequest::read(&text(&request)).unwrap(), request);
        }
        for other in [
            r#"{"command":"revoke"}"#,
            r#"{"command":"revoke","id":"short"}"#,
            r#"{"command":"revokeUser","user":"jane","but":"BwcHBwcHBwcHBwcHBwcHBw"}"#,
            r#"{"command":"sessions","after":"12"}"#,
            r#"{"command":"sessions","after":"x.BwcHBwcHBwcHBwcHBwcHBw"}"#,
        ] {
            assert!(ControlRequest::read(other.as_bytes()).is_err(), "{other}");
        }
        for other in ["", "null", "[]", "\"status\"", "{}", r#"{"command":"restart"}"#, r#"{"command":"status"} {}"#] {
            assert!(ControlRequest::read(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn an_answer_may_say_more_than_its_reader_knows() {
        let answer = r#"{"error":{"code":"tooLong","message":"no","new":1}}"#;
        let ControlAnswer::Error(refusal) = serde_json::from_str(answer).unwrap() else { panic!("an error") };
        assert_eq!((refusal.code, refusal.message.as_str()), (RefusalCode::TooLong, "no"));
    }
}

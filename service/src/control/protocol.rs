//! Requests of operators and their answers, as JSON: one line each. Must not know who carries them,
//! nor how they come about.
//!
//! A program on either end may be older than the other. So an answer may have members that its
//! reader does not know, and a request may not: what the service would pass over could be what
//! matters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest request, in bytes, without its line break.
pub const MAX_REQUEST: usize = 4096;

/// What is asked of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", deny_unknown_fields)]
pub enum ControlRequest {
    /// How it is.
    Status,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlAnswer {
    /// To [`ControlRequest::Status`].
    Status(Box<Status>),
    /// What was asked was not done.
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

/// What a message bus may be.
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

//! Query events: a service announces that query resources may have changed, and is asked once for
//! each query how they did. [Query
//! resources](https://resgate.io/docs/specification/res-service-protocol/#query-resources).

use std::fmt;

use serde::{Deserialize, Serialize, de};
use serde_json::value::RawValue;

use super::{Content, Payload};
use crate::{Verbatim, rid::is_part};

/// Payload of a query event.
/// [Query event](https://resgate.io/docs/specification/res-service-protocol/#query-event).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryEvent {
    /// Where [`QueryRequest`]s go.
    pub subject: String,
}

/// Payload of a query request.
/// [Query request](https://resgate.io/docs/specification/res-service-protocol/#query-request).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// The normalised query.
    pub query: String,
}

/// Result of a query request.
#[derive(Clone, Debug)]
pub enum QueryResult {
    /// What happened to the query resource, in this order.
    Events(Vec<QueriedEvent>),
    /// What it holds now.
    Content(Content<Verbatim>),
}

/// One event in the result of a query request. Its `Debug` hides the data.
#[derive(Clone, Deserialize)]
pub struct QueriedEvent {
    /// The event's name.
    #[serde(default)]
    pub event: String,
    /// JSON text of its payload.
    #[serde(default)]
    pub data: Option<Box<RawValue>>,
}

impl Payload for QueryEvent {}
impl Payload for QueryRequest {}

impl QueriedEvent {
    /// The payload, as it would stand in an event of its own: empty if there is none.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.data.as_deref().map_or(b"", |data| data.get().as_bytes())
    }
}

impl<'de> Deserialize<'de> for QueryResult {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            events: Option<Vec<QueriedEvent>>,
            #[serde(borrow)]
            model: Option<&'a RawValue>,
            #[serde(borrow)]
            collection: Option<&'a RawValue>,
        }
        match Wire::deserialize(deserializer)? {
            Wire { events, model: None, collection: None } => {
                let mut events = events.unwrap_or_default();
                // One that has no name, or none that a client could read, costs no other.
                events.retain(|event| is_part(&event.event));
                Ok(Self::Events(events))
            }
            Wire { events: None, model, collection } => {
                Content::read(model, collection).map(Self::Content).map_err(de::Error::custom)
            }
            Wire { .. } => Err(de::Error::custom("either events or content is needed")),
        }
    }
}

impl fmt::Debug for QueriedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueriedEvent").field("event", &self.event).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Response;

    fn read(result: &str) -> Option<String> {
        let response = Response::parse(format!(r#"{{"result":{result}}}"#).as_bytes());
        Some(match response.into_result().ok()? {
            QueryResult::Events(events) => {
                let text = |it: &QueriedEvent| format!("{} {}", it.event, String::from_utf8_lossy(it.payload()));
                events.iter().map(text).collect::<Vec<_>>().join(", ")
            }
            QueryResult::Content(Content::Model(_)) => "model".to_owned(),
            QueryResult::Content(Content::Collection(_)) => "collection".to_owned(),
        })
    }

    #[test]
    fn results_have_events_or_content() {
        for (text, expected) in [
            ("{}", Some("")),
            (r#"{"events":null}"#, Some("")),
            (r#"{"events":[]}"#, Some("")),
            (
                r#"{"events":[{"event":"add","data":{"idx" : 0,"value":1}},{"event":"x"}]}"#,
                Some(r#"add {"idx" : 0,"value":1}, x "#),
            ),
            (r#"{"model":{"a":1}}"#, Some("model")),
            (r#"{"collection":[]}"#, Some("collection")),
            (r#"{"model":{},"events":[]}"#, None),
            (r#"{"collection":[],"events":[]}"#, None),
            (r#"{"collection":[],"model":{}}"#, None),
            (r#"{"events":"foo"}"#, None),
            (r#"{"events":[{"event":"x"},{"data":1},{"event":""},{"event":"a.b"},{"event":"y"}]}"#, Some("x , y ")),
            (r#"{"events":[{"event":7}]}"#, None),
            (r#"{"model":[]}"#, None),
            ("[[]]", None),
            ("null", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn events_and_requests_are_read_and_written() {
        assert_eq!(QueryRequest { query: "a=1".into() }.encode(), br#"{"query":"a=1"}"#);
        assert_eq!(QueryEvent::parse(br#"{"subject":"_R_"}"#), Ok(QueryEvent { subject: "_R_".into() }));
        for payload in ["", "{}", r#"{"subject":42}"#, r#"["_R_"]"#] {
            assert!(QueryEvent::parse(payload.as_bytes()).is_err(), "{payload}");
        }
    }
}

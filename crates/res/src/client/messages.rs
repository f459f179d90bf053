//! Parses the frames that gateways send to clients.

use std::fmt;

use relogin_json as json;
use serde_json::Value as Json;

use super::{Event, ResourceSet};
use crate::{Error, ResourceId, members, take, text};

/// A frame of a gateway.
#[derive(Clone, Debug)]
pub enum Message {
    /// The answer to a request.
    Response(Response),
    /// Something happened on a resource.
    Event(Event),
}

/// A gateway's answer to a request. Its `Debug` hides the result: it may be a credential.
#[derive(Clone)]
pub struct Response {
    /// The request's id.
    pub id: u64,
    /// The result, none if there is none or it is null; or the error.
    pub outcome: Result<Option<Json>, Error>,
}

/// Result of a call, auth or new request, since 1.2.0. Before, the payload comes bare.
/// [Call request](https://resgate.io/docs/specification/res-client-protocol/#call-request).
#[derive(Clone, Debug)]
pub enum CallResult {
    /// What the method gave back.
    Payload(Json),
    /// A resource, directly subscribed from now on.
    Resource(ResourceId, ResourceSet),
}

impl Message {
    /// Reads a gateway's frame. `None` if it is neither a response nor an event.
    #[must_use]
    pub fn parse(frame: &str) -> Option<Self> {
        let mut members = members(json::parse(frame)?)?;
        let id = take(&mut members, "id").map(|id| id.as_u64().ok_or(()));
        let event = take(&mut members, "event").map(|event| text(event).ok_or(()));
        let error = take(&mut members, "error").map(|error| Error::read(error).ok_or(()));
        let (id, event, error) = (id.transpose().ok()?, event.transpose().ok()?, error.transpose().ok()?);
        if let Some(id) = id {
            let outcome = error.map_or_else(|| Ok(take(&mut members, "result")), Err);
            return Some(Self::Response(Response { id, outcome }));
        }
        let event = event?;
        let (rid, name) = event.rsplit_once('.')?;
        let rid = ResourceId::parse(rid).ok()?;
        Some(Self::Event(Event { rid, name: name.to_owned(), data: take(&mut members, "data") }))
    }
}

impl CallResult {
    /// Reads the result of a call, auth or new request, as since 1.2.0. `None` if it is not one.
    #[must_use]
    pub fn read(result: Json) -> Option<Self> {
        let mut members = members(result)?;
        match take(&mut members, "rid") {
            Some(rid) => {
                let rid = ResourceId::parse(&text(rid)?).ok()?;
                Some(Self::Resource(rid, ResourceSet::take_from(&mut members)?))
            }
            None => members.get_mut("payload").map(|payload| Self::Payload(payload.take())),
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.outcome.as_ref().err();
        f.debug_struct("Response").field("id", &self.id).field("error", &error).finish_non_exhaustive()
    }
}

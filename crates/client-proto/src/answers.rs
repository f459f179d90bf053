//! Reads what gateways answer. Must not depend on what was requested.

use relogin_res::client::{CallResult, ResourceSet};
use serde_json::Value as Json;

use crate::RequestError;

/// A gateway's answer, before it is read as the result of what was requested.
pub(crate) type Outcome = Result<Option<Json>, RequestError>;

/// Reads the result of a subscribe or get request.
pub(crate) fn resource_set(result: Option<Json>) -> Result<ResourceSet, RequestError> {
    // Subscribed already: gateways may leave the result out.
    let Some(result) = result else { return Ok(ResourceSet::default()) };
    ResourceSet::read(result).ok_or(RequestError::Garbled)
}

/// Reads the result of a method. `bare`: what the method gave back is not wrapped, as before 1.2.0.
pub(crate) fn call_result(result: Option<Json>, bare: bool) -> Result<CallResult, RequestError> {
    if bare {
        // A null is left out.
        return Ok(CallResult::Payload(result.unwrap_or_default()));
    }
    result.and_then(CallResult::read).ok_or(RequestError::Garbled)
}

//! Reads what gateways answer. Knows not what was asked for.

use relogin_res::client::{CallResult, ResourceSet};
use serde_json::value::RawValue;

use crate::RequestError;

/// Reads the result of a subscribe or get request.
pub(crate) fn resource_set(result: Option<Box<RawValue>>) -> Result<ResourceSet, RequestError> {
    // Subscribed already: gateways may leave the result out.
    let Some(result) = result else { return Ok(ResourceSet::default()) };
    serde_json::from_str(result.get()).map_err(|_| RequestError::Garbled)
}

/// Reads the result of a method. `bare`: what the method gave back is not wrapped, as before 1.2.0.
pub(crate) fn call_result(result: Option<Box<RawValue>>, bare: bool) -> Result<CallResult, RequestError> {
    if bare {
        // A null is left out.
        return Ok(CallResult::Payload(result.unwrap_or_else(|| RawValue::NULL.to_owned())));
    }
    result.and_then(|result| CallResult::parse(&result)).ok_or(RequestError::Garbled)
}

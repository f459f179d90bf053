//! Reads what gateways answer. Knows not what was asked for.

use relogin_res::{
    ResourceId,
    client::{CallResult, Method, ResourceSet, UnsubscribeParams},
};
use serde_json::value::RawValue;

use crate::{
    RequestError,
    outbox::{Outbox, Purpose, params},
};

/// Reads the result of a subscribe or get request.
pub(crate) fn resource_set(result: Option<Box<RawValue>>) -> Result<ResourceSet, RequestError> {
    // Subscribed already: gateways may leave the result out.
    let Some(result) = result else { return Ok(ResourceSet::default()) };
    serde_json::from_str(result.get()).map_err(|_| RequestError::Garbled)
}

/// Reads the result of a call or auth request.
pub(crate) fn call_result(result: Option<Box<RawValue>>) -> Result<CallResult, RequestError> {
    result.and_then(|result| CallResult::parse(&result)).ok_or(RequestError::Garbled)
}

/// Reads the result of a request that is answered with no resource.
pub(crate) fn payload(result: Option<Box<RawValue>>, out: &mut Outbox) -> Result<Box<RawValue>, RequestError> {
    match call_result(result)? {
        CallResult::Payload(payload) => Ok(payload),
        CallResult::Resource(rid, _) => {
            give_back(rid, out);
            Err(RequestError::Garbled)
        }
    }
}

/// Ends a subscription that nobody asked for.
pub(crate) fn give_back(rid: ResourceId, out: &mut Outbox) {
    out.send(Purpose::Unsubscribe, Method::Unsubscribe(rid), params(&UnsubscribeParams { count: Some(1) }), None);
}

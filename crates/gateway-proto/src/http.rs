//! The HTTP API: which request means what, and what its response is. Must not depend on
//! connections or the cache.
//!
//! RES does not define it; this is what Resgate does. docs/gateway.md has the differences.

mod encoding;
mod path;
pub(crate) mod resources;
mod response;

use relogin_res::{Error, ResourceId, service::Headers};
use serde_json::value::RawValue;

pub use encoding::Encoding;
pub use path::{Methods, operation};
pub use resources::Resources;
pub use response::{HttpResponse, error_response};

/// What an HTTP request asks for.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A resource, with all that it refers to.
    Get(ResourceId),
    /// A method.
    Call {
        /// The resource that has the method.
        rid: ResourceId,
        /// The method.
        method: String,
        /// The request's body; none if it is empty.
        params: Option<Box<RawValue>>,
    },
}

/// What came of an HTTP request.
#[derive(Debug)]
pub struct Answer {
    /// The status that a service asks for in place of the usual one: a redirection or an error.
    pub status: Option<u16>,
    /// The headers that services set, by their canonical names. Whether they are headers at all is
    /// for the driver to look at.
    pub header: Headers,
    /// What there is to send.
    pub outcome: Outcome,
}

/// What there is to send.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing, because a service has asked for a status before there was anything.
    Nothing,
    /// A resource that was asked for.
    Resources(Resources),
    /// The result of a method.
    Result(Box<RawValue>),
    /// The resource that a method names as its result.
    Location(ResourceId),
    /// An error.
    Error(Error),
}

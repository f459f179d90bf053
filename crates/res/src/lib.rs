//! RES protocol wire types.
//!
//! What browsers, gateways and services say to each other in RES 1.2.3, in both directions, so that
//! the client, the gateway and the service share one reading of it. Pure: no async, no clock, no
//! I/O. Reading is lenient (members that nobody knows are ignored) and never panics; writing is
//! strict. Knows no sessions.
//!
//! The specification: <https://resgate.io/docs/specification/res-protocol/>.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod client;
pub mod delta;
pub mod error;
mod list;
pub mod map;
pub mod read;
pub mod rid;
pub mod service;
pub mod value;
pub mod verbatim;
pub mod version;

pub use error::{Error, code};
pub use list::List;
pub use map::Map;
/// For those who read and write what is in a message.
pub use relogin_json as json;
pub use rid::{InvalidResourceId, Pattern, ResourceId};
pub use value::{Change, Collection, InvalidValue, Model, Value};
pub use verbatim::Verbatim;
pub use version::Version;

use serde::{Deserialize, Deserializer};
use serde_json::{Value as Json, value::RawValue};

/// What a JSON object is made of.
type Members = serde_json::Map<String, Json>;

/// The members of a JSON object.
fn members(json: Json) -> Option<Members> {
    if let Json::Object(members) = json { Some(members) } else { None }
}

/// Takes a member out of an object. `None` if it is missing or null.
fn take(members: &mut Members, name: &str) -> Option<Json> {
    members.get_mut(name).map(Json::take).filter(|json| !json.is_null())
}

/// The text of a JSON string.
fn text(json: Json) -> Option<String> {
    if let Json::String(text) = json { Some(text) } else { None }
}

/// For members where a null is as good as none: services in JavaScript are free with them.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A member with any value, `null` included, told from no member: an `Option` would take both for
/// none.
#[derive(Default)]
struct Present<'a>(Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Present<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|text| Self(Some(text)))
    }
}

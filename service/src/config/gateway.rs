//! Parses the values of the embedded gateway's options. Must not know where they were given.

use relogin_gateway::Encoding;
use relogin_res::rid::{is_name, is_part};

use super::values::Problem;
use crate::app::config::GatewayKind;

pub(super) fn gateway(text: String) -> Result<GatewayKind, Problem> {
    match text.as_str() {
        "embedded" => Ok(GatewayKind::Embedded),
        "none" => Ok(GatewayKind::None),
        _ => Err(Problem::Choice(text, "embedded or none")),
    }
}

pub(super) fn url_path(text: String) -> Result<String, Problem> {
    let is_path = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'));
    if is_path { Ok(text) } else { Err(Problem::UrlPath(text)) }
}

/// A path that others are below.
pub(super) fn url_folder(text: String) -> Result<String, Problem> {
    url_path(text).map(|path| if path.ends_with('/') { path } else { path + "/" })
}

pub(super) fn encoding(text: String) -> Result<Encoding, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "json" => Ok(Encoding::Json),
        "jsonflat" => Ok(Encoding::JsonFlat),
        _ => Err(Problem::Choice(text, "json or jsonflat")),
    }
}

/// A resource's name and a method.
pub(super) fn method(text: String) -> Result<String, Problem> {
    if is_name(&text) && text.contains('.') { Ok(text) } else { Err(Problem::Method(text)) }
}

/// A method alone.
pub(super) fn method_part(text: String) -> Result<String, Problem> {
    if is_part(&text) { Ok(text) } else { Err(Problem::MethodPart(text)) }
}

//! Frames that lack the resources that belong in them, for gateways that write these one after the
//! other. Must not depend on how resources are held.

use serde::Serialize;

use super::encode_event;
use crate::ResourceId;

/// A frame in two parts. Members of a [`ResourceSet`](super::ResourceSet) belong in between, behind
/// a comma if `before` does not end with a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFrame {
    /// What stands before the resources.
    pub before: String,
    /// What stands behind them.
    pub after: String,
}

impl OpenFrame {
    /// A response whose result is the resources.
    #[must_use]
    pub fn result(id: u64) -> Self {
        Self { before: r#"{"result":{"#.to_owned(), after: format!(r#"}},"id":{id}}}"#) }
    }

    /// A response that carries the resource `rid`, as since 1.2.0.
    #[must_use]
    pub fn resource(id: u64, rid: &ResourceId) -> Self {
        let Self { mut before, after } = Self::result(id);
        before.push_str(r#""rid":"#);
        before.push_str(&super::encode(rid));
        Self { before, after }
    }

    /// An event with data that are an object.
    #[must_use]
    pub fn event(rid: &ResourceId, name: &str, data: &impl Serialize) -> Self {
        let mut before = encode_event(rid, name, Some(data));
        // The braces of the data and of the frame.
        let after = before.split_off(before.len().saturating_sub(2));
        Self { before, after }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::{ResourceSet, encode_resource, encode_result};

    #[test]
    fn both_parts_are_the_frame_without_resources() {
        let none = ResourceSet::<(), ()>::default();
        let rid = ResourceId::parse(r#"a.b?"q""#).unwrap();
        let whole = |OpenFrame { before, after }| before + &after;
        assert_eq!(whole(OpenFrame::result(7)), encode_result(7, Some(&none)));
        assert_eq!(whole(OpenFrame::resource(u64::MAX, &rid)), encode_resource(u64::MAX, &rid, &none));
        let data = json!({"values": {"x": {}}});
        let OpenFrame { before, after } = OpenFrame::event(&rid, "change", &data);
        assert_eq!((before.clone() + &after, after.as_str()), (encode_event(&rid, "change", Some(&data)), "}}"));
        let models = r#","models":{"m":{}}"#;
        let frame: serde_json::Value = serde_json::from_str(&(before + models + &after)).unwrap();
        assert_eq!(frame["data"], json!({"values": {"x": {}}, "models": {"m": {}}}));
    }
}

//! The texts of resources in HTTP responses: references are replaced by what they lead to. Must not
//! depend on who asked.

use std::collections::{BTreeMap, BTreeSet};

use relogin_res::{Error, ResourceId, Verbatim};

use super::{
    path::path_of,
    resources::{Found, Resources},
};
use crate::content::Content;

/// How resources are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// In place of a reference, an object of the path of the resource and its content: `{"href":
    /// …, "model": …}`.
    #[default]
    Json,
    /// In place of a reference, the content alone.
    JsonFlat,
}

/// Writes a resource, and in it all that it refers to. A resource within itself is a mere path.
///
/// # Errors
/// `system.internalError` if that would be more than `max` bytes: a resource that is referred to
/// often is written as often.
pub(super) fn encode(resources: &Resources, encoding: Encoding, api_path: &str, max: usize) -> Result<Vec<u8>, Error> {
    let mut writer = Writer { resources, encoding, api_path, max, hrefs: BTreeMap::new(), out: Vec::new() };
    writer.write()?;
    Ok(writer.out)
}

struct Writer<'a> {
    resources: &'a Resources,
    encoding: Encoding,
    api_path: &'a str,
    max: usize,
    /// The paths of resources, as JSON texts, that were needed already.
    hrefs: BTreeMap<&'a ResourceId, String>,
    out: Vec<u8>,
}

/// A resource that is being written.
struct Open<'a> {
    rid: &'a ResourceId,
    content: &'a Content,
    next: usize,
    /// What stands behind its last value.
    close: &'static str,
}

impl<'a> Writer<'a> {
    /// Goes down and up on a stack of its own: a chain of references may be long.
    fn write(&mut self) -> Result<(), Error> {
        let mut open: Vec<Open<'a>> = Vec::new();
        let mut within = BTreeSet::new();
        let mut enter = Some(&self.resources.root);
        loop {
            if let Some(rid) = enter.take() {
                let is_root = open.is_empty();
                if let Some(opened) = self.begin(rid, within.contains(rid), is_root) {
                    within.insert(rid);
                    open.push(opened);
                }
            }
            let Some(last) = open.last_mut() else { return Ok(()) };
            if self.out.len() > self.max {
                return Err(Error::internal_because("the response is too large"));
            }
            let at = last.next;
            last.next += 1;
            let value = match last.content {
                Content::Model(model) => model.as_slice().get(at).map(|(name, value)| (Some(name), value)),
                Content::Collection(collection) => collection.get(at).map(|value| (None, value)),
            };
            let Some((name, value)) = value else {
                let (rid, close) = (last.rid, last.close);
                open.pop();
                within.remove(rid);
                self.put(close);
                continue;
            };
            if at > 0 {
                self.put(",");
            }
            if let Some(name) = name {
                self.put_json(name);
                self.put(":");
            }
            enter = self.value(value);
        }
    }

    /// Writes a value. A resource that stands in its place, if it is one.
    fn value(&mut self, value: &'a Verbatim) -> Option<&'a ResourceId> {
        if let Some(rid) = value.reference() {
            return Some(rid);
        }
        if let Some(rid) = value.soft_reference() {
            self.put_href(rid);
            self.put("}");
        } else {
            self.put(value.data().unwrap_or_else(|| value.text()).get());
        }
        None
    }

    /// Begins to write a resource. `None` if there is nothing in it to be written.
    fn begin(&mut self, rid: &'a ResourceId, is_within_itself: bool, is_root: bool) -> Option<Open<'a>> {
        let is_wrapped = self.encoding == Encoding::Json && !is_root;
        if is_wrapped || is_within_itself {
            self.put_href(rid);
        }
        let found = self.resources.found.get(rid);
        let (label, open, close) = match found {
            _ if is_within_itself => {
                self.put("}");
                return None;
            }
            Some(Found::Content(snapshot)) => match &snapshot.content {
                Content::Model(_) => (r#","model":"#, "{", if is_wrapped { "}}" } else { "}" }),
                Content::Collection(_) => (r#","collection":"#, "[", if is_wrapped { "]}" } else { "]" }),
            },
            Some(Found::Error(_)) | None => (r#","error":"#, "", if is_wrapped { "}" } else { "" }),
        };
        if is_wrapped {
            self.put(label);
        }
        match found {
            Some(Found::Content(snapshot)) => {
                self.put(open);
                Some(Open { rid, content: &snapshot.content, next: 0, close })
            }
            Some(Found::Error(error)) => {
                self.put_json(error);
                self.put(close);
                None
            }
            // All that is referred to was waited for.
            None => {
                self.put_json(&Error::internal());
                self.put(close);
                None
            }
        }
    }

    /// The beginning of an object with the path of a resource.
    fn put_href(&mut self, rid: &'a ResourceId) {
        let api_path = self.api_path;
        let href = self.hrefs.entry(rid).or_insert_with(|| {
            let path = serde_json::Value::String(path_of(rid, api_path));
            format!(r#"{{"href":{path}"#)
        });
        self.out.extend_from_slice(href.as_bytes());
    }

    fn put_json(&mut self, value: &impl serde::Serialize) {
        // Neither texts nor errors fail to be JSON.
        self.out.extend(serde_json::to_vec(value).unwrap_or_default());
    }

    fn put(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::content::Snapshot;

    fn resources(root: &str, found: &[(&str, &str)]) -> Resources {
        let rid = |text: &str| ResourceId::parse(text).unwrap();
        let found = found.iter().map(|(name, text)| {
            let found = match text.as_bytes()[0] {
                b'{' => Found::Content(Arc::new(Snapshot::new(Content::Model(serde_json::from_str(text).unwrap())))),
                b'[' => {
                    Found::Content(Arc::new(Snapshot::new(Content::Collection(serde_json::from_str(text).unwrap()))))
                }
                _ => Found::Error(Error::not_found()),
            };
            (rid(name), found)
        });
        Resources { root: rid(root), found: found.collect() }
    }

    fn written(resources: &Resources, encoding: Encoding) -> String {
        let text = String::from_utf8(encode(resources, encoding, "/api/", 1 << 20).unwrap()).unwrap();
        serde_json::from_str::<Box<serde_json::value::RawValue>>(&text).unwrap();
        text
    }

    #[track_caller]
    fn check(root: &str, found: &[(&str, &str)], json: &str, flat: &str) {
        let resources = resources(root, found);
        assert_eq!(written(&resources, Encoding::Json), json);
        assert_eq!(written(&resources, Encoding::JsonFlat), flat);
    }

    #[test]
    fn references_are_replaced_by_what_they_lead_to() {
        check(
            "a",
            &[
                ("a", r#"{"b":{"rid":"b"},"c":{"rid":"c?d=1"}}"#),
                ("b", r#"[1,{"rid":"e"}]"#),
                ("c?d=1", "!"),
                ("e", "{}"),
            ],
            concat!(
                r#"{"b":{"href":"/api/b","collection":[1,{"href":"/api/e","model":{}}]},"#,
                r#""c":{"href":"/api/c?d=1","error":{"code":"system.notFound","message":"Not found"}}}"#
            ),
            r#"{"b":[1,{}],"c":{"code":"system.notFound","message":"Not found"}}"#,
        );
    }

    #[test]
    fn soft_references_are_paths_and_data_is_unwrapped() {
        check(
            "a",
            &[("a", r#"[{"rid":"b.c","soft":true},{"data":{"d":[1e400]}},"\ud83d",12.50]"#)],
            r#"[{"href":"/api/b/c"},{"d":[1e400]},"\ud83d",12.50]"#,
            r#"[{"href":"/api/b/c"},{"d":[1e400]},"\ud83d",12.50]"#,
        );
    }

    #[test]
    fn a_resource_within_itself_is_a_path() {
        check("a", &[("a", r#"{"a":{"rid":"a"}}"#)], r#"{"a":{"href":"/api/a"}}"#, r#"{"a":{"href":"/api/a"}}"#);
        check(
            "d",
            &[("d", r#"[{"rid":"e"},{"rid":"f"}]"#), ("e", r#"[{"rid":"d"}]"#), ("f", r#"[{"rid":"d"}]"#)],
            r#"[{"href":"/api/e","collection":[{"href":"/api/d"}]},{"href":"/api/f","collection":[{"href":"/api/d"}]}]"#,
            r#"[[{"href":"/api/d"}],[{"href":"/api/d"}]]"#,
        );
    }

    #[test]
    fn a_response_that_would_be_too_large_is_an_error() {
        // Each twice in the one before: a million times the last one.
        let names: Vec<_> = (0..21).map(|n| format!("r{n}")).collect();
        let texts: Vec<_> =
            (1..21).map(|n| format!(r#"[{{"rid":"r{n}"}},{{"rid":"r{n}"}}]"#)).chain(["[]".into()]).collect();
        let found: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let error = encode(&resources("r0", &found), Encoding::JsonFlat, "/api/", 1 << 20).unwrap_err();
        assert_eq!(error.code, "system.internalError");
    }

    #[test]
    fn a_long_chain_of_references_causes_no_deep_recursion() {
        let names: Vec<_> = (0..20_000).map(|n| format!("r{n}")).collect();
        let texts: Vec<_> = (1..20_000).map(|n| format!(r#"[{{"rid":"r{n}"}}]"#)).chain(["[]".into()]).collect();
        let found: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        let text = encode(&resources("r0", &found), Encoding::JsonFlat, "/api/", 1 << 20).unwrap();
        assert_eq!(text.len(), 40_000);
    }
}

//! What RES has as JSON texts, written by hand: with serde's readers and writers the module was larger by 30 kB of 135 (brotli).

use relogin_client::Resource;
use relogin_res::{Change, Value, delta::Changes, json};
use serde_json::Value as Json;
use wasm_bindgen::JsValue;

/// A resource: an object, or an array.
pub(super) fn resource(resource: &Resource) -> String {
    let mut out = String::new();
    match resource {
        Resource::Model(model) => object(model.iter(), value_to, &mut out),
        Resource::Collection(values) => {
            let mut before = '[';
            for value in values.iter() {
                out.push(std::mem::replace(&mut before, ','));
                value_to(value, &mut out);
            }
            out.push_str(if values.is_empty() { "[]" } else { "]" });
        }
    }
    out
}

/// The values of a collection that has nothing but texts, one behind the other, and how long each is to JavaScript: the browser takes that
/// apart faster than it reads JSON.
pub(super) fn texts(resource: &Resource) -> Option<(String, Vec<u32>)> {
    let Resource::Collection(values) = resource else { return None };
    let (mut all, mut lengths) = (String::new(), Vec::with_capacity(values.len()));
    for value in values.iter() {
        let Value::Primitive(Json::String(text)) = value else { return None };
        all.push_str(text);
        let length = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
        lengths.push(u32::try_from(length).ok()?);
    }
    Some((all, lengths))
}

/// A number as JavaScript has it.
pub(super) fn number(value: &Json) -> Option<f64> {
    if let Json::Number(number) = value { number.as_f64() } else { None }
}

/// The members of a model that change.
pub(super) fn changes(changes: &Changes) -> String {
    let mut out = String::new();
    let write = |change: &Change, out: &mut String| match change {
        Change::Set(value) => value_to(value, out),
        Change::Delete => out.push_str(r#"{"action":"delete"}"#),
    };
    object(changes.iter(), write, &mut out);
    out
}

/// One value.
pub(super) fn value(value: &Value) -> String {
    let mut out = String::new();
    value_to(value, &mut out);
    out
}

/// Plain JSON.
pub(super) fn plain(value: &Json) -> JsValue {
    json::to_text(value).into()
}

fn object<'a, T: 'a>(
    members: impl Iterator<Item = (&'a String, &'a T)>,
    write: impl Fn(&T, &mut String),
    out: &mut String,
) {
    let mut object = json::Object::behind(out);
    for (name, member) in members {
        write(member, object.member(name));
    }
    object.end();
}

fn value_to(value: &Value, out: &mut String) {
    match value {
        Value::Primitive(json) => return json::write(json, out),
        Value::Data(json) => {
            out.push_str(r#"{"data":"#);
            json::write(json, out);
        }
        Value::Reference(rid) => {
            out.push_str(r#"{"rid":"#);
            json::write_text(rid.as_str(), out);
        }
        Value::SoftReference(rid) => {
            out.push_str(r#"{"soft":true,"rid":"#);
            json::write_text(rid.as_str(), out);
        }
    }
    out.push('}');
}

//! The interface for the npm package, called as the package calls it: with functions and objects.

use std::{cell::RefCell, rc::Rc};

use futures_util::future;
use gloo_timers::future::TimeoutFuture;
use js_sys::{JSON, Reflect};
use relogin_web::{
    EndReason,
    bindings::{self, CallRequest, ClientEvent, RawClient, RawSession, alive},
};
use serde_json::{Value as Json, json};
use tsify::{Ts, Tsify};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{Gateway, install, within};

/// A function that notes what it is called with, be it one thing or several.
fn noting<F: JsCast>() -> (F, Rc<RefCell<Vec<Json>>>) {
    let told = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&told);
    let note = Closure::<dyn FnMut(JsValue)>::new(move |what: JsValue| match to_json(&what) {
        Json::Array(several) => notes.borrow_mut().extend(several),
        one => notes.borrow_mut().push(one),
    });
    (note.into_js_value().unchecked_into(), told)
}

/// An object as JavaScript's side writes it.
fn object<T: Tsify>(json: &Json) -> Ts<T>
where
    T::JsType: JsCast,
{
    Ts::new_unchecked(JSON::parse(&json.to_string()).unwrap())
}

fn to_json(value: &JsValue) -> Json {
    serde_json::from_str(&String::from(JSON::stringify(value).unwrap())).unwrap()
}

/// Waits until this is reported.
async fn is_told(told: &RefCell<Vec<Json>>, what: &Json) {
    let there = async {
        while !told.borrow().contains(what) {
            TimeoutFuture::new(20).await;
        }
    };
    within(&what.to_string(), there).await;
}

fn code(error: &JsValue) -> Option<String> {
    Reflect::get(error, &"code".into()).unwrap().as_string()
}

#[wasm_bindgen_test]
async fn all_events_of_a_resource_are_reported_and_errors_have_codes() {
    install();
    let (observer, told) = noting();
    let options = object(&json!({ "urls": ["/raw"], "spread": 0, "greet": false }));
    let client = within("the start", RawClient::connect(options, observer)).await.unwrap();
    let mut gateway = Gateway::accept("raw").await;
    let got = JsFuture::from(client.get("a.model".to_owned()));
    let answered = async {
        let request = gateway.expect("subscribe.a.model").await;
        // No integer that a float cannot hold loses anything but its last digits.
        let model = json!({ "x": 1, "y": { "data": [2] }, "z": 12_345_678_901_234_567_890_u64 });
        gateway.answer(&request, &json!({ "models": { "a.model": model } }));
    };
    future::join(got, answered).await.0.unwrap();
    let request = json!({ "auth": false, "rid": "a.model", "method": "ring", "params": [3, { "four": null }] });
    let called = JsFuture::from(client.call(object::<CallRequest>(&request)));
    let refused = async {
        let request = gateway.expect("call.a.model.ring").await;
        assert_eq!(request.params, json!([3, { "four": null }]));
        gateway.refuse(&request, "a.noBell");
    };
    let (error, ()) = future::join(called, refused).await;
    assert_eq!(code(&error.unwrap_err()).as_deref(), Some("a.noBell"));
    gateway.send_event("a.model.change", &json!({ "values": { "x": "one", "y": { "action": "delete" } } }));
    let values = json!({ "x": "one", "y": { "action": "delete" } });
    is_told(&told, &json!({ "type": "change", "rid": "a.model", "values": values })).await;
    let told = told.borrow();
    let model = told.iter().find(|told| told["type"] == "model").expect("the model");
    assert_eq!(model["values"]["y"], json!({ "data": [2] }));
    assert_eq!(model["values"]["z"].as_f64(), Some(12_345_678_901_234_567_890_f64));
    assert!(told.contains(&json!({ "type": "connection", "state": "connected" })), "{told:?}");
}

/// What a collection holds is the same, whether it crosses in one piece or item by item.
#[wasm_bindgen_test]
async fn collections_cross_whole() {
    install();
    let (observer, told) = noting();
    let options = object(&json!({ "urls": ["/collections"], "spread": 0, "greet": false }));
    let client = within("the start", RawClient::connect(options, observer)).await.unwrap();
    let mut gateway = Gateway::accept("collections").await;
    let contents = [
        json!([]),
        json!([""]),
        json!(["", ""]),
        json!(["a", "\u{e4}\u{1f4d6}"]),
        json!(["a\0b", "c"]),
        json!(["a", 1]),
    ];
    for (number, items) in contents.into_iter().enumerate() {
        let rid = format!("a.list{number}");
        let got = JsFuture::from(client.get(rid.clone()));
        let answered = async {
            let request = gateway.expect(&format!("subscribe.{rid}")).await;
            gateway.answer(&request, &json!({ "collections": { &rid: items } }));
        };
        future::join(got, answered).await.0.unwrap();
        is_told(&told, &json!({ "type": "collection", "rid": rid, "items": items })).await;
    }
}

/// The names of what crosses are those of [`ClientEvent`]'s TypeScript, which the package is
/// compiled with.
#[wasm_bindgen_test]
fn events_have_a_typescript_of_their_own() {
    assert!(ClientEvent::DECL.contains(r#"{ type: "remove"; rid: string; index: number }"#), "{}", ClientEvent::DECL);
}

#[wasm_bindgen_test]
async fn an_unusable_address_or_name_is_refused_and_leaves_nothing() {
    let before = alive();
    let options = object(&json!({ "urls": ["http://"], "spread": 0, "greet": false }));
    let error = RawClient::connect(options, noting().0).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("client.invalid"));
    let error =
        RawClient::connect(object(&json!({ "urls": 7, "spread": 0, "greet": false })), noting().0).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("client.invalid"));
    let error = RawSession::start(object(&json!({ "name": "not a name" })), noting().0).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("client.invalid"));
    assert_eq!(alive(), before);
}

/// TypeScript has the names by which reasons cross.
#[wasm_bindgen_test]
fn end_reasons_have_the_names_of_rust_in_typescript() {
    let reasons = [
        EndReason::LoggedOut,
        EndReason::LoggedOutElsewhere,
        EndReason::Expired,
        EndReason::Stolen,
        EndReason::Refused,
    ];
    let names: Vec<String> = reasons.iter().map(|reason| format!("\"{}\"", reason.name())).collect();
    let declared = bindings::EndReason::DECL;
    assert!(declared.ends_with(&format!("{};", names.join(" | "))), "{declared}");
}

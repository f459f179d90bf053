//! What the JavaScript package stands on, used as it uses it: with functions and texts.

use std::{cell::RefCell, rc::Rc};

use futures_util::future;
use gloo_timers::future::TimeoutFuture;
use js_sys::{Array, Function, Reflect};
use relogin_web::bindings::{RawClient, RawKeeper, alive};
use serde_json::{Value as Json, json};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{Gateway, install, within};

/// A function that notes what it is told.
fn noting() -> (Function, Rc<RefCell<Vec<Json>>>) {
    let told = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&told);
    let note = Closure::<dyn FnMut(Array)>::new(move |arguments: Array| {
        let text = js_sys::JSON::stringify(&arguments).unwrap();
        notes.borrow_mut().push(serde_json::from_str(&String::from(text)).unwrap());
    });
    // All that it is called with, as one array.
    let spread = Function::new_with_args("note", "return (...told) => note(told)");
    let function = spread.call1(&JsValue::UNDEFINED, &note.into_js_value()).unwrap();
    (function.unchecked_into(), told)
}

/// Waits until this is told.
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
async fn all_that_happens_to_a_resource_is_told_and_errors_have_codes() {
    install();
    let (tell, told) = noting();
    let client = within("the start", RawClient::connect("/raw".to_owned(), false, tell)).await.unwrap();
    let mut gateway = Gateway::accept("raw").await;
    let got = JsFuture::from(client.get("a.model".to_owned()));
    let answered = async {
        let request = gateway.expect("subscribe.a.model").await;
        gateway.answer(&request, &json!({ "models": { "a.model": { "x": 1, "y": { "data": [2] } } } }));
    };
    future::join(got, answered).await.0.unwrap();
    let called = JsFuture::from(client.call(false, "a.model".to_owned(), "ring".to_owned(), Some("[3]".to_owned())));
    let refused = async {
        let request = gateway.expect("call.a.model.ring").await;
        assert_eq!(request.params, json!([3]));
        gateway.refuse(&request, "a.noBell");
    };
    let (error, ()) = future::join(called, refused).await;
    assert_eq!(code(&error.unwrap_err()).as_deref(), Some("a.noBell"));
    let told = told.borrow();
    let model = told.iter().find(|told| told[0] == "model").expect("the model");
    let values: Json = serde_json::from_str(model[2].as_str().unwrap()).unwrap();
    assert_eq!(values, json!({ "x": 1, "y": { "data": [2] } }));
    assert!(told.contains(&json!(["named", model[1], "a.model"])), "{told:?}");
    assert!(told.contains(&json!(["connection", 0, "connected"])), "{told:?}");
}

/// A resource is spoken of by a number; when it is forgotten, the number is free for another one.
#[wasm_bindgen_test]
async fn a_number_is_a_resources_as_long_as_it_is_kept() {
    install();
    let (tell, told) = noting();
    let client = within("the start", RawClient::connect("/numbers".to_owned(), false, tell)).await.unwrap();
    let mut gateway = Gateway::accept("numbers").await;
    let mut numbers = Vec::new();
    for name in ["a.one", "a.two"] {
        let got = JsFuture::from(client.get(name.to_owned()));
        let answered = async {
            let request = gateway.expect(&format!("subscribe.{name}")).await;
            gateway.answer(&request, &json!({ "models": { name: { "x": 1 } } }));
        };
        future::join(got, answered).await.0.unwrap();
        gateway.tell(&format!("{name}.change"), &json!({ "values": { "x": name } }));
        let number = told.borrow().iter().rfind(|told| told[0] == "named").unwrap()[1].clone();
        assert!(told.borrow().contains(&json!(["named", number, name])));
        is_told(&told, &json!(["value", number, "x", name])).await;
        numbers.push(number.clone());
        if name == "a.one" {
            // It stays for a while, and is asked for by nobody.
            let given_back = gateway.expect("unsubscribe.a.one").await;
            gateway.answer(&given_back, &json!(null));
            is_told(&told, &json!(["forgotten", number])).await;
        }
    }
    assert_eq!(numbers[0], numbers[1]);
}

#[wasm_bindgen_test]
async fn what_is_no_address_and_no_name_is_refused_and_leaves_nothing() {
    let before = alive();
    let error = RawClient::connect("http://".to_owned(), false, noting().0).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("client.invalid"));
    let error = RawKeeper::start("not a name".to_owned(), noting().0).await.unwrap_err();
    assert_eq!(code(&error).as_deref(), Some("client.invalid"));
    assert_eq!(alive(), before);
}

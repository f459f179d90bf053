//! The JavaScript face, used as JavaScript uses it: with plain objects and functions.

use futures_channel::mpsc;
use futures_util::{StreamExt, future};
use js_sys::Reflect;
use relogin_web::bindings::connect;
use serde_json::{Value as Json, json};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::support::{Gateway, install, jane, within};

fn object(members: &[(&str, &str)]) -> JsValue {
    let object = js_sys::Object::new();
    for (name, value) in members {
        Reflect::set(&object, &(*name).into(), &(*value).into()).unwrap();
    }
    object.into()
}

fn plain(value: &JsValue) -> Json {
    let text = js_sys::JSON::stringify(value).unwrap();
    serde_json::from_str(&String::from(text)).unwrap()
}

#[wasm_bindgen_test]
async fn logging_in_and_out_is_told_in_plain_objects() {
    install();
    let options = object(&[("name", "face"), ("gateway", "/elsewhere")]);
    let relogin = within("the start", connect(Some(options.unchecked_into()))).await.unwrap();
    assert_eq!(plain(&relogin.state()), json!({ "session": "anonymous", "connection": "connecting" }));
    let (tell, mut told) = mpsc::unbounded();
    let listener =
        Closure::<dyn FnMut(JsValue)>::new(move |state: JsValue| tell.unbounded_send(plain(&state)).unwrap());
    relogin.on_change(JsValue::clone(listener.as_ref()).unchecked_into());

    let mut gateway = Gateway::accept("face").await;
    let wrong = JsFuture::from(relogin.login("jane".to_owned(), "guess".to_owned()));
    let refused = async {
        let request = gateway.expect("auth.face.login").await;
        gateway.refuse(&request, "session.wrongUsernamePassword");
    };
    let (error, ()) = future::join(wrong, refused).await;
    let code = Reflect::get(&error.unwrap_err(), &"code".into()).unwrap();
    assert_eq!(code.as_string().as_deref(), Some("session.wrongUsernamePassword"));

    let login = JsFuture::from(relogin.login("jane".to_owned(), "secret".to_owned()));
    let answered = async {
        let request = gateway.expect("auth.face.login").await;
        gateway.set_user(jane());
        gateway.answer_key(&request, 1, 60_000);
    };
    future::join(login, answered).await.0.unwrap();
    let logged_in = json!({ "session": "loggedIn", "user": jane(), "connection": "connected" });
    within("the state", async { while told.next().await.unwrap() != logged_in {} }).await;

    let logout = JsFuture::from(relogin.logout());
    let answered = async {
        let request = gateway.expect("auth.face.logout").await;
        gateway.answer(&request, &json!({ "payload": null }));
    };
    future::join(logout, answered).await.0.unwrap();
    assert_eq!(plain(&relogin.state()), json!({ "session": "loggedOut", "connection": "connected" }));
}

#[wasm_bindgen_test]
async fn options_that_are_none_are_refused() {
    assert!(connect(Some(JsValue::from_str("no object").unchecked_into())).await.is_err());
    assert!(connect(Some(object(&[("name", "not a name")]).unchecked_into())).await.is_err());
    assert!(connect(Some(object(&[("gateway", "http://")]).unchecked_into())).await.is_err());
}

//! Sessions whose keys travel in a cookie, request by request.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Rig, code, credentials};
use crate::{
    auth::{AuthOptions, ThrottleKind},
    origins::{AllowOrigin, Origins},
};

const BROWSER: &str = "relogin-session=AAAAAAAAAAAAAAAAAAAAAA";
const ANOTHER: &str = "relogin-session=BBBBBBBBBBBBBBBBBBBBBA";
const PAGE: &str = "http://localhost:8080";

async fn rig() -> Rig {
    let allow = AllowOrigin::List(vec!["https://app.example".to_owned()]);
    let origins = Arc::new(Origins::new(Vec::new(), allow, None, false));
    Rig::with(AuthOptions { cookie_session: true, throttle: ThrottleKind::Off, origins, ..AuthOptions::default() })
        .await
}

/// What a browser sends: its cookies, the page it is on, and what it wants to become or show.
fn payload(cid: &str, uri: &str, cookies: &[&str], page: &str, more: (&str, &str), params: &Json) -> String {
    let mut header = json!({ "Cookie": [cookies.join("; ")], "Origin": [page] });
    header[more.0] = json!([more.1]);
    json!({"cid": cid, "token": null, "params": params, "header": header, "host": "localhost:8080", "uri": uri, "isHttp": uri != "/"})
        .to_string()
}

/// A login on a WebSocket; its result.
async fn log_in(rig: &Rig, cid: &str) -> Json {
    let request = payload(cid, "/", &[BROWSER], PAGE, ("X", ""), &credentials());
    rig.ask("auth.session.login", request).await["result"].clone()
}

async fn post(rig: &Rig, what: &str, cookies: &[&str], page: &str, more: (&str, &str)) -> Json {
    let uri = format!("/api/session/{what}");
    rig.ask("auth.session.connect", payload("http", &uri, cookies, page, more, &json!(null))).await
}

async fn upgrade(rig: &Rig, cid: &str, cookies: &[&str], page: &str) -> Json {
    let request = payload(cid, "/ws", cookies, page, ("Upgrade", "websocket"), &json!(null));
    rig.ask("auth.session.connect", request).await
}

/// The key's cookie that an answer sets, as a browser sends it back.
fn key_of(answer: &Json) -> Option<String> {
    let set = answer["meta"]["header"]["Set-Cookie"].as_array()?;
    let cookie = set.iter().filter_map(Json::as_str).find(|cookie| cookie.starts_with("relogin-key-session="))?;
    assert!(cookie.contains("; Path=/; Max-Age=") && cookie.ends_with("; HttpOnly; SameSite=Strict"), "{cookie}");
    Some(cookie.split(';').next().unwrap().to_owned())
}

/// A login and the exchange of its code: the first cookie.
async fn first_key(rig: &Rig, cid: &str) -> String {
    let result = log_in(rig, cid).await;
    let code = result["reloginKey"].as_str().unwrap();
    key_of(&post(rig, "refresh", &[BROWSER], PAGE, ("X-Relogin", code)).await).unwrap()
}

async fn user(rig: &Rig, cid: &str) -> Json {
    rig.ask(&format!("get.session.user.{cid}"), "").await["result"]["model"]["id"].clone()
}

#[tokio::test]
async fn a_login_shows_script_no_key_but_a_code_for_its_cookie() {
    let rig = rig().await;
    let result = log_in(&rig, "c1").await;
    assert_eq!(result["bound"], true);
    let hers = result["reloginKey"].as_str().unwrap();
    assert!(hers.ends_with("aW5jb29raWU"), "{hers}");
    for (cookies, shown) in [
        (&[][..], hers),
        (&[ANOTHER], hers),
        (&[BROWSER], "c2.x"),
        (&[BROWSER], &hers[..hers.len() - 1]),
        (&[BROWSER], ""),
    ] {
        let refused = post(&rig, "refresh", cookies, PAGE, ("X-Relogin", shown)).await;
        assert_eq!((code(&refused), &refused["meta"]["status"]), ("session.invalidReloginKey", &json!(401)), "{shown}");
    }
    // As a key it opens nothing, wherever it is used.
    let used = payload("c2", "/", &[BROWSER], PAGE, ("X", ""), &json!({ "reloginKey": hers }));
    assert_eq!(code(&rig.ask("auth.session.relogin", used).await), "session.invalidReloginKey");
    // Lost on its way back, it is shown once more.
    let answer = post(&rig, "refresh", &[BROWSER], PAGE, ("X-Relogin", hers)).await;
    assert_eq!(answer["meta"]["header"]["Cache-Control"], json!(["no-store"]));
    let again = post(&rig, "refresh", &[BROWSER], PAGE, ("X-Relogin", hers)).await;
    assert!(key_of(&answer).is_some());
    assert_eq!(key_of(&answer), key_of(&again));
}

/// What a page asks on its connection: what is this, and when is it to be refreshed?
async fn held(rig: &Rig, cid: &str, cookies: &[&str], shown: &Json) -> Json {
    let used = payload(cid, "/", cookies, PAGE, ("X", ""), &json!({ "reloginKey": shown }));
    rig.ask("auth.session.relogin", used).await
}

#[tokio::test]
async fn a_connection_learns_what_it_holds_and_rejoins_its_session() {
    let rig = rig().await;
    let shown = log_in(&rig, "c1").await["reloginKey"].clone();
    let key = key_of(&post(&rig, "refresh", &[BROWSER], PAGE, ("X-Relogin", shown.as_str().unwrap())).await).unwrap();
    // The connection of the login had no key when it opened.
    assert_eq!(held(&rig, "c1", &[BROWSER], &shown).await["result"]["generation"], 1);
    upgrade(&rig, "c2", &[BROWSER, &key], PAGE).await;
    let told = held(&rig, "c2", &[BROWSER, &key], &shown).await["result"].clone();
    assert!(told["reloginKey"].as_str().unwrap().ends_with("aW5jb29raWU"), "{told}");
    assert_eq!(told["refreshIn"], 30_000);
    // One that the session has let go of, as it does of those that do not answer.
    assert_eq!(held(&rig, "c3", &[BROWSER, &key], &shown).await["result"]["generation"], told["generation"]);
    assert_eq!(user(&rig, "c3").await, json!(3));
    assert_eq!(code(&held(&rig, "c4", &[BROWSER], &shown).await), "session.invalidReloginKey");
    assert_eq!(code(&held(&rig, "c4", &[&key], &shown).await), "session.invalidReloginKey");
}

#[tokio::test]
async fn a_login_without_the_browsers_cookie_is_refused() {
    let rig = rig().await;
    let refused = rig.ask("auth.session.login", payload("c1", "/", &[], PAGE, ("X", ""), &credentials())).await;
    assert_eq!(code(&refused), "session.cookieRequired");
}

#[tokio::test]
async fn an_upgrade_resumes_the_session() {
    let rig = rig().await;
    let key = first_key(&rig, "c1").await;
    let answer = upgrade(&rig, "c2", &[BROWSER, &key], PAGE).await;
    assert!(key_of(&answer).is_some());
    assert_eq!((user(&rig, "c2").await, user(&rig, "c1").await), (json!(3), json!(3)));
    // Two tabs at once, and one whose response was lost.
    for cid in ["c3", "c4", "c5"] {
        upgrade(&rig, cid, &[BROWSER, &key], PAGE).await;
        assert_eq!(user(&rig, cid).await, json!(3));
    }
}

#[tokio::test]
async fn a_stolen_key_opens_nothing_without_the_browsers_other_cookie() {
    let rig = rig().await;
    let key = first_key(&rig, "c1").await;
    for cookies in [&[key.as_str()][..], &[&key, ANOTHER]] {
        assert_eq!(key_of(&upgrade(&rig, "thief", cookies, PAGE).await), None);
        assert_eq!(user(&rig, "thief").await, json!(null));
        assert_eq!(code(&post(&rig, "refresh", cookies, PAGE, ("X", "")).await), "session.invalidReloginKey");
        post(&rig, "logout", cookies, PAGE, ("X", "")).await;
    }
    assert_eq!(user(&rig, "c1").await, json!(3), "the owner stays in");
    // Nor does script get the next one for it.
    let text = key.split_once('=').unwrap().1;
    let used = payload("c2", "/", &[BROWSER], PAGE, ("X", ""), &json!({ "reloginKey": text }));
    assert_eq!(code(&rig.ask("auth.session.relogin", used).await), "session.invalidReloginKey");
    assert!(key_of(&post(&rig, "refresh", &[BROWSER, &key], PAGE, ("X", "")).await).is_some());
}

#[tokio::test]
async fn pages_of_other_origins_do_nothing_with_the_cookie() {
    let rig = rig().await;
    let key = first_key(&rig, "c1").await;
    for page in ["https://evil.example", "null", "", "http://localhost.evil.example:8080"] {
        for what in ["refresh", "logout"] {
            let refused = post(&rig, what, &[BROWSER, &key], page, ("X", "")).await;
            assert_eq!(refused["meta"], json!({ "status": 403 }), "{page}");
        }
        assert_eq!(key_of(&upgrade(&rig, "c2", &[BROWSER, &key], page).await), None);
        assert_eq!(user(&rig, "c2").await, json!(null), "{page}");
    }
    assert_eq!(user(&rig, "c1").await, json!(3));
}

#[tokio::test]
async fn a_logout_ends_the_session_and_takes_the_cookie_away() {
    let rig = rig().await;
    let key = first_key(&rig, "c1").await;
    let answer = post(&rig, "logout", &[BROWSER, &key], PAGE, ("X", "")).await;
    assert_eq!(key_of(&answer).as_deref(), Some("relogin-key-session="));
    assert_eq!(user(&rig, "c1").await, json!(null));
    upgrade(&rig, "c2", &[BROWSER, &key], PAGE).await;
    assert_eq!(user(&rig, "c2").await, json!(null));
    // Without a cookie, or with nonsense in it, there is still one to take away.
    for cookies in [&[BROWSER][..], &[BROWSER, "relogin-key-session=constructor"]] {
        let answer = post(&rig, "logout", cookies, PAGE, ("X", "")).await;
        assert_eq!(key_of(&answer).as_deref(), Some("relogin-key-session="));
        assert_eq!(code(&post(&rig, "refresh", cookies, PAGE, ("X", "")).await), "session.invalidReloginKey");
    }
}

#[tokio::test]
async fn what_gateways_ask_behind_the_header_authentication_is_granted() {
    let rig = rig().await;
    let access = rig.ask("access.session", json!({"cid": "http", "token": null, "isHttp": true}).to_string()).await;
    assert_eq!(access["result"]["call"], "refresh,logout,registerDevice,proveDevice");
    for method in ["refresh", "logout"] {
        let answer = rig.ask(&format!("call.session.{method}"), r#"{"cid":"http","token":null,"isHttp":true}"#).await;
        assert_eq!(answer, json!({"result": null}));
    }
    let other =
        rig.ask("auth.session.connect", payload("http", "/api/a/b", &[BROWSER], PAGE, ("X", ""), &json!(null))).await;
    assert_eq!(other, json!({"result": null}), "requests for anything else");
    // A service whose keys script has grants nothing of it.
    let plain = Rig::new().await;
    assert_eq!(code(&plain.ask("access.session", r#"{"cid":"http"}"#).await), "system.notFound");
    assert_eq!(code(&plain.ask("call.session.refresh", r#"{"cid":"http"}"#).await), "system.methodNotFound");
    let nothing = plain.ask(
        "auth.session.connect",
        payload("http", "/api/session/refresh", &[BROWSER], PAGE, ("X", ""), &json!(null)),
    );
    assert_eq!(nothing.await, json!({"result": null}));
}

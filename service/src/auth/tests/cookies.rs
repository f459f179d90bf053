//! Sessions that are bound to the browser's cookie, request by request.

use relogin_bus::Bus;
use serde_json::{Value as Json, json};

use super::{AUDIT, Rig, code, credentials};
use crate::auth::{AuthOptions, CookieKind, ThrottleKind};

const HERS: &str = "relogin-session=AAAAAAAAAAAAAAAAAAAAAA";
const ANOTHER: &str = "relogin-session=BBBBBBBBBBBBBBBBBBBBBA";

async fn rig(cookie: CookieKind) -> Rig {
    Rig::with(AuthOptions { cookie, throttle: ThrottleKind::Off, ..AuthOptions::default() }).await
}

/// A request of a browser that brings these lines of cookies.
fn request(cid: &str, params: &Json, cookies: &[&str]) -> String {
    let header = if cookies.is_empty() { json!({}) } else { json!({ "Cookie": cookies }) };
    json!({"cid": cid, "token": null, "params": params, "header": header, "host": "localhost:8080", "uri": "/"})
        .to_string()
}

async fn log_in(rig: &Rig, cid: &str, cookies: &[&str]) -> Json {
    rig.ask("auth.session.login", request(cid, &credentials(), cookies)).await
}

async fn relogin(rig: &Rig, cid: &str, key: &Json, cookies: &[&str]) -> Json {
    rig.ask("auth.session.relogin", request(cid, &json!({ "reloginKey": key }), cookies)).await
}

async fn connect(rig: &Rig, host: &str, cookies: &[&str], is_http: bool) -> Json {
    let header = json!({ "Cookie": cookies, "Upgrade": ["websocket"] });
    let payload = json!({"cid": "c9", "token": null, "header": header, "host": host, "uri": "/", "isHttp": is_http});
    rig.ask("auth.session.connect", payload.to_string()).await
}

#[tokio::test]
async fn a_key_without_its_cookie_opens_nothing_and_the_owner_stays_in() {
    for kind in [CookieKind::Use, CookieKind::Require] {
        let rig = rig(kind).await;
        let mut trail = rig.bus.subscribe(&[AUDIT.to_owned()]).await.unwrap();
        let first = log_in(&rig, "owner", &[HERS]).await["result"]["reloginKey"].clone();
        for cookies in [&[][..], &[ANOTHER], &["relogin-session=x"], &[HERS, ANOTHER]] {
            let refused = relogin(&rig, "thief", &first, cookies).await;
            assert_eq!(
                refused["error"],
                json!({"code": "session.invalidReloginKey", "message": "Invalid relogin key"})
            );
        }
        let second = relogin(&rig, "owner", &first, &["a=b", HERS]).await["result"]["reloginKey"].clone();
        assert!(second.is_string());
        // Nor does a used key end anything without it.
        assert_eq!(code(&relogin(&rig, "thief", &first, &[]).await), "session.invalidReloginKey");
        assert_eq!(relogin(&rig, "owner", &second, &[HERS]).await["result"]["generation"], 3);
        let mut words = Vec::new();
        while words.last().is_none_or(|(_, word)| word != "rotated") || words.len() < 8 {
            let line: Json = serde_json::from_slice(&trail.next().await.unwrap().payload).unwrap();
            words.push((line["connection"].clone(), line["event"].as_str().unwrap().to_owned()));
        }
        let expected = [
            "logged_in",
            "cookie_mismatch",
            "cookie_mismatch",
            "cookie_mismatch",
            "cookie_mismatch",
            "rotated",
            "cookie_mismatch",
            "rotated",
        ];
        assert_eq!(words.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn with_the_cookie_a_used_key_is_theft_as_ever() {
    let rig = rig(CookieKind::Use).await;
    let first = log_in(&rig, "owner", &[HERS]).await["result"]["reloginKey"].clone();
    relogin(&rig, "thief", &first, &[HERS]).await;
    assert_eq!(code(&relogin(&rig, "owner", &first, &[HERS]).await), "session.invalidReloginKey");
    assert_eq!(rig.ask("get.session.user.thief", "").await["result"]["model"]["id"], json!(null));
}

#[tokio::test]
async fn a_login_without_the_cookie_is_refused_or_unbound_as_configured() {
    for (kind, is_let_in) in [(CookieKind::Require, false), (CookieKind::Use, true), (CookieKind::Off, true)] {
        let rig = rig(kind).await;
        for cookies in
            [&[][..], &["relogin-session=\"x\""], &[HERS, ANOTHER], &["__Host-relogin-session=AAAAAAAAAAAAAAAAAAAAAA"]]
        {
            let answer = log_in(&rig, "c1", cookies).await;
            if is_let_in {
                // It is bound to no cookie: its key works anywhere.
                let moved = relogin(&rig, "c2", &answer["result"]["reloginKey"], &[ANOTHER]).await;
                assert_eq!(moved["result"]["generation"], 2, "{kind:?}");
                rig.ask("auth.session.logout", request("c2", &json!(null), &[])).await;
            } else {
                assert_eq!(answer["error"], json!({"code": "session.cookieRequired", "message": "Cookie required"}));
            }
        }
    }
}

#[tokio::test]
async fn cookies_are_not_looked_at_where_they_are_off() {
    let rig = rig(CookieKind::Off).await;
    let key = log_in(&rig, "c1", &[HERS]).await["result"]["reloginKey"].clone();
    assert_eq!(relogin(&rig, "c2", &key, &[ANOTHER]).await["result"]["generation"], 2);
    assert_eq!(connect(&rig, "localhost", &[], true).await, json!({"result": null}));
}

#[tokio::test]
async fn a_browser_gets_its_cookie_when_it_connects_and_keeps_it() {
    let rig = rig(CookieKind::Use).await;
    let set = |answer: &Json| answer["meta"]["header"]["Set-Cookie"][0].as_str().unwrap_or_default().to_owned();
    let fresh = set(&connect(&rig, "example.org", &[], true).await);
    assert!(
        fresh.starts_with("__Host-relogin-session=") && fresh.ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{fresh}"
    );
    let kept = set(&connect(&rig, "localhost", &[HERS], true).await);
    assert!(kept.starts_with(&format!("{HERS}; Path=/; Max-Age=")), "{kept}");
    // Two that differ: neither is anybody's.
    let renewed = set(&connect(&rig, "localhost", &[HERS, ANOTHER], true).await);
    assert!(!renewed.starts_with(HERS) && !renewed.starts_with(ANOTHER), "{renewed}");
    assert_eq!(connect(&rig, "localhost", &[], false).await, json!({"result": null}), "on a socket that is open");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_harms_nobody() {
    let rig = rig(CookieKind::Use).await;
    let large = format!("{HERS}; x={}", "x".repeat(70_000));
    assert_eq!(code(&connect(&rig, "localhost", &[&large], true).await), "system.invalidParams");
    assert_eq!(code(&log_in(&rig, "c1", &[&large]).await), "system.invalidParams");
    // As large as it may be, it is read.
    let many = format!("x={}; {HERS}", "x".repeat(60_000));
    let key = log_in(&rig, "c1", &[&many]).await["result"]["reloginKey"].clone();
    assert_eq!(code(&relogin(&rig, "c2", &key, &[]).await), "session.invalidReloginKey");
    assert_eq!(relogin(&rig, "c2", &key, &[HERS]).await["result"]["generation"], 2);
}

/// Nor does it say whose it is.
#[tokio::test]
async fn a_cookie_without_a_key_opens_nothing() {
    let rig = rig(CookieKind::Require).await;
    log_in(&rig, "owner", &[HERS]).await;
    for key in [json!(null), json!(""), json!("AAAAAAAAAAAAAAAAAAAAAA")] {
        let refused = relogin(&rig, "thief", &key, &[HERS]).await;
        assert!(["system.invalidParams", "session.invalidReloginKey"].contains(&code(&refused)), "{refused}");
    }
    connect(&rig, "localhost:8080", &[HERS], true).await;
    for cid in ["thief", "c9"] {
        let user = rig.ask(&format!("get.session.user.{cid}"), "{}").await;
        assert_eq!(user["result"]["model"]["id"], Json::Null);
    }
}

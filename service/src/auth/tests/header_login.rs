//! Logins by tokens of issuers, as a call and on the upgrade.

use relogin_session::Timestamp;

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    issuers::{
        self,
        tests::{folder, partner_token, sso_token},
    },
};

async fn rig(more: &str) -> (Rig, tempfile::TempDir) {
    let folder = folder(more);
    let issuers = issuers::load(&folder.path().join("issuers.toml")).unwrap();
    let allow = crate::origins::AllowOrigin::List(vec!["https://chat.example".to_owned()]);
    let origins = Arc::new(Origins::new(Vec::new(), allow, None, false));
    let options = AuthOptions { issuers: Some(Arc::new(issuers)), origins, ..AuthOptions::default() };
    (Rig::with(options).await, folder)
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn with_cookie(cid: &str, token: &str, origin: &str) -> Json {
    json!({
        "cid": cid, "token": null, "host": "gate.example", "remoteAddr": "203.0.113.7:5",
        "header": { "Cookie": [format!("sso_token={token}")], "Origin": [origin] },
    })
}

fn with_authorization(cid: &str, token: &str) -> Json {
    json!({ "cid": cid, "token": null, "header": { "Authorization": [format!("Bearer {token}")] } })
}

impl Rig {
    async fn header_login(&self, request: &Json) -> Json {
        self.ask("auth.session.headerLogin", request.to_string()).await
    }

    async fn user_of(&self, cid: &str) -> Json {
        self.ask(&format!("get.session.user.{cid}"), "{}").await["result"]["model"].clone()
    }
}

fn code(answer: &Json) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_token_of_an_issuer_makes_a_session_of_its_claims() {
    let (rig, _folder) = rig("").await;
    let answer = rig.header_login(&with_cookie("c1", &sso_token("jane@sso", now(), 60), "https://gate.example")).await;
    let key = &answer["result"]["reloginKey"];
    assert!(key.is_string(), "{answer}");
    assert_eq!(rig.user_of("c1").await, json!({ "id": "jane@sso", "name": "Jane Doe", "role": "user" }));
    // The user directory need not know who that is.
    let again = rig.auth("relogin", "c2", &json!({ "reloginKey": key, "attempt": "AAAAAAAAAAAAAAAAAAAAAA" })).await;
    assert_eq!(again["result"]["generation"], 2, "{again}");
    assert_eq!(rig.user_of("c2").await["id"], "jane@sso");
    let second = rig.header_login(&with_cookie("c1", &sso_token("joe", now(), 60), "https://gate.example")).await;
    assert_eq!(code(&second), "session.alreadyLoggedIn");
    let answer = rig.header_login(&with_authorization("c3", &partner_token("7", now(), 60))).await;
    assert!(answer["result"]["expiresIn"].as_u64().unwrap() <= 60_000, "no longer than its token: {answer}");
    assert_eq!(rig.user_of("c3").await["id"], "partner:7");
}

#[tokio::test]
async fn an_unusable_token_logs_nobody_in_and_is_in_the_audit_trail() {
    let (rig, _folder) = rig("").await;
    let good = sso_token("jane", now(), 60);
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    let here = "https://gate.example";
    let mut refused = 0;
    for request in [
        with_cookie("c1", &unsigned, here),
        with_cookie("c1", &sso_token("jane", Timestamp(0), 1), here),
        with_cookie("c1", "x", here),
        with_authorization("c1", &good),
        with_authorization("c1", &"x".repeat(10_000)),
    ] {
        let mut asked = rig.send("auth.session.headerLogin", request.to_string(), &[AUDIT]).await;
        let (mut answer, mut trail) = (String::new(), String::new());
        while answer.is_empty() || trail.is_empty() {
            let heard = asked.next().await;
            if heard.starts_with(AUDIT) { trail = heard } else { answer = heard }
        }
        assert!(answer.contains("session.invalidToken") && trail.contains("login_failed"), "{answer} {trail}");
        refused += 1;
    }
    assert_eq!(refused, 5);
    assert_eq!(rig.user_of("c1").await["id"], Json::Null);
    let nothing = json!({ "cid": "c1", "token": null });
    assert_eq!(code(&rig.header_login(&nothing).await), "session.invalidToken");
    for malformed in [json!({ "token": null }), json!([]), json!({ "cid": "c1", "params": 7 })] {
        assert_eq!(code(&rig.header_login(&malformed).await), "system.invalidParams", "{malformed}");
    }
}

/// A page of another origin is sent with its visitor's cookies: it must not act by them.
#[tokio::test]
async fn a_cookie_counts_only_for_pages_that_may_use_it() {
    let (rig, _folder) = rig("").await;
    let token = sso_token("jane", now(), 60);
    for origin in ["https://evil.example", "null", "https://gate.example.evil.example", ""] {
        let answer = rig.header_login(&with_cookie("c1", &token, origin)).await;
        assert_eq!(code(&answer), "session.invalidToken", "{origin}");
    }
    let answer = rig.header_login(&with_cookie("c1", &token, "https://chat.example")).await;
    assert!(answer["result"].is_object(), "{answer}");
}

#[tokio::test]
async fn forged_tokens_make_their_address_wait_and_expired_ones_do_not() {
    let (rig, _folder) = rig("").await;
    let here = "https://gate.example";
    let expired = with_cookie("c1", &sso_token("jane", Timestamp(0), 1), here);
    for _ in 0..30 {
        assert_eq!(code(&rig.header_login(&expired).await), "session.invalidToken");
    }
    let mut forged = 0;
    while code(&rig.header_login(&with_cookie("c1", "a.b.c", here)).await) == "session.invalidToken" {
        forged += 1;
    }
    assert_eq!(forged, 21);
    let good = rig.header_login(&with_cookie("c1", &sso_token("jane", now(), 60), here)).await;
    assert_eq!(code(&good), "session.tooManyAttempts");
    assert!(rig.log_in("c2").await["reloginKey"].is_string(), "passwords are counted apart");
}

#[tokio::test]
async fn on_the_upgrade_a_usable_token_logs_in_and_an_unusable_one_does_not_prevent_it() {
    let (rig, _folder) = rig("").await;
    let connect = async |cid: &str, token: &str, upgrade: Option<&str>| {
        let mut request = with_cookie(cid, token, "https://gate.example");
        request["isHttp"] = json!(true);
        if let Some(upgrade) = upgrade {
            request["header"]["Upgrade"] = json!([upgrade]);
        }
        let answer = rig.ask("auth.session.connect", request.to_string()).await;
        assert!(answer["error"].is_null() && answer["result"].is_null(), "{answer}");
        rig.user_of(cid).await["id"].clone()
    };
    let good = sso_token("jane", now(), 60);
    assert_eq!(connect("c1", &good, Some("websocket")).await, "jane");
    assert_eq!(connect("c2", &sso_token("jane", Timestamp(0), 1), Some("websocket")).await, Json::Null);
    assert_eq!(connect("c3", "x.y.z", Some("WebSocket")).await, Json::Null);
    assert_eq!(connect("c4", &good, None).await, Json::Null, "a request of HTTP would leave a session behind");
}

#[tokio::test]
async fn without_issuers_there_is_no_such_method() {
    let rig = Rig::new().await;
    let request = with_authorization("c1", &partner_token("7", now(), 60));
    assert_eq!(code(&rig.header_login(&request).await), "system.methodNotFound");
}

/// A user directory that has somebody of the same id has no say in it, but for a new password of
/// theirs.
#[tokio::test]
async fn a_session_by_claims_is_not_the_directorys() {
    let (rig, _folder) = rig("").await;
    let here = "https://gate.example";
    rig.header_login(&with_cookie("c1", &sso_token("nobody-here", now(), 60), here)).await;
    let change = UserChange { id: UserId::Text("nobody-here".to_owned()), is_password_new: false, keep: None };
    rig.sessions.apply_user_change(&change).await.unwrap();
    assert_eq!(rig.user_of("c1").await["id"], "nobody-here");
    rig.sessions.apply_user_change(&UserChange { is_password_new: true, ..change }).await.unwrap();
    assert_eq!(rig.user_of("c1").await["id"], Json::Null);
}

//! The methods and resources as gateways see them, over a bus in this process and with a directory
//! that can be held up.

mod asyncapi;
mod cookie_session;
mod cookies;
mod device;
mod header_login;
mod order;
mod overdue;
mod restored;
mod session_list;

use std::{future::pending, time::Duration};

use async_trait::async_trait;
use relogin_bus::{Deliveries, Delivery, Guard, Mailbox, Tag, local::LocalBus};
use relogin_session::{Keyring, Policy, ReloginKey, Rules, User, UserId};
use relogin_store::memory::MemoryStore;
use relogin_users::{Credentials, DirectoryError, PasswordCheck, UserChange};
use serde_json::{Value as Json, json};
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{
    audit::Audit,
    clock::{Clock, SystemClock},
    proof::tests::TestDevice,
};

/// Lets Jane in by her password, once the gate is open.
struct Doorman {
    gate: watch::Receiver<bool>,
    password: watch::Receiver<&'static str>,
}

#[async_trait]
impl UserDirectory for Doorman {
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordCheck, DirectoryError> {
        let username = credentials.username;
        assert_ne!(username, "panic");
        match username {
            "busy" => return Err(DirectoryError::Busy),
            "broken" => return Err(DirectoryError::Failed("out of order".into())),
            _ => {}
        }
        let is_hers = username == "jane" && credentials.password.expose() == *self.password.borrow();
        let mut gate = self.gate.clone();
        if !*gate.borrow_and_update() {
            queued();
            if gate.wait_for(|open| *open).await.is_err() {
                pending::<()>().await;
            }
        }
        Ok(if is_hers { PasswordCheck::Right(jane()) } else { PasswordCheck::Wrong(None) })
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        Ok((*id == UserId::Number(3)).then(jane))
    }
}

fn jane() -> User {
    User { id: UserId::Number(3), name: "Jane Doe".into(), role: "user".into() }
}

/// The subject of the audit trail.
const AUDIT: &str = "test.audit";

/// A service on a bus of its own.
struct Rig {
    bus: Arc<LocalBus>,
    gate: watch::Sender<bool>,
    password: watch::Sender<&'static str>,
    sessions: Arc<Sessions>,
    users: Arc<dyn UserDirectory>,
    at_once: usize,
    stats: AuthStats,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    async fn new() -> Self {
        Self::with(AuthOptions::default()).await
    }

    async fn with(options: AuthOptions) -> Self {
        Self::on(Arc::new(LocalBus::new()), options).await
    }

    async fn on(bus: Arc<LocalBus>, options: AuthOptions) -> Self {
        let policy = Policy { key_lifetime: 60_000, session_lifetime: 600_000, refresh: 30_000, revoke_within: None };
        Self::at(Arc::new(SystemClock), policy, bus, options).await
    }

    /// The same, with another clock and other lifetimes.
    async fn at(clock: Arc<dyn Clock>, policy: Policy, bus: Arc<LocalBus>, options: AuthOptions) -> Self {
        Self::over(Arc::new(MemoryStore::new()), clock, policy, bus, options).await
    }

    /// The same, with these sessions.
    async fn over(
        store: Arc<MemoryStore>,
        clock: Arc<dyn Clock>,
        policy: Policy,
        bus: Arc<LocalBus>,
        options: AuthOptions,
    ) -> Self {
        let (gate, is_open) = watch::channel(true);
        let (password, hers) = watch::channel("sesame");
        let users: Arc<dyn UserDirectory> = Arc::new(Doorman { gate: is_open, password: hers });
        let rules = Rules { policy, keyring: Keyring::new(vec![vec![7; 32]]).unwrap() };
        let at_once = users.at_once();
        let sessions = Sessions::new("session", rules, store, Arc::clone(&users), bus.clone());
        let (audit, trail) = Audit::new(None, Some((bus.clone(), AUDIT.to_owned())));
        tokio::spawn(trail.run(CancellationToken::new()));
        let sessions = Arc::new(sessions.with_audit(audit).with_clock(clock));
        let auth = Auth::new("session", bus.clone(), sessions.clone(), users.clone(), options).await.unwrap();
        let (stop, stats) = (CancellationToken::new(), auth.stats());
        let running = tokio::spawn(auth.run(stop.clone()));
        Self { bus, gate, password, sessions, users, at_once, stats, stop, running }
    }

    /// Sends a request; its answers, and all messages on `also`, arrive in one mailbox.
    async fn send(&self, subject: &str, payload: impl Into<bytes::Bytes>, also: &[&str]) -> Asked {
        let (mailbox, inbox) = Mailbox::new();
        let mut guards = Vec::new();
        for pattern in also {
            guards.push(self.bus.listen(pattern, &mailbox, Tag(1)).await.unwrap());
        }
        guards.push(self.bus.ask(subject, payload.into(), &mailbox, Tag(0)).await.unwrap());
        Asked { inbox, _guards: guards }
    }

    async fn ask(&self, subject: &str, payload: impl Into<bytes::Bytes>) -> Json {
        self.send(subject, payload, &[]).await.answer().await
    }

    async fn auth(&self, method: &str, cid: &str, params: &Json) -> Json {
        self.ask(&format!("auth.session.{method}"), request(cid, params)).await
    }

    async fn log_in(&self, cid: &str) -> Json {
        let answer = self.auth("login", cid, &credentials()).await;
        assert!(answer["result"]["reloginKey"].is_string(), "{answer}");
        answer["result"].clone()
    }
}

struct Asked {
    inbox: Deliveries,
    _guards: Vec<Guard>,
}

impl Asked {
    async fn next(&mut self) -> String {
        let delivery = timeout(Duration::from_secs(20), self.inbox.next()).await.expect("something comes in time");
        match delivery.unwrap() {
            Delivery::Reply { payload, .. } => String::from_utf8(payload.to_vec()).unwrap(),
            Delivery::Message { message, .. } => {
                format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload))
            }
            Delivery::NoResponders { .. } => "nobody".to_owned(),
            Delivery::Lost => panic!("the mailbox was full"),
        }
    }

    async fn answer(mut self) -> Json {
        serde_json::from_str(&self.next().await).unwrap()
    }
}

fn request(cid: &str, params: &Json) -> String {
    json!({"cid": cid, "token": null, "params": params, "header": {"User-Agent": ["test"]}, "host": "h", "uri": "/"})
        .to_string()
}

fn credentials() -> Json {
    json!({"username": "jane", "password": "sesame"})
}

fn code(answer: &Json) -> &str {
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer} is no error"))
}

#[tokio::test]
async fn a_login_sends_its_events_and_then_its_reply() {
    let rig = Rig::new().await;
    let mut asked = rig.send("auth.session.login", request("c1", &credentials()), &["conn.>", "event.>"]).await;
    let token = asked.next().await;
    let (subject, token) = token.split_once(' ').unwrap();
    let token: Json = serde_json::from_str(token).unwrap();
    let sid = &token["tid"];
    assert_eq!(subject, "conn.c1.token");
    assert_eq!(token, json!({"token": {"sid": sid, "userId": 3, "role": "user"}, "tid": sid}));
    assert_eq!(
        asked.next().await,
        r#"event.session.user.c1.change {"values":{"id":3,"name":"Jane Doe","role":"user"}}"#
    );
    let answer = asked.answer().await;
    let result = answer["result"].as_object().unwrap();
    assert_eq!(result.len(), 4, "{answer}");
    assert!(result["reloginKey"].is_string());
    assert_eq!(
        (&result["generation"], &result["expiresIn"], &result["refreshIn"]),
        (&json!(1), &json!(60_000), &json!(30_000))
    );
}

#[tokio::test]
async fn already_logged_in_is_answered_before_anything_else() {
    let rig = Rig::new().await;
    rig.log_in("c1").await;
    for params in [json!(null), json!({"username": 7}), json!({"username": "jane", "password": "wrong"}), credentials()]
    {
        let answer = rig.auth("login", "c1", &params).await;
        assert_eq!(answer, json!({"error": {"code": "session.alreadyLoggedIn", "message": "Already logged in"}}));
    }
    assert_eq!(code(&rig.auth("login", "c2", &json!(null)).await), "system.invalidParams");
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_look_the_same() {
    let rig = Rig::new().await;
    let expected = json!({"error": {"code": "session.wrongUsernamePassword", "message": "Wrong username or password"}});
    for (username, password) in [("jane", "wrong"), ("nobody", "sesame"), ("", ""), ("constructor", "__proto__")] {
        assert_eq!(rig.auth("login", "c1", &json!({"username": username, "password": password})).await, expected);
    }
    rig.log_in("c1").await;
}

#[tokio::test]
async fn a_login_repeated_with_its_attempt_gets_the_same_key() {
    let rig = Rig::new().await;
    let with_attempt = |attempt: &str| {
        let mut params = credentials();
        params["attempt"] = attempt.into();
        params
    };
    let first = rig.auth("login", "c1", &with_attempt("AAAAAAAAAAAAAAAAAAAAAA")).await;
    let again = rig.auth("login", "c1", &with_attempt("AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert!(first["result"]["reloginKey"].is_string(), "{first}");
    assert_eq!(first["result"]["reloginKey"], again["result"]["reloginKey"]);
    assert_eq!(
        code(&rig.auth("login", "c1", &with_attempt("BBBBBBBBBBBBBBBBBBBBBA")).await),
        "session.alreadyLoggedIn"
    );
}

#[tokio::test]
async fn of_two_logins_at_once_one_wins() {
    let rig = Rig::new().await;
    rig.gate.send_replace(false);
    let mut asked = Vec::new();
    for _ in 0..2 {
        let mut login = rig.send("auth.session.login", request("c1", &credentials()), &[]).await;
        assert_eq!(login.next().await, r#"timeout:"15000""#);
        asked.push(login);
    }
    rig.gate.send_replace(true);
    let mut outcomes = Vec::new();
    for login in asked {
        let answer = login.answer().await;
        outcomes.push(if answer["result"]["reloginKey"].is_string() {
            "in".to_owned()
        } else {
            code(&answer).to_owned()
        });
    }
    outcomes.sort();
    assert_eq!(outcomes, ["in", "session.alreadyLoggedIn"]);
    assert_eq!(rig.auth("logout", "c1", &json!(null)).await, json!({"result": null}));
    assert_eq!(
        rig.ask("get.session.user.c1", "").await["result"]["model"]["id"],
        json!(null),
        "no session is left over"
    );
}

#[tokio::test]
async fn a_key_opens_once_and_its_request_sent_twice_gets_the_same_successor() {
    let rig = Rig::new().await;
    let first = rig.log_in("c1").await["reloginKey"].clone();
    let second = rig.auth("relogin", "c1", &json!({"reloginKey": first})).await["result"].clone();
    assert_eq!(second["generation"], 2);
    // The guide's own service ends the session here.
    let again = rig.auth("relogin", "c1", &json!({"reloginKey": first})).await["result"].clone();
    assert_eq!(again["reloginKey"], second["reloginKey"]);
    // From elsewhere it is a thief's, or the thief was here before.
    let stolen = rig.auth("relogin", "c2", &json!({"reloginKey": first})).await;
    assert_eq!(stolen, json!({"error": {"code": "session.invalidReloginKey", "message": "Invalid relogin key"}}));
    let ended = rig.auth("relogin", "c1", &json!({"reloginKey": second["reloginKey"]})).await;
    assert_eq!(code(&ended), "session.invalidReloginKey");
}

#[tokio::test]
async fn malformed_keys_harm_nobody() {
    let rig = Rig::new().await;
    let key = rig.log_in("c1").await["reloginKey"].as_str().unwrap().to_owned();
    for bad in [
        "constructor",
        "__proto__",
        "toString",
        "",
        "\0",
        "ü",
        &key[..key.len() - 1],
        &format!("{key}A"),
        &"A".repeat(60_000),
    ] {
        assert_eq!(
            code(&rig.auth("relogin", "c2", &json!({"reloginKey": bad})).await),
            "session.invalidReloginKey",
            "{bad}"
        );
    }
    for params in [
        json!(null),
        json!({}),
        json!({"reloginKey": null}),
        json!({"reloginKey": 7}),
        json!({"reloginKey": [key]}),
        json!([key]),
    ] {
        assert_eq!(code(&rig.auth("relogin", "c2", &params).await), "system.invalidParams");
    }
    let bad_attempt = json!({"reloginKey": key, "attempt": "short"});
    assert_eq!(code(&rig.auth("relogin", "c2", &bad_attempt).await), "system.invalidParams");
    let unknown_members = json!({"reloginKey": key, "constructor": {"prototype": 1}});
    assert_eq!(rig.auth("relogin", "c1", &unknown_members).await["result"]["generation"], 2);
}

#[tokio::test]
async fn logout_clears_the_connection_even_without_a_session() {
    let rig = Rig::new().await;
    let key = rig.log_in("c1").await["reloginKey"].clone();
    for _ in 0..2 {
        let mut asked = rig.send("auth.session.logout", request("c1", &json!(null)), &["conn.>", "event.>"]).await;
        assert_eq!(
            asked.next().await,
            r#"event.session.user.c1.change {"values":{"id":null,"name":null,"role":null}}"#
        );
        assert_eq!(asked.next().await, r#"conn.c1.token {"token":null}"#);
        assert_eq!(asked.next().await, r#"{"result":null}"#);
    }
    assert_eq!(code(&rig.auth("relogin", "c1", &json!({"reloginKey": key})).await), "session.invalidReloginKey");
}

#[tokio::test]
async fn logout_finds_the_session_by_the_tokens_sid() {
    let rig = Rig::new().await;
    let mut asked = rig.send("auth.session.login", request("c1", &credentials()), &["conn.>"]).await;
    let token: Json = serde_json::from_str(asked.next().await.strip_prefix("conn.c1.token ").unwrap()).unwrap();
    // A connection that the store does not know of.
    let payload = json!({"cid": "c9", "token": token["token"]}).to_string();
    let mut asked = rig.send("auth.session.logout", payload, &["conn.>"]).await;
    let mut cleared = [asked.next().await, asked.next().await];
    cleared.sort();
    assert_eq!(cleared, [r#"conn.c1.token {"token":null}"#, r#"conn.c9.token {"token":null}"#]);
    // Tokens that others have made do not matter.
    for token in [json!("x"), json!({"sid": 7}), json!({"sid": "short", "userId": 1, "role": "r"}), json!([])] {
        let payload = json!({"cid": "c1", "token": token}).to_string();
        assert_eq!(rig.ask("auth.session.logout", payload).await, json!({"result": null}));
    }
}

#[test]
fn only_an_object_can_be_a_token_of_the_service() {
    let of = |json: Json| super::request::token_of(Some(&serde_json::value::to_raw_value(&json).unwrap()));
    let token = json!({"sid": "AAAAAAAAAAAAAAAAAAAAAA", "userId": 3, "role": "user"});
    let array = json!([token["sid"], token["userId"], token["role"]]);
    assert!(of(token).is_some());
    assert_eq!(of(array), None);
}

#[tokio::test]
async fn logout_ends_the_session_that_it_names() {
    let rig = Rig::new().await;
    let key = rig.log_in("c1").await["reloginKey"].as_str().unwrap().to_owned();
    let sid = ReloginKey::new(key).parse().unwrap().sid.to_string();
    let another = "AAAAAAAAAAAAAAAAAAAAAA";
    let logged_in = async || rig.ask("get.session.user.c1", "{}").await["result"]["model"]["id"].is_number();
    let not_logged_in = json!({"error": {"code": "session.notLoggedIn", "message": "Not logged in"}});
    assert_eq!(rig.auth("logout", "c1", &json!({"sid": another})).await, not_logged_in);
    for params in [json!({"sid": 7}), json!({"sid": "short"}), json!("x"), json!([sid])] {
        assert_eq!(code(&rig.auth("logout", "c1", &params).await), "system.invalidParams", "{params}");
    }
    assert!(logged_in().await);
    assert_eq!(rig.auth("logout", "c1", &json!({"sid": sid, "more": 1})).await, json!({"result": null}));
    assert!(!logged_in().await);
    rig.log_in("c1").await;
    assert_eq!(rig.auth("logout", "c1", &json!({"sid": sid})).await, not_logged_in);
    assert!(logged_in().await, "a logout that arrives late");
    // A legacy client sends none, or what means nothing.
    assert_eq!(rig.auth("logout", "c1", &json!({})).await, json!({"result": null}));
    assert!(!logged_in().await);
}

/// A login with such a device.
fn with_device(device: &Json) -> Json {
    let mut params = credentials();
    params["device"] = device.clone();
    params
}

#[tokio::test]
async fn a_device_registers_signs_and_refreshes() {
    for device in [TestDevice::ed25519(), TestDevice::p256()] {
        let rig = Rig::new().await;
        // As WebCrypto exports it, with members that say what it is for.
        let mut jwk = serde_json::to_value(device.public_key()).unwrap();
        (jwk["key_ops"], jwk["ext"]) = (json!(["verify"]), json!(true));
        let login = rig.auth("login", "c1", &with_device(&json!({"publicKey": jwk}))).await["result"].clone();
        assert_eq!((&login["bound"], &login["generation"]), (&json!(true), &json!(1)));
        let key = ReloginKey::new(login["reloginKey"].as_str().unwrap().to_owned());

        let challenge = rig.auth("challenge", "c2", &json!(null)).await["result"].clone();
        assert_eq!(challenge.as_object().unwrap().len(), 2, "{challenge}");
        assert_eq!(challenge["expiresIn"], 60_000);
        let proof = device.sign(challenge["challenge"].as_str().unwrap(), &key);
        let bare = json!({"reloginKey": key});
        assert_eq!(code(&rig.auth("relogin", "c2", &bare).await), "session.invalidReloginKey");
        let params = json!({"reloginKey": key, "proof": proof, "attempt": "AAAAAAAAAAAAAAAAAAAAAA"});
        let refused = rig.auth("relogin", "c3", &params).await;
        assert_eq!(refused, json!({"error": {"code": "session.invalidChallenge", "message": "Invalid challenge"}}));
        let relogin = rig.auth("relogin", "c2", &params).await["result"].clone();
        assert_eq!((&relogin["bound"], &relogin["generation"]), (&json!(true), &json!(2)));
        for proof in [json!("x"), json!({}), json!({"challenge": 1, "signature": ""}), json!([])] {
            let params = json!({"reloginKey": key, "proof": proof});
            assert_eq!(code(&rig.auth("relogin", "c2", &params).await), "system.invalidParams", "{proof}");
        }
    }
}

/// What makes a good key and what does not is tested with `proof`; here, that it counts, and comes
/// before the password.
#[tokio::test]
async fn a_bad_device_key_is_refused_before_the_password_is_looked_at() {
    let rig = Rig::new().await;
    let good = serde_json::to_value(TestDevice::p256().public_key()).unwrap();
    let changed = |member: &str, value: Json| {
        let mut jwk = good.clone();
        jwk[member] = value;
        json!({"publicKey": jwk})
    };
    rig.gate.send_replace(false);
    for device in [
        json!("x"),
        json!([]),
        json!({}),
        json!({"publicKey": null}),
        json!({"publicKey": "x"}),
        changed("kty", json!("OKP")),
        changed("crv", json!("P-384")),
        changed("x", json!(7)),
        changed("y", json!(null)),
        changed("y", good["x"].clone()),
        changed("x", json!("A".repeat(43))),
        changed("x", json!("A".repeat(50_000))),
        json!({"publicKey": {"kty": "OKP", "crv": "Ed25519", "x": format!("AQ{}", "A".repeat(41))}}),
    ] {
        assert_eq!(code(&rig.auth("login", "c1", &with_device(&device)).await), "system.invalidParams", "{device}");
    }
    rig.gate.send_replace(true);
    rig.log_in("c1").await;
    // A connection that is logged in gets that answer first.
    assert_eq!(code(&rig.auth("login", "c1", &with_device(&json!({}))).await), "session.alreadyLoggedIn");
    // No device is a bearer session.
    let bearer = rig.auth("login", "c2", &with_device(&json!(null))).await;
    assert_eq!(bearer["result"].get("bound"), None);
}

#[tokio::test]
async fn the_renewal_of_a_token_says_whether_its_session_is_gone() {
    let rig = Rig::new().await;
    let mut asked = rig.send("auth.session.login", request("c1", &credentials()), &["conn.>"]).await;
    let token: Json = serde_json::from_str(asked.next().await.strip_prefix("conn.c1.token ").unwrap()).unwrap();
    let renewal = |cid: &str| json!({"cid": cid, "token": token["token"]}).to_string();
    let mut asked = rig.send("auth.session.renew", renewal("c1"), &["conn.>", "event.>"]).await;
    assert_eq!(asked.next().await, r#"{"result":null}"#);
    let mut asked = rig.send("auth.session.renew", renewal("c2"), &["conn.>", "event.>"]).await;
    for expected in [
        r#"event.session.user.c2.change {"values":{"id":null,"name":null,"role":null}}"#,
        r#"conn.c2.token {"token":null}"#,
        r#"{"result":null}"#,
    ] {
        assert_eq!(asked.next().await, expected);
    }
    // Without a token, or with one of another service.
    for token in [json!(null), json!("x"), json!({"sub": 1})] {
        let payload = json!({"cid": "c2", "token": token}).to_string();
        let mut asked = rig.send("auth.session.renew", payload, &["conn.>", "event.>"]).await;
        assert_eq!(asked.next().await, r#"{"result":null}"#);
    }
}

#[tokio::test]
async fn a_user_is_shown_to_its_own_connection_alone() {
    let rig = Rig::new().await;
    rig.log_in("c1").await;
    let access = async |asking: &str| rig.ask("access.session.user.c1", request(asking, &json!(null))).await;
    assert_eq!(access("c1").await, json!({"result": {"get": true}}));
    assert_eq!(access("c2").await, json!({"result": {"get": false}}));
    let model = async |cid: &str| rig.ask(&format!("get.session.user.{cid}"), "{}").await["result"]["model"].clone();
    assert_eq!(model("c1").await, json!({"id": 3, "name": "Jane Doe", "role": "user"}));
    for nobody in ["c2", "constructor", &"x".repeat(200)] {
        assert_eq!(model(nobody).await, json!({"id": null, "name": null, "role": null}));
    }
}

#[tokio::test]
async fn unknown_resources_and_methods_are_not_found() {
    let rig = Rig::new().await;
    for subject in
        ["auth.session.constructor", "auth.session.user.c1.login", "call.session.login", "call.session.user.c1.set"]
    {
        assert_eq!(code(&rig.ask(subject, request("c1", &json!(null))).await), "system.methodNotFound", "{subject}");
    }
    for subject in ["get.session.users", "access.session.user", "get.session.user.c1.more"] {
        assert_eq!(code(&rig.ask(subject, request("c1", &json!(null))).await), "system.notFound", "{subject}");
    }
}

#[tokio::test]
async fn no_payload_can_end_the_service() {
    let rig = Rig::new().await;
    let too_long = request("c1", &json!({"username": "jane", "password": "x".repeat(64 * 1024)}));
    let mut payloads: Vec<Vec<u8>> = [
        "x",
        "[]",
        "null",
        "7",
        "\"\"",
        "{",
        "{\"cid\":",
        "{\"cid\":7}",
        "{\"cid\":\"a b\"}",
        "{\"cid\":\"a.b\"}",
        "{\"cid\":\"\"}",
        "{\"cid\":\"c1\",\"header\":7}",
        "{\"cid\":\"c1\",\"params\":{\"username\":\"jane\"}}",
        "\u{feff}{}",
        &"[".repeat(60_000),
        &too_long,
        "{\"cid\":\"c1\",\"params\":{\"username\":\"jane\",\"username\":\"john\",\"password\":\"x\"}}",
    ]
    .map(Into::into)
    .into();
    payloads.extend([vec![0xff, 0xfe, 0], vec![0; 1000], vec![]]);
    for subject in ["auth.session.login", "auth.session.relogin"] {
        for payload in &payloads {
            let answer = rig.ask(subject, payload.clone()).await;
            assert_eq!(
                answer,
                json!({"error": {"code": "system.invalidParams", "message": "Invalid parameters"}}),
                "{}",
                String::from_utf8_lossy(&payload[..payload.len().min(80)])
            );
        }
    }
    let methods = methods().chain(["nothing"]).map(|method| format!("auth.session.{method}"));
    let others = ["access.session.user.c1", "get.session.user.c1", "call.session.x"].map(str::to_owned);
    for subject in methods.chain(others) {
        for payload in ["x", "[]", "{\"a\":", &too_long] {
            assert_eq!(code(&rig.ask(&subject, payload.to_owned()).await), "system.invalidParams", "{subject}");
        }
    }
    // Without anybody who waits for the answer.
    rig.bus.publish("auth.session.login", "x".into()).await.unwrap();
    rig.log_in("c1").await;
}

#[tokio::test]
async fn an_internal_error_is_reported_and_ends_nothing_else() {
    let rig = Rig::new().await;
    let login = async |username: &str| rig.auth("login", "c1", &json!({"username": username, "password": "x"})).await;
    let internal = json!({"error": {"code": "system.internalError", "message": "Internal error"}});
    assert_eq!(login("broken").await, internal);
    assert_eq!(login("panic").await, internal);
    assert_eq!(code(&login("busy").await), "system.timeout");
    rig.log_in("c1").await;
}

#[tokio::test]
async fn a_flood_of_logins_delays_no_relogin() {
    let rig = Rig::new().await;
    let key = rig.log_in("c0").await["reloginKey"].clone();
    // Not one password check ends from now on.
    rig.gate.send_replace(false);
    let mut flood = Vec::new();
    // As many as are checked at a time and may wait, and one more.
    for n in 0..=rig.at_once + queue::MOST {
        flood.push(rig.send("auth.session.login", request(&format!("f{n}"), &credentials()), &[]).await);
    }
    let relogin = rig.auth("relogin", "c1", &json!({"reloginKey": key})).await;
    assert_eq!(relogin["result"]["generation"], 2, "{relogin}");
    assert_eq!(rig.auth("logout", "c1", &json!(null)).await, json!({"result": null}));

    // The one too many was refused at once, the others were asked to wait, and get in when it
    // is their turn.
    let one_too_many = flood.pop().unwrap().answer().await;
    assert_eq!(
        (code(&one_too_many), &one_too_many["error"]["data"]),
        ("session.tooManyAttempts", &json!({"retryAfter": 1000}))
    );
    // Metrics show that.
    while rig.stats.pending() != [("login", rig.at_once + queue::MOST), ("other", 0)] {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.stats.password_checks(), [("running", rig.at_once), ("waiting", queue::MOST)]);
    let throttled = rig.stats.requests().find(|(names, _)| *names == ["login", "throttled"]);
    assert_eq!(throttled, Some((["login", "throttled"], 1)));
    rig.gate.send_replace(true);
    for mut login in flood {
        assert_eq!(login.next().await, r#"timeout:"15000""#);
        let mut answer = login.next().await;
        while answer == r#"timeout:"15000""# {
            answer = login.next().await;
        }
        let answer: Json = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["result"]["generation"], 1, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_failed_logins_waits_longer_and_longer_and_holds_up_no_session_of_the_owner() {
    let rig = Rig::new().await;
    let login = async |cid: &str, password: &str, from: &str| {
        let params = json!({"username": "jane", "password": password});
        rig.ask("auth.session.login", json!({"cid": cid, "params": params, "remoteAddr": from}).to_string()).await
    };
    let mut key = login("c0", "sesame", "9.9.9.9:1").await["result"]["reloginKey"].clone();
    for n in 0..5 {
        assert_eq!(code(&login("c1", "guess", &format!("1.1.1.{n}:1")).await), "session.wrongUsernamePassword");
    }
    let mut waits = Vec::new();
    for n in 0..5 {
        assert_eq!(code(&login("c1", "guess", &format!("1.1.2.{n}:1")).await), "session.wrongUsernamePassword");
        let refused = login("c1", "sesame", &format!("1.1.3.{n}:1")).await;
        assert_eq!(code(&refused), "session.tooManyAttempts");
        let wait = refused["error"]["data"]["retryAfter"].as_u64().unwrap();
        let relogin = rig.auth("relogin", "c0", &json!({"reloginKey": key})).await;
        key = relogin["result"]["reloginKey"].clone();
        assert!(key.is_string(), "{relogin}");
        waits.push(wait);
        tokio::time::advance(Duration::from_millis(wait)).await;
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000]);
    assert!(login("c2", "sesame", "9.9.9.9:2").await["result"].is_object(), "where she has logged in before");
}

#[tokio::test]
async fn a_login_by_a_password_that_is_changed_meanwhile_does_not_outlive_it() {
    let rig = Rig::new().await;
    rig.gate.send_replace(false);
    let mut login = rig.send("auth.session.login", request("c1", &credentials()), &[]).await;
    assert_eq!(login.next().await, r#"timeout:"15000""#, "the password was right when it was looked at");
    rig.password.send_replace("open");
    let change = UserChange { id: UserId::Number(3), is_password_new: true, keep: None };
    rig.sessions.apply_user_change(&change).await.unwrap();
    rig.gate.send_replace(true);
    assert_eq!(code(&login.answer().await), "session.wrongUsernamePassword");
    let user = rig.ask("get.session.user.c1", "{}").await;
    assert_eq!(user["result"]["model"]["id"], json!(null));

    // Another user's change logs nobody out.
    rig.gate.send_replace(false);
    let params = json!({"username": "jane", "password": "open"});
    let mut login = rig.send("auth.session.login", request("c1", &params), &[]).await;
    login.next().await;
    rig.sessions.apply_user_change(&UserChange { id: UserId::Number(4), ..change }).await.unwrap();
    rig.gate.send_replace(true);
    assert!(login.answer().await["result"].is_object());
}

#[tokio::test]
async fn what_happens_is_in_the_audit_trail_and_what_nobody_did_is_not() {
    let rig = Rig::new().await;
    let mut trail = rig.bus.subscribe(&[AUDIT.to_owned()]).await.unwrap();
    let from = |cid: &str, params: Json| {
        json!({"cid": cid, "token": null, "params": params, "remoteAddr": "1.2.3.4:5"}).to_string()
    };
    let auth = async |method: &str, cid: &str, params: Json| {
        rig.ask(&format!("auth.session.{method}"), from(cid, params)).await["result"]["reloginKey"].take()
    };
    let attempt = "AAAAAAAAAAAAAAAAAAAAAA";
    let login = |password: &str| json!({"username": "jane", "password": password});
    auth("login", "c1", login("hunter2")).await;
    let first = auth("login", "c1", login("sesame")).await;
    let second = auth("relogin", "c1", json!({"reloginKey": first, "attempt": attempt})).await;
    auth("relogin", "c1", json!({"reloginKey": first, "attempt": attempt})).await;
    auth("relogin", "c2", json!({"reloginKey": "no key"})).await;
    auth("relogin", "c3", json!({"reloginKey": first})).await;
    auth("relogin", "c3", json!({"reloginKey": second})).await;
    auth("logout", "c1", json!(null)).await;
    auth("login", "c1", login("sesame")).await;
    auth("logout", "c1", json!(null)).await;
    auth("login", "c1", login("sesame")).await;
    let change = UserChange { id: UserId::Number(3), is_password_new: true, keep: None };
    rig.sessions.apply_user_change(&change).await.unwrap();
    for _ in 0..6 {
        auth("login", "c1", login("hunter2")).await;
    }
    auth("login", "c1", login("hunter2")).await;

    let mut heard = Vec::new();
    while heard.last().is_none_or(|line: &Json| line["event"] != "login_throttled") {
        let line = trail.next().await.unwrap().payload;
        assert!(["hunter2", "sesame", attempt].iter().all(|secret| !String::from_utf8_lossy(&line).contains(secret)));
        heard.push(serde_json::from_slice(&line).unwrap());
    }
    let shown: Vec<_> = heard
        .iter()
        .map(|line| {
            let known = ["user", "session", "connection", "remoteAddr", "generation"];
            let known = known.iter().filter(|member| !line[**member].is_null()).map(|member| &member[..1]);
            format!("{} {} {}", line["event"].as_str().unwrap(), line["generation"], known.collect::<String>())
        })
        .collect();
    let mut expected = vec![
        "login_failed null cr",
        "logged_in 1 uscrg",
        "rotated 2 uscrg",
        "retried 2 uscrg",
        "reuse_detected 2 uscrg",
        "logged_in 1 uscrg",
        "logged_out 1 uscg",
        "logged_in 1 uscrg",
        "revoked 1 usg",
    ];
    expected.extend(["login_failed null cr"; 6]);
    expected.push("login_throttled null cr");
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn when_told_to_stop_it_answers_what_it_has_and_takes_nothing_more() {
    let rig = Rig::new().await;
    rig.gate.send_replace(false);
    let mut login = rig.send("auth.session.login", request("c1", &credentials()), &[]).await;
    assert_eq!(login.next().await, r#"timeout:"15000""#);
    rig.stop.cancel();
    // It has hung up once nobody is there for a new request.
    while rig.send("auth.session.logout", request("c2", &json!(null)), &[]).await.next().await != "nobody" {
        tokio::task::yield_now().await;
    }
    assert!(!rig.running.is_finished());
    rig.gate.send_replace(true);
    assert!(login.answer().await["result"]["reloginKey"].is_string());
    rig.running.await.unwrap();
}

//! Cookie sessions that are bound to a key of the browser's device, request by request: with a
//! browser that follows the rules of Device Bound Session Credentials, and with copies of its
//! cookies.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use relogin_bus::{Bus, local::LocalBus};
use relogin_session::Policy;
use relogin_store::memory::MemoryStore;
use serde_json::{Map, Value as Json, json};
use tokio::time::{Instant, advance};

use super::{AUDIT, Rig, credentials};
use crate::{
    auth::{AuthOptions, ThrottleKind},
    clock::tests::RuntimeClock,
    dbsc::tests::{signed, token},
    proof::tests::TestDevice,
};

const HOST: &str = "example.org";
const PAGE: &str = "https://example.org";
const KEY: &str = "__Host-relogin-key-session";
const MINUTE: u64 = 60;

async fn rig_with(dbsc: bool) -> Rig {
    rig_over(Arc::default(), Arc::new(RuntimeClock::new()), dbsc).await
}

/// With these sessions.
pub(super) async fn rig_over(store: Arc<MemoryStore>, clock: Arc<RuntimeClock>, dbsc: bool) -> Rig {
    let options = AuthOptions { cookie_session: true, dbsc, throttle: ThrottleKind::Off, ..AuthOptions::default() };
    let policy =
        Policy { key_lifetime: 86_400_000, session_lifetime: 864_000_000, refresh: 60_000, revoke_within: None };
    Rig::over(store, clock, policy, Arc::new(LocalBus::new()), options).await
}

async fn rig() -> Rig {
    rig_with(true).await
}

pub(super) async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

/// A session with a registered key, as the browser keeps it.
#[derive(Clone, Debug)]
struct Registered {
    id: String,
    cookie: String,
}

/// A browser: its cookies, and its device.
pub(super) struct Browser<'a> {
    rig: &'a Rig,
    /// Each cookie's value, and when it expires.
    jar: BTreeMap<String, (String, Instant)>,
    device: Option<TestDevice>,
    registered: Option<Registered>,
    /// How often the device has signed.
    signatures: usize,
}

impl<'a> Browser<'a> {
    pub(super) fn new(rig: &'a Rig, device: Option<TestDevice>) -> Self {
        let forever = Instant::now() + Duration::from_secs(86_400 * 400);
        let cookie = ("__Host-relogin-session".to_owned(), ("AAAAAAAAAAAAAAAAAAAAAA".to_owned(), forever));
        Self { rig, jar: [cookie].into(), device, registered: None, signatures: 0 }
    }

    /// Whoever has copied the cookies, and nothing else.
    pub(super) fn copied(&self) -> Self {
        Self { jar: self.jar.clone(), ..Self::new(self.rig, None) }
    }

    /// The same browser, at another service.
    pub(super) fn at(self, rig: &Rig) -> Browser<'_> {
        Browser { rig, jar: self.jar, device: self.device, registered: self.registered, signatures: self.signatures }
    }

    fn cookies(&mut self) -> String {
        self.jar.retain(|_, (_, expires)| *expires > Instant::now());
        self.jar.iter().map(|(name, (value, _))| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn payload(&mut self, cid: &str, uri: &str, more: &[(&str, &str)], params: &Json) -> String {
        let mut header = Map::new();
        header.insert("Cookie".to_owned(), json!([self.cookies()]));
        header.insert("Origin".to_owned(), json!([PAGE]));
        header.extend(more.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))));
        let is_http = uri != "/";
        json!({"cid": cid, "token": null, "params": params, "header": header, "host": HOST, "uri": uri, "isHttp": is_http})
            .to_string()
    }

    /// A request as it is. Takes in the cookies of its answer.
    async fn send(&mut self, cid: &str, uri: &str, more: &[(&str, &str)]) -> Json {
        let payload = self.payload(cid, uri, more, &json!(null));
        let answer = self.rig.ask("auth.session.connect", payload).await;
        for cookie in answer["meta"]["header"]["Set-Cookie"].as_array().into_iter().flatten() {
            let (pair, attributes) = cookie.as_str().unwrap().split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let age = attributes.split("; ").find_map(|it| it.strip_prefix("Max-Age=")).unwrap().parse().unwrap();
            let expires = Instant::now() + Duration::from_secs(age);
            self.jar.insert(name.to_owned(), (value.to_owned(), expires));
        }
        answer
    }

    pub(super) async fn post(&mut self, method: &str, more: &[(&str, &str)]) -> Json {
        self.send("http", &format!("/api/session/{method}"), more).await
    }

    /// What a page's request does: where the device's cookie is missing, the device signs first.
    async fn before(&mut self) {
        self.cookies();
        if let Some(Registered { id, cookie }) = self.registered.clone()
            && !self.jar.contains_key(&cookie)
        {
            let asked = self.post("proveDevice", &[("Sec-Secure-Session-Id", &format!("\"{id}\""))]).await;
            assert_eq!(asked["meta"]["status"], 403, "{asked}");
            let answer = self.prove(&id, &challenge_in(&asked)).await;
            if answer["error"].is_object() {
                self.registered = None;
            }
        }
    }

    /// The device signs `challenge` for the session that is called `id`.
    async fn prove(&mut self, id: &str, challenge: &str) -> Json {
        self.signatures += 1;
        let signed = signed(self.device.as_ref().unwrap(), challenge, false);
        self.post("proveDevice", &[("Sec-Secure-Session-Id", id), ("Secure-Session-Response", &signed)]).await
    }

    /// The page's request for the next key, with the text from its login or without.
    pub(super) async fn refresh(&mut self, shown: &str) -> Json {
        self.before().await;
        let answer = self.post("refresh", &[("X-Relogin", shown)]).await;
        if let Some(offer) = offer_in(&answer)
            && self.device.is_some()
        {
            self.register(&offer).await;
        }
        answer
    }

    /// Follows an offer. The answer is that of the call behind the header authentication.
    async fn register(&mut self, challenge: &str) -> Json {
        let signed = signed(self.device.as_ref().unwrap(), challenge, true);
        let answer = register(self, &signed).await;
        if let Some(id) = answer["result"]["session_identifier"].as_str() {
            let cookie = answer["result"]["credentials"][0]["name"].as_str().unwrap();
            self.registered = Some(Registered { id: id.to_owned(), cookie: cookie.to_owned() });
        }
        answer
    }

    pub(super) async fn log_in(&mut self, cid: &str) -> Json {
        let payload = self.payload(cid, "/", &[], &credentials());
        let result = self.rig.ask("auth.session.login", payload).await["result"].clone();
        self.refresh(result["reloginKey"].as_str().unwrap()).await
    }

    /// Opens a WebSocket. Returns who is logged in there.
    pub(super) async fn connect(&mut self, cid: &str) -> Json {
        self.before().await;
        self.send(cid, "/ws", &[("Upgrade", "websocket")]).await;
        self.rig.ask(&format!("get.session.user.{cid}"), "").await["result"]["model"]["id"].clone()
    }

    /// What a page asks on its connection.
    async fn held(&mut self, cid: &str) -> Json {
        let named = self.jar[KEY].0.clone();
        let shown = format!("{}{}aW5jb29raWU", &named[..32], "A".repeat(32));
        let payload = self.payload(cid, "/", &[], &json!({ "reloginKey": shown }));
        self.rig.ask("auth.session.relogin", payload).await
    }
}

/// Sends a token to be registered, and asks for the answer's body as gateways do: by a call, with
/// the token of the connection.
async fn register(browser: &mut Browser<'_>, signed: &str) -> Json {
    let payload =
        browser.payload("http", "/api/session/registerDevice", &[("Secure-Session-Response", signed)], &json!(null));
    let mut asked = browser.rig.send("auth.session.connect", payload, &["conn.http.token"]).await;
    let first = asked.next().await;
    let Some(event) = first.strip_prefix("conn.http.token ") else { return serde_json::from_str(&first).unwrap() };
    let connection: Json = serde_json::from_str(event).unwrap();
    assert_eq!(asked.answer().await["result"], json!(null));
    let call = json!({"cid": "http", "token": connection["token"], "isHttp": true});
    browser.rig.ask("call.session.registerDevice", call.to_string()).await
}

/// The challenge with which an answer offers to register a key.
fn offer_in(answer: &Json) -> Option<String> {
    let offer = answer["meta"]["header"]["Secure-Session-Registration"][0].as_str()?;
    let challenge = offer.strip_prefix(r#"(ES256);path="registerDevice";challenge=""#).unwrap();
    Some(challenge.strip_suffix('"').unwrap().to_owned())
}

/// The challenge that an answer asks to be signed.
fn challenge_in(answer: &Json) -> String {
    let challenge = answer["meta"]["header"]["Secure-Session-Challenge"][0].as_str().unwrap();
    challenge.strip_prefix('"').unwrap().split_once('"').unwrap().0.to_owned()
}

pub(super) fn status(answer: &Json) -> u64 {
    answer["meta"]["status"].as_u64().unwrap_or(204)
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_the_cookies_opens_nothing_once_the_devices_cookie_has_expired() {
    let rig = rig().await;
    let mut trail = rig.bus.subscribe(&[AUDIT.to_owned()]).await.unwrap();
    let mut owner = Browser::new(&rig, Some(TestDevice::p256()));
    owner.log_in("c1").await;
    assert_eq!(owner.connect("c2").await, json!(3));
    assert_eq!(owner.signatures, 1, "the first request after the registration");

    let mut thief = owner.copied();
    pass(12 * MINUTE).await;
    let key = thief.jar[KEY].0.clone();
    for attempt in 0..3 {
        let refused = thief.refresh("").await;
        assert_eq!((status(&refused), offer_in(&refused)), (401, None), "{attempt}");
        assert_eq!(thief.connect("thief").await, json!(null));
        assert_eq!(thief.held("thief").await["error"]["code"], "session.invalidReloginKey");
    }
    // Nor does what has expired, or was made up, or the word that there could be no signature.
    let stale = owner.copied();
    let name = owner.registered.clone().unwrap().cookie;
    for (value, more) in
        [("AAABoMRZk8D-5-T3QROwmda4_OK_DCfS", &[][..]), ("", &[("Secure-Session-Skipped", "unreachable")])]
    {
        let mut thief = stale.copied();
        thief.jar.insert(name.clone(), (value.to_owned(), Instant::now() + Duration::from_secs(60)));
        assert!(status(&thief.post("refresh", more).await) >= 401);
        thief.send("thief", "/ws", &[&[("Upgrade", "websocket")], more].concat()).await;
        assert_eq!(rig.ask("get.session.user.thief", "").await["result"]["model"]["id"], json!(null));
    }
    assert_eq!(thief.jar[KEY].0, key, "the thief has got no key");

    // The owner goes on, and has its device sign again.
    assert_eq!(status(&owner.refresh("").await), 204);
    assert_eq!(owner.connect("c3").await, json!(3));
    assert_eq!(owner.signatures, 2);
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != "caught_up") || words.len() < 9 {
        let line: Json = serde_json::from_slice(&trail.next().await.unwrap().payload).unwrap();
        words.push(line["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(words[..4], ["logged_in", "device_bound", "caught_up", "proof_missing"]);
}

/// Neither does a copy that is older than two keys end the session.
#[tokio::test(start_paused = true)]
async fn an_old_copy_of_the_cookies_ends_nothing() {
    let rig = rig().await;
    let mut owner = Browser::new(&rig, Some(TestDevice::p256()));
    owner.log_in("c1").await;
    owner.connect("c2").await;
    let mut thief = owner.copied();
    for _ in 0..6 {
        // Two minutes of a key's life each.
        pass(40).await;
        assert_eq!(status(&owner.refresh("").await), 204);
    }
    pass(40).await;
    thief.jar.retain(|name, _| !name.contains("device"));
    assert_eq!(status(&thief.post("refresh", &[]).await), 401);
    assert_eq!(owner.connect("c3").await, json!(3));
}

#[tokio::test(start_paused = true)]
async fn without_a_device_all_is_as_ever() {
    let rig = rig().await;
    let mut browser = Browser::new(&rig, None);
    assert!(offer_in(&browser.log_in("c1").await).is_some());
    assert_eq!(browser.connect("c2").await, json!(3));
    assert_eq!(browser.copied().connect("c3").await, json!(3), "a copy opens it, beside its owner");

    // Whoever copies the cookies later is not offered to register a key.
    let mut offers = 0;
    for _ in 0..5 {
        pass(40).await;
        offers += usize::from(offer_in(&browser.refresh("").await).is_some());
    }
    assert_eq!(offers, 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_offered_without_tls_or_when_it_is_off() {
    for (dbsc, host, page, name) in [
        (true, "localhost:8080", "http://localhost:8080", "relogin-session"),
        (false, HOST, PAGE, "__Host-relogin-session"),
    ] {
        let rig = rig_with(dbsc).await;
        let header = json!({"Cookie": [format!("{name}=AAAAAAAAAAAAAAAAAAAAAA")], "Origin": [page]});
        let request =
            json!({"cid": "c", "token": null, "params": credentials(), "header": header, "host": host, "uri": "/"});
        let shown = rig.ask("auth.session.login", request.to_string()).await["result"]["reloginKey"].clone();
        let mut header = header.clone();
        header["X-Relogin"] = json!([shown]);
        let post = |uri: &str, header: &Json| {
            json!({"cid": "http", "token": null, "header": header, "host": host, "uri": uri, "isHttp": true})
                .to_string()
        };
        let answer = rig.ask("auth.session.connect", post("/api/session/refresh", &header)).await;
        assert!(answer["meta"]["header"]["Set-Cookie"].is_array(), "{answer}");
        assert_eq!(offer_in(&answer), None);
        if !dbsc {
            for method in ["registerDevice", "proveDevice"] {
                let answer = rig.ask("auth.session.connect", post(&format!("/api/session/{method}"), &header)).await;
                assert_eq!(status(&answer), 404, "{method}");
            }
            let call = json!({"cid": "http", "token": {"device": "d", "cookie": "c"}}).to_string();
            assert_eq!(rig.ask("call.session.registerDevice", call).await["error"]["code"], "system.methodNotFound");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_registered_with_a_fresh_offer_and_its_own_signature_alone() {
    let rig = rig().await;
    let mut owner = Browser::new(&rig, None);
    let offer = offer_in(&owner.log_in("c1").await).unwrap();
    let (device, other) = (TestDevice::p256(), TestDevice::p256());
    let jwk = |device: &TestDevice| json!({"alg": "ES256", "typ": "dbsc+jwt", "jwk": device.public_key()});
    let claims = |challenge: &str| json!({ "jti": challenge });
    for (what, signed, expected) in [
        ("another's key", token(&device, &jwk(&other), &claims(&offer)), 401),
        ("no key", signed(&device, &offer, false), 400),
        ("a made-up offer", signed(&device, &"A".repeat(54), true), 401),
        ("another algorithm", token(&device, &json!({"alg": "none", "typ": "dbsc+jwt"}), &claims(&offer)), 400),
        ("no token", String::new(), 400),
    ] {
        assert_eq!(status(&register(&mut owner, &signed).await), expected, "{what}");
    }
    let good = signed(&device, &offer, true);
    let instructions = register(&mut owner, &good).await["result"].clone();
    assert_eq!(instructions["refresh_url"], "proveDevice");
    assert_eq!(instructions["scope"], json!({"include_site": false}));
    assert_eq!(instructions["credentials"][0]["attributes"], "Path=/; HttpOnly; SameSite=Strict; Secure");
    // Its answer was lost: nothing is bound, and the browser may try again.
    assert_eq!(owner.connect("c2").await, json!(3));
    assert!(register(&mut owner, &good).await["result"].is_object());
    pass(MINUTE).await;
    assert_eq!(status(&register(&mut owner, &good).await), 401, "a minute later");
    // Without a registration there is nothing to say.
    let call = json!({"cid": "http", "token": null}).to_string();
    assert_eq!(rig.ask("call.session.registerDevice", call).await["error"]["code"], "system.methodNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_device_proves_its_own_key_with_a_fresh_challenge_alone() {
    let rig = rig().await;
    let mut owner = Browser::new(&rig, Some(TestDevice::p256()));
    let offer = offer_in(&owner.log_in("c1").await).unwrap();
    let Registered { id, .. } = owner.registered.clone().unwrap();
    let ask = |id: &str| [("Sec-Secure-Session-Id", format!("\"{id}\""))];
    let asked = owner.post("proveDevice", &ask(&id).each_ref().map(|(name, id)| (*name, id.as_str()))).await;
    let challenge = challenge_in(&asked);
    assert_eq!(asked["meta"]["header"]["Secure-Session-Challenge"], json!([format!("\"{challenge}\";id=\"{id}\"")]));

    // Somebody else signs, also for an identifier of their own making.
    let mut thief = owner.copied();
    thief.device = Some(TestDevice::p256());
    let theirs = offer_in(&thief.post("refresh", &[]).await).unwrap();
    let theirs = thief.register(&theirs).await["result"]["session_identifier"].as_str().unwrap().to_owned();
    assert_eq!(status(&thief.prove(&id, &challenge).await), 401, "another key");
    let made_up = format!("{}{}", &id[..40], "A".repeat(88));
    assert_eq!(status(&thief.prove(&made_up, &challenge).await), 401);
    for id in ["", "\"", &id[1..], &"A".repeat(10_000)] {
        assert_eq!(status(&thief.prove(id, &challenge).await), 400, "{id:.20}");
    }
    // Challenges of another kind, or of a minute ago, are asked for again.
    assert_eq!(status(&owner.prove(&id, &offer).await), 403);
    pass(MINUTE).await;
    let asked = owner.prove(&id, &challenge).await;
    assert_eq!(status(&asked), 403, "a replayed proof");
    assert_eq!(status(&owner.prove(&id, &challenge_in(&asked)).await), 204);

    // Another key, registered by whoever had the cookies before, is not the session's any more.
    let asked = thief.post("proveDevice", &[("Sec-Secure-Session-Id", &theirs)]).await;
    assert_eq!(status(&thief.prove(&theirs, &challenge_in(&asked)).await), 401);
    assert_eq!(owner.connect("c2").await, json!(3));
}

/// A browser whose clock was set back keeps its cookie for too long: it is told to have its device
/// sign again, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_browser_that_shows_an_old_proof_is_asked_for_another() {
    let rig = rig().await;
    let mut owner = Browser::new(&rig, Some(TestDevice::p256()));
    owner.log_in("c1").await;
    owner.connect("c2").await;
    let cookie = owner.registered.clone().unwrap().cookie;
    for through_connection in [false, true] {
        owner.before().await;
        let late = Instant::now() + Duration::from_secs(20 * MINUTE);
        owner.jar.get_mut(&cookie).unwrap().1 = late;
        pass(11 * MINUTE).await;
        if through_connection {
            assert_eq!(owner.connect("c3").await, json!(null));
        } else {
            assert_eq!(owner.held("c9").await["error"]["code"], "session.invalidChallenge", "not the end");
            assert_eq!(status(&owner.refresh("").await), 503);
        }
        owner.cookies();
        assert!(!owner.jar.contains_key(&cookie), "it was taken away");
        assert_eq!(status(&owner.refresh("").await), 204);
    }
    assert_eq!(owner.connect("c4").await, json!(3));
    // A browser that could not reach us says so.
    pass(12 * MINUTE).await;
    let answer = owner.post("refresh", &[("Secure-Session-Skipped", "unreachable;session_identifier=\"x\"")]).await;
    assert_eq!(status(&answer), 503);
    assert_eq!(owner.connect("c5").await, json!(3));
}

#[tokio::test(start_paused = true)]
async fn a_logout_and_another_login_end_what_the_browser_has_registered() {
    let rig = rig().await;
    let mut owner = Browser::new(&rig, Some(TestDevice::p256()));
    owner.log_in("c1").await;
    assert_eq!(owner.connect("c2").await, json!(3));
    let first = owner.registered.clone().unwrap();
    // Another login in the same browser: what it has for the first session does not count.
    owner.registered = None;
    owner.log_in("c3").await;
    assert_eq!(owner.connect("c4").await, json!(3));
    let second = owner.registered.clone().unwrap();
    assert!(first.cookie != second.cookie && first.id != second.id);
    let ended = owner.post("proveDevice", &[("Sec-Secure-Session-Id", &first.id)]).await;
    assert_eq!(status(&ended), 401, "the browser forgets it");

    owner.before().await;
    owner.post("logout", &[]).await;
    owner.cookies();
    assert!(!owner.jar.contains_key(KEY) && !owner.jar.contains_key(&second.cookie), "{:?}", owner.jar);
    owner.before().await;
    assert!(owner.registered.is_none(), "the browser was told that the session is over");
}

//! A user's list of sessions, and how sessions on it are ended.

use tokio::task::JoinHandle;

use super::*;
use crate::listing;

/// A service whose lists are live.
struct Live {
    rig: Rig,
    telling: JoinHandle<()>,
    stop: CancellationToken,
}

impl Live {
    async fn new() -> Self {
        let (rig, stop) = (Rig::new().await, CancellationToken::new());
        let telling = tokio::spawn(listing::run(Arc::clone(&rig.sessions), stop.clone()));
        Self { rig, telling, stop }
    }

    /// The sessions on the list of `cid`, as a gateway reads them.
    async fn list(&self, cid: &str) -> Vec<Json> {
        let list = self.rig.ask(&format!("get.session.sessions.{cid}"), "{}").await;
        let mut sessions = Vec::new();
        for item in list["result"]["collection"].as_array().unwrap_or_else(|| panic!("{list}")) {
            let rid = item["rid"].as_str().unwrap();
            sessions.push(self.rig.ask(&format!("get.{rid}"), "{}").await["result"]["model"].clone());
        }
        sessions
    }

    /// The ids on that list.
    async fn ids(&self, cid: &str) -> Vec<Json> {
        self.list(cid).await.iter().map(|session| session["id"].clone()).collect()
    }

    /// Whose session `cid` is on.
    async fn user(&self, cid: &str) -> Json {
        self.rig.ask(&format!("get.session.user.{cid}"), "{}").await["result"]["model"]["id"].clone()
    }

    async fn ends(self) {
        self.stop.cancel();
        self.telling.await.unwrap();
    }
}

fn login_from(cid: &str, agent: &str, address: &str, label: &str) -> String {
    let mut params = credentials();
    params["label"] = label.into();
    json!({"cid": cid, "token": null, "params": params, "header": {"User-Agent": [agent]}, "remoteAddr": address})
        .to_string()
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0";

#[tokio::test]
async fn a_list_shows_where_a_user_is_logged_in() {
    let live = Live::new().await;
    let login = login_from("c1", FIREFOX, "[2001:db8::7]:5", "Laptop");
    let answer = live.rig.ask("auth.session.login", login).await;
    assert!(answer["result"]["reloginKey"].is_string(), "{answer}");
    live.rig.log_in("c2").await;
    let list = live.list("c2").await;
    assert_eq!(list.len(), 2);
    let shown = list.iter().find(|session| session["label"] == "Laptop").unwrap();
    let times = ["created", "lastSeen"].map(|member| shown[member].as_u64().unwrap());
    assert!(times[0] > 0 && times[0] == times[1], "{times:?}");
    assert_eq!(
        *shown,
        json!({
            "id": shown["id"], "label": "Laptop", "browser": "Firefox", "system": "Linux", "address": "2001:db8::7",
            "created": times[0], "lastSeen": times[1], "current": false, "bound": false,
        })
    );
    let current = |list: &[Json]| -> Vec<_> { list.iter().map(|session| session["current"] == true).collect() };
    let on_the_other: Vec<_> = current(&live.list("c1").await).iter().map(|is_current| !is_current).collect();
    assert_eq!(current(&list), on_the_other, "the order is the same on both");

    // A use of the key elsewhere is seen on the list.
    let params = json!({"reloginKey": answer["result"]["reloginKey"], "attempt": "AAAAAAAAAAAAAAAAAAAAAA"});
    let request = json!({"cid": "c3", "token": null, "params": params, "remoteAddr": "203.0.113.9:80"});
    live.rig.ask("auth.session.relogin", request.to_string()).await;
    let shown = live.list("c3").await.into_iter().find(|session| session["label"] == "Laptop").unwrap();
    assert_eq!((&shown["address"], &shown["current"]), (&json!("203.0.113.9"), &json!(true)));
    live.ends().await;
}

#[tokio::test]
async fn a_list_is_for_its_own_connection_while_that_has_a_token() {
    let live = Live::new().await;
    live.rig.log_in("c1").await;
    let ids = live.ids("c1").await;
    let token = json!({"sid": ids[0], "userId": 3, "role": "user"});
    let session = format!("access.session.sessions.c1.{}", ids[0].as_str().unwrap());
    for subject in ["access.session.sessions.c1", &session] {
        for (cid, token, get) in [("c1", &token, true), ("c2", &token, false), ("c1", &json!(null), false)] {
            let access = live.rig.ask(subject, json!({"cid": cid, "token": token}).to_string()).await;
            assert_eq!(access, json!({"result": {"get": get}}), "{subject} of {cid} with {token}");
        }
    }
    // Nobody is logged in there.
    assert_eq!(live.list("c2").await, Vec::<Json>::new());
    let elsewhere = format!("get.session.sessions.c2.{}", ids[0].as_str().unwrap());
    assert_eq!(code(&live.rig.ask(&elsewhere, "{}").await), "system.notFound");
    for subject in ["get.session.sessions.c1.x", "get.session.sessions.c1.AAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(code(&live.rig.ask(subject, "{}").await), "system.notFound");
    }
    live.ends().await;
}

#[tokio::test]
async fn a_session_is_revoked_from_another_and_who_asks_for_what_is_not_theirs_learns_nothing() {
    let live = Live::new().await;
    live.rig.log_in("c1").await;
    live.rig.log_in("c2").await;
    let john = User { id: UserId::Number(9), name: "John".into(), role: "user".into() };
    let connection = relogin_session::ConnectionId::parse("c9").unwrap();
    live.rig.sessions.login(relogin_session::Login::new(connection, john)).await.unwrap().unwrap();
    let johns = live.ids("c9").await.remove(0);
    let revoke = async |cid: &str, id: &Json| live.rig.auth("revoke", cid, &json!({"id": id})).await;

    let unknown = revoke("c1", &json!("AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert_eq!(unknown, json!({"error": {"code": "session.noSuchSession", "message": "No such session"}}));
    assert_eq!(revoke("c1", &johns).await, unknown);
    assert_eq!(live.ids("c9").await, std::slice::from_ref(&johns), "he has noticed nothing");
    assert_eq!(code(&revoke("nobody", &johns).await), "session.notLoggedIn");
    for params in [json!(null), json!({}), json!({"id": 7}), json!({"id": "short"})] {
        assert_eq!(code(&live.rig.auth("revoke", "c1", &params).await), "system.invalidParams");
    }

    let other = live.list("c1").await.into_iter().find(|session| session["current"] == false).unwrap();
    let request = request("c1", &json!({"id": other["id"]}));
    let mut asked = live.rig.send("auth.session.revoke", request, &["conn.>", "event.>", AUDIT]).await;
    assert_eq!(asked.next().await, r#"event.session.user.c2.change {"values":{"id":null,"name":null,"role":null}}"#);
    assert_eq!(asked.next().await, r#"conn.c2.token {"token":null}"#);
    let mut rest = [asked.next().await, asked.next().await];
    rest.sort();
    let [audited, answer] = rest;
    let event: Json = serde_json::from_str(audited.split_once(' ').unwrap().1).unwrap();
    assert_eq!((&event["event"], &event["connection"]), (&json!("revoked_by_user"), &json!("c1")), "{event}");
    assert_eq!((&event["session"], &event["user"]), (&other["id"], &json!(3)));
    assert_eq!(answer, r#"{"result":null}"#);
    assert_eq!((live.user("c1").await, live.user("c2").await), (json!(3), json!(null)));
    assert_eq!(revoke("c1", &other["id"]).await, unknown, "it is over");

    // The session itself: a logout.
    let own = live.ids("c1").await.remove(0);
    assert_eq!(revoke("c1", &own).await, json!({"result": null}));
    assert_eq!(live.user("c1").await, json!(null));
    live.ends().await;
}

#[tokio::test]
async fn all_other_sessions_are_revoked_at_once() {
    let live = Live::new().await;
    for cid in ["c1", "c2", "c3"] {
        live.rig.log_in(cid).await;
    }
    let revoke = async |cid: &str| live.rig.auth("revokeOthers", cid, &json!(null)).await;
    assert_eq!(code(&revoke("nobody").await), "session.notLoggedIn");
    assert_eq!(revoke("c2").await, json!({"result": {"revoked": 2}}));
    for (cid, user) in [("c1", json!(null)), ("c2", json!(3)), ("c3", json!(null))] {
        assert_eq!(live.user(cid).await, user, "{cid}");
    }
    assert_eq!(live.list("c2").await.len(), 1);
    assert_eq!(revoke("c2").await, json!({"result": {"revoked": 0}}));
    live.ends().await;
}

#[tokio::test(start_paused = true)]
async fn gateways_fetch_a_list_again_when_it_has_changed() {
    let live = Live::new().await;
    let key = live.rig.log_in("c1").await["reloginKey"].clone();
    let own = live.ids("c1").await.remove(0);
    let (mailbox, inbox) = Mailbox::new();
    let guards = vec![live.rig.bus.listen("system.reset", &mailbox, Tag(1)).await.unwrap()];
    let mut resets = Asked { inbox, _guards: guards };
    let own_model = format!("session.sessions.c1.{}", own.as_str().unwrap());

    let began = Instant::now();
    live.rig.log_in("c2").await;
    let list = r#"system.reset {"resources":["session.sessions.c1"]}"#;
    assert_eq!(resets.next().await, list);
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    assert_eq!(live.ids("c1").await.len(), 2);

    // Only a time has changed: that waits.
    let began = Instant::now();
    live.rig.auth("relogin", "c1", &json!({"reloginKey": key})).await;
    assert_eq!(resets.next().await, format!(r#"system.reset {{"resources":["{own_model}"]}}"#));
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());

    // Whoever logs out is on the list of others, and has a list.
    live.rig.auth("logout", "c1", &json!(null)).await;
    assert_eq!(resets.next().await, list);
    assert_eq!(live.ids("c1").await, Vec::<Json>::new());
    // And whoever logs in there next finds no list of before.
    live.rig.log_in("c1").await;
    assert_eq!(resets.next().await, list);
    live.ends().await;
}

/// Resgate ignores a reset of what it is just fetching.
#[tokio::test(start_paused = true)]
async fn a_reset_waits_for_the_answer_that_it_makes_stale() {
    let live = Live::new().await;
    live.rig.log_in("c1").await;
    live.ids("c1").await;
    let (mailbox, mut inbox) = Mailbox::new();
    let _guard = live.rig.bus.listen("system.reset", &mailbox, Tag(1)).await.unwrap();
    // A list is held like this from before it is read until it is answered.
    let connection = relogin_session::ConnectionId::parse("c1").unwrap();
    let answering = live.rig.sessions.hold(&connection).await;
    live.rig.log_in("c2").await;
    assert!(timeout(Duration::from_secs(60), inbox.next()).await.is_err(), "it is not answered yet");
    // And a get waits like everything else that concerns the connection.
    let mut asked = live.rig.send("get.session.sessions.c1", "{}", &[]).await;
    assert!(timeout(Duration::from_secs(1), asked.inbox.next()).await.is_err(), "another one is answered first");
    drop(answering);
    assert!(timeout(Duration::from_secs(1), inbox.next()).await.is_ok());
    assert!(asked.next().await.contains("collection"));
    live.ends().await;
}

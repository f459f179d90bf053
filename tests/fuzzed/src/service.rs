//! The service on its bus, fed with any payloads on every subject it has: each request gets one
//! answer, which is RES, and never an internal error.

use std::sync::Arc;

use async_trait::async_trait;
use relogin::{
    auth::{Auth, AuthOptions, ThrottleKind, methods},
    sessions::Sessions,
};
use relogin_bus::{Bus, Deliveries, Delivery, Mailbox, Tag, local::LocalBus};
use relogin_session::{Keyring, Policy, Rules, User, UserId};
use relogin_store::memory::MemoryStore;
use relogin_users::{Credentials, DirectoryError, PasswordCheck, UserDirectory};
use serde_json::{Value as Json, json};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::supply::Supply;

/// Lets Jane in, whatever she types.
struct Doorman;

#[async_trait]
impl UserDirectory for Doorman {
    async fn verify(
        &self,
        credentials: Credentials<'_>,
        queued: &(dyn Fn() + Send + Sync),
    ) -> Result<PasswordCheck, DirectoryError> {
        queued();
        Ok(if credentials.username == "jane" { PasswordCheck::Right(jane()) } else { PasswordCheck::Wrong(None) })
    }

    async fn find(&self, id: &UserId) -> Result<Option<User>, DirectoryError> {
        Ok((*id == UserId::Number(3)).then(jane))
    }
}

fn jane() -> User {
    User { id: UserId::Number(3), name: "Jane Doe".into(), role: "user".into() }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().build().unwrap();
}

pub(crate) fn requests(input: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(serve(input)));
}

async fn serve(input: &[u8]) {
    let bus: Arc<LocalBus> = Arc::new(LocalBus::new());
    let users: Arc<dyn UserDirectory> = Arc::new(Doorman);
    let rules = Rules {
        policy: Policy { key_lifetime: 60_000, session_lifetime: 600_000, refresh: 30_000, revoke_within: None },
        keyring: Keyring::new(vec![vec![7; 32]]).unwrap(),
    };
    let sessions = Sessions::new("session", rules, Arc::new(MemoryStore::new()), Arc::clone(&users), bus.clone());
    let options = AuthOptions { throttle: ThrottleKind::Off, ..AuthOptions::default() };
    let auth = Auth::new("session", bus.clone(), Arc::new(sessions), users, options).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(auth.run(stop.clone()));

    let mut supply = Supply::new(input);
    let mut key = Json::Null;
    while !supply.is_empty() {
        let (subject, payload) = request(&mut supply, &key);
        let (mailbox, mut inbox) = Mailbox::new();
        let _guard = bus.ask(&subject, payload.into(), &mailbox, Tag(0)).await.unwrap();
        let answer = answer(&mut inbox).await;
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert_ne!(code, "system.internalError", "{subject}: {answer}");
        if let Some(new) = answer["result"].get("reloginKey") {
            key = new.clone();
        }
    }
    stop.cancel();
    running.await.unwrap();
}

/// A payload as it comes, or one that is nearly right, so that what lies behind the reading is
/// reached too.
fn request(supply: &mut Supply<'_>, key: &Json) -> (String, Vec<u8>) {
    // One of them does not exist.
    let method = supply.pick(&methods().chain(["nothing"]).collect::<Vec<_>>());
    let cid = supply.pick(&["c1", "c2", "c.3", "{cid}"]);
    let subject = match supply.below(8) {
        0 => format!("access.session.user.{cid}"),
        1 => format!("get.session.user.{cid}"),
        2 => format!("call.session.user.{cid}.{method}"),
        3 => format!("call.session.{method}"),
        _ => format!("auth.session.{method}"),
    };
    let payload = match supply.below(4) {
        0 => supply.line().to_vec(),
        1 => format!(r#"{{"cid":"{cid}","params":{}}}"#, supply.text()).into_bytes(),
        2 => json!({"cid": cid, "params": {"username": "jane", "password": "", "attempt": "AAAAAAAAAAAAAAAAAAAAAA"}})
            .to_string()
            .into_bytes(),
        _ => {
            json!({"cid": cid, "params": {"reloginKey": key}, "token": {"sid": supply.text()}}).to_string().into_bytes()
        }
    };
    // A payload that no bus would carry reaches no service.
    let is_subject = !subject.contains("..") && subject.is_ascii();
    (if is_subject { subject } else { "auth.session.login".to_owned() }, payload)
}

async fn answer(inbox: &mut Deliveries) -> Json {
    loop {
        let Some(Delivery::Reply { payload, .. }) = inbox.next().await else { panic!("no answer") };
        match serde_json::from_slice::<Json>(&payload) {
            Ok(answer) => {
                let members = ["result", "error", "resource"].map(|member| usize::from(answer.get(member).is_some()));
                assert_eq!(members.iter().sum::<usize>(), 1, "no RES: {answer}");
                return answer;
            }
            // A pre-response.
            Err(_) => assert!(payload.starts_with(b"timeout:"), "{payload:?}"),
        }
    }
}

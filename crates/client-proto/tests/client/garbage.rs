//! Whatever comes, in whatever order: the machine neither panics, nor settles twice, nor spins.

use proptest::prelude::*;
use relogin_client_proto::{Closing, Command, Input, LockId, PlatformEvent, Secret, Signature, SocketId};
use serde_json::{Value as Json, json};

use crate::support::{Tab, admin, ms, rid, s};

/// JSON that is near to what gateways send.
fn near_json() -> impl Strategy<Value = Json> {
    let word = prop::sample::select(vec![
        "id",
        "result",
        "error",
        "event",
        "data",
        "models",
        "collections",
        "errors",
        "values",
        "rid",
        "payload",
        "code",
        "message",
        "reloginKey",
        "generation",
        "refreshIn",
        "expiresIn",
        "protocol",
        "idx",
        "value",
        "session.user.{cid}",
        "a.b",
        "action",
        "delete",
        "soft",
        "reason",
        "1.2.3",
    ]);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-2_i64..20).prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        word.clone().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|members| Json::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

#[derive(Clone, Debug)]
enum Step {
    Frame(String),
    Answer(Json),
    Error(String),
    Event(String, Json),
    Open,
    Close,
    Pass(u64),
    Hint(u8),
    Storage(Option<String>),
    Lock(u32, bool),
    Command(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop_oneof![
        near_json(),
        near_json().prop_map(|json| json!({"payload": json})),
        Just(json!({"protocol": "1.2.3"})),
        (0_u64..5).prop_map(|generation| json!({"payload": {
            "reloginKey": format!("k{generation}"), "generation": generation, "refreshIn": generation * 1000, "expiresIn": 9,
        }})),
        Just(json!({"models": {"session.user.{cid}": {"id": 1, "name": "n", "role": "r"}}})),
        Just(json!({"models": {"session.user.{cid}": {"id": null}}})),
        (0_u64..90_000).prop_map(|time| json!({"payload": {"challenge": "c", "expiresIn": time}})),
        Just(json!({"models": {"a.b": {"r": {"rid": "a.b"}}}})),
        Just(json!({"rid": "a.b", "models": {"a.b": {}}})),
    ];
    let event = prop::sample::select(vec![
        "session.user.{cid}.change",
        "session.user.{cid}.rotated",
        "session.user.{cid}.unsubscribe",
        "a.b.change",
        "a.b.add",
        "a.b.remove",
        "a.b.delete",
        "a.b.unsubscribe",
        "a.b.custom",
        "x",
        "",
        ".",
        "a..b",
    ]);
    let data = prop_oneof![
        near_json(),
        Just(json!({"values": {"id": null}})),
        Just(json!({"values": {"id": 1}})),
        Just(json!({"generation": 3})),
        Just(json!({"reason": {"code": "system.accessDenied", "message": ""}})),
    ];
    let code = prop::sample::select(vec![
        "system.timeout",
        "session.invalidReloginKey",
        "session.alreadyLoggedIn",
        "session.invalidChallenge",
        "",
    ]);
    let record = prop_oneof![
        Just(None),
        (0_u64..5)
            .prop_map(|n| Some(json!({"key": format!("k{n}"), "generation": n, "bound": n % 2 == 1}).to_string())),
        ".{0,20}".prop_map(Some),
    ];
    prop_oneof![
        2 => ".{0,60}".prop_map(Step::Frame),
        2 => near_json().prop_map(|json| Step::Frame(json.to_string())),
        6 => payload.prop_map(Step::Answer),
        3 => code.prop_map(|code| Step::Error(code.to_owned())),
        5 => (event, data).prop_map(|(event, data)| Step::Event(event.to_owned(), data)),
        4 => Just(Step::Open),
        1 => Just(Step::Close),
        3 => (0_u64..70_000).prop_map(Step::Pass),
        1 => (0_u8..8).prop_map(Step::Hint),
        1 => record.prop_map(Step::Storage),
        1 => (0_u32..6, any::<bool>()).prop_map(|(id, granted)| Step::Lock(id, granted)),
        4 => (0_u8..8).prop_map(Step::Command),
    ]
}

fn take(tab: &mut Tab, step: Step) {
    let socket = tab.socket.unwrap_or(SocketId(0));
    match step {
        Step::Frame(text) => tab.input(Input::Frame(socket, Secret::new(text))),
        Step::Answer(result) => {
            if let Some(sent) = tab.sent.pop_front() {
                tab.ok(sent.id, &result);
            }
        }
        Step::Error(code) => {
            if let Some(sent) = tab.sent.pop_front() {
                tab.error(sent.id, &code);
            }
        }
        Step::Event(event, data) if tab.socket.is_some() => tab.event(&event, &data),
        Step::Event(..) => {}
        Step::Open if tab.socket.is_some() && !tab.is_open => tab.open(),
        Step::Open => tab.input(Input::SocketOpened(socket)),
        Step::Close => tab.input(Input::SocketClosed(socket, Closing::default())),
        Step::Pass(time) => tab.pass(ms(time)),
        Step::Hint(0) => tab.input(PlatformEvent::Wake),
        Step::Hint(1) => tab.input(PlatformEvent::Online),
        Step::Hint(2) => tab.input(PlatformEvent::Offline),
        Step::Hint(3) => tab.input(PlatformEvent::Timer),
        Step::Hint(4) => tab.input(Input::Stop),
        Step::Hint(5) => tab.input(Input::Start),
        Step::Hint(6) => tab.input(PlatformEvent::Device(None)),
        Step::Hint(_) => tab.input(PlatformEvent::Signed(Signature::Made("s".to_owned()))),
        Step::Storage(text) => {
            tab.profile.borrow_mut().write(9, text.as_deref());
            tab.browse();
        }
        Step::Lock(id, true) => tab.input(PlatformEvent::LockGranted(LockId(id))),
        // It was not stolen.
        Step::Lock(_, false) if tab.profile.borrow().is_held_by(0) => {}
        Step::Lock(id, false) => tab.input(PlatformEvent::LockRefused(LockId(id))),
        Step::Command(0) => drop(tab.login("admin")),
        Step::Command(1) => drop(tab.logout()),
        Step::Command(2) => drop(tab.command(Command::Subscribe(rid("a.b")))),
        Step::Command(3) => drop(tab.command(Command::Unsubscribe(rid("a.b")))),
        Step::Command(4) => drop(tab.command(Command::Get(rid("a.b")))),
        Step::Command(n) => {
            let method = if n == 5 { "m" } else { "m.n" };
            tab.command(Command::Call { rid: rid("a.b"), method: method.into(), params: None });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_panics_the_client(frames in prop::collection::vec(".{0,80}", 1..20)) {
        let mut tab = crate::login::logged_in();
        for frame in frames {
            tab.frame(&frame);
        }
        prop_assert_eq!(tab.state(), relogin_client_proto::SessionState::LoggedIn(admin()));
    }

    #[test]
    fn whatever_happens_each_command_settles_once_and_no_timer_spins(
        steps in prop::collection::vec(step(), 1..60),
        key in any::<bool>(),
    ) {
        let mut tab = Tab::start(key.then_some(r#"{"key":"k1","generation":1}"#));
        for step in steps {
            take(&mut tab, step);
        }
        tab.browse();
        tab.input(Input::Stop);
        // By then no caller waits for the user model, the lock or the network any more.
        tab.pass(s(60));
        prop_assert_eq!(tab.unsettled(), Vec::<u64>::new());
        prop_assert_eq!(tab.socket, None);
        prop_assert!(!tab.profile.borrow().is_held_by(0));
    }
}

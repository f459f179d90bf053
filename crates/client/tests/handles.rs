//! Handles over an engine that is driven by hand: frames written down here, time that passes when
//! told to.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::VecDeque, pin::pin, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt};
use relogin_client::{
    Action, Client, Closing, Config, ConnectionState, Engine, Error, Event, Freshness, Input, Moment, PlatformEvent,
    Reference, RequestError, ResourceChange, ResourceValues, Returned, Secret, SocketId,
};
use relogin_res::{ResourceId, Value, client::Request};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Between an engine and no gateway.
struct Stage {
    engine: Engine,
    now: Duration,
    socket: Option<SocketId>,
    sent: VecDeque<(u64, String, Json)>,
}

impl Stage {
    /// A plain client, connected.
    fn new() -> (Client, Self) {
        let (client, engine) = Engine::new(Config::plain(1), || Duration::ZERO);
        let mut stage = Self { engine, now: Duration::ZERO, socket: None, sent: VecDeque::new() };
        stage.input(Input::Start);
        stage.connect();
        assert_eq!(client.connection(), ConnectionState::Connected);
        (client, stage)
    }

    fn input(&mut self, input: impl Into<Input>) {
        self.engine.handle(input.into(), Moment { now: self.now, random: [7; 24] });
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::OpenSocket(id, _) => self.socket = Some(id),
                Action::CloseSocket(_) => self.socket = None,
                Action::SendFrame(_, frame) => {
                    let request = Request::parse(frame.expose()).unwrap();
                    let params =
                        request.params.map_or(Json::Null, |params| serde_json::from_str(params.get()).unwrap());
                    self.sent.push_back((request.id, request.method.to_string(), params));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes in what the handles ask for. `false` once there are no handles.
    fn drive(&mut self) -> bool {
        while let Some(input) = self.engine.next_input().now_or_never() {
            let Some(input) = input else { return false };
            self.input(input);
        }
        true
    }

    fn connect(&mut self) {
        self.input(Input::SocketOpened(self.socket.unwrap()));
        self.answer("version", &json!({"protocol": "1.2.3"}));
    }

    fn frame(&mut self, frame: &Json) {
        self.input(Input::Frame(self.socket.unwrap(), Secret::new(frame.to_string())));
    }

    /// What was sent next, which must be of this method: its params.
    fn take(&mut self, method: &str) -> (u64, Json) {
        self.drive();
        let (id, found, params) = self.sent.pop_front().unwrap_or_else(|| panic!("{method} was not sent"));
        assert_eq!(found, method);
        (id, params)
    }

    fn answer(&mut self, method: &str, result: &Json) {
        let (id, _) = self.take(method);
        self.frame(&json!({"id": id, "result": result}));
    }

    fn refuse(&mut self, method: &str, code: &str) {
        let (id, _) = self.take(method);
        self.frame(&json!({"id": id, "error": {"code": code, "message": ""}}));
    }

    fn event(&mut self, event: &str, data: &Json) {
        self.frame(&json!({"event": event, "data": data}));
    }

    fn pass(&mut self, time: Duration) {
        self.drive();
        let until = self.now + time;
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.input(PlatformEvent::Timer);
        }
        self.now = until;
    }

    fn sent(&mut self) -> Vec<String> {
        self.drive();
        self.sent.iter().map(|(_, method, _)| method.clone()).collect()
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the stream has now.
fn next<S: Stream + Unpin>(stream: &mut S) -> Option<Option<S::Item>> {
    stream.next().now_or_never()
}

#[derive(Debug, PartialEq, Deserialize)]
struct Ticker {
    seconds: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Library {
    name: String,
    books: Vec<Book>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Book {
    title: String,
    author: Option<Reference>,
}

#[test]
fn a_password_is_changed_at_the_session_and_a_refusal_says_why() {
    let (client, mut stage) = Stage::new();
    let mut changing = pin!(client.change_password("open sesame", "correct horse"));
    assert!(changing.as_mut().now_or_never().is_none());
    let (id, params) = stage.take("auth.session.changePassword");
    assert_eq!(params, json!({"current": "open sesame", "new": "correct horse"}));
    stage.frame(&json!({"id": id, "result": {"payload": null}}));
    changing.now_or_never().unwrap().unwrap();

    let mut changing = pin!(client.change_password("wrong", "correct horse"));
    assert!(changing.as_mut().now_or_never().is_none());
    stage.refuse("auth.session.changePassword", "session.wrongPassword");
    assert_eq!(changing.now_or_never().unwrap().unwrap_err().code(), Some("session.wrongPassword"));
}

#[test]
fn a_model_is_read_and_its_changes_stream() {
    let (client, mut stage) = Stage::new();
    let mut model = pin!(client.model::<Ticker>("ticker.model"));
    assert!((&mut model).now_or_never().is_none());
    stage.answer("subscribe.ticker.model", &json!({"models": {"ticker.model": {"seconds": 1}}}));
    let ticker = model.now_or_never().unwrap().unwrap();
    assert_eq!(ticker.get().unwrap(), Ticker { seconds: 1 });
    let mut changes = ticker.changes();
    assert!(next(&mut changes).is_none());
    for seconds in 2..=4 {
        stage.event("ticker.model.change", &json!({"values": {"seconds": seconds}}));
    }
    assert_eq!(next(&mut changes).unwrap().unwrap().unwrap(), Ticker { seconds: 4 }, "the newest only");
    assert!(next(&mut changes).is_none());
    stage.event("ticker.model.change", &json!({"values": {"seconds": "many"}}));
    assert!(matches!(next(&mut changes), Some(Some(Err(Error::Format(_))))));
    stage.event("ticker.model.delete", &json!(null));
    assert!(matches!(next(&mut changes), Some(Some(Err(Error::Deleted)))));
    assert_eq!(ticker.resource().freshness(), Freshness::Stale);
}

#[test]
fn what_a_resource_refers_to_is_read_along_with_it_and_its_changes_too() {
    let (client, mut stage) = Stage::new();
    let mut model = pin!(client.model::<Library>("library"));
    assert!((&mut model).now_or_never().is_none());
    stage.answer(
        "subscribe.library",
        &json!({
            "models": {
                "library": {"name": "L", "books": {"rid": "books"}},
                "book.1": {"title": "A", "author": {"rid": "author.1", "soft": true}},
            },
            "collections": {"books": [{"rid": "book.1"}]},
        }),
    );
    let library = model.now_or_never().unwrap().unwrap();
    assert_eq!(library.get().unwrap().books[0].author.as_ref().unwrap().as_str(), "author.1");
    let mut changes = library.changes();
    let titles = |library: Library| library.books.into_iter().map(|book| book.title).collect::<Vec<_>>();
    let mut newest = |stage: &mut Stage, event: &str, data: Json| {
        stage.event(event, &data);
        titles(next(&mut changes).unwrap().unwrap().unwrap())
    };
    assert_eq!(newest(&mut stage, "book.1.change", json!({"values": {"title": "B"}})), ["B"]);
    let book = json!({"idx": 0, "value": {"rid": "book.2"}, "models": {"book.2": {"title": "C"}}});
    assert_eq!(newest(&mut stage, "books.add", book), ["C", "B"]);
    assert_eq!(newest(&mut stage, "book.2.change", json!({"values": {"title": "D"}})), ["D", "B"]);
    assert_eq!(newest(&mut stage, "books.remove", json!({"idx": 1})), ["D"]);
    // No longer referred to, it is no longer watched.
    stage.event("book.1.change", &json!({"values": {"title": "E"}}));
    assert!(next(&mut changes).is_none());
}

#[test]
fn a_circle_is_read_with_references_and_refused_without() {
    #[derive(Debug, Deserialize)]
    struct Endless {
        #[expect(dead_code, reason = "it is never made")]
        next: Box<Endless>,
    }
    #[derive(Debug, Deserialize)]
    struct Step {
        next: Reference,
    }
    let (client, mut stage) = Stage::new();
    let mut resource = pin!(client.resource("a"));
    assert!((&mut resource).now_or_never().is_none());
    stage.answer("subscribe.a", &json!({"models": {"a": {"next": {"rid": "b"}}, "b": {"next": {"rid": "a"}}}}));
    let resource = resource.now_or_never().unwrap().unwrap();
    assert!(matches!(resource.read::<Endless>(), Err(Error::Format(_))));
    assert_eq!(resource.read::<Step>().unwrap().next.as_str(), "b");
    assert!(next(&mut resource.changes::<Step>()).is_none());
}

#[test]
fn collections_are_lists_of_what_they_hold() {
    let (client, mut stage) = Stage::new();
    let mut collection = pin!(client.collection::<u32>("numbers"));
    assert!((&mut collection).now_or_never().is_none());
    stage.answer("subscribe.numbers", &json!({"collections": {"numbers": [1, 2]}}));
    let numbers = collection.now_or_never().unwrap().unwrap();
    let mut events = numbers.resource().events();
    stage.event("numbers.add", &json!({"idx": 2, "value": 3}));
    stage.event("numbers.rang", &json!({"bell": 1}));
    assert_eq!(numbers.get().unwrap(), [1, 2, 3]);
    assert!(matches!(next(&mut events), Some(Some(Event::Changed(_, ResourceChange::Collection(_))))));
    assert!(matches!(next(&mut events), Some(Some(Event::Custom { name, .. })) if name == "rang"));
    for n in 0..3000 {
        stage.event("numbers.rang", &json!(n));
    }
    assert!(matches!(next(&mut events), Some(Some(Event::Changed(_, ResourceChange::Loaded)))), "fell behind");
}

#[test]
fn a_refused_or_unreadable_resource_is_an_error_and_leaves_nothing_behind() {
    let (client, mut stage) = Stage::new();
    assert!(matches!(client.resource("a..b").now_or_never(), Some(Err(Error::Id(_)))));
    let mut refused = pin!(client.model::<Ticker>("a"));
    assert!((&mut refused).now_or_never().is_none());
    stage.refuse("subscribe.a", "system.accessDenied");
    let Some(Err(error)) = refused.now_or_never() else { panic!() };
    assert_eq!(error.code(), Some("system.accessDenied"));
    let mut other = pin!(client.model::<Ticker>("b"));
    assert!((&mut other).now_or_never().is_none());
    stage.answer("subscribe.b", &json!({"models": {"b": {"seconds": null}}}));
    assert!(matches!(other.now_or_never(), Some(Err(Error::Format(_)))));
    stage.pass(s(6));
    stage.take("unsubscribe.b");
    stage.pass(s(20));
    assert_eq!(stage.sent(), [""; 0], "nothing is tried again");
}

#[test]
fn calls_take_and_return_serde_types() {
    let (client, mut stage) = Stage::new();
    let mut call = pin!(client.call::<Ticker>("a", "set", json!({"x": 1})));
    assert!((&mut call).now_or_never().is_none());
    let (id, params) = stage.take("call.a.set");
    assert_eq!(params, json!({"x": 1}));
    stage.frame(&json!({"id": id, "result": {"payload": {"seconds": 9}}}));
    assert_eq!(call.now_or_never().unwrap().unwrap(), Ticker { seconds: 9 });

    let mut call = pin!(client.auth::<()>("a", "login", ()));
    assert!((&mut call).now_or_never().is_none());
    let (id, params) = stage.take("auth.a.login");
    assert_eq!(params, Json::Null);
    stage.frame(&json!({"id": id, "result": {"payload": null}}));
    call.now_or_never().unwrap().unwrap();

    let mut call = pin!(client.call_any("a", "new", ()));
    assert!((&mut call).now_or_never().is_none());
    stage.answer("call.a.new", &json!({"rid": "a.1", "models": {"a.1": {"seconds": 3}}}));
    let Ok(Returned::Resource(made)) = call.now_or_never().unwrap() else { panic!() };
    assert_eq!(made.read::<Ticker>().unwrap().seconds, 3);
    drop(made);
    stage.pass(s(6));
    stage.take("unsubscribe.a.1");

    let mut get = pin!(client.get::<Ticker>("b"));
    assert!((&mut get).now_or_never().is_none());
    stage.answer("get.b", &json!({"models": {"b": {"seconds": 5}}}));
    assert_eq!(get.now_or_never().unwrap().unwrap().seconds, 5);
}

#[test]
fn a_future_that_is_dropped_leaves_nothing_behind() {
    let (client, mut stage) = Stage::new();
    // Before the engine has seen it, before the answer, and after it.
    drop(client.resource("a").now_or_never());
    drop(client.call::<()>("x", "never", ()).now_or_never());
    let sent = stage.sent();
    assert!(sent.iter().all(|method| method == "subscribe.a" || method == "call.x.never"), "{sent:?}");
    stage.sent.clear();
    {
        let mut late = pin!(client.resource("b"));
        assert!((&mut late).now_or_never().is_none());
        stage.drive();
    }
    stage.answer("subscribe.b", &json!({"models": {"b": {}}}));
    {
        let mut answered = pin!(client.resource("c"));
        assert!((&mut answered).now_or_never().is_none());
        stage.answer("subscribe.c", &json!({"models": {"c": {}}}));
    }
    {
        let mut made = pin!(client.call_any("x", "new", ()));
        assert!((&mut made).now_or_never().is_none());
        stage.answer("call.x.new", &json!({"rid": "d", "models": {"d": {}}}));
    }
    stage.pass(s(8));
    let mut given_back = stage.sent();
    given_back.sort();
    assert_eq!(given_back, ["unsubscribe.b", "unsubscribe.c", "unsubscribe.d"]);
}

#[test]
fn a_thousand_resources_made_and_dropped_leave_nothing_behind() {
    let (client, mut stage) = Stage::new();
    for n in 0..1000 {
        let id = format!("m.{n}");
        let mut model = pin!(client.model::<Ticker>(&id));
        assert!((&mut model).now_or_never().is_none());
        stage.answer(&format!("subscribe.{id}"), &json!({"models": {&id: {"seconds": n}}}));
        let model = model.now_or_never().unwrap().unwrap();
        let (changes, events) = (model.changes(), model.resource().events());
        drop((changes, model.clone(), model, events));
    }
    stage.pass(s(8));
    while let Some((id, method, _)) = stage.sent.pop_front() {
        assert!(method.starts_with("unsubscribe."), "{method}");
        stage.frame(&json!({"id": id}));
    }
    stage.pass(s(12));
    assert!(client.get::<Json>("m.1").now_or_never().is_none());
    let state = format!("{:?}", stage.engine);
    assert!(!state.contains("m.2"), "{state}");
}

#[test]
fn the_last_handle_to_go_stops_the_engine_and_pending_futures_fail() {
    let (client, mut stage) = Stage::new();
    let mut future = Box::pin(client.model::<Ticker>("a"));
    assert!(future.as_mut().now_or_never().is_none());
    stage.answer("subscribe.a", &json!({"models": {"a": {"seconds": 1}}}));
    let model = future.now_or_never().unwrap().unwrap();
    let mut changes = model.changes();
    drop((client, model));
    assert!(stage.drive(), "the stream is still there");
    stage.event("a.change", &json!({"values": {"seconds": 2}}));
    assert!(next(&mut changes).is_some());
    drop(changes);
    assert!(!stage.drive());
    assert_eq!(stage.socket, None);

    let (client, stage) = Stage::new();
    let mut call = pin!(client.call::<()>("a", "b", ()));
    assert!((&mut call).now_or_never().is_none());
    let mut events = client.events();
    drop(stage);
    let Some(Err(Error::Request(RequestError::ConnectionLost))) = call.now_or_never() else { panic!() };
    assert!(matches!(next(&mut events), Some(None)));
    assert!(matches!(client.resource("a").now_or_never(), Some(Err(_))));
}

#[test]
fn the_state_of_the_connection_streams() {
    let (client, mut stage) = Stage::new();
    let mut events = client.events();
    stage.input(Input::SocketClosed(stage.socket.unwrap(), Closing::default()));
    assert!(matches!(next(&mut events), Some(Some(Event::Connection(ConnectionState::Reconnecting { .. })))));
    stage.pass(s(1));
    stage.connect();
    while let Some(Some(event)) = next(&mut events) {
        assert!(matches!(event, Event::Connection(_)), "{event:?}");
    }
    assert_eq!(client.connection(), ConnectionState::Connected);
}

#[test]
fn a_followed_resource_arrives_once_it_is_available() {
    let (client, mut stage) = Stage::new();
    assert!(matches!(client.follow("not a name"), Err(Error::Id(_))));
    let ticker = client.follow("ticker.model").unwrap();
    let mut events = ticker.events();
    stage.refuse("subscribe.ticker.model", "system.notFound");
    let failed = next(&mut events).unwrap().unwrap();
    assert!(matches!(failed, Event::Freshness(_, Freshness::Failed(_))), "{failed:?}");
    assert_eq!(ticker.values(), None);
    stage.pass(s(2));
    stage.answer("subscribe.ticker.model", &json!({"models": {"ticker.model": {"seconds": 1}}}));
    assert_eq!(ticker.read::<Ticker>().unwrap(), Ticker { seconds: 1 });
    let seconds = Value::Primitive(json!(1));
    assert_eq!((ticker.member("seconds"), ticker.member("minutes")), (Some(seconds.clone()), None));
    assert_eq!(ticker.values(), Some(ResourceValues::Model([("seconds".to_owned(), seconds)].into())));
    drop((ticker, events));
    stage.pass(s(6));
    assert!(stage.sent().contains(&"unsubscribe.ticker.model".to_owned()), "{:?}", stage.sent());
}

#[test]
fn the_time_to_the_next_try_is_measured_by_the_drivers_clock() {
    let (client, mut stage) = Stage::new();
    assert_eq!(client.retry_in(), None);
    stage.input(Input::SocketClosed(stage.socket.unwrap(), Closing::default()));
    let due = stage.engine.poll_timeout().unwrap();
    assert_eq!(client.retry_in(), Some(due), "the clock of these tests stands still");
    assert_eq!((client.refresh_in(), client.binding()), (None, None));
}

#[test]
fn the_list_of_sessions_is_typed_and_its_sessions_are_revoked() {
    let (client, mut stage) = Stage::new();
    let mut listing = pin!(client.sessions());
    assert!(listing.as_mut().now_or_never().is_none());
    let id = "AQEBAQEBAQEBAQEBAQEBAQ";
    let session = json!({
        "id": id, "label": null, "browser": "Firefox", "system": "Linux", "address": "203.0.113.7",
        "created": 1_790_000_000_000_u64, "lastSeen": 1_790_000_600_000_u64, "current": false, "bound": true,
    });
    let rid = format!("session.sessions.c1.{id}");
    stage.answer(
        "subscribe.session.sessions.{cid}",
        &json!({"collections": {"session.sessions.{cid}": [{"rid": rid}]}, "models": {&rid: session}}),
    );
    let list = listing.now_or_never().unwrap().unwrap();
    let [listed] = &list.get().unwrap()[..] else { panic!("it is one") };
    assert_eq!((listed.browser.as_deref(), listed.last_seen), (Some("Firefox"), 1_790_000_600_000));

    let (untyped, referred) = (list.resource(), ResourceId::parse(&rid).unwrap());
    let member = |name| untyped.member_of(&referred, name)?.json()?.as_str().map(str::to_owned);
    assert_eq!((member("browser").as_deref(), member("nothing")), (Some("Firefox"), None));
    assert_eq!(untyped.references(), std::slice::from_ref(&referred));
    assert_eq!(untyped.member_of(&ResourceId::parse("other.model").unwrap(), "browser"), None);

    let mut revoking = pin!(client.revoke(listed.id));
    assert!(revoking.as_mut().now_or_never().is_none());
    let (request, params) = stage.take("auth.session.revoke");
    assert_eq!(params, json!({"id": id}));
    stage.frame(&json!({"id": request, "error": {"code": "session.loginTooOld", "message": "Log in again first"}}));
    let refused = revoking.now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.code(), Some("session.loginTooOld"));

    let mut revoking = pin!(client.revoke_others());
    assert!(revoking.as_mut().now_or_never().is_none());
    stage.answer("auth.session.revokeOthers", &json!({"payload": {"revoked": 1}}));
    assert_eq!(revoking.now_or_never().unwrap().unwrap(), 1);
    stage.event("session.sessions.{cid}.remove", &json!({"idx": 0}));
    assert_eq!(list.get().unwrap(), []);
}

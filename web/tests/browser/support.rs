//! Helpers of the browser tests: a scripted gateway, and waiting with a deadline.

use std::{future::Future, iter, pin::pin, time::Duration};

use futures_util::{StreamExt, future};
use gloo_timers::future::TimeoutFuture;
use relogin_web::{Client, Event, Events, Options, SessionState};
use serde_json::{Value as Json, json};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen(module = "/tests/browser/scripted.js")]
extern "C" {
    pub(crate) fn install();

    #[wasm_bindgen(js_name = nextSocket)]
    fn next_socket() -> js_sys::Promise;

    fn accept(socket: &JsValue);

    fn say(socket: &JsValue, frame: &str);

    #[wasm_bindgen(js_name = hangUp)]
    fn hang_up(socket: &JsValue);

    fn part(socket: &JsValue, code: u16, reason: &str);

    #[wasm_bindgen(js_name = addressOf)]
    fn address_of(socket: &JsValue) -> String;

    #[wasm_bindgen(js_name = frameWaits)]
    fn frame_waits(socket: &JsValue) -> js_sys::Promise;

    #[wasm_bindgen(js_name = takeFrame)]
    fn take_frame(socket: &JsValue) -> Option<String>;

    #[wasm_bindgen(js_name = otherTab)]
    pub(crate) fn other_tab() -> web_sys::Window;

    #[wasm_bindgen(js_name = lockIsFree)]
    pub(crate) fn lock_is_free(name: &str) -> js_sys::Promise;
}

/// How long a test waits before it fails.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for `wanted`, and panics if that takes too long.
pub(crate) async fn within<T>(what: &str, wanted: impl Future<Output = T>) -> T {
    let deadline = TimeoutFuture::new(DEADLINE.as_millis() as u32);
    match future::select(pin!(wanted), deadline).await {
        future::Either::Left((outcome, _)) => outcome,
        future::Either::Right(_) => panic!("waited too long for {what}"),
    }
}

/// The gateway's side of one connection. It answers what every client requests; the rest is up to
/// the test.
pub(crate) struct Gateway {
    socket: JsValue,
    name: String,
    user: Json,
}

/// A request that waits for an answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) method: String,
    pub(crate) params: Json,
}

impl Request {
    fn parse(frame: &str) -> Self {
        let mut frame: Json = serde_json::from_str(frame).unwrap();
        let method = frame["method"].as_str().unwrap().to_owned();
        Self { id: frame["id"].as_u64().unwrap(), method, params: frame["params"].take() }
    }
}

/// The user model of nobody.
pub(crate) fn nobody() -> Json {
    json!({ "id": null, "name": null, "role": null })
}

/// The user model of one of the demo's users.
pub(crate) fn jane() -> Json {
    json!({ "id": 3, "name": "Jane Doe", "role": "user" })
}

impl Gateway {
    /// Accepts the next connection that the page opens.
    pub(crate) async fn accept(name: &str) -> Self {
        let socket = within("a socket", JsFuture::from(next_socket())).await.unwrap();
        accept(&socket);
        Self { socket, name: name.to_owned(), user: nobody() }
    }

    /// Refuses the next connection that the page opens. Returns where that would have gone.
    pub(crate) async fn refuse_connection() -> String {
        let socket = within("a socket", JsFuture::from(next_socket())).await.unwrap();
        let address = address_of(&socket);
        hang_up(&socket);
        address
    }

    /// Where the page has opened the connection.
    pub(crate) fn address(&self) -> String {
        address_of(&self.socket)
    }

    /// Ends the connection with a close frame.
    pub(crate) fn part(&self, code: u16, reason: &str) {
        part(&self.socket, code, reason);
    }

    /// Returns the next request for `method`, and answers the handshake and the user model before
    /// it. Any other request fails the test, because these tests check what is sent, and in which
    /// order.
    pub(crate) async fn expect(&mut self, method: &str) -> Request {
        loop {
            let request = self.next_request(method).await.expect("the page closed the connection");
            if request.method == method {
                return request;
            }
            assert!(self.answer_common(&request), "{method} was expected, not {request:?}");
        }
    }

    /// Answers handshakes and user models until `until` is ready.
    pub(crate) async fn serve<T>(&mut self, what: &str, until: impl Future<Output = T>) -> T {
        let serving = async {
            while let Some(request) = self.next_request(what).await {
                assert!(self.answer_common(&request), "nothing but {what} was expected, not {request:?}");
            }
            future::pending::<()>().await;
        };
        match future::select(pin!(until), pin!(serving)).await {
            future::Either::Left((outcome, _)) => outcome,
            future::Either::Right(_) => unreachable!("serving never ends"),
        }
    }

    /// Answers a request.
    pub(crate) fn answer(&self, request: &Request, result: &Json) {
        self.say(&json!({ "id": request.id, "result": result }));
    }

    /// Answers a login or relogin with the key of a generation, to be refreshed in `refresh_in`
    /// milliseconds.
    pub(crate) fn answer_key(&self, request: &Request, generation: u64, refresh_in: u64) {
        let result = json!({ "reloginKey": key(generation), "generation": generation,
            "expiresIn": 120_000, "refreshIn": refresh_in });
        self.answer(request, &json!({ "payload": result }));
    }

    /// Refuses a request.
    pub(crate) fn refuse(&self, request: &Request, code: &str) {
        self.say(&json!({ "id": request.id, "error": { "code": code, "message": "no" } }));
    }

    /// Sends an event.
    pub(crate) fn send_event(&self, event: &str, data: &Json) {
        self.say(&json!({ "event": event, "data": data }));
    }

    /// Changes who is logged in on the connection.
    pub(crate) fn set_user(&mut self, user: Json) {
        let event = format!("{}.user.{{cid}}.change", self.name);
        self.send_event(&event, &json!({ "values": user }));
        self.user = user;
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&self) {
        hang_up(&self.socket);
    }

    fn say(&self, frame: &Json) {
        say(&self.socket, &frame.to_string());
    }

    async fn next_request(&self, instead_of: &str) -> Option<Request> {
        within(instead_of, JsFuture::from(frame_waits(&self.socket))).await.unwrap();
        take_frame(&self.socket).map(|frame| Request::parse(&frame))
    }

    /// The requests that have arrived and have not been read yet.
    pub(crate) fn waiting(&self) -> Vec<Request> {
        iter::from_fn(|| take_frame(&self.socket)).map(|frame| Request::parse(&frame)).collect()
    }

    /// Answers what every client requests; returns false for other requests.
    pub(crate) fn answer_common(&self, request: &Request) -> bool {
        let user = format!("{}.user.{{cid}}", self.name);
        if request.method == "version" {
            self.answer(request, &json!({ "protocol": "1.2.3" }));
        } else if request.method == format!("subscribe.{user}") {
            self.answer(request, &json!({ "models": { user: self.user } }));
        } else {
            return false;
        }
        true
    }
}

/// A key. Clients do not read what is in it.
pub(crate) fn key(generation: u64) -> String {
    format!("key-{generation}")
}

/// A page: its client, and the client's events.
pub(crate) struct Page {
    pub(crate) client: Client,
    events: Events,
}

impl Page {
    /// A page that has just been loaded, of the session resource `name`.
    pub(crate) async fn load(name: &str) -> Self {
        Self::load_for(name, &[""]).await
    }

    /// The same, for gateways at these addresses.
    pub(crate) async fn load_for(name: &str, gateways: &[&str]) -> Self {
        let client = within("the start", Options::new(gateways).session(name).unwrap().connect()).await.unwrap();
        Self { events: client.events(), client }
    }

    /// Waits for the client's next event.
    pub(crate) async fn next_event(&mut self) -> Event {
        within("an event", self.events.next()).await.expect("the client stopped")
    }

    /// Waits until the session's state is as `wanted`.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&SessionState) -> bool) {
        within(what, async {
            while !wanted(&self.client.session()) {
                self.events.next().await.expect("the client stopped");
            }
        })
        .await;
    }
}

/// True if Jane is logged in.
pub(crate) fn is_jane(state: &SessionState) -> bool {
    matches!(state, SessionState::LoggedIn(user) if user.name == "Jane Doe")
}

/// The storage record of a session resource.
pub(crate) async fn stored(name: &str) -> Option<Json> {
    let text = web_sys::window().unwrap().local_storage().unwrap().unwrap().get_item(&entry(name)).unwrap()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Writes a record to storage, as an earlier page would have left it.
pub(crate) async fn store(name: &str, generation: u64) {
    let record = json!({ "key": key(generation), "generation": generation }).to_string();
    write(&web_sys::window().unwrap(), name, &record);
}

/// Writes the entry of localStorage in a tab.
pub(crate) fn write(tab: &web_sys::Window, name: &str, text: &str) {
    tab.local_storage().unwrap().unwrap().set_item(&entry(name), text).unwrap();
}

/// What storage, database and lock of a session resource are called.
pub(crate) fn entry(name: &str) -> String {
    format!("relogin:{name}")
}

//! The JavaScript and TypeScript face: `connect`, and what it gives. Small as yet: the session and its states; subscribing
//! to resources from JavaScript is left to a RES client of its own.

use std::{cell::RefCell, rc::Rc};

use futures_util::StreamExt;
use js_sys::{Function, Promise};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{future_to_promise, spawn_local};

use crate::{Client, ConnectionState, Ended, Error, Event, RequestError, SessionState, User};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Where to connect to. */
export interface Options {
  /** The gateway's address; without it `/ws` on the origin that served the page. */
  gateway?: string;
  /** The name of the session resource, as the service's `--name`; `session` without it. */
  name?: string;
}

/** Who is logged in. */
export interface User {
  id: number | string;
  name: string;
  role: string;
}

/** What can be said of session and connection. */
export interface State {
  /**
   * `anonymous`: nobody is logged in; `resuming`: a key is stored, and not yet used; `loggedIn`; `reconnecting`: logged in
   * when the connection was lost, and believed to be still; `loggedOut`: by the user, here; `loggedOutElsewhere`: in another
   * tab, or by an administrator; `expired`; `stolen`: somebody else has used the key; `refused`: the service takes the key no
   * more, and why cannot be known.
   */
  session:
    | "anonymous"
    | "resuming"
    | "loggedIn"
    | "reconnecting"
    | "loggedOut"
    | "loggedOutElsewhere"
    | "expired"
    | "stolen"
    | "refused";
  /** Set while `session` is `loggedIn` or `reconnecting`. */
  user?: User;
  connection: "connecting" | "connected" | "reconnecting" | "stopped";
}

/** Why a login failed. Codes of its own: `client.timeout`, `client.connectionLost`, `client.superseded`,
 * `client.garbled`. */
export interface LoginError extends Error {
  /** A RES error code, like `session.wrongUsernamePassword`. */
  code: string;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// See `TYPES`.
    #[wasm_bindgen(typescript_type = "Options")]
    pub type JsOptions;

    /// See `TYPES`.
    #[wasm_bindgen(typescript_type = "State")]
    pub type JsState;

    /// What is called with each new state.
    #[wasm_bindgen(typescript_type = "(state: State) => void")]
    pub type JsListener;
}

/// Connects to the gateway, and resumes the session that is in storage, if there is one: whether there is, is known as soon as
/// the promise is fulfilled.
///
/// # Errors
/// If the options are not what they should be, or the gateway's address is none.
#[wasm_bindgen]
pub async fn connect(options: Option<JsOptions>) -> Result<Connection, JsError> {
    let options = match options {
        Some(options) => serde_wasm_bindgen::from_value(options.into())?,
        None => Options::default(),
    };
    let client = crate::Options::new(options.gateway).session(&options.name)?.connect().await?;
    let mut events = client.events();
    let listeners = Listeners::default();
    let (weak, told) = (Rc::new(client), Rc::clone(&listeners));
    let client = Rc::clone(&weak);
    let weak = Rc::downgrade(&weak);
    spawn_local(async move {
        while let Some(event) = events.next().await {
            let (Event::Session(_) | Event::Connection(_), Some(client)) = (event, weak.upgrade()) else { continue };
            tell(&told, &state(&client));
        }
    });
    Ok(Connection { client, listeners })
}

/// A client at work. `free()` stops it; the session stays in storage.
#[wasm_bindgen(js_name = Relogin)]
#[derive(Debug)]
pub struct Connection {
    client: Rc<Client>,
    listeners: Listeners,
}

type Listeners = Rc<RefCell<Vec<Function>>>;

#[wasm_bindgen(js_class = Relogin)]
impl Connection {
    /// Logs in. Rejects with a `LoginError`.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn login(&self, username: String, password: String) -> Promise {
        let client = Rc::clone(&self.client);
        future_to_promise(async move {
            client.login(&username, &password).await.map_err(|error| login_error(&error))?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Logs out, here and in all tabs. Never rejects.
    #[wasm_bindgen(unchecked_return_type = "Promise<void>")]
    pub fn logout(&self) -> Promise {
        let client = Rc::clone(&self.client);
        future_to_promise(async move {
            client.logout().await;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// What can be said of session and connection now.
    #[wasm_bindgen(getter)]
    #[must_use]
    pub fn state(&self) -> JsState {
        state(&self.client)
    }

    /// Calls `listener` with each new state from now on.
    #[wasm_bindgen(js_name = onChange)]
    pub fn on_change(&self, listener: JsListener) {
        self.listeners.borrow_mut().push(listener.unchecked_into());
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Options {
    gateway: String,
    name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { gateway: String::new(), name: "session".to_owned() }
    }
}

#[derive(Serialize)]
struct State {
    session: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    connection: &'static str,
}

fn state(client: &Client) -> JsState {
    let (session, user) = match client.session() {
        SessionState::Anonymous => ("anonymous", None),
        SessionState::Resuming => ("resuming", None),
        SessionState::LoggedIn(user) => ("loggedIn", Some(user)),
        SessionState::Reconnecting(user) => ("reconnecting", Some(user)),
        SessionState::Ended(Ended::LoggedOut) => ("loggedOut", None),
        SessionState::Ended(Ended::LoggedOutElsewhere) => ("loggedOutElsewhere", None),
        SessionState::Ended(Ended::Expired) => ("expired", None),
        SessionState::Ended(Ended::Stolen) => ("stolen", None),
        SessionState::Ended(Ended::Refused) => ("refused", None),
    };
    let connection = match client.connection() {
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Reconnecting { .. } => "reconnecting",
        ConnectionState::Stopped => "stopped",
    };
    // Fails for maps with keys that are no text, and there are none.
    serde_wasm_bindgen::to_value(&State { session, user, connection }).unwrap_or_default().unchecked_into()
}

fn tell(listeners: &RefCell<Vec<Function>>, state: &JsState) {
    // A copy: a listener may add another.
    let now = listeners.borrow().clone();
    for listener in now {
        // What a listener throws is its own affair and must not keep others from being told.
        let _ = listener.call1(&JsValue::UNDEFINED, state);
    }
}

fn login_error(error: &Error) -> JsValue {
    let Error::Request(error) = error else { return js_sys::Error::new(&error.to_string()).into() };
    let (code, message) = match error {
        RequestError::Refused(error) => (error.code.as_ref(), error.message.to_string()),
        RequestError::TimedOut => ("client.timeout", error.to_string()),
        RequestError::ConnectionLost => ("client.connectionLost", error.to_string()),
        RequestError::Superseded => ("client.superseded", error.to_string()),
        RequestError::Garbled | RequestError::NotSubscribed => ("client.garbled", error.to_string()),
    };
    let thrown = js_sys::Error::new(&message);
    // Setting a property of an ordinary object cannot fail.
    let _ = js_sys::Reflect::set(&thrown, &"code".into(), &code.into());
    thrown.into()
}

//! Puts a [`View`] into the page's elements and hears what the user does, by dom.js.

use wasm_bindgen::{closure::Closure, prelude::wasm_bindgen};

use crate::{
    Happening,
    view::{Screen, View},
};

#[wasm_bindgen(module = "/src/page/dom.js")]
extern "C" {
    /// Shows nothing but `message` from now on.
    pub(crate) fn fail(message: &str);

    #[wasm_bindgen(js_name = listen)]
    fn listen_to_user(tell: &Closure<dyn Fn(u32)>);

    #[wasm_bindgen(js_name = setText)]
    fn set_text(id: &str, text: &str);

    #[wasm_bindgen(js_name = setAttribute)]
    fn set_attribute(id: &str, name: &str, value: &str);

    #[wasm_bindgen(js_name = setState)]
    fn set_state(name: &str, value: &str);

    #[wasm_bindgen(js_name = setHidden)]
    fn set_hidden(id: &str, hidden: bool);

    fn initials(name: &str) -> String;

    fn open(view: &str, target: Option<&str>);

    /// Adds a line to what happens, and forgets the oldest.
    #[wasm_bindgen(js_name = tellLine)]
    pub(crate) fn tell(line: &str);

    fn value(id: &str) -> String;

    fn clear(id: &str);

    fn mend(id: &str);

    /// The content of a meta element; empty if there is none.
    pub(crate) fn meta(name: &str) -> String;

    /// True if the page's address has this query.
    #[wasm_bindgen(js_name = isAt)]
    pub(crate) fn is_at(query: &str) -> bool;

    /// True unless the browser knows that it has no network.
    #[wasm_bindgen(js_name = isOnline)]
    pub(crate) fn is_online() -> bool;
}

#[cfg(debug_assertions)]
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    pub(crate) fn error(message: &str);
}

/// Hears from now on what the user does, and each second that goes by.
pub(crate) fn listen(happen: impl Fn(Happening) + 'static) {
    let tell = Closure::<dyn Fn(u32)>::new(move |what| {
        happen(match what {
            0 => Happening::Submitted,
            1 => Happening::LogoutPressed,
            2 => Happening::StealPressed,
            _ => Happening::Second,
        });
    });
    listen_to_user(&tell);
    // As long as the page.
    tell.forget();
}

/// Shows `view`.
pub(crate) fn show(view: &View) {
    set_state("connection", view.connection);
    set_state("session", view.session);
    set_state("key", view.key);
    set_text("connection-state", view.connection_text);
    set_text("retry-in", &view.retry_text);
    set_flag("steal", "aria-disabled", !view.can_steal);
    set_text("thief", view.thief);
    set_text("owner", view.owner);
    match &view.screen {
        Screen::Resuming { text } => {
            set_text("resuming-text", text);
            open("resuming", None);
        }
        Screen::Login { reason, message, invalid, pending } => {
            open("login", Some("username"));
            set_text("login-submit", if *pending { "Logging in…" } else { "Log in" });
            set_flag("login-submit", "aria-disabled", *pending);
            for field in ["username", "password"] {
                set_flag(field, "aria-invalid", *invalid);
            }
            // After the view: a message in a view that is not shown yet would not be read out.
            set_text("login-reason", reason);
            set_text("login-error", message);
        }
        Screen::Session { user, id, binding, refresh, seconds } => {
            set_text("user-initials", &initials(&user.name));
            set_text("user-name", &user.name);
            set_text("user-id", id);
            set_text("user-role", &user.role);
            set_hidden("binding", binding.is_empty());
            set_text("binding-text", binding);
            set_text("refresh-in", refresh);
            set_text("ticker-seconds", seconds);
            open("session", Some("user-name"));
            set_text("login-error", "");
        }
    }
}

fn set_flag(id: &str, name: &str, value: bool) {
    set_attribute(id, name, if value { "true" } else { "false" });
}

/// What is in the login form.
pub(crate) fn credentials() -> (String, String) {
    (value("username"), value("password"))
}

/// Empties the login form.
pub(crate) fn clear_credentials() {
    clear("username");
    clear("password");
}

/// Puts the user into a field of the login form to mend what is in it: the password, or else the username.
pub(crate) fn focus_field(password: bool) {
    mend(if password { "password" } else { "username" });
}

//! The page's elements: puts a [`View`] into them and hears what the user does. Text goes in as text, never as HTML.

use std::cell::Cell;

use futures_channel::mpsc::UnboundedSender;
use relogin_web::browser::listener::Listener;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Document, Element, HtmlElement, HtmlInputElement, window};

use crate::{
    Happening, send,
    view::{Screen, View},
};

/// index.html lacks an element that the program needs.
#[derive(Debug, thiserror::Error)]
#[error("it has no element \"{0}\"")]
pub(crate) struct MissingElement(&'static str);

/// How much of what happened is kept on show.
const MAX_LINES: u32 = 100;

pub(crate) struct Dom {
    document: Document,
    body: HtmlElement,
    connection_state: HtmlElement,
    retry_in: HtmlElement,
    resuming_text: HtmlElement,
    username: HtmlInputElement,
    password: HtmlInputElement,
    login_reason: HtmlElement,
    login_error: HtmlElement,
    login_submit: HtmlElement,
    user_initials: HtmlElement,
    user_name: HtmlElement,
    user_id: HtmlElement,
    user_role: HtmlElement,
    binding: HtmlElement,
    binding_text: HtmlElement,
    refresh_in: HtmlElement,
    ticker_seconds: HtmlElement,
    news: HtmlElement,
    steal: HtmlElement,
    thief: HtmlElement,
    owner: HtmlElement,
    /// The view that the user was busy with has closed, and the one that opened had no place for them.
    adrift: Cell<bool>,
    _listeners: [Listener; 3],
}

impl Dom {
    /// Finds the elements, and tells `happen` from now on what the user does with them.
    pub(crate) fn find(happen: &UnboundedSender<Happening>) -> Result<Self, MissingElement> {
        let document = window().and_then(|window| window.document()).ok_or(MissingElement("document"))?;
        let (form, logout) = (element::<HtmlElement>(&document, "login-form")?, element(&document, "logout")?);
        let steal = element::<HtmlElement>(&document, "steal")?;
        let (submitted, pressed, stolen) = (happen.clone(), happen.clone(), happen.clone());
        let listeners = [
            Listener::new(&form, "submit", move |event| {
                event.prevent_default();
                send(&submitted, Happening::Submitted);
            }),
            Listener::new(&logout, "click", move |_| send(&pressed, Happening::LogoutPressed)),
            Listener::new(&steal, "click", move |_| send(&stolen, Happening::StealPressed)),
        ];
        Ok(Self {
            body: document.body().ok_or(MissingElement("body"))?,
            connection_state: element(&document, "connection-state")?,
            retry_in: element(&document, "retry-in")?,
            resuming_text: element(&document, "resuming-text")?,
            username: element(&document, "username")?,
            password: element(&document, "password")?,
            login_reason: element(&document, "login-reason")?,
            login_error: element(&document, "login-error")?,
            login_submit: element(&document, "login-submit")?,
            user_initials: element(&document, "user-initials")?,
            user_name: element(&document, "user-name")?,
            user_id: element(&document, "user-id")?,
            user_role: element(&document, "user-role")?,
            binding: element(&document, "binding")?,
            binding_text: element(&document, "binding-text")?,
            refresh_in: element(&document, "refresh-in")?,
            ticker_seconds: element(&document, "ticker-seconds")?,
            news: element(&document, "news")?,
            steal,
            thief: element(&document, "thief")?,
            owner: element(&document, "owner")?,
            document,
            adrift: Cell::new(false),
            _listeners: listeners,
        })
    }

    /// Shows `view`. Touches only what differs: a screen reader repeats what is written again.
    pub(crate) fn show(&self, view: &View) {
        set_data(&self.body, "data-connection", view.connection);
        set_data(&self.body, "data-session", view.session);
        set_data(&self.body, "data-key", view.key);
        set_text(&self.connection_state, view.connection_text);
        set_text(&self.retry_in, &view.retry_text);
        set_data(&self.steal, "aria-disabled", if view.can_steal { "false" } else { "true" });
        set_text(&self.thief, view.thief);
        set_text(&self.owner, view.owner);
        match &view.screen {
            Screen::Resuming { text } => {
                set_text(&self.resuming_text, text);
                self.open("resuming", None);
            }
            Screen::Login { reason, message, invalid, pending } => {
                self.open("login", Some(&self.username));
                set_text(&self.login_submit, if *pending { "Logging in…" } else { "Log in" });
                set_data(&self.login_submit, "aria-disabled", if *pending { "true" } else { "false" });
                for field in [&self.username, &self.password] {
                    set_data(field, "aria-invalid", if *invalid { "true" } else { "false" });
                }
                // After the view: a message in a view that is not shown yet would not be read out.
                set_text(&self.login_reason, reason);
                set_text(&self.login_error, message);
            }
            Screen::Session { user, binding, refresh, seconds } => {
                set_text(&self.user_initials, &initials(&user.name));
                set_text(&self.user_name, &user.name);
                set_text(&self.user_id, &user.id.to_string());
                set_text(&self.user_role, &user.role);
                self.binding.set_hidden(binding.is_empty());
                set_text(&self.binding_text, binding);
                set_text(&self.refresh_in, refresh);
                set_text(&self.ticker_seconds, seconds);
                self.open("session", Some(&self.user_name));
                set_text(&self.login_error, "");
            }
        }
    }

    /// Adds a line to what happens, and forgets the oldest.
    pub(crate) fn tell(&self, line: &str) {
        let (Ok(item), Ok(time), Ok(text)) = (self.create("li"), self.create("time"), self.create("span")) else {
            return;
        };
        let now: String = js_sys::Date::new_0().to_locale_time_string("en-GB").into();
        time.set_text_content(Some(&now));
        text.set_text_content(Some(line));
        // Fail for what cannot be in a document, and this can.
        let _ = (item.append_child(&time), item.append_child(&text), self.news.append_child(&item));
        if self.news.child_element_count() > MAX_LINES
            && let Some(oldest) = self.news.first_element_child()
        {
            oldest.remove();
        }
        if let Some(lines) = self.news.parent_element() {
            lines.set_scroll_top(i32::MAX);
        }
    }

    fn create(&self, name: &str) -> Result<Element, JsValue> {
        self.document.create_element(name)
    }

    /// What is in the login form.
    pub(crate) fn credentials(&self) -> (String, String) {
        (self.username.value(), self.password.value())
    }

    /// Empties the login form.
    pub(crate) fn clear_credentials(&self) {
        self.username.set_value("");
        self.password.set_value("");
    }

    /// Puts the user into a field of the login form to mend what is in it: the password, or else the username.
    pub(crate) fn focus_field(&self, password: bool) {
        let field = if password { &self.password } else { &self.username };
        focus(field);
        field.select();
    }

    /// Opens a view, and takes the user along to `target` who was busy with the one that closes.
    fn open(&self, view: &str, target: Option<&HtmlElement>) {
        if self.body.get_attribute("data-view").as_deref() == Some(view) {
            return;
        }
        let active = self.document.active_element();
        let busy = active.is_some_and(|active| active.closest(".view").ok().flatten().is_some());
        let follows = self.adrift.take() || busy;
        set_data(&self.body, "data-view", view);
        match target {
            Some(target) if follows => focus(target),
            Some(_) => {}
            None => self.adrift.set(follows),
        }
    }
}

/// True if the page's address has this query.
pub(crate) fn is_at(query: &str) -> bool {
    window().and_then(|window| window.location().search().ok()).is_some_and(|search| search == query)
}

/// The content of a meta element; empty if there is none.
pub(crate) fn meta(name: &str) -> String {
    let found = window().and_then(|window| window.document());
    let found = found.and_then(|document| document.query_selector(&format!("meta[name='{name}']")).ok().flatten());
    found.and_then(|meta| meta.get_attribute("content")).unwrap_or_default()
}

/// Shows nothing but `message` from now on.
pub(crate) fn fail(message: &str) {
    let Some(document) = window().and_then(|window| window.document()) else { return };
    if let (Some(body), Some(error)) = (document.body(), document.get_element_by_id("start-error")) {
        set_data(&body, "data-view", "failed");
        error.set_text_content(Some(message));
    }
}

fn element<T: JsCast>(document: &Document, id: &'static str) -> Result<T, MissingElement> {
    document.get_element_by_id(id).and_then(|element| element.dyn_into().ok()).ok_or(MissingElement(id))
}

fn set_text(element: &Element, text: &str) {
    if element.text_content().as_deref() != Some(text) {
        element.set_text_content(Some(text));
    }
}

fn set_data(element: &Element, attribute: &str, value: &str) {
    if element.get_attribute(attribute).as_deref() != Some(value) {
        // Fails for a name that is no attribute's, and ours are.
        let _ = element.set_attribute(attribute, value);
    }
}

fn focus(element: &HtmlElement) {
    // Fails in no browser that we know; and then the user presses a key more.
    let _ = element.focus();
}

/// "JD" for "Jane Doe". (Capitals are the style sheet's: the table of all letters' is 12 kB.)
fn initials(name: &str) -> String {
    let mut words = name.split_whitespace().filter_map(|word| word.chars().next());
    let (first, last) = (words.next(), words.next_back());
    first.into_iter().chain(last).collect()
}

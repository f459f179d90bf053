//! The page's elements, by web-sys: puts a [`View`] into them, and reports what the user does. Must
//! not depend on clients.
//!
//! Text goes in as text, never as HTML. What is as it should be is not touched: a screen reader
//! repeats what is written again.

mod fields;
mod lines;
mod sessions;

use gloo_events::{EventListener, EventListenerOptions};
use gloo_timers::callback::{Interval, Timeout};
use wasm_bindgen::JsCast as _;
use web_sys::{
    Document, Element, Event, EventTarget, HtmlElement, HtmlMetaElement, ScrollIntoViewOptions, ScrollLogicalPosition,
    UrlSearchParams, Window,
};

use crate::{
    PageEvent,
    view::{Screen, View},
};

pub(crate) use fields::{
    clear_credentials, clear_passwords, credentials, focus_field, focus_password, passwords, unfold_password,
};
pub(crate) use lines::{add_event, diagnostic};
pub(crate) use sessions::are_sessions_open;

/// Calls `listener` from now on with what the user does, and with each second that goes by.
pub(crate) fn listen(listener: impl Fn(PageEvent) + Clone + 'static) {
    let forward = |id, event, page_event: fn() -> PageEvent| {
        let listener = listener.clone();
        on(id, event, move |event| {
            event.prevent_default();
            listener(page_event());
        });
    };
    forward("login-form", "submit", || PageEvent::Submitted);
    forward("password-form", "submit", || PageEvent::ChangeSubmitted);
    forward("logout", "click", || PageEvent::LogoutPressed);
    forward("steal", "click", || PageEvent::StealPressed);
    forward("retry", "click", || PageEvent::RetryPressed);
    forward("revoke-others", "click", || PageEvent::RevokeOthersPressed);
    forward("sessions", "toggle", || PageEvent::SessionsToggled);
    let pressed = listener.clone();
    sessions::listen(move |id| pressed(PageEvent::RevokePressed(id)));
    fields::let_password_be_shown();
    lines::follow();
    // As long as the page.
    Interval::new(1000, move || listener(PageEvent::Second)).forget();
}

/// Shows `view`.
pub(crate) fn show(view: &View) {
    set_title(&view.title);
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
            for (field, invalid) in [("username", invalid.username), ("password", invalid.password)] {
                set_flag(field, "aria-invalid", invalid);
            }
            // After the view: a message in a view that is not shown yet would not be read out.
            set_text("login-reason", reason);
            set_text("login-error", message);
        }
        Screen::Session { user, id, binding, refresh, seconds, change, sessions, sessions_message } => {
            set_text("user-initials", &initials(&user.name));
            set_text("user-name", &user.name);
            set_text("user-id", id);
            set_text("user-role", &user.role);
            set_hidden("binding", binding.is_empty());
            set_text("binding-text", binding);
            set_text("refresh-in", refresh);
            set_text("ticker-seconds", seconds);
            set_flag("current-password", "aria-invalid", change.current_invalid);
            set_flag("new-password", "aria-invalid", change.new_invalid);
            set_flag("password-submit", "aria-disabled", change.pending);
            set_text("password-error", &change.message);
            set_text("password-done", change.done);
            sessions::show(sessions);
            set_text("sessions-message", sessions_message);
            set_hidden("revoke-others", sessions.iter().all(|session| session.is_current));
            open("session", Some("user-name"));
            set_text("login-error", "");
        }
    }
    set_hidden("retry", !view.can_retry);
}

/// Shows nothing but `message` from now on.
pub(crate) fn fail(message: &str) {
    set_title(crate::view::FAILED_TITLE);
    // Not by `element`, whose failure this is.
    if let Some(target) = document().get_element_by_id("start-error") {
        target.set_text_content(Some(message));
    }
    set_state("view", "failed");
}

/// The content of a meta element; empty if there is none.
pub(crate) fn meta(name: &str) -> String {
    let found = document().query_selector(&["meta[name='", name, "']"].concat()).ok().flatten();
    found.and_then(|meta| meta.dyn_into::<HtmlMetaElement>().ok()).map(|meta| meta.content()).unwrap_or_default()
}

/// True if the page's address asks for this: `?name`.
pub(crate) fn is_asked_for(name: &str) -> bool {
    let query = window().location().search().unwrap_or_default();
    UrlSearchParams::new_with_str(&query).is_ok_and(|query| query.has(name))
}

/// True unless the browser knows that it has no network.
pub(crate) fn is_online() -> bool {
    window().navigator().on_line()
}

/// Scrolls as little as it takes to have an element in view.
pub(crate) fn bring_into_view(id: &str) {
    let options = ScrollIntoViewOptions::new();
    options.set_block(ScrollLogicalPosition::Nearest);
    if let Some(target) = element(id) {
        target.scroll_into_view_with_scroll_into_view_options(&options);
    }
}

/// Shows an element, or hides it.
pub(crate) fn set_hidden(id: &str, hidden: bool) {
    let Some(target) = html_element(id) else { return };
    if target.hidden() != hidden {
        if hidden && is_focused(&target) {
            // A hidden element would leave its focus nowhere.
            let next = if body().dataset().get("view").as_deref() == Some("login") { "username" } else { "user-name" };
            focus(next);
        }
        target.set_hidden(hidden);
    }
}

/// Opens a view, and takes the user along to `target`, if there is one, unless they are busy
/// elsewhere on the page.
fn open(view: &str, target: Option<&'static str>) {
    if body().dataset().get("view").as_deref() == Some(view) {
        return;
    }
    let busy_elsewhere = document()
        .active_element()
        .is_some_and(|active| active != *body() && active.closest(".view").ok().flatten().is_none());
    set_state("view", view);
    if let Some(target) = target.filter(|_| !busy_elsewhere) {
        focus_later(target);
    }
}

fn set_title(title: &str) {
    if document().title() != title {
        document().set_title(title);
    }
}

fn set_text(id: &str, text: &str) {
    let Some(target) = element(id) else { return };
    if target.text_content().as_deref() != Some(text) {
        target.set_text_content(Some(text));
    }
}

fn set_flag(id: &str, name: &str, value: bool) {
    let Some(target) = element(id) else { return };
    let value = if value { "true" } else { "false" };
    if target.get_attribute(name).as_deref() != Some(value) {
        // (It fails for names that are not valid.)
        let _ = target.set_attribute(name, value);
    }
}

/// Sets a state of the page, for style sheets.
fn set_state(name: &str, value: &str) {
    let states = body().dataset();
    if states.get(name).as_deref() != Some(value) {
        // (It fails for names that are not valid.)
        let _ = states.set(name, value);
    }
}

fn focus(id: &str) {
    if let Some(target) = html_element(id) {
        // (It never fails.)
        let _ = target.focus();
    }
}

/// Focuses an element once the view is complete. A browser lays out the page before it moves the
/// focus, and would have to do so again after further changes.
fn focus_later(id: &'static str) {
    Timeout::new(0, move || focus(id)).forget();
}

fn is_focused(target: &Element) -> bool {
    document().active_element().as_ref() == Some(target)
}

/// Calls `listener` with each `event` of an element, for as long as the page is there.
fn on(id: &str, event: &'static str, listener: impl Fn(&Event) + 'static) {
    if let Some(target) = element(id) {
        listen_to(&target, event, listener);
    }
}

/// The same, for something that is at hand.
pub(crate) fn listen_to(target: &EventTarget, event: &'static str, listener: impl Fn(&Event) + 'static) {
    let options = EventListenerOptions::enable_prevent_default();
    EventListener::new_with_options(target, event, options, move |event| listener(event)).forget();
}

/// An element that is part of the page. Without it the page is broken, and says so.
fn element(id: &str) -> Option<Element> {
    let found = document().get_element_by_id(id);
    if found.is_none() {
        fail(&["The page is broken: it has no element \"", id, "\"."].concat());
    }
    found
}

fn html_element(id: &str) -> Option<HtmlElement> {
    element(id)?.dyn_into().ok()
}

pub(crate) fn window() -> Window {
    web_sys::window().expect("the program runs in a page, which has a window")
}

pub(crate) fn document() -> Document {
    window().document().expect("a window of a page has its document")
}

fn body() -> HtmlElement {
    document().body().expect("start.js runs once the document is there")
}

/// "JD" for "Jane Doe". (Capitals are the style sheet's.)
fn initials(name: &str) -> String {
    let mut words = name.split_whitespace();
    let first = words.next();
    first.into_iter().chain(words.next_back()).filter_map(|word| word.chars().next()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn initials_are_those_of_the_first_and_the_last_name() {
        for (name, initials) in
            [("Jane Doe", "JD"), ("Jane van der Doe", "JD"), (" Administrator ", "A"), ("", ""), ("Émile Zola", "ÉZ")]
        {
            assert_eq!(super::initials(name), initials);
        }
    }
}

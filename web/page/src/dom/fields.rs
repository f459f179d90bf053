//! The fields of the forms: what is in them, and whether the password can be read. Must not depend
//! on logins.

use wasm_bindgen::JsCast as _;
use web_sys::{HtmlDetailsElement, HtmlInputElement};

use super::{element, focus, on, set_text};

/// What is in the login form.
pub(crate) fn credentials() -> (String, String) {
    // A browser that is asked to remember the password is to take it for one.
    show_password(false);
    let value = |id| field(id).map(|field| field.value()).unwrap_or_default();
    (value("username"), value("password"))
}

/// Empties the login form.
pub(crate) fn clear_credentials() {
    for id in ["username", "password"] {
        if let Some(field) = field(id) {
            field.set_value("");
        }
    }
    show_password(false);
}

/// What is in the form for another password: the current one, and the new one.
pub(crate) fn passwords() -> (String, String) {
    let value = |id| field(id).map(|field| field.value()).unwrap_or_default();
    (value("current-password"), value("new-password"))
}

/// Empties the form for another password.
pub(crate) fn clear_passwords() {
    for id in ["current-password", "new-password"] {
        if let Some(field) = field(id) {
            field.set_value("");
        }
    }
}

/// Puts the user into a field of that form: the current password, or else the new one.
pub(crate) fn focus_password(current: bool) {
    focus(if current { "current-password" } else { "new-password" });
}

/// Unfolds the form for another password, or folds it.
pub(crate) fn unfold_password(open: bool) {
    let fold = element("password-form").and_then(|form| form.parent_element());
    if let Some(fold) = fold.and_then(|fold| fold.dyn_into::<HtmlDetailsElement>().ok()) {
        fold.set_open(open);
    }
}

/// Puts the user into a field of the login form to mend what is in it: the password, or else the
/// username.
pub(crate) fn focus_field(password: bool) {
    if let Some(field) = field(if password { "password" } else { "username" }) {
        // (It never fails.)
        let _ = field.focus();
        field.select();
    }
}

/// From now on the button beside the password shows it, and hides it again.
pub(super) fn let_password_be_shown() {
    on("reveal", "click", |_| {
        let hidden = field("password").is_some_and(|field| field.type_() == "password");
        show_password(hidden);
        if let Some(field) = field("password") {
            // (It never fails.)
            let _ = field.focus();
        }
    });
}

fn show_password(shown: bool) {
    let Some(field) = field("password") else { return };
    let kind = if shown { "text" } else { "password" };
    if field.type_() != kind {
        field.set_type(kind);
    }
    set_text("reveal-text", if shown { "Hide" } else { "Show" });
}

fn field(id: &str) -> Option<HtmlInputElement> {
    element(id)?.dyn_into().ok()
}

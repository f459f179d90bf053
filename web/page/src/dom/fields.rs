//! The login form's fields: what is in them, and whether the password can be read. Must not depend
//! on logins.

use wasm_bindgen::JsCast as _;
use web_sys::HtmlInputElement;

use super::{element, on, set_text};

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

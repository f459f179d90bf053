//! The list of the user's sessions, with a button for each that is not this page's own. Must not
//! depend on clients.

use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlDetailsElement};

use super::{document, element, focus, on, set_text};
use crate::view::Row;

/// The attribute of a button that has its session's id.
const ID: &str = "data-id";
/// The attribute of the list that has all of them.
const IDS: &str = "data-ids";

/// Whether the list is unfolded.
pub(crate) fn are_sessions_open() -> bool {
    element("sessions").and_then(|fold| fold.dyn_into::<HtmlDetailsElement>().ok()).is_some_and(|fold| fold.open())
}

/// Calls `listener` with the id of each session whose button is pressed.
pub(super) fn listen(listener: impl Fn(String) + 'static) {
    on("session-list", "click", move |event| {
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        if let Some(id) = target.and_then(|target| target.get_attribute(ID)) {
            listener(id);
        }
    });
}

/// Shows the list. While it has the same sessions, only what changes is touched.
pub(super) fn show(rows: &[Row]) {
    let Some(list) = element("session-list") else { return };
    let mut ids = String::new();
    for row in rows {
        ids.push_str(&row.id);
    }
    if list.get_attribute(IDS).as_ref() != Some(&ids) {
        // (This fails for names that are not valid.)
        let _ = list.set_attribute(IDS, &ids);
        let is_focused = document().active_element().is_some_and(|active| active.get_attribute(ID).is_some());
        list.set_text_content(None);
        for row in rows {
            add(&list, row);
        }
        if is_focused {
            // A button that is gone would leave its focus nowhere, or at another session's.
            focus("sessions-summary");
        }
    }
    for row in rows {
        set_text(&row.id, &row.detail);
    }
}

fn add(list: &Element, row: &Row) {
    let make = |name| document().create_element(name);
    let [Ok(item), Ok(name), Ok(detail), Ok(button)] = ["li", "b", "span", "button"].map(make) else { return };
    name.set_text_content(Some(&row.name));
    // (These fail for names and nodes that cannot be there.)
    let _ = detail.set_attribute("id", &row.id);
    let _ = item.append_with_node_2(&name, &detail);
    if !row.is_current {
        let _ = button.set_attribute("class", "secondary");
        let _ = button.set_attribute("aria-label", &["Log out ", &row.name].concat());
        let _ = button.set_attribute(ID, &row.id);
        button.set_text_content(Some("Log out"));
        let _ = item.append_with_node_1(&button);
    }
    let _ = list.append_with_node_1(&item);
}

//! Keeps what is folded and unfolded over reloads. Must not depend on what is in the folds.

use wasm_bindgen::JsCast as _;
use web_sys::{HtmlDetailsElement, Storage};

use crate::dom::{document, listen_to, window};

/// Unfolds what was unfolded when the page was here last, and remembers from now on. The style
/// sheet shows folds only once the page knows what to show: what is unfolded before that moves
/// nothing that was seen. The list of sessions is always folded at first: it comes later, and would
/// move what is below.
pub(crate) fn keep() {
    // In a browser that keeps nothing all is folded, as at first.
    let Ok(Some(storage)) = window().local_storage() else { return };
    let Ok(folds) = document().query_selector_all("details[id]:not(.sessions)") else { return };
    for index in 0..folds.length() {
        if let Some(fold) = folds.item(index).and_then(|fold| fold.dyn_into::<HtmlDetailsElement>().ok()) {
            keep_one(fold, storage.clone());
        }
    }
}

fn keep_one(fold: HtmlDetailsElement, storage: Storage) {
    let name = ["relogin-page:", &fold.id()].concat();
    if let Ok(Some(_)) = storage.get_item(&name) {
        fold.set_open(true);
    }
    let target = fold.clone();
    listen_to(&target, "toggle", move |_| {
        // What the browser does not keep is folded the next time.
        let _ = if fold.open() { storage.set_item(&name, "") } else { storage.remove_item(&name) };
    });
}

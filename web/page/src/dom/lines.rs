//! Lists of what happened, a line each, with the time of day. Knows nothing of what the lines say.

use js_sys::Date;

use super::{document, element, set_hidden};

/// How many lines are kept on show.
const MAX_LINES: u32 = 100;

/// Adds a line to what happens, and forgets the oldest.
pub(crate) fn tell(line: &str) {
    add("news", line);
}

/// Adds a line to the diagnostics, and forgets the oldest. They are shown once there is one.
pub(crate) fn diagnostic(line: &str) {
    set_hidden("diagnostics", false);
    add("diagnostics-lines", line);
}

fn add(id: &str, line: &str) {
    let Some(list) = element(id) else { return };
    let make = |name| document().create_element(name);
    let [Ok(item), Ok(time), Ok(text)] = [make("li"), make("time"), make("span")] else { return };
    time.set_text_content(Date::new_0().to_locale_time_string("en-GB").as_string().as_deref());
    text.set_text_content(Some(line));
    // (These fail for nodes that cannot be there.)
    let _ = item.append_with_node_2(&time, &text);
    let _ = list.append_with_node_1(&item);
    if list.child_element_count() > MAX_LINES
        && let Some(oldest) = list.first_element_child()
    {
        oldest.remove();
    }
    if let Some(frame) = list.parent_element() {
        frame.set_scroll_top(frame.scroll_height());
    }
}

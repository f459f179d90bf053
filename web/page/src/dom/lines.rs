//! Lists of what happened, a line each, with the time of day. Must not depend on what the lines
//! say.

use js_sys::Date;
use web_sys::Element;

use super::{document, element, on, set_hidden};
use crate::view::number;

/// How many lines are kept on show.
const MAX_LINES: u32 = 100;

/// Adds a line to the events, and forgets the oldest.
pub(crate) fn add_event(line: &str) {
    add("event-lines", line);
}

/// Adds a line to the diagnostics, and forgets the oldest. They are shown once there is one.
pub(crate) fn diagnostic(line: &str) {
    set_hidden("diagnostics", false);
    add("diagnostic-lines", line);
}

/// Shows the newest lines of a fold when it is opened.
pub(super) fn follow() {
    for (fold, list) in [("events", "event-lines"), ("diagnostics", "diagnostic-lines")] {
        on(fold, "toggle", move |_| {
            if let Some(list) = element(list) {
                scroll_to_end(&list);
            }
        });
    }
}

fn add(id: &str, line: &str) {
    let Some(list) = element(id) else { return };
    let make = |name| document().create_element(name);
    let [Ok(item), Ok(time), Ok(text)] = [make("li"), make("time"), make("span")] else { return };
    let now = Date::new_0();
    time.set_text_content(Some(&time_of_day([now.get_hours(), now.get_minutes(), now.get_seconds()])));
    text.set_text_content(Some(line));
    // (These fail for nodes that cannot be there.)
    let _ = item.append_with_node_2(&time, &text);
    let _ = list.append_with_node_1(&item);
    if list.child_element_count() > MAX_LINES
        && let Some(oldest) = list.first_element_child()
    {
        oldest.remove();
    }
    scroll_to_end(&list);
}

/// Does nothing in a closed fold: to learn its height, the browser would have to lay out the page.
fn scroll_to_end(list: &Element) {
    if list.closest("details[open]").is_ok_and(|fold| fold.is_some())
        && let Some(frame) = list.parent_element()
    {
        frame.set_scroll_top(frame.scroll_height());
    }
}

/// Hours, minutes and seconds as text. (A browser takes some milliseconds to load its formatter.)
fn time_of_day(time: [u32; 3]) -> String {
    time.map(|part| [if part < 10 { "0" } else { "" }, &number(part.into())].concat()).join(":")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_two_digits_each() {
        assert_eq!(super::time_of_day([23, 5, 0]), "23:05:00");
    }
}

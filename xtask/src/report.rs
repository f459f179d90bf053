//! Prints to the terminal: one line for each step, with the time since the start.
//!
//! The only place of this crate that prints; output of child programs goes to [`crate::log`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "talking to the terminal is what this module is for")]

use std::{
    fmt::Display,
    sync::LazyLock,
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Prints that a step begins: `[1:05] Trunk: compiling it (usually 3 min)`.
pub(crate) fn begin(what: impl Display) {
    println!("[{}] {what}", clock(START.elapsed()));
}

/// Prints a line as it is.
pub(crate) fn line(text: impl Display) {
    println!("{text}");
}

/// Prints why a command has failed.
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("xtask: {error:#}");
}

/// Minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_pads_seconds_only() {
        assert_eq!(clock(Duration::from_millis(5_900)), "0:05");
        assert_eq!(clock(Duration::from_secs(754)), "12:34");
    }
}

//! Shows what the clients of this page, the thief's too, log of their session managers. Must not
//! decide anything.

use log::{LevelFilter, Log, Metadata, Record};

use crate::dom;

/// Where session managers log.
const TARGET: &str = "relogin";

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            dom::diagnostic(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Shows what is logged from now on.
pub(crate) fn show() {
    // Fails if there is a logger, and there is none but this.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

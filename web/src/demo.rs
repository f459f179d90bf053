//! For demonstrations only: sessions without a device key, and a thief. A feature of its own, so
//! that ordinary pages do not have it. Must not depend on how sessions are kept.

use crate::Options;

/// Options for bearer sessions, as in a browser that cannot keep a device key. They are stored
/// apart from the sessions of clients with a device key.
#[must_use]
pub fn bearer(options: Options) -> Options {
    options.bearer()
}

/// A thief's options: when it connects, it copies the storage record of this session into memory.
/// It has no device key.
#[must_use]
pub fn thief(options: Options) -> Options {
    options.copied()
}

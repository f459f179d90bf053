//! What demonstrations of sessions need, and nobody else: sessions without a device key, and a thief. A feature of its own, so that
//! it is not in reach of pages. Must not know how sessions are kept.

use crate::Options;

/// Makes no device key: the sessions are bearer ones, as in a browser that can keep none. They are kept beside those of clients that
/// have one.
#[must_use]
pub fn bearer(options: Options) -> Options {
    options.bearer()
}

/// A thief's options: when it connects, it copies what the storage of this session has by then, keeps it in memory, and has no
/// device key.
#[must_use]
pub fn thief(options: Options) -> Options {
    options.copied()
}

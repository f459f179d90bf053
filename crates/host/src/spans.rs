//! The target of the spans that are sent to a collector of traces. It keeps them apart from
//! everything that is logged: they are made only if a collector is configured. Must not depend on
//! how they are sent.
//!
//! Nothing in them may be a secret, and no text of strangers may be long.

/// The target of such spans. Their level is INFO.
pub const SPANS: &str = "relogin::spans";

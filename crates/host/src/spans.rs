//! What spans that are sent to a collector of traces have in common. They have a target of their
//! own, by which they are told from everything that is logged: they are made only if somebody takes
//! them. Must not depend on who that is.
//!
//! Nothing in them may be a secret, and no text of strangers may be long.

/// The target of such spans. Their level is INFO.
pub const SPANS: &str = "relogin::spans";

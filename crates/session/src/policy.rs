//! Lifetimes of keys and sessions.

/// Lifetimes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A relogin key not used for this long ends its session (idle lifetime).
    pub key_lifetime: u64,
    /// A session ends this long after its login, however much it is used (absolute lifetime).
    pub session_lifetime: u64,
    /// When a client should use its key to get the next one.
    pub refresh: u64,
    /// How long after a login its user may end other sessions from a list; none: for as long as the
    /// session lives.
    pub revoke_within: Option<u64>,
}

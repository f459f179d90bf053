//! Messages of services that make no sense, for the operator. Must not have anything of their
//! payloads, which may be secret.

use crate::counts::MessageKind;

/// A message of a service that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What kind of message it was to be.
    pub kind: MessageKind,
    /// The subject that it was sent to, or of the request that it answers.
    pub subject: String,
    /// What is wrong with it, in words.
    pub problem: &'static str,
}

//! What browsers send and get on the auth methods; shared with the browser. See docs/protocol.md, sections 1 and 3.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Attempt, ReloginKey};

/// Params of `auth.<name>.login`.
#[derive(Clone, Serialize, Deserialize)]
pub struct LoginParams {
    /// Compared without regard to case.
    pub username: String,
    /// Wiped by whoever reads it.
    pub password: String,
    /// This use of the method, so that a repetition is told from a second login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// What the user calls the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Params of `auth.<name>.relogin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloginParams {
    /// The key to use.
    pub relogin_key: ReloginKey,
    /// This use of the key; none from clients of the guide's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

/// The result of login and relogin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedIn {
    /// The key to use next.
    pub relogin_key: ReloginKey,
    /// Its generation.
    pub generation: u64,
    /// Milliseconds until the key expires.
    pub expires_in: u64,
    /// Milliseconds until the client should use it.
    pub refresh_in: u64,
}

/// Payload of the custom event `rotated` on `<name>.user.<cid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The generation that another connection of the session has made.
    pub generation: u64,
}

/// What is the caller's fault. Maps to a RES error by [`Denied::code`] and its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// A live session is on this connection already.
    #[error("Already logged in")]
    AlreadyLoggedIn,
    /// The params are not what the method takes.
    #[error("Invalid parameters")]
    InvalidParams,
    /// No such user, or another password.
    #[error("Wrong username or password")]
    WrongUsernamePassword,
    /// The key is not genuine, expired, used, or its session is gone.
    #[error("Invalid relogin key")]
    InvalidReloginKey,
    /// The method is none of ours.
    #[error("Method not found")]
    MethodNotFound,
}

/// The part of our error codes before the dot, for errors that are not RES's own.
pub const AUTH_ERRORS: &str = "session";

impl Denied {
    /// The RES error code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AlreadyLoggedIn => "session.alreadyLoggedIn",
            Self::InvalidParams => "system.invalidParams",
            Self::WrongUsernamePassword => "session.wrongUsernamePassword",
            Self::InvalidReloginKey => "session.invalidReloginKey",
            Self::MethodNotFound => "system.methodNotFound",
        }
    }
}

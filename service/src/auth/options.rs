//! Settings of what answers requests. Decides nothing.

use std::sync::Arc;

use relogin_users::password_rules::PasswordRules;

use super::throttle::ThrottleKind;
use crate::{client_address::TrustedProxies, instance::Peers, issuers::Issuers, origins::Origins};

/// Whether sessions are bound to the cookies of browsers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieKind {
    /// They are, and logins without a cookie are refused.
    Require,
    /// They are, if there is a cookie.
    #[default]
    Use,
    /// Cookies are neither set nor read.
    Off,
}

/// Settings.
#[derive(Clone, Debug, Default)]
pub struct AuthOptions {
    /// Whose failed logins delay the next ones.
    pub throttle: ThrottleKind,
    /// Whether sessions are bound to the cookies of browsers.
    pub cookie: CookieKind,
    /// Third-party token issuers that log users in, besides passwords.
    pub issuers: Option<Arc<Issuers>>,
    /// Whether relogin keys travel in cookies, where no script reads them.
    pub cookie_session: bool,
    /// Whether browsers may bind such a session to a key of their device.
    pub dbsc: bool,
    /// Whose pages may act with their visitors' cookies.
    pub origins: Arc<Origins>,
    /// The state of other instances of the same name.
    pub peers: Peers,
    /// The id of this instance, if several share the store: then one of them answers each request.
    pub instance: Option<String>,
    /// Proxies that may name their clients.
    pub proxies: TrustedProxies,
    /// What is asked of new passwords.
    pub password_rules: PasswordRules,
}

//! Routes a request by its subject, and says which of two instances answers it.

use std::fmt;

use relogin_res::service::{Response, Subject};
use serde::de::IgnoredAny;

use super::{
    AuthContext,
    answer::Failure,
    cookie_refresh::{self, CookieAction},
    counts::CountedMethod,
};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `auth.<name>.login`.
    Login,
    /// `auth.<name>.relogin`.
    Relogin,
    /// `auth.<name>.logout`.
    Logout,
    /// `auth.<name>.challenge`.
    Challenge,
    /// `auth.<name>.connect`.
    Connect,
    /// `auth.<name>.headerLogin`.
    HeaderLogin,
    /// `auth.<name>.changePassword`.
    ChangePassword,
    /// `auth.<name>.renew`.
    Renew,
    /// `auth.<name>.renew.<instance>`: the same, for the instance that has asked for it.
    RenewAt(String),
    /// `access.<name>.user.<cid>`.
    UserAccess(String),
    /// `get.<name>.user.<cid>`.
    User(String),
    /// `auth.<name>.revoke`.
    Revoke,
    /// `auth.<name>.revokeOthers`.
    RevokeOthers,
    /// `access.<name>.sessions.<cid>`, and of a session on that list.
    ListAccess(String),
    /// `get.<name>.sessions.<cid>`.
    List(String),
    /// `get.<name>.sessions.<cid>.<id>`.
    Listed(String, String),
    /// `access.<name>`: which methods HTTP requests may call.
    MethodAccess,
    /// `call.<name>.refresh`, `.logout` and `.proveDevice`: what remains of an HTTP request after
    /// its header authentication has done everything.
    AfterHeaderAuth,
    /// `call.<name>.registerDevice`: the same, but it has something to say.
    DeviceRegistered,
    /// A method that does not exist.
    UnknownMethod,
    /// A resource that does not exist.
    UnknownResource,
}

/// Which of two instances with stores of their own answers what both are asked. They should not run
/// at the same time (`instance.rs`); while they do, neither ends a session that only the other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnsweredBy<'a> {
    /// Both, and the first answer counts: it depends on no session, or does no harm.
    Both,
    /// The one that has the session: an answer that there is none is not sent
    /// (`Failure::lacks_session`). A method must say that with an error.
    Holder,
    /// The one that has run for longer: the answer creates a session.
    Senior,
    /// Neither: the answer would end a session.
    Neither,
    /// The instance with this id, also of those that share a store.
    Named(&'a str),
}

/// The auth methods by name.
const METHODS: [(&str, Route); 10] = [
    ("login", Route::Login),
    ("relogin", Route::Relogin),
    ("logout", Route::Logout),
    ("challenge", Route::Challenge),
    ("connect", Route::Connect),
    ("headerLogin", Route::HeaderLogin),
    ("renew", Route::Renew),
    ("changePassword", Route::ChangePassword),
    ("revoke", Route::Revoke),
    ("revokeOthers", Route::RevokeOthers),
];

/// The names of all auth methods.
pub fn methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|(name, _)| *name)
}

impl Route {
    /// Parses the subject of a request to the service `name`.
    pub(super) fn of(subject: &str, name: &str) -> Self {
        // The cid of `<name>.user.<cid>`.
        let user = |resource: &str| {
            let cid = resource.strip_prefix(name)?.strip_prefix(".user.")?;
            (!cid.contains('.')).then(|| cid.to_owned())
        };
        // The cid of `<name>.sessions.<cid>`, and the id of a session.
        let list = |resource: &str| {
            let rest = resource.strip_prefix(name)?.strip_prefix(".sessions.")?;
            let (cid, id) = rest.split_once('.').map_or((rest, None), |(cid, id)| (cid, Some(id)));
            let is_whole = !cid.is_empty() && id.is_none_or(|id| !id.is_empty() && !id.contains('.'));
            is_whole.then(|| (cid.to_owned(), id.map(str::to_owned)))
        };
        match Subject::parse(subject) {
            Some(Subject::Auth(resource, method)) if resource == name => {
                let found = METHODS.iter().find(|(name, _)| *name == method);
                found.map_or(Self::UnknownMethod, |(_, route)| route.clone())
            }
            Some(Subject::Auth(resource, instance)) if resource.strip_prefix(name) == Some(".renew") => {
                Self::RenewAt(instance)
            }
            Some(Subject::Call(resource, method)) if resource == name => {
                match cookie_refresh::METHODS.iter().find(|(name, _)| *name == method) {
                    Some((_, CookieAction::RegisterDevice)) => Self::DeviceRegistered,
                    Some(_) => Self::AfterHeaderAuth,
                    None => Self::UnknownMethod,
                }
            }
            Some(Subject::Auth(..) | Subject::Call(..)) => Self::UnknownMethod,
            Some(Subject::Access(resource)) if resource == name => Self::MethodAccess,
            Some(Subject::Access(resource)) => match (user(&resource), list(&resource)) {
                (Some(cid), _) => Self::UserAccess(cid),
                (_, Some((cid, _))) => Self::ListAccess(cid),
                _ => Self::UnknownResource,
            },
            Some(Subject::Get(resource)) => match (user(&resource), list(&resource)) {
                (Some(cid), _) => Self::User(cid),
                (_, Some((cid, None))) => Self::List(cid),
                (_, Some((cid, Some(id)))) => Self::Listed(cid, id),
                _ => Self::UnknownResource,
            },
            None if subject.starts_with("auth.") || subject.starts_with("call.") => Self::UnknownMethod,
            None => Self::UnknownResource,
        }
    }

    /// What it is counted as.
    pub(super) fn counted(&self) -> CountedMethod {
        match self {
            Self::Login => CountedMethod::Login,
            Self::Relogin => CountedMethod::Relogin,
            Self::Logout => CountedMethod::Logout,
            Self::Challenge => CountedMethod::Challenge,
            Self::Connect => CountedMethod::Connect,
            Self::HeaderLogin => CountedMethod::HeaderLogin,
            Self::ChangePassword => CountedMethod::ChangePassword,
            Self::Renew | Self::RenewAt(_) => CountedMethod::Renew,
            Self::Revoke => CountedMethod::Revoke,
            Self::RevokeOthers => CountedMethod::RevokeOthers,
            Self::UserAccess(_) | Self::ListAccess(_) | Self::MethodAccess => CountedMethod::Access,
            Self::User(_) | Self::List(_) | Self::Listed(..) => CountedMethod::Get,
            Self::AfterHeaderAuth | Self::DeviceRegistered => CountedMethod::Call,
            Self::UnknownMethod | Self::UnknownResource => CountedMethod::Unknown,
        }
    }

    /// Which of two instances answers. All routes are named, so that whoever adds one decides.
    pub(super) fn answered_by(&self) -> AnsweredBy<'_> {
        match self {
            Self::Login | Self::HeaderLogin => AnsweredBy::Senior,
            Self::Relogin | Self::Connect | Self::ChangePassword | Self::Revoke | Self::RevokeOthers => {
                AnsweredBy::Holder
            }
            Self::Renew => AnsweredBy::Neither,
            Self::RenewAt(instance) => AnsweredBy::Named(instance),
            // Both try to log out. A client that gets the answer that it was not logged in uses its
            // key, and finds out.
            Self::Logout
            | Self::Challenge
            | Self::UserAccess(_)
            | Self::User(_)
            | Self::ListAccess(_)
            | Self::List(_)
            | Self::Listed(..)
            | Self::MethodAccess
            | Self::AfterHeaderAuth
            | Self::DeviceRegistered
            | Self::UnknownMethod
            | Self::UnknownResource => AnsweredBy::Both,
        }
    }
}

impl AuthContext {
    /// True if a request is left to another instance, whatever this one would answer.
    pub(super) fn leaves(&self, route: &Route) -> bool {
        match route.answered_by() {
            AnsweredBy::Both | AnsweredBy::Holder => false,
            AnsweredBy::Senior => self.peers.is_junior(),
            AnsweredBy::Neither => self.peers.is_met(),
            AnsweredBy::Named(named) => self.instance.as_ref().is_some_and(|instance| instance != named),
        }
    }

    /// True if the other instance may have the session that this one lacks.
    pub(super) fn leaves_after(&self, route: &Route, answer: &Result<Response, Failure>) -> bool {
        route.answered_by() == AnsweredBy::Holder
            && self.peers.is_met()
            && answer.as_ref().is_err_and(Failure::lacks_session)
    }
}

impl fmt::Display for Route {
    /// A name for logs, which contains nothing that a stranger chose.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "login",
            Self::Relogin => "relogin",
            Self::Logout => "logout",
            Self::Challenge => "challenge",
            Self::Connect => "connect",
            Self::HeaderLogin => "headerLogin",
            Self::ChangePassword => "changePassword",
            Self::Renew | Self::RenewAt(_) => "renew",
            Self::UserAccess(_) => "access to a user",
            Self::User(_) => "get of a user",
            Self::Revoke => "revoke",
            Self::RevokeOthers => "revokeOthers",
            Self::ListAccess(_) => "access to sessions",
            Self::List(_) => "get of sessions",
            Self::Listed(..) => "get of a session",
            Self::MethodAccess => "access to methods",
            Self::AfterHeaderAuth => "cookie refresh or logout",
            Self::DeviceRegistered => "registration of a device",
            Self::UnknownMethod => "unknown method",
            Self::UnknownResource => "unknown resource",
        })
    }
}

/// Refuses a payload that is not a JSON object, whatever the request would have led to.
pub(super) fn check(payload: &[u8]) -> Result<(), Failure> {
    #[derive(serde::Deserialize)]
    struct Object {
        #[serde(flatten)]
        _members: IgnoredAny,
    }
    if payload.is_empty() || serde_json::from_slice::<Object>(payload).is_ok() {
        Ok(())
    } else {
        Err(Failure::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_routed_to_methods_and_resources() {
        for (subject, route) in [
            ("auth.session.login", Route::Login),
            ("auth.session.relogin", Route::Relogin),
            ("auth.session.logout", Route::Logout),
            ("auth.session.challenge", Route::Challenge),
            ("auth.session.connect", Route::Connect),
            ("auth.session.headerLogin", Route::HeaderLogin),
            ("auth.session.changePassword", Route::ChangePassword),
            ("auth.session.headerlogin", Route::UnknownMethod),
            ("auth.session.renew", Route::Renew),
            ("auth.session.renew.i1", Route::RenewAt("i1".into())),
            ("auth.session.renewal.i1", Route::UnknownMethod),
            ("call.session.renew.i1", Route::UnknownMethod),
            ("access.session", Route::MethodAccess),
            ("call.session.refresh", Route::AfterHeaderAuth),
            ("call.session.logout", Route::AfterHeaderAuth),
            ("call.session.proveDevice", Route::AfterHeaderAuth),
            ("call.session.registerDevice", Route::DeviceRegistered),
            ("access.session.user.c1", Route::UserAccess("c1".into())),
            ("get.session.user.c1", Route::User("c1".into())),
            ("auth.session.constructor", Route::UnknownMethod),
            ("auth.session.Login", Route::UnknownMethod),
            ("auth.session.user.login", Route::UnknownMethod),
            ("auth.session.lo?gin", Route::UnknownMethod),
            ("call.session.login", Route::UnknownMethod),
            ("call.session.user.c1.set", Route::UnknownMethod),
            ("auth.session.revoke", Route::Revoke),
            ("auth.session.revokeOthers", Route::RevokeOthers),
            ("access.session.sessions.c1", Route::ListAccess("c1".into())),
            ("access.session.sessions.c1.s", Route::ListAccess("c1".into())),
            ("get.session.sessions.c1", Route::List("c1".into())),
            ("get.session.sessions.c1.s", Route::Listed("c1".into(), "s".into())),
            ("get.session.sessions.c1.s.more", Route::UnknownResource),
            ("access.session.sessions.c1.s.more", Route::UnknownResource),
            ("get.session.sessions", Route::UnknownResource),
            ("get.session.sessions.", Route::UnknownResource),
            ("get.session.sessions..s", Route::UnknownResource),
            ("get.session.users", Route::UnknownResource),
            ("get.session.user", Route::UnknownResource),
            ("get.session.user.c1.more", Route::UnknownResource),
            ("access.session.user.c1.more", Route::UnknownResource),
            ("get.session.user.", Route::UnknownResource),
        ] {
            assert_eq!(Route::of(subject, "session"), route, "{subject}");
        }
        assert_eq!(Route::of("auth.login.login", "login"), Route::Login);
        assert_eq!(Route::of("auth.session.login", "login"), Route::UnknownMethod);
    }

    #[test]
    fn payloads_are_objects_or_nothing() {
        for payload in ["", "{}", r#"{"cid":7}"#, " {\"a\":[]} "] {
            assert!(check(payload.as_bytes()).is_ok(), "{payload}");
        }
        for payload in ["[]", "null", "7", "x", "{", "{}x", "\u{feff}{}", "{\"a\":1"] {
            assert!(check(payload.as_bytes()).is_err(), "{payload}");
        }
        assert!(check(&[0xff, 0xfe]).is_err());
        assert!(check("[".repeat(60_000).as_bytes()).is_err());
        assert!(check("{\"a\":".repeat(10_000).as_bytes()).is_err());
    }
}

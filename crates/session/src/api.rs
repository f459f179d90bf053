//! What browsers send and get on the auth methods; shared with the browser. See docs/protocol.md,
//! sections 1 and 3. Knows no RES message around them.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Attempt, Secret, SessionId};

/// What browsers hold of it is its text, and whose it is; what it proves is the service's.
pub use crate::ReloginKey;

/// Params of `auth.<name>.login`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginParams {
    /// However it is typed: the service prepares it (RFC 8265).
    pub username: String,
    /// What the user typed.
    pub password: Secret,
    /// This use of the method, so that a repetition is told from a second login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// What the user calls the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The device that the session is to be bound to; without one it is a bearer session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<NewDevice>,
}

/// Params of `auth.<name>.headerLogin`: who logs in is said by a token in the headers of the
/// connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderLoginParams {
    /// As in [`LoginParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// As in [`LoginParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// As in [`LoginParams`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<NewDevice>,
}

/// A device that a login registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewDevice {
    /// The public half of its key pair.
    pub public_key: PublicKey,
}

/// A device's public key, as a JSON Web Key (RFC 7517): Ed25519 (RFC 8037) or ECDSA P-256. Whether
/// it is a good one is the service's to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// `OKP` or `EC`.
    pub kty: String,
    /// `Ed25519` or `P-256`.
    pub crv: String,
    /// The key, or the point's x coordinate: base64url.
    pub x: String,
    /// The point's y coordinate: base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

/// Params of `auth.<name>.relogin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloginParams {
    /// The key to use.
    pub relogin_key: ReloginKey,
    /// This use of the key; none from legacy clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// That the session's device sends it; for bound sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<SignedChallenge>,
}

/// The proof that a relogin comes from the session's device: the signature by the device key over
/// [`proof_message`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedChallenge {
    /// The challenge, as `auth.<name>.challenge` gave it out.
    pub challenge: String,
    /// The signature, base64url: 64 bytes for either kind of key (r ‖ s for ECDSA over SHA-256, as
    /// WebCrypto makes them).
    pub signature: String,
}

/// What a device signs to use `key`: `"relogin/1" ‖ challenge ‖ reloginKey`, the texts as they are
/// on the wire.
#[must_use]
pub fn proof_message(challenge: &str, key: &ReloginKey) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(proof_text(challenge, key).into_bytes())
}

/// [`proof_message`], for those who have it signed. To be kept as the key is.
#[must_use]
pub fn proof_text(challenge: &str, key: &ReloginKey) -> String {
    ["relogin/1", challenge, key.expose()].concat()
}

/// The result of `auth.<name>.challenge`: what a device signs next on this connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// To be signed and sent back as it is.
    pub challenge: String,
    /// Milliseconds until it expires.
    pub expires_in: u64,
}

/// Params of `auth.<name>.logout`; legacy clients send none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutParams {
    /// The session to end: a logout that arrives late must not end the session that came after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<SessionId>,
}

/// Params of `auth.<name>.changePassword`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangePasswordParams {
    /// The user's password, as typed.
    pub current: Secret,
    /// The one that they want, as typed.
    pub new: Secret,
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
    /// Whether the session is bound to a device: its key is of no use without the device's proof.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound: bool,
}

/// A member of the collection `<name>.sessions.<cid>`: one of the user's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedSession {
    /// Names the session in [`RevokeParams`].
    pub id: SessionId,
    /// What the user calls the device.
    pub label: Option<String>,
    /// The browser that logged in, in words: `Firefox`.
    pub browser: Option<String>,
    /// Its system, in words: `Windows`.
    pub system: Option<String>,
    /// The IP address from which the session was used last.
    pub address: Option<String>,
    /// When the user logged in, in milliseconds since 1970.
    pub created: u64,
    /// When the session's key was used last, in milliseconds since 1970.
    pub last_seen: u64,
    /// Whether it is the session of the connection that the list is for.
    pub current: bool,
    /// Whether the session is bound to its browser: its key is of no use elsewhere.
    pub bound: bool,
}

/// Params of `auth.<name>.revoke`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeParams {
    /// The session to end.
    pub id: SessionId,
}

/// Result of `auth.<name>.revokeOthers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// How many sessions were ended.
    pub revoked: usize,
}

/// Payload of the custom event `rotated` on `<name>.user.<cid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotated {
    /// The generation that another connection of the session has made.
    pub generation: u64,
}

/// An error of the caller. Maps to a RES error by [`Denied::code`] and its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
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
    /// The session to log out of is not the connection's, or is over. The holder of its key can
    /// tell which, by using it.
    #[error("Not logged in")]
    NotLoggedIn,
    /// The challenge that was signed is not one for this connection, or not any more. Nothing was
    /// decided: the key is as good as it was, with a new challenge.
    #[error("Invalid challenge")]
    InvalidChallenge,
    /// Logins require the browser's cookie, and the request has none.
    #[error("Cookie required")]
    CookieRequired,
    /// The token of an issuer is missing or unusable; the log says why.
    #[error("Invalid token")]
    InvalidToken,
    /// The current password of a user who wants another one is wrong.
    #[error("Wrong password")]
    WrongPassword,
    /// The new password is easy to guess.
    #[error("The password is too easy to guess")]
    PasswordTooWeak,
    /// The user's password cannot be changed here.
    #[error("The password cannot be changed here")]
    PasswordNotChangeable,
    /// The session to end does not exist, is over, or is somebody else's.
    #[error("No such session")]
    NoSuchSession,
    /// The login is too long ago for what is asked: the user has to log in again first.
    #[error("Log in again first")]
    LoginTooOld,
    /// There is no such method.
    #[error("Method not found")]
    MethodNotFound,
}

impl Denied {
    /// The RES error code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AlreadyLoggedIn => "session.alreadyLoggedIn",
            Self::InvalidParams => "system.invalidParams",
            Self::WrongUsernamePassword => "session.wrongUsernamePassword",
            Self::InvalidReloginKey => "session.invalidReloginKey",
            Self::NotLoggedIn => "session.notLoggedIn",
            Self::InvalidChallenge => "session.invalidChallenge",
            Self::CookieRequired => "session.cookieRequired",
            Self::InvalidToken => "session.invalidToken",
            Self::WrongPassword => "session.wrongPassword",
            Self::PasswordTooWeak => "session.passwordTooWeak",
            Self::PasswordNotChangeable => "session.passwordNotChangeable",
            Self::NoSuchSession => "session.noSuchSession",
            Self::LoginTooOld => "session.loginTooOld",
            Self::MethodNotFound => "system.methodNotFound",
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::Keyring;

    #[test]
    fn the_wire_has_the_members_of_the_contract() {
        let keyring = Keyring::new(vec![vec![1; 32]]).unwrap();
        let logged_in = LoggedIn {
            relogin_key: keyring.mint(crate::SessionId([1; 16]), &[2; 16], 1),
            generation: 1,
            expires_in: 120_000,
            refresh_in: 60_000,
            bound: false,
        };
        expect![[r#"{"reloginKey":"AQEBAQEBAQEBAQEBAQEBAQAAAAAAAAABmO0JoII2Yfpv_Sr2usOFKfaSJbxDedPHsIUs6oJaUNQ","generation":1,"expiresIn":120000,"refreshIn":60000}"#]].assert_eq(&serde_json::to_string(&logged_in).unwrap());
        let relogin = ReloginParams {
            relogin_key: ReloginKey::new("k".to_owned()),
            attempt: Some(Attempt([0; 16])),
            proof: None,
        };
        expect![[r#"{"reloginKey":"k","attempt":"AAAAAAAAAAAAAAAAAAAAAA"}"#]]
            .assert_eq(&serde_json::to_string(&relogin).unwrap());
        let login = LoginParams {
            username: "jane".to_owned(),
            password: Secret::new("secret".to_owned()),
            attempt: None,
            label: None,
            device: None,
        };
        expect![[r#"{"username":"jane","password":"secret"}"#]].assert_eq(&serde_json::to_string(&login).unwrap());
        expect![[r#"{"generation":2}"#]].assert_eq(&serde_json::to_string(&Rotated { generation: 2 }).unwrap());
    }

    #[test]
    fn legacy_params_are_accepted_and_unknown_members_ignored() {
        let login: LoginParams =
            serde_json::from_str(r#"{"username":"Jane","password":"p","remember":true,"attempt":null}"#).unwrap();
        assert_eq!((login.username.as_str(), login.password.expose(), login.attempt), ("Jane", "p", None));
        let relogin: ReloginParams = serde_json::from_str(r#"{"reloginKey":"constructor","__proto__":{}}"#).unwrap();
        assert!(relogin.relogin_key.parse().is_none());
    }

    #[test]
    fn params_of_a_wrong_type_are_errors() {
        for text in ["null", "[]", "\"k\"", "{}", r#"{"reloginKey":1}"#, r#"{"reloginKey":"k","attempt":"short"}"#] {
            assert!(serde_json::from_str::<ReloginParams>(text).is_err(), "{text}");
        }
        for text in [r#"{"username":"jane"}"#, r#"{"username":1,"password":"p"}"#, r#"{"username":"j","password":[]}"#]
        {
            assert!(serde_json::from_str::<LoginParams>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let login: LoginParams = serde_json::from_str(r#"{"username":"jane","password":"hunter2"}"#).unwrap();
        let relogin: ReloginParams = serde_json::from_str(r#"{"reloginKey":"hunter2"}"#).unwrap();
        let change: ChangePasswordParams = serde_json::from_str(r#"{"current":"hunter2","new":"hunter2"}"#).unwrap();
        assert!(!format!("{login:?} {relogin:?} {change:?}").contains("hunter2"));
    }

    /// The denial after this one. The match is exhaustive, so that no denial can be left out.
    fn next(denied: Denied) -> Option<Denied> {
        Some(match denied {
            Denied::AlreadyLoggedIn => Denied::InvalidParams,
            Denied::InvalidParams => Denied::WrongUsernamePassword,
            Denied::WrongUsernamePassword => Denied::InvalidReloginKey,
            Denied::InvalidReloginKey => Denied::NotLoggedIn,
            Denied::NotLoggedIn => Denied::InvalidChallenge,
            Denied::InvalidChallenge => Denied::CookieRequired,
            Denied::CookieRequired => Denied::InvalidToken,
            Denied::InvalidToken => Denied::WrongPassword,
            Denied::WrongPassword => Denied::PasswordTooWeak,
            Denied::PasswordTooWeak => Denied::PasswordNotChangeable,
            Denied::PasswordNotChangeable => Denied::NoSuchSession,
            Denied::NoSuchSession => Denied::LoginTooOld,
            Denied::LoginTooOld => Denied::MethodNotFound,
            Denied::MethodNotFound => return None,
        })
    }

    #[test]
    fn every_denial_has_the_code_and_message_of_the_contract() {
        let all = std::iter::successors(Some(Denied::AlreadyLoggedIn), |denied| next(*denied));
        let table: Vec<String> = all.map(|denied| format!("{}: {denied}", denied.code())).collect();
        expect![[r#"
            session.alreadyLoggedIn: Already logged in
            system.invalidParams: Invalid parameters
            session.wrongUsernamePassword: Wrong username or password
            session.invalidReloginKey: Invalid relogin key
            session.notLoggedIn: Not logged in
            session.invalidChallenge: Invalid challenge
            session.cookieRequired: Cookie required
            session.invalidToken: Invalid token
            session.wrongPassword: Wrong password
            session.passwordTooWeak: The password is too easy to guess
            session.passwordNotChangeable: The password cannot be changed here
            session.noSuchSession: No such session
            session.loginTooOld: Log in again first
            system.methodNotFound: Method not found"#]]
        .assert_eq(&table.join("\n"));
    }
}

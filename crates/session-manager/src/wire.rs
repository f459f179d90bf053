//! What the session's methods take and give back, as JSON: what `relogin_session::api` says through
//! serde, by hand, for the page downloads serde's code again for each type. A test holds both to
//! the same.

use relogin_res::json::Object;
use relogin_session::api::{Challenge, LoginParams, LogoutParams, ReloginKey, ReloginParams};
use serde_json::{Map, Value as Json};

type Members = Map<String, Json>;

/// Params of a login.
pub(crate) fn login(params: &LoginParams) -> String {
    let LoginParams { username, password, attempt, label, device } = params;
    object(|members| {
        members.text("username", username);
        members.text("password", password.expose());
        if let Some(attempt) = attempt {
            members.text("attempt", &attempt.to_text());
        }
        if let Some(label) = label {
            members.text("label", label);
        }
        if let Some(device) = device {
            let key = &device.public_key;
            let mut device = Object::behind(members.member("device"));
            let mut public_key = Object::behind(device.member("publicKey"));
            let required = [("kty", &key.kty), ("crv", &key.crv), ("x", &key.x)];
            for (name, text) in required.into_iter().chain(key.y.as_ref().map(|y| ("y", y))) {
                public_key.text(name, text);
            }
            public_key.end();
            device.end();
        }
    })
}

/// Params of a relogin.
pub(crate) fn relogin(params: &ReloginParams) -> String {
    let ReloginParams { relogin_key, attempt, proof } = params;
    object(|members| {
        members.text("reloginKey", relogin_key.expose());
        if let Some(attempt) = attempt {
            members.text("attempt", &attempt.to_text());
        }
        if let Some(proof) = proof {
            let mut signed = Object::behind(members.member("proof"));
            signed.text("challenge", &proof.challenge);
            signed.text("signature", &proof.signature);
            signed.end();
        }
    })
}

/// Params of a logout.
pub(crate) fn logout(params: LogoutParams) -> String {
    object(|members| {
        if let Some(sid) = params.sid {
            members.text("sid", &sid.to_text());
        }
    })
}

/// The result of a login or a relogin: the key, and what else is said with it. A legacy service
/// says nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedIn {
    pub(crate) relogin_key: ReloginKey,
    /// `None` from a legacy service.
    pub(crate) generation: Option<u64>,
    /// Milliseconds until the key expires.
    pub(crate) expires_in: Option<u64>,
    /// Milliseconds until it should be used.
    pub(crate) refresh_in: Option<u64>,
    pub(crate) bound: bool,
}

/// Reads the result of a login or a relogin. Of all members the key alone is required; one of
/// another type is not ours.
pub(crate) fn logged_in(result: Json) -> Option<LoggedIn> {
    let mut members = members(result)?;
    Some(LoggedIn {
        relogin_key: ReloginKey::new(text(&mut members, "reloginKey")?),
        generation: number(&members, "generation"),
        expires_in: number(&members, "expiresIn"),
        refresh_in: number(&members, "refreshIn"),
        bound: flag(&members, "bound") == Some(true),
    })
}

/// The result of a request for a challenge.
pub(crate) fn challenge(result: Json) -> Option<Challenge> {
    let mut members = members(result)?;
    Some(Challenge { challenge: text(&mut members, "challenge")?, expires_in: number(&members, "expiresIn")? })
}

/// The generation that an event `rotated` names.
pub fn rotated_generation(data: &Json) -> Option<u64> {
    data.get("generation")?.as_u64()
}

/// The members of an object.
pub(crate) fn members(json: Json) -> Option<Members> {
    if let Json::Object(members) = json { Some(members) } else { None }
}

/// A member that is a string.
pub(crate) fn text(members: &mut Members, name: &str) -> Option<String> {
    if let Json::String(text) = members.get_mut(name)?.take() { Some(text) } else { None }
}

/// A member that is a string, or is missing or null; `None`: it is something else.
#[expect(clippy::option_option, reason = "told apart: it is not there, and it is not ours")]
pub(crate) fn optional_text(members: &mut Members, name: &str) -> Option<Option<String>> {
    match members.get_mut(name).map(Json::take) {
        None | Some(Json::Null) => Some(None),
        Some(Json::String(text)) => Some(Some(text)),
        Some(_) => None,
    }
}

/// A member that is a whole number.
pub(crate) fn number(members: &Members, name: &str) -> Option<u64> {
    members.get(name)?.as_u64()
}

/// A member that is true or false; false if it is missing.
pub(crate) fn flag(members: &Members, name: &str) -> Option<bool> {
    members.get(name).map_or(Some(false), Json::as_bool)
}

fn object(write: impl FnOnce(&mut Object<'_>)) -> String {
    let mut text = String::new();
    let mut object = Object::behind(&mut text);
    write(&mut object);
    object.end();
    text
}

#[cfg(test)]
mod tests {
    use relogin_session::{
        Attempt, SessionId,
        api::{self, NewDevice, PublicKey, Rotated, SignedChallenge},
    };
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    #[test]
    fn params_are_written_as_serde_writes_them() {
        let key = |y: Option<&str>| PublicKey {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: "x".to_owned(),
            y: y.map(str::to_owned),
        };
        for device in [None, Some(key(None)), Some(key(Some("y")))] {
            for label in [None, Some("la\"bel".to_owned())] {
                let params = LoginParams {
                    username: "jane \u{1}".to_owned(),
                    password: crate::Secret::new("pa\\ss\"\n€".to_owned()),
                    attempt: label.is_some().then_some(Attempt([7; 16])),
                    label,
                    device: device.clone().map(|public_key| NewDevice { public_key }),
                };
                assert_eq!(login(&params), serde_json::to_string(&params).unwrap());
            }
        }
        let proof = SignedChallenge { challenge: "c".to_owned(), signature: "s".to_owned() };
        for (attempt, proof) in [(None, None), (Some(Attempt([9; 16])), None), (Some(Attempt([0; 16])), Some(proof))] {
            let params = ReloginParams { relogin_key: ReloginKey::new("k".to_owned()), attempt, proof };
            assert_eq!(relogin(&params), serde_json::to_string(&params).unwrap());
        }
        for params in [LogoutParams { sid: None }, LogoutParams { sid: Some(SessionId([3; 16])) }] {
            assert_eq!(logout(params), serde_json::to_string(&params).unwrap());
        }
    }

    #[test]
    fn results_are_read_as_serde_reads_them() {
        fn check<T: DeserializeOwned + PartialEq + std::fmt::Debug>(json: &Json, found: &Option<T>) {
            assert_eq!(*found, serde_json::from_value(json.clone()).ok(), "{json}");
        }
        // What serde reads is read alike; what legacy services leave out may be missing.
        fn check_logged_in(json: &Json) {
            let found = logged_in(json.clone());
            assert_eq!(found.is_some(), json["reloginKey"].is_string(), "{json}");
            if let Ok(said) = serde_json::from_value::<api::LoggedIn>(json.clone()) {
                let api::LoggedIn { relogin_key, generation, expires_in, refresh_in, bound } = said;
                let (generation, expires_in, refresh_in) = (Some(generation), Some(expires_in), Some(refresh_in));
                assert_eq!(found, Some(LoggedIn { relogin_key, generation, expires_in, refresh_in, bound }), "{json}");
            }
        }
        let whole = json!({"reloginKey": "k", "generation": 1, "expiresIn": 2, "refreshIn": 3, "bound": true, "x": [],
            "challenge": "c"});
        let mut cases = vec![json!(null), json!("k"), json!(7), whole.clone()];
        for name in ["reloginKey", "generation", "expiresIn", "refreshIn", "bound", "challenge"] {
            for member in
                [json!(null), json!("1"), json!(-1), json!(1.0), json!(u64::MAX), json!(true), json!({}), json!([1])]
            {
                let mut one = whole.clone();
                one[name] = member;
                cases.push(one);
            }
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(name);
            cases.push(without);
        }
        for case in cases {
            check_logged_in(&case);
            check(&case, &challenge(case.clone()));
            check(&case, &rotated_generation(&case).map(|generation| Rotated { generation }));
        }
    }
}

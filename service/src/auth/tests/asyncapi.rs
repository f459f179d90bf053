//! Compares docs/asyncapi.yaml with the code.

use std::collections::BTreeSet;

use relogin_session::{
    Attempt, SessionId, UserId,
    api::{
        Challenge, ChangePasswordParams, HeaderLoginParams, ListedSession, LoggedIn, LoginParams, LogoutParams,
        NewDevice, PublicKey, ReloginParams, RevokeParams, Revoked, Rotated, SignedChallenge,
    },
};
use serde::Serialize;

use super::*;
use crate::{
    auth::{methods, route::Route},
    control::{
        self,
        protocol::{BusStatus, BusStatusKind, SessionDetails, SessionInfo, SessionsPage, Status},
    },
    needs::{Uses, needs},
};

const DOCUMENT: &str = include_str!("../../../../docs/asyncapi.yaml");

fn document() -> Json {
    yaml_serde::from_str(DOCUMENT).unwrap()
}

/// The subjects of the operations with this action.
fn subjects(action: &str) -> BTreeSet<String> {
    let document = document();
    let operations = document["operations"].as_object().unwrap().values();
    operations
        .filter(|operation| operation["action"] == action)
        .map(|operation| {
            let channel = operation["channel"]["$ref"].as_str().unwrap().strip_prefix("#/channels/").unwrap();
            document["channels"][channel]["address"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn the_methods_and_resources_are_those_that_are_answered() {
    let subjects = subjects("receive");
    for method in methods() {
        assert!(subjects.contains(&format!("auth.session.{method}")), "{method}");
    }
    let control = [control::bus::subject("session"), control::bus::subject_of_each("session")];
    assert!(control.iter().all(|subject| subjects.contains(subject)));
    for subject in subjects.iter().filter(|subject| !control.contains(subject)) {
        let filled = subject.replace("{cid}", "c1").replace("{instance}", "i1").replace("{method}", "refresh");
        let filled = filled.replace("{id}", &SessionId([1; 16]).to_string());
        let route = Route::of(&filled, "session");
        assert!(!matches!(route, Route::UnknownMethod | Route::UnknownResource), "{subject}");
    }
    let auth = subjects.iter().filter(|subject| subject.starts_with("auth.")).count();
    assert_eq!(auth, methods().count() + 1, "the instance's own renew is the only other one");
}

#[test]
fn what_is_published_are_the_permissions_that_are_needed() {
    let uses = Uses { name: "session".to_owned(), ..Uses::default() };
    let needed = needs(&uses).into_iter().map(|need| need.permission);
    let needed = needed.filter(|it| it.act == relogin_bus::Act::Publish).map(|it| it.pattern);
    let needed: BTreeSet<_> = needed.filter(|pattern| !pattern.starts_with("_INBOX.")).collect();
    let documented: BTreeSet<_> = subjects("send").iter().map(|subject| subject.replace("{cid}", "*")).collect();
    assert_eq!(documented, needed);
}

/// Compares a schema with a value that has all its members, and with one that has only those that
/// it must have.
fn check(schema: &str, whole: &impl Serialize, bare: &impl Serialize) {
    let document = document();
    let schema = &document["components"]["schemas"][schema];
    let members = |value: &Json| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(members(&schema["properties"]), members(&json!(whole)), "{schema}");
    let required = schema["required"].as_array().into_iter().flatten();
    let required: BTreeSet<String> = required.map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(required, members(&json!(bare)), "{schema}");
}

#[test]
fn the_schemas_have_the_members_of_the_types() {
    let attempt = Some(Attempt([1; 16]));
    let (text, label) = (|| "x".to_owned(), Some("x".to_owned()));
    let public_key = |y| PublicKey { kty: text(), crv: text(), x: text(), y };
    let device = Some(NewDevice { public_key: public_key(None) });
    let proof = SignedChallenge { challenge: text(), signature: text() };
    let login = |attempt, label, device| LoginParams {
        username: text(),
        password: relogin_session::Secret::new(text()),
        attempt,
        label,
        device,
    };
    check("LoginParams", &login(attempt, label.clone(), device.clone()), &login(None, None, None));
    let header_login = HeaderLoginParams { attempt, label, device: device.clone() };
    check("HeaderLoginParams", &header_login, &HeaderLoginParams::default());
    let relogin = |attempt, proof| ReloginParams { relogin_key: ReloginKey::new(text()), attempt, proof };
    check("ReloginParams", &relogin(attempt, Some(proof.clone())), &relogin(None, None));
    check("LogoutParams", &LogoutParams { sid: Some(SessionId([1; 16])) }, &LogoutParams::default());
    check("NewDevice", &device, &device);
    check("PublicKey", &public_key(Some(text())), &public_key(None));
    check("SignedChallenge", &proof, &proof);
    let logged_in =
        |bound| LoggedIn { relogin_key: ReloginKey::new(text()), generation: 1, expires_in: 1, refresh_in: 1, bound };
    check("LoggedIn", &logged_in(true), &logged_in(false));
    let challenge = Challenge { challenge: text(), expires_in: 1 };
    check("Challenge", &challenge, &challenge);
    let change = ChangePasswordParams {
        current: relogin_session::Secret::new(text()),
        new: relogin_session::Secret::new(text()),
    };
    check("ChangePasswordParams", &change, &change);
    let id = SessionId([1; 16]);
    check("RevokeParams", &RevokeParams { id }, &RevokeParams { id });
    check("Revoked", &Revoked { revoked: 1 }, &Revoked { revoked: 1 });
    let listed = ListedSession {
        id,
        label: None,
        browser: None,
        system: None,
        address: None,
        created: 1,
        last_seen: 1,
        current: true,
        bound: true,
    };
    check("ListedSession", &listed, &listed);
    let info = SessionInfo {
        id,
        user_id: UserId::Number(1),
        username: None,
        name: None,
        label: None,
        browser: None,
        system: None,
        address: None,
        created: 1,
        last_seen: 1,
        expires: 1,
        connections: 1,
        bound: true,
    };
    check("SessionInfo", &info, &info);
    let page = SessionsPage { sessions: vec![info.clone()], next: None };
    check("SessionsPage", &page, &page);
    let details = SessionDetails {
        session: info,
        role: None,
        issuer: None,
        user_agent: None,
        ends: 1,
        generation: 1,
        generation_made: 1,
        bound_to_device: true,
        bound_to_cookie: true,
        in_cookie: true,
        connections: Vec::new(),
    };
    check("SessionDetails", &details, &details);
    let status = Status {
        version: text(),
        name: text(),
        ready: true,
        problem: None,
        started: 1,
        uptime: 1,
        store: text(),
        sessions: None,
        connections: None,
        bus: BusStatus { kind: BusStatusKind::Local, connected: true },
        instances: None,
    };
    check("Status", &status, &status);
    check("Rotated", &Rotated { generation: 1 }, &Rotated { generation: 1 });
}

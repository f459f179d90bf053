//! Arbitrary input, and what must hold for it: the bodies of the fuzz targets in `fuzz/`, which
//! `cargo xtask fuzz` runs on inputs that it makes up, and `cargo test` on the seeds that are kept.
//! Must not depend on fuzzers.
#![forbid(unsafe_code)]
#![expect(clippy::panic, clippy::unwrap_used, reason = "a body says by a panic that something does not hold")]

mod client;
mod compressed;
mod gateway;
mod jwt;
mod key;
mod rules;
mod service;
mod stored;
mod supply;
mod wire;

/// One target's body. Panics if something does not hold.
pub type Body = fn(&[u8]);

/// All targets by name; each has a folder of this name under `fuzz/seeds`.
pub const TARGETS: &[(&str, Body)] = &[
    ("relogin_key", key::relogin_key),
    ("relogin_key_jwt", jwt::key),
    ("issuer_token", jwt::issuer),
    ("client_message", wire::client_message),
    ("service_message", wire::service_message),
    ("service_requests", service::requests),
    ("gateway_machine", gateway::machine),
    ("compressed_message", compressed::message),
    ("client_machine", client::machine),
    ("session_rules", rules::commands),
    ("device_key", rules::device),
    ("session_record", stored::session_record),
    ("storage_record", stored::storage_record),
];

/// Runs the target of this name.
///
/// # Panics
/// If something does not hold, or there is no such target.
pub fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    body(input);
}

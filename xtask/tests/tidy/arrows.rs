//! Arrows point down: which package may use which, and inside of the service which room may use which.

use super::{
    imports::{has_word, paths_from, reexports, room},
    manifests, report,
    sources::{self, Source},
};

/// What each package may use of our own. Who is not here (tests, this one) may use what it likes.
const PACKAGES: &[(&str, &[&str])] = &[
    ("relogin-json", &[]),
    ("relogin-res", &["relogin-json"]),
    ("relogin-session", &[]),
    ("relogin-client-proto", &["relogin-res", "relogin-session"]),
    ("relogin-gateway-proto", &["relogin-res"]),
    ("relogin-host", &[]),
    ("relogin-store", &["relogin-host", "relogin-session"]),
    ("relogin-bus", &["relogin-host"]),
    ("relogin-users", &["relogin-bus", "relogin-host", "relogin-res", "relogin-session"]),
    ("relogin-gateway", &["relogin-bus", "relogin-gateway-proto", "relogin-host", "relogin-res"]),
    (
        "relogin",
        &[
            "relogin-bus",
            "relogin-gateway",
            "relogin-host",
            "relogin-res",
            "relogin-session",
            "relogin-store",
            "relogin-users",
        ],
    ),
    ("relogin-client", &["relogin-client-proto", "relogin-res"]),
    ("relogin-client-tokio", &["relogin-client-proto", "relogin-client", "relogin-res"]),
    (
        "relogin-page",
        &["relogin-client-proto", "relogin-client", "relogin-json", "relogin-res", "relogin-session", "relogin-web"],
    ),
    ("relogin-web", &["relogin-client-proto", "relogin-client", "relogin-json", "relogin-res", "relogin-session"]),
];

/// What the browser may know of sessions: what goes over the wire, and no rules.
const SESSION_FOR_CLIENTS: &[&str] = &["api", "id", "policy", "secret", "user"];

/// What the rooms of the service must not use, and why.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("sessions", &["auth", "http", "app"], "sessions are asked by auth, never the other way round"),
    ("auth", &["http", "app"], "a method answers whichever gateway asks"),
];

/// The crates whose trait stands in front of its implementations, of which only app.rs knows.
const BEHIND_TRAITS: &[(&str, &str)] = &[("store", "SessionStore"), ("bus", "Bus"), ("users", "UserDirectory")];

#[test]
fn packages_use_what_lies_below_them() {
    let manifests = manifests::all();
    let mut complaints = Vec::new();
    for manifest in &manifests {
        let Some((_, allowed)) = PACKAGES.iter().find(|(name, _)| *name == manifest.name) else { continue };
        for used in &manifest.dependencies {
            let is_ours = manifests.iter().any(|other| other.name == *used);
            if is_ours && !allowed.contains(&used.as_str()) {
                complaints.push(format!(
                    "{}/Cargo.toml: `{used}` does not lie below {}: move what both need into the lower one, or hand it over as an \
                     argument",
                    manifest.folder, manifest.name
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn the_client_knows_the_wire_and_not_the_rules_of_sessions() {
    let face = reexports("crates/session");
    let mut complaints = Vec::new();
    for source in sources::below("crates/client-proto/src") {
        for path in paths_from(&source.product_code(), "relogin_session") {
            let room = face.get(&path[1]).unwrap_or(&path[1]);
            if !SESSION_FOR_CLIENTS.contains(&room.as_str()) {
                complaints.push(format!(
                    "{}: uses `{}`; the browser decides nothing about sessions, it may use of them: {}",
                    source.path,
                    path.join("::"),
                    SESSION_FOR_CLIENTS.join(", ")
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn rooms_of_the_service_use_what_lies_below_them() {
    let mut complaints = Vec::new();
    for source in sources::below("service/src") {
        let own = room(&source);
        let Some((_, forbidden, why)) = ROOMS.iter().find(|(name, _, _)| own.as_deref() == Some(name)) else {
            continue;
        };
        for path in paths_from(&source.product_code(), "crate") {
            if forbidden.contains(&path[1].as_str()) {
                complaints.push(format!("{}: uses `{}`, but {why}", source.path, path.join("::")));
            }
        }
    }
    report(complaints);
}

#[test]
fn traits_do_not_know_who_implements_them() {
    let mut complaints = Vec::new();
    for (room, trait_name) in BEHIND_TRAITS {
        let face = format!("crates/{room}/src/lib.rs");
        for source in sources::below(&format!("crates/{room}/src")).iter().filter(|source| source.path == face) {
            for type_name in named(&implementations(room, trait_name), source) {
                complaints.push(format!(
                    "{face}: names `{type_name}`; the trait {trait_name} is the same whoever implements it: only app.rs picks"
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn only_the_composition_root_names_concrete_parts() {
    let mut complaints = Vec::new();
    for (room, trait_name) in BEHIND_TRAITS {
        let implementations = implementations(room, trait_name);
        for source in sources::below("service/src") {
            let own = super::imports::room(&source);
            if own.as_deref().is_none_or(|own| own == "app") {
                continue;
            }
            for type_name in named(&implementations, &source) {
                complaints.push(format!(
                    "{}: names `{type_name}`; take any `{trait_name}`, and let app.rs pick which",
                    source.path
                ));
            }
        }
    }
    report(complaints);
}

/// The types of a crate that implement its trait, not counting pointers to them.
fn implementations(room: &str, trait_name: &str) -> Vec<String> {
    let marker = format!("impl {trait_name} for ");
    let mut names = Vec::new();
    for source in sources::below(&format!("crates/{room}/src")) {
        for rest in source.product_code().split(&marker).skip(1) {
            let name: String = rest.chars().take_while(|character| character.is_alphanumeric()).collect();
            if !matches!(name.as_str(), "" | "Arc" | "Box") {
                names.push(name);
            }
        }
    }
    names
}

fn named(types: &[String], source: &Source) -> Vec<String> {
    let code = source.product_code();
    types.iter().filter(|name| has_word(&code, name)).cloned().collect()
}

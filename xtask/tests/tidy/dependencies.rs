//! Dependencies point down: which package may use which, and which module of the service which
//! other.

use super::{
    imports::{has_word, module, paths_from, reexports},
    manifests, report,
    sources::{self, Source},
};

/// Which packages of the workspace each package may use. Those not listed (tests, xtask) may use
/// any.
const PACKAGES: &[(&str, &[&str])] = &[
    ("relogin-json", &[]),
    ("relogin-res", &["relogin-json"]),
    ("relogin-session", &[]),
    ("relogin-session-manager", &["relogin-res", "relogin-session"]),
    ("relogin-client-proto", &["relogin-res", "relogin-session-manager"]),
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
    (
        "relogin-web",
        &[
            "relogin-client-proto",
            "relogin-client",
            "relogin-json",
            "relogin-res",
            "relogin-session",
            "relogin-session-manager",
        ],
    ),
];

/// What clients may use of `relogin-session`: what goes over the wire, and no rules.
const SESSION_FOR_CLIENTS: &[&str] = &["api", "id", "policy", "secret", "user"];

/// What modules of the service must not use, and why.
const MODULES: &[(&str, &[&str], &str)] = &[
    ("sessions", &["auth", "http", "app"], "sessions are asked by auth, never the other way round"),
    ("auth", &["http", "app"], "a method answers whichever gateway asks"),
];

/// Who may use the service's options as they are written.
const ABOVE_CONFIG: &[&str] = &["config", "cli", "main"];

/// The crates with a trait whose implementations only app.rs names, and the trait.
const BEHIND_TRAITS: &[(&str, &str)] = &[("store", "SessionStore"), ("bus", "Bus"), ("users", "UserDirectory")];

#[test]
fn packages_depend_only_on_those_below_them() {
    let manifests = manifests::all();
    let mut complaints = Vec::new();
    for manifest in &manifests {
        let Some((_, allowed)) = PACKAGES.iter().find(|(name, _)| *name == manifest.name) else { continue };
        for used in &manifest.dependencies {
            let is_ours = manifests.iter().any(|other| other.name == *used);
            if is_ours && !allowed.contains(&used.as_str()) {
                complaints.push(format!(
                    "{}/Cargo.toml: `{used}` is not below {}: move what both need into the lower one, or pass it as an argument",
                    manifest.folder, manifest.name
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn the_client_uses_wire_types_and_no_rules_of_sessions() {
    let reexports = reexports("crates/session");
    let mut complaints = Vec::new();
    for source in sources::below("crates/session-manager/src") {
        for path in paths_from(&source.product_code(), "relogin_session") {
            let module = reexports.get(&path[1]).unwrap_or(&path[1]);
            if !SESSION_FOR_CLIENTS.contains(&module.as_str()) {
                complaints.push(format!(
                    "{}: uses `{}`; a client decides nothing about sessions and may use only {}",
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
fn modules_of_the_service_use_only_those_below_them() {
    let mut complaints = Vec::new();
    for source in sources::below("service/src") {
        let own = module(&source).unwrap_or_default();
        let of_own = MODULES.iter().filter(|(name, _, _)| own == *name);
        let mut rules: Vec<_> = of_own.map(|(_, forbidden, why)| (*forbidden, *why)).collect();
        if !ABOVE_CONFIG.contains(&own.as_str()) {
            rules.push((&["config"], "an option's enum lives with what obeys it, and config maps to it"));
        }
        for path in paths_from(&source.product_code(), "crate") {
            let broken = rules.iter().filter(|(forbidden, _)| forbidden.contains(&path[1].as_str()));
            complaints.extend(broken.map(|(_, why)| format!("{}: uses `{}`, but {why}", source.path, path.join("::"))));
        }
    }
    report(complaints);
}

#[test]
fn traits_do_not_name_their_implementations() {
    let mut complaints = Vec::new();
    for (name, trait_name) in BEHIND_TRAITS {
        let lib = format!("crates/{name}/src/lib.rs");
        for source in sources::below(&format!("crates/{name}/src")).iter().filter(|source| source.path == lib) {
            for type_name in named(&implementations(name, trait_name), source) {
                complaints.push(format!(
                    "{lib}: names `{type_name}`; the trait {trait_name} must not know its implementations: only app.rs picks one"
                ));
            }
        }
    }
    report(complaints);
}

#[test]
fn only_the_composition_root_names_implementations() {
    let mut complaints = Vec::new();
    for (name, trait_name) in BEHIND_TRAITS {
        let implementations = implementations(name, trait_name);
        for source in sources::below("service/src") {
            let own = module(&source);
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

/// The types of a crate that implement its trait, except for pointers to them.
fn implementations(name: &str, trait_name: &str) -> Vec<String> {
    let marker = format!("impl {trait_name} for ");
    let mut names = Vec::new();
    for source in sources::below(&format!("crates/{name}/src")) {
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

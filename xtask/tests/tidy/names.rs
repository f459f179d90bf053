//! Within a crate, the name of a type means one thing. Sees types at the top of files only: those
//! inside functions and modules are seen by nobody else.

use std::collections::BTreeMap;

use super::{report, sources::below};

/// Crates with sources of their own.
const CRATES: &[&str] = &[
    "crates/bus",
    "crates/client",
    "crates/client-proto",
    "crates/client-tokio",
    "crates/gateway",
    "crates/gateway-proto",
    "crates/host",
    "crates/json",
    "crates/res",
    "crates/session",
    "crates/session-manager",
    "crates/store",
    "crates/users",
    "service",
    "web",
    "web/page",
    "xtask",
];

/// Names that two modules of the RES protocol have: messages of clients, and of services.
const PERMITTED: &[(&str, &str)] = &[("crates/res", "Response")];

#[test]
fn a_type_name_means_one_thing_in_a_crate() {
    let mut complaints = Vec::new();
    for name in CRATES {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let sources = below(&format!("{name}/src"));
        assert!(!sources.is_empty(), "{name} has no sources");
        for source in sources {
            for declared in types(&source.product_code()) {
                places.entry(declared.to_owned()).or_default().push(source.path.clone());
            }
        }
        places.retain(|declared, places| places.len() > 1 && !PERMITTED.contains(&(*name, declared.as_str())));
        complaints.extend(places.into_iter().map(|(declared, places)| {
            format!(
                "{declared} is a type in {}: let each name say whose it is, as in `QueueState`",
                places.join(" and ")
            )
        }));
    }
    report(complaints);
}

#[test]
fn every_crate_is_looked_at() {
    let root = super::sources::root();
    let manifests = super::sources::files(root);
    let named = |folder: &str| CRATES.iter().any(|name| folder.ends_with(&format!("/{name}")));
    let folders = manifests.iter().filter(|path| path.ends_with("Cargo.toml")).filter_map(|path| path.parent());
    let missing: Vec<String> = folders
        .map(|folder| format!("/{}", folder.strip_prefix(root).unwrap_or(folder).display()).replace('\\', "/"))
        .filter(|folder| ["/crates/", "/service", "/web"].iter().any(|part| folder.contains(part)) && !named(folder))
        .collect();
    report(missing.into_iter().map(|folder| format!("{folder} is missing from CRATES of names.rs")));
}

/// The types that code declares at the top of its file.
fn types(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        // `pub(in crate::a)` is two words.
        let keyword = words.find(|word| !word.ends_with(')'))?;
        matches!(keyword, "struct" | "enum" | "trait" | "type").then(|| words.next())?.map(|name| {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            &name[..end]
        })
    })
}

#[test]
fn declarations_are_found_whatever_their_visibility() {
    let code = "struct A;\npub enum B {}\npub(crate) type C<T> = T;\npub(in crate::a) trait D: E {\n    type F;\n}\nuse struct_a;";
    assert_eq!(types(code).collect::<Vec<_>>(), ["A", "B", "C", "D"]);
}

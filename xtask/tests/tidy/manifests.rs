//! The manifests of the workspace.

use std::fs;

use super::sources::root;

/// A package's manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Its folder, from the workspace's root.
    pub(crate) folder: String,
    /// Its name.
    pub(crate) name: String,
    /// Its dependencies, without those of tests.
    pub(crate) dependencies: Vec<String>,
}

/// The manifests of all members of the workspace.
pub(crate) fn all() -> Vec<Manifest> {
    let workspace = read("Cargo.toml");
    let members = workspace.get("workspace").and_then(|workspace| workspace.get("members"));
    let members = members.and_then(toml::Value::as_array).expect("the workspace lists its members");
    members.iter().map(|member| manifest(member.as_str().expect("members are paths"))).collect()
}

fn manifest(folder: &str) -> Manifest {
    let file = read(&format!("{folder}/Cargo.toml"));
    let name = file.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let mut dependencies = names(&file, "dependencies");
    // Also those of some targets only.
    for target in file.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|targets| targets.values()) {
        dependencies.extend(names_in(target, "dependencies"));
    }
    Manifest { folder: folder.to_owned(), name: name.expect("packages have names").to_owned(), dependencies }
}

fn names(file: &toml::Table, table: &str) -> Vec<String> {
    file.get(table).and_then(toml::Value::as_table).into_iter().flat_map(|table| table.keys().cloned()).collect()
}

fn names_in(value: &toml::Value, table: &str) -> Vec<String> {
    value.as_table().map(|file| names(file, table)).unwrap_or_default()
}

/// A manifest as it is.
pub(crate) fn read(path: &str) -> toml::Table {
    let text = fs::read_to_string(root().join(path)).expect("members have manifests");
    text.parse().expect("Cargo has read it before us")
}

//! What is linked into the binary, as Cargo resolves it: a CycloneDX list for scanners, and the
//! licence texts that go with copies. (cargo-cyclonedx and cargo-about would be compiled for
//! minutes to say what `cargo metadata` says.) The same sources give the same list.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::consts::ARCH,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Parts, VERSION};
use crate::log::output;

pub(super) struct Components {
    /// CycloneDX 1.5.
    pub(super) json: String,
    /// Each licence text, after the packages that it is for.
    pub(super) notices: String,
}

pub(super) fn list(parts: &Parts<'_>) -> Result<Components> {
    let target = format!("{ARCH}-unknown-linux-musl");
    let mut tree = parts.context.cargo(&["tree", "--locked", "--package", "relogin", "--edges", "normal"]);
    let tree = output(tree.args(["--target", &target, "--prefix", "none", "--format", "{p}"]));
    let linked = linked(&tree.context("cargo tree failed")?);
    let mut metadata = parts.context.cargo(&["metadata", "--locked", "--format-version", "1"]);
    let metadata = output(metadata.args(["--filter-platform", &target])).context("cargo metadata failed")?;
    let metadata = serde_json::from_str(&metadata)?;
    let lock = fs::read_to_string(parts.context.root.join("Cargo.lock"))?;
    describe(&metadata, &linked, &checksums(&lock), parts.epoch.parse().context("SOURCE_DATE_EPOCH is no number")?)
}

/// Name and version of each package in the output of `cargo tree`: `name v1.2.3 (more)`.
fn linked(tree: &str) -> BTreeSet<(String, String)> {
    let package = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    tree.lines().filter_map(package).collect()
}

/// The SHA-256 of each package of a registry in Cargo.lock.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let prefix = format!("{key} = \"");
        block.lines().find_map(|line| Some(line.strip_prefix(&prefix)?.strip_suffix('"')?.to_owned()))
    };
    let package = |block: &str| Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?));
    lock.split("[[package]]").filter_map(package).collect()
}

fn describe(
    metadata: &Value,
    linked: &BTreeSet<(String, String)>,
    checksums: &BTreeMap<(String, String), String>,
    epoch: i64,
) -> Result<Components> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut packages = BTreeMap::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists packages")? {
        let named = (text(&package["name"]), text(&package["version"]));
        if !linked.contains(&named) {
            continue;
        }
        let (name, version) = &named;
        let url = format!("pkg:cargo/{name}@{version}");
        let mut component = json!({ "type": "library", "bom-ref": url, "purl": url, "name": name, "version": version });
        if let Some(licence) = package["license"].as_str() {
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        if let Some(checksum) = checksums.get(&named) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
            let manifest = text(&package["manifest_path"]);
            let folder = Path::new(&manifest).parent().context("a manifest is in a folder")?;
            for licence in licences(folder)? {
                texts.entry(licence).or_default().insert(format!("{name} {version}"));
            }
        }
        urls.insert(text(&package["id"]), url.clone());
        packages.insert(url, component);
    }
    let mut dependencies = Vec::new();
    for node in metadata["resolve"]["nodes"].as_array().context("cargo metadata resolves")? {
        let Some(url) = urls.get(&text(&node["id"])) else { continue };
        let used = node["deps"].as_array().into_iter().flatten();
        let used = used.filter(|used| {
            used["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
        });
        let used: BTreeSet<&String> = used.filter_map(|used| urls.get(&text(&used["pkg"]))).collect();
        dependencies.push(json!({ "ref": url, "dependsOn": used }));
    }
    dependencies.sort_by_key(|dependency| text(&dependency["ref"]));
    let own = packages.remove(&format!("pkg:cargo/relogin@{VERSION}")).context("the service is a package")?;
    let list = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "timestamp": timestamp(epoch), "component": program(own) },
        "components": packages.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    let notices = texts.into_iter().fold(
        "What is linked into relogin, besides Rust's standard library (MIT or Apache-2.0) and, if it is static, musl\n\
         (MIT), and under which terms:\n"
            .to_owned(),
        |notices, (licence, packages)| {
            let packages: Vec<String> = packages.into_iter().collect();
            format!("{notices}\n{}\n{}\n\n{}\n", "=".repeat(100), packages.join(", "), licence.trim_end())
        },
    );
    Ok(Components { json: serde_json::to_string_pretty(&list)? + "\n", notices })
}

fn program(mut component: Value) -> Value {
    component["type"] = "application".into();
    component
}

/// The texts of the licence files of a package, and of jemalloc within its own.
fn licences(folder: &Path) -> Result<Vec<String>> {
    const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];
    let mut texts = Vec::new();
    for folder in [folder.to_owned(), folder.join("jemalloc")].iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_uppercase();
            if NAMES.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
                texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
            }
        }
    }
    Ok(texts)
}

/// Seconds of the Unix epoch as ISO 8601 has them (days to a date: Hinnant's `civil_from_days`).
fn timestamp(epoch: i64) -> String {
    let (days, seconds) = (epoch.div_euclid(86_400) + 719_468, epoch.rem_euclid(86_400));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (epoch, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_774_915_199, "2026-03-30T23:59:59Z"),
            (1_774_915_200, "2026-03-31T00:00:00Z"),
            (1_775_001_600, "2026-04-01T00:00:00Z"),
            (1_796_083_199, "2026-11-30T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(epoch), expected);
        }
    }

    #[test]
    fn what_is_linked_is_listed_with_its_dependencies_and_nothing_else() {
        let package = |name: &str, version: &str| json!({ "id": name, "name": name, "version": version, "license": "MIT/Apache-2.0", "manifest_path": "/none/Cargo.toml" });
        let used = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("relogin", VERSION), package("a", "1.0.0"), package("tests", "2.0.0")],
            "resolve": { "nodes": [
                { "id": "relogin", "deps": [used("a", Value::Null), used("tests", "dev".into())] },
                // What its tests need is not linked.
                { "id": "a", "deps": [used("relogin", "dev".into())] },
                { "id": "tests", "deps": [] },
            ] },
        });
        let linked = linked(&format!("relogin v{VERSION} (/folder)\na v1.0.0\na v1.0.0 (*)\n\n"));
        let list = describe(&metadata, &linked, &BTreeMap::new(), 0).unwrap();
        let list: Value = serde_json::from_str(&list.json).unwrap();
        assert_eq!(list["metadata"]["component"]["name"], "relogin");
        assert_eq!(list["components"].as_array().unwrap().len(), 1);
        assert_eq!(list["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        let own = format!("pkg:cargo/relogin@{VERSION}");
        let expected = json!([{ "ref": "pkg:cargo/a@1.0.0", "dependsOn": [] }, { "ref": own, "dependsOn": ["pkg:cargo/a@1.0.0"] }]);
        assert_eq!(list["dependencies"], expected);
    }

    #[test]
    fn checksums_are_read_from_the_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1\"\nchecksum = \"00\"\n\n[[package]]\nname = \"b\"\nversion = \"2\"\n";
        assert_eq!(
            checksums(lock).into_iter().collect::<Vec<_>>(),
            [(("a".to_owned(), "1".to_owned()), "00".to_owned())]
        );
    }
}

//! Each crate explains itself: its README has an example that runs as a test, and those that others
//! may use have what a registry asks for.

use std::{env, fs, process::Command};

use super::{manifests, report, sources::root};

/// What a registry shows of a package.
const SHOWN: &[&str] = &["description", "keywords", "categories"];

#[test]
fn every_crate_has_a_readme_whose_example_runs() {
    let mut complaints = Vec::new();
    for folder in manifests::all().into_iter().map(|manifest| manifest.folder).filter(|folder| is_library(folder)) {
        let read = |path: &str| fs::read_to_string(root().join(&folder).join(path)).unwrap_or_default();
        let (readme, front) = (read("README.md"), read("src/lib.rs"));
        if !has_example(&readme) {
            complaints
                .push(format!("{folder}/README.md: show the crate's use, whole, in a block that begins with ```rust"));
        }
        if !front.contains("#![doc = include_str!(\"../README.md\")]") {
            complaints.push(format!("{folder}/src/lib.rs: include README.md, so that its example is tested"));
        }
    }
    report(complaints);
}

#[test]
fn what_may_be_published_has_what_a_registry_asks_for() {
    let manifests = manifests::all();
    let workspace = manifests::read("Cargo.toml");
    let version = &workspace["workspace"]["package"]["version"];
    let mut complaints = Vec::new();
    let mut seen = 0;
    for manifest in manifests.iter().filter(|manifest| is_public(&manifest.folder)) {
        seen += 1;
        let folder = &manifest.folder;
        let package = &manifests::read(&format!("{folder}/Cargo.toml"))["package"];
        let missing = SHOWN.iter().filter(|key| package.get(key).is_none());
        complaints.extend(missing.map(|key| format!("{folder}/Cargo.toml: add `{key}`")));
        let files = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];
        let missing = files.iter().filter(|file| !root().join(folder).join(file).exists());
        complaints.extend(missing.map(|file| format!("{folder}: there is no {file}; link the licences at the root")));
        for used in &manifest.dependencies {
            let Some(ours) = manifests.iter().find(|other| other.name == *used) else { continue };
            if !is_public(&ours.folder) {
                complaints.push(format!("{folder}/Cargo.toml: `{used}` is not published"));
            }
            if workspace["workspace"]["dependencies"][used].get("version") != Some(version) {
                complaints.push(format!("Cargo.toml: give `{used}` the version {version}, which registries go by"));
            }
        }
    }
    assert!(seen > 5, "tidy found {seen} packages that may be published: it looks in the wrong place");
    report(complaints);
}

/// Cargo checks versions, files and metadata when it packs a package. It does not build it here.
#[test]
fn what_may_be_published_can_be_packaged() {
    let target = tempfile::tempdir().expect("a folder for the packages");
    let mut cargo = Command::new(env::var_os("CARGO").expect("Cargo runs the tests"));
    cargo.args(["package", "--offline", "--no-verify", "--allow-dirty", "--quiet", "--target-dir"]).arg(target.path());
    for manifest in manifests::all().iter().filter(|manifest| is_public(&manifest.folder)) {
        cargo.args(["--package", &manifest.name]);
    }
    let output = cargo.current_dir(root()).output().expect("Cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_library(folder: &str) -> bool {
    folder.starts_with("crates/")
}

/// True unless the manifest says `publish = false`, or that the workspace does.
fn is_public(folder: &str) -> bool {
    manifests::read(&format!("{folder}/Cargo.toml"))["package"].get("publish").is_none()
}

fn has_example(readme: &str) -> bool {
    readme.lines().any(|line| line == "```rust")
}

#[test]
fn an_example_that_does_not_run_does_not_count() {
    assert!(has_example("# A\n\n```rust\nlet a = 1;\n```\n"));
    assert!(!has_example("# A\n\n```rust,no_run\nlet a = 1;\n```\n"));
}

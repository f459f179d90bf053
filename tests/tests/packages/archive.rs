//! The archive: unpacked, complete, and used from its folder.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{installed::Installed, output, package, taken::unpacked};

#[tokio::test]
async fn the_archive_is_complete_and_its_service_runs() {
    let (folder, root) = unpacked();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (name, words) in [
        ("README.md", "# Relogin"),
        ("LICENSE-MIT", "MIT License"),
        ("LICENSE-APACHE", "Apache License"),
        ("NOTICES", "\nring 0."),
        ("man/man1/relogin-serve.1", ".TH"),
        ("completions/relogin.bash", "--key-lifetime"),
        ("completions/_relogin", "#compdef relogin"),
        ("completions/relogin.fish", "complete -c relogin"),
    ] {
        assert!(read(name).contains(words), "{name} has no {words}");
    }
    let components: Value = serde_json::from_str(&read("relogin.cdx.json")).unwrap();
    let names: Vec<&str> = components["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| component["name"].as_str().unwrap())
        .collect();
    assert!(
        ["ring", "sled", "tikv-jemallocator", "relogin-session"].iter().all(|name| names.contains(name)),
        "{names:?}"
    );
    assert!(!names.contains(&"proptest"), "what tests use is not linked in");

    let service =
        Installed { binary: root.join("relogin"), config: root.join("relogin.toml"), state: root.join("data") };
    fs::create_dir(&service.state).unwrap();
    service.add_user("jane");
    let running = service.start(&folder.path().join("log")).await;
    running.log_in("jane").await;
    running.stop().await;
}

#[test]
fn the_checksums_are_those_of_the_packages() {
    let sums = package("SHA256SUMS");
    let checked = output(Command::new("sha256sum").current_dir(sums.parent().unwrap()).arg("--check").arg(&sums));
    assert!(checked.contains(".deb: OK") && checked.contains(".tar.gz: OK"), "{checked}");
}

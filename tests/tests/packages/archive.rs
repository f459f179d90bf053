//! The archive: unpacked, complete, and used from its folder.

use std::{fs, path::Path, process::Command};

use relogin_tests::process::Process;
use serde_json::Value;

use crate::{
    installed::{Installed, PASSWORD, Running},
    output, package, repository,
    taken::unpacked,
};

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
    running.log_in("jane", PASSWORD).await;
    running.stop().await;
}

/// As the front page has it: two commands in an empty folder with the archive, and the server is
/// killed.
#[tokio::test]
async fn the_first_five_minutes_with_an_archive() {
    let text = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = text.split_once("\n## Try it\n").unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let commands: Vec<&str> = commands.lines().collect();
    let [unpack, serve] = commands[..] else { panic!("two commands: {commands:?}") };

    let folder = tempfile::tempdir().unwrap();
    let archive = package(".tar.gz");
    fs::copy(&archive, folder.path().join(archive.file_name().unwrap())).unwrap();
    output(Command::new("sh").args(["-ec", unpack]).current_dir(folder.path()));
    let start = async || {
        let process =
            Process::start(Path::new("sh"), ["-ec", &format!("exec {serve}")], &folder.path().join("log"), |sh| {
                sh.env_clear().env("RELOGIN_LISTEN", "127.0.0.1:0").current_dir(folder.path());
            });
        Running::is_ready(process.unwrap()).await
    };
    let running = start().await;
    let key = running.log_in("jane", "jane").await;
    running.kill().await;
    let running = start().await;
    running.relogin(&key).await;
    running.stop().await;
}

#[test]
fn the_checksums_are_those_of_the_packages() {
    let sums = package("SHA256SUMS");
    let checked = output(Command::new("sha256sum").current_dir(sums.parent().unwrap()).arg("--check").arg(&sums));
    assert!(checked.contains(".deb: OK") && checked.contains(".tar.gz: OK"), "{checked}");
}

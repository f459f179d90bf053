//! Tests Trunk.toml: which builds of the page reach the binary.

#![forbid(unsafe_code)]

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// What `trunk serve` writes into the page, until it sends it to somebody.
const RELOADS: &str = "<script>const address = '{{__TRUNK_ADDRESS__}}';</script>";

#[test]
fn only_a_release_build_that_is_not_served_goes_into_the_binary() -> Result<()> {
    for (profile, index, ships) in [
        ("release", "<p>new</p>", true),
        ("debug", "<p>new</p>", false),
        ("debug", RELOADS, false),
        ("release", RELOADS, false),
    ] {
        let folder = tempfile::tempdir()?;
        let (staging, page) = (folder.path().join("staging"), folder.path().join("target/page"));
        for (file, text) in [(staging.join("index.html"), index), (page.join("old.html"), "old")] {
            fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
            fs::write(file, text)?;
        }
        for hook in hooks()? {
            let mut hook = command(&hook)?;
            hook.env_remove("CARGO_TARGET_DIR")
                .current_dir(folder.path())
                .env("TRUNK_PROFILE", profile)
                .env("TRUNK_STAGING_DIR", &staging);
            ensure!(hook.status()?.success(), "{profile} {index}: a hook failed");
        }
        let is_new = fs::read_to_string(page.join("index.html")).is_ok_and(|text| text == index);
        assert_eq!(is_new, ships, "{profile} {index}");
        assert_eq!(page.join("old.html").exists(), !ships, "{profile} {index}");
    }
    Ok(())
}

#[test]
fn scripts_of_earlier_builds_are_gone_before_a_build() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let old = folder.path().join("target/wasm-bindgen/release/snippets/old.js");
    fs::create_dir_all(old.parent().context("a file lies in a folder")?)?;
    fs::write(&old, "old")?;
    for hook in hooks()?.iter().filter(|hook| hook["stage"].as_str() == Some("pre_build")) {
        let mut hook = command(hook)?;
        ensure!(hook.env_remove("CARGO_TARGET_DIR").current_dir(folder.path()).status()?.success(), "a hook failed");
    }
    assert!(!old.exists());
    Ok(())
}

#[test]
fn a_served_page_is_built_elsewhere() -> Result<()> {
    let dist = config()?["build"]["dist"].as_str().map(str::to_owned);
    assert!(dist.is_some_and(|dist| dist != "target/page"));
    Ok(())
}

fn config() -> Result<toml::Table> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Trunk.toml");
    Ok(fs::read_to_string(file)?.parse()?)
}

fn hooks() -> Result<Vec<toml::Value>> {
    config()?["hooks"].as_array().cloned().context("Trunk.toml has no hooks")
}

fn command(hook: &toml::Value) -> Result<Command> {
    let text = |value: &toml::Value| value.as_str().map(str::to_owned).context("a hook is made of texts");
    let mut command = Command::new(text(&hook["command"])?);
    for argument in hook["command_arguments"].as_array().into_iter().flatten() {
        command.arg(text(argument)?);
    }
    Ok(command)
}

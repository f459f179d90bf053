//! Trunk by hand: `trunk serve` while working on the page, and a build without wasm-opt.

use std::{env, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use relogin_tests::{
    net::Address,
    parts::{Part, target},
    play::{Failure, play_for},
    process::Process,
    site::{Pages, Site},
    stage::{Arrangement, Stage},
};
use tokio::process::Command;

use crate::{JANE, redirect::leads_to};

/// Compiling takes its time, on a machine that is busy.
const COMPILING: Duration = Duration::from_secs(900);

#[tokio::test]
async fn trunk_serves_a_page_for_work_on_it_and_leaves_the_binarys_alone() -> Result<(), Failure> {
    let name = "trunk_serves_a_page_for_work_on_it_and_leaves_the_binarys_alone";
    play_for(COMPILING, Arrangement::Embedded, name, serves_a_page).await
}

#[tokio::test]
async fn a_page_that_was_built_without_wasm_opt_works() -> Result<(), Failure> {
    let name = "a_page_that_was_built_without_wasm_opt_works";
    play_for(COMPILING, Arrangement::Embedded, name, builds_without_wasm_opt).await
}

/// In a copy of the sources, for this changes them.
async fn serves_a_page(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let sources = stage.folder().join("sources");
    copy_sources(workspace()?, &sources)?;
    let (address, config) = (Address::reserve()?, sources.join("Trunk.toml"));
    edit(&config, "port = 8081", &format!("port = {}", address.port()))?;
    edit(&config, "ws://127.0.0.1:8080/ws", &format!("ws://{}/ws", stage.service_addr()))?;
    let (binarys, served) = (sources.join("target/page/index.html"), sources.join("target/trunk/index.html"));
    fs::create_dir_all(sources.join("target/page"))?;
    fs::write(&binarys, "the binary's page")?;
    // Compiled before anybody waits for the page.
    let build = ["build", "--package", "relogin-page", "--target", "wasm32-unknown-unknown"];
    succeeds(Command::new("cargo").args(build).current_dir(&sources).env("CARGO_TARGET_DIR", target())).await?;

    let log = stage.evidence().join("trunk.log");
    let trunk = Process::start(&Part::Trunk.path()?, ["serve"], &log, |command| {
        command.current_dir(&sources).env("CARGO_TARGET_DIR", target()).env_remove("NO_COLOR");
    })?;
    trunk.line("that it serves", |line| line.contains("server listening").then_some(())).await?;
    let page = stage.page("developer", &format!("http://{}/", address.get())).await?;
    page.log_in("jane", "jane").await?;
    page.is_user(JANE).await?;
    page.counter_runs().await?;
    assert!(served.is_file(), "it is built into a folder of its own");

    // What is changed is built, and the page in the browser is loaded again by itself.
    edit(&sources.join("www/index.html"), "<body ", "<body data-changed=\"yes\" ")?;
    page.until("the changed page", "document.body.dataset.changed === 'yes'").await?;
    page.is_user(JANE).await?;
    assert_eq!(fs::read_to_string(&binarys)?, "the binary's page");
    ensure!(fs::read_to_string(&served)?.contains("data-changed"), "the folder of its own has the changed page");
    trunk.stop().await.map(drop)
}

/// As README.md says it.
async fn builds_without_wasm_opt(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let (dist, programs) = (stage.folder().join("page"), stage.folder().join("programs"));
    let (broken, called) = (programs.join("wasm-opt"), stage.folder().join("called"));
    fs::create_dir(&programs)?;
    fs::write(&broken, format!("#!/bin/sh\ntouch '{}'\nexit 1\n", called.display()))?;
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([programs].into_iter().chain(env::split_paths(&path)))?;
    let mut build = Command::new(Part::Trunk.path()?);
    build.args(["build", "--cargo-profile", "web", "--dist"]).arg(&dist).current_dir(workspace()?);
    succeeds(build.env("PATH", path).env_remove("NO_COLOR")).await?;
    assert!(!called.exists(), "wasm-opt was called");

    let site = Site::open(Pages::default().with_folder("/", dist)).await?;
    let browser = stage.browser("jane").await?;
    let own = format!("ws://{}ws", site.url().trim_start_matches("http://"));
    browser.before_each_page(&leads_to(&own, &stage.gateway_url())).await?;
    browser.open(&site.url()).await?;
    browser.log_in("jane", "jane").await?;
    browser.is_user(JANE).await?;
    browser.reload().await?;
    browser.is_user(JANE).await?;
    browser.counter_runs().await
}

/// Runs a program, and waits without a limit of its own.
pub(crate) async fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.kill_on_drop(true).output().await.context("starting a program")?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn edit(file: &Path, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(file)?;
    ensure!(text.contains(from), "{} has no {from}", file.display());
    fs::write(file, text.replace(from, to)).with_context(|| format!("writing {}", file.display()))
}

/// Copies what was not built.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_built =
            ["target", "dist", "node_modules", ".git", "corpus", "artifacts"].iter().any(|built| name == **built);
        if entry.file_type()?.is_dir() && !is_built {
            copy_sources(&entry.path(), &to.join(name))?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(name))?;
        }
    }
    Ok(())
}

fn workspace() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the crate lies in a workspace")
}

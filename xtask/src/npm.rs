//! `cargo xtask npm`: the package for JavaScript, a folder that npm can pack: `web/npm`, and the WebAssembly module that it stands on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    log::Log,
    no_arguments, report,
    setup::{self, TARGET, wasm_opt},
};

/// Cargo has a folder of this name beside the package's: it must not be the same.
const PROFILE: &str = "fast";

/// Builds `target/npm`.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    setup::ensure(context, setup::Needs::Page)?;
    let package = build(context)?;
    let size = |name: &str| fs::metadata(package.join(name)).map_or(0, |file| file.len());
    report::begin(format_args!(
        "{}: {} kB of WebAssembly, {} kB of JavaScript beside it",
        package.display(),
        size("relogin_bg.wasm") / 1000,
        scripts(&package)?.iter().map(|name| size(name)).sum::<u64>() / 1000,
    ));
    Ok(())
}

/// Builds the package, and answers where it is.
pub(crate) fn build(context: &Context) -> Result<PathBuf> {
    let package = context.target.join("npm");
    build_module(context, &["--lib"], "relogin_web.wasm", "relogin", &package)?;

    let source = context.root.join("web/npm");
    for entry in fs::read_dir(&source).context("reading web/npm")? {
        let entry = entry?;
        copy(&entry.path(), &package.join(entry.file_name()))?;
    }
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&context.root.join(license), &package.join(license))?;
    }
    set_version(&package.join("package.json"))?;
    for needed in ["index.js", "index.d.ts", "relogin.js", "relogin_bg.wasm", "README.md"] {
        if !package.join(needed).is_file() {
            bail!("the package has no {needed}");
        }
    }
    Ok(package)
}

/// Builds the page in Rust that README.md shows, and answers where it is.
pub(crate) fn build_example(context: &Context) -> Result<PathBuf> {
    let folder = context.target.join("hello");
    let what = ["--example", "hello", "--no-default-features"];
    build_module(context, &what, "examples/hello.wasm", "hello", &folder)?;
    Ok(folder)
}

/// Builds a WebAssembly module of the crate `relogin-web`, and puts it with its JavaScript into `folder`, called `name`.
fn build_module(context: &Context, what: &[&str], built: &str, name: &str, folder: &Path) -> Result<()> {
    let mut log = Log::create(context, name)?;
    let mut cargo = context.cargo(&["build", "--package", "relogin-web", "--profile", PROFILE, "--target", TARGET]);
    log.run(cargo.args(what))?;
    // Anew, so that nothing stays that is no part of it any more.
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    let mut bindgen = context.command("wasm-bindgen");
    bindgen.args(["--target", "web", "--no-typescript", "--out-name", name, "--out-dir"]).arg(folder);
    log.run(bindgen.arg(context.target.join(TARGET).join(PROFILE).join(built)))?;
    if wasm_opt::is_there(context) {
        let module = folder.join(format!("{name}_bg.wasm"));
        let mut optimize = context.command("wasm-opt");
        log.run(optimize.arg("-O3").arg(&module).arg("--output").arg(&module))?;
    }
    Ok(())
}

/// The version is the workspace's.
fn set_version(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let (placeholder, version) = (r#""version": "0.0.0""#, concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\""));
    if !text.contains(placeholder) {
        bail!("web/npm/package.json should have the version 0.0.0, for this to put in the right one");
    }
    fs::write(manifest, text.replace(placeholder, version)).with_context(|| format!("writing {}", manifest.display()))
}

fn scripts(package: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(package)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name.ends_with(".js")).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

//! The standard library for the browser where rustup's server is out of reach: compiled from Debian's Rust sources.
//!
//! Debian's `rustc-web` and its kin can do it. The result, a compiler with a library folder of its own, lies in the tool cache:
//! the machine's own folders stay as the package manager left them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    programs::{apt_install, newest_apt_package},
    wasm_std::{TARGET, WasmStd, holds_std},
};
use crate::{
    context::Context,
    log::{Log, output},
    report,
};

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];

/// Whether this machine's package manager is the right kind.
pub(super) fn is_possible(context: &Context) -> bool {
    context.find(&["apt-get"]).is_some()
}

/// What was made before, if it still fits the installed compiler.
pub(super) fn find(context: &Context) -> Option<WasmStd> {
    let folder = folder(context);
    let made_for = fs::read_to_string(folder.join("made-for")).ok()?;
    let fits = output(context.command(RUSTC).arg("-vV"))? == made_for.trim() && holds_std(&libraries(&folder, TARGET));
    fits.then(|| WasmStd::Compiler(folder.join("rustc")))
}

/// Installs the packages and compiles the library, unless that was done before.
pub(super) fn ensure(context: &Context) -> Result<WasmStd> {
    if let Some(found) = find(context) {
        return Ok(found);
    }
    if !Path::new("/usr/lib/rustlib/src/rust/library").exists() || !Path::new(CARGO).exists() {
        let linker = newest_apt_package("lld-");
        let packages: Vec<&str> = PACKAGES.iter().copied().chain(linker.as_deref()).collect();
        apt_install(context, &packages)?;
    }
    report::begin("Rust for the browser: compiling its standard library (usually 1 min)");
    let scratch = context.cache.join("std-scratch");
    compile(context, &scratch)?;

    let folder = folder(context);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy_libraries(&scratch, &libraries(&folder, TARGET))?;
    let host = link_host_libraries(context, &folder)?;
    write_compiler(&folder)?;
    // Last: it is by this file that the folder counts as whole.
    fs::write(folder.join("made-for"), host)?;
    fs::remove_dir_all(&scratch)?;
    Ok(WasmStd::Compiler(folder.join("rustc")))
}

fn folder(context: &Context) -> PathBuf {
    context.cache.join("rust-web")
}

fn libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib/rustlib").join(target).join("lib")
}

/// An empty crate makes Cargo compile the libraries that crates stand on.
fn compile(context: &Context, scratch: &Path) -> Result<()> {
    fs::create_dir_all(scratch)?;
    fs::write(
        scratch.join("Cargo.toml"),
        "[package]\nname = \"scratch\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n",
    )?;
    fs::write(scratch.join("lib.rs"), "#![no_std]\n")?;
    let mut build = context.command(CARGO);
    build
        .current_dir(scratch)
        .env("RUSTC", RUSTC)
        // Building the standard library is not a stable feature yet; with the very compiler it was written for, it works.
        .env("RUSTC_BOOTSTRAP", "1")
        // As in the libraries that rustup serves: without it, a build with link-time optimisation fails.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        .args(["build", "--release", "--target", TARGET])
        .arg("-Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test");
    Log::create(context, "std")?.run(&mut build)
}

fn copy_libraries(scratch: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let from = scratch.join("target").join(TARGET).join("release/deps");
    for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libscratch-") {
            fs::copy(&file, to.join(&name))?;
        }
    }
    if holds_std(to) { Ok(()) } else { bail!("compiling the standard library left none in {}", from.display()) }
}

/// Macros and build scripts run on this machine, with its own libraries. Answers with the compiler's description of itself.
fn link_host_libraries(context: &Context, folder: &Path) -> Result<String> {
    let version = output(context.command(RUSTC).arg("-vV")).with_context(|| format!("{RUSTC} does not run"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let sysroot = output(context.command(RUSTC).args(["--print", "sysroot"])).context("rustc has no sysroot")?;
    symlink(Path::new(&sysroot).join("lib/rustlib").join(host), folder.join("lib/rustlib").join(host))?;
    Ok(version)
}

fn write_compiler(folder: &Path) -> Result<()> {
    let script = folder.join("rustc");
    let text = format!("#!/bin/sh\nexec {RUSTC} --sysroot \"${{0%/*}}\" \"$@\"\n");
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

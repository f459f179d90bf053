//! The standard library for `wasm32-unknown-unknown`: from rustup, else made from apt's Rust sources.

use std::{env, fs, path::Path, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, bail};

use super::apt_std;
use crate::{
    context::Context,
    log::{Log, output},
    report,
};

/// The target's name.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// rustup gives up sooner than this when its server refuses; this is for a server that says nothing.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// Which compiler can build for the browser.
#[derive(Clone, Debug)]
pub(crate) enum WasmStd {
    /// The one that builds everything else.
    Default,
    /// Another one.
    Compiler(PathBuf),
}

impl WasmStd {
    /// Makes a program that builds for the browser use the right compiler.
    pub(crate) fn use_in<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Self::Compiler(rustc) = self {
            command.env("RUSTC", rustc);
        }
        command
    }

    /// Whether the library can be compiled anew, as a build wants it: its sources are there.
    pub(crate) fn has_sources(&self, context: &Context) -> bool {
        let sysroot = || output(context.command("rustc").args(["--print", "sysroot"]));
        matches!(self, Self::Default)
            && sysroot().is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/std").is_dir())
    }

    /// Whether lints and documentation can be made for the browser too: they need their programs of the same compiler.
    pub(crate) fn has_all_tools(&self) -> bool {
        matches!(self, Self::Default)
    }
}

pub(super) fn ensure(context: &Context) -> Result<WasmStd> {
    let wanted = env::var("RELOGIN_XTASK_STD").unwrap_or_default();
    match wanted.as_str() {
        "" => {}
        "rustup" => return if default_has_it(context) { Ok(WasmStd::Default) } else { by_rustup(context) },
        "apt" => return apt_std::ensure(context),
        other => bail!("RELOGIN_XTASK_STD is `{other}`; it may be `rustup` or `apt`"),
    }
    if default_has_it(context) {
        return Ok(WasmStd::Default);
    }
    if let Some(found) = apt_std::find(context) {
        return Ok(found);
    }
    by_rustup(context).or_else(
        |error| {
            if apt_std::is_possible(context) { apt_std::ensure(context) } else { Err(error) }
        },
    )
}

/// Gets the library's sources, where rustup has them: the page is smaller by them, and works without.
pub(super) fn offer_sources(context: &Context, wasm: &WasmStd) {
    if wasm.has_sources(context) || !matches!(wasm, WasmStd::Default) || context.find(&["rustup"]).is_none() {
        return;
    }
    report::begin("Rust's sources, for a smaller page: rustup component add (usually 5 s)");
    let mut add = context.command("rustup");
    add.args(["component", "add", "rust-src"]).env("RUSTUP_MAX_RETRIES", "1");
    // What it says is in its log.
    let _ = Log::create(context, "rust-src").and_then(|mut log| log.run_within(RUSTUP_LIMIT, &mut add));
}

/// Whether a folder of libraries holds the standard library.
pub(super) fn holds_std(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn default_has_it(context: &Context) -> bool {
    let folder = output(context.command("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    folder.is_some_and(|folder| holds_std(Path::new(&folder)))
}

fn by_rustup(context: &Context) -> Result<WasmStd> {
    if context.find(&["rustup"]).is_none() {
        bail!(
            "the Rust compiler has no library for {TARGET}, and there is no rustup to add it: install rustup, or your \
             distribution's package for it"
        );
    }
    report::begin(format_args!("Rust for the browser: rustup target add {TARGET} (usually 10 s)"));
    let mut log = Log::create(context, "rustup")?;
    let mut add = context.command("rustup");
    add.args(["target", "add", TARGET]).env("RUSTUP_MAX_RETRIES", "1");
    log.run_within(RUSTUP_LIMIT, &mut add)?;
    Ok(WasmStd::Default)
}

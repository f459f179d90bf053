//! wasm-opt, which Trunk runs over the page's WebAssembly: from npm's package `binaryen`, in the
//! version that Trunk.toml names.
//!
//! Trunk could download it by itself. npm checks the integrity of packages, has it for all
//! platforms, and is available to machines that reach registries only.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context as _, Result};

use crate::{
    context::Context,
    log::{Log, output},
    report,
};

/// Whether the right wasm-opt is on the path.
pub(crate) fn is_there(context: &Context) -> bool {
    version(context).is_ok_and(|version| {
        let found = context.find(&["wasm-opt"]);
        let said = found.and_then(|program| output(context.command(program).arg("--version")));
        said.is_some_and(|said| said.contains(&format!("(version_{version})")))
    })
}

/// Installs it if it is missing. If that fails, the page is built without it.
pub(super) fn offer(context: &Context) {
    if is_there(context) || context.find(&["npm"]).is_none() {
        return;
    }
    if let Err(error) = install(context) {
        report::begin(format_args!("wasm-opt could not be installed: {error:#}"));
    }
}

fn install(context: &Context) -> Result<()> {
    let version = version(context)?;
    report::begin(format_args!("wasm-opt {version}: npm install binaryen (usually 10 s)"));
    let folder = context.cache.join("binaryen");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut npm = context.command("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
    Log::create(context, "binaryen")?.run(npm.arg(format!("binaryen@{version}.0.0")))?;

    let link = context.bin().join("wasm-opt");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
    }
    let program = folder.join("node_modules/binaryen/bin/wasm-opt");
    symlink(program, &link).with_context(|| format!("linking {}", link.display()))
}

/// The version, a whole number, as Trunk.toml has it: `wasm_opt = "version_132"`.
fn version(context: &Context) -> Result<String> {
    let config = fs::read_to_string(context.root.join("Trunk.toml")).context("reading Trunk.toml")?;
    let named = config.lines().find_map(|line| line.strip_prefix("wasm_opt = \"version_"));
    let version = named.and_then(|rest| rest.strip_suffix('"'));
    version.map(str::to_owned).context("Trunk.toml names no version of wasm_opt")
}

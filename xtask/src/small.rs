//! The page's program, made small: with a standard library that was compiled for size and without the texts of panics, which only
//! its sources make possible. Without them the page is a tenth larger, and works the same.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, log::output, report, setup::WasmStd};

/// What all scripts and WebAssembly of the page may weigh, in bytes, as brotli of quality 11 packs them (docs/performance.md, "The page").
pub(crate) const PAGE: u64 = 65_536;

/// The same for the package: a twentieth more than they do (docs/performance.md, "The package").
pub(crate) const PACKAGE: u64 = 131_400;

/// As in .cargo/config.toml, which these stand in for; then: panics trap at once, and say neither what nor where.
const FLAGS: &str = "-Clink-arg=--keep-section=target_features \
    -Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none";

/// The environment in which Cargo makes a program for the browser small; empty if it cannot.
pub(crate) fn environment(context: &Context, wasm: &WasmStd) -> Vec<(&'static str, PathBuf)> {
    if !wasm.has_sources(context) {
        return Vec::new();
    }
    vec![
        // Not stable features yet; with the very compiler that the sources are of, they work.
        ("RUSTC_BOOTSTRAP", "1".into()),
        ("CARGO_UNSTABLE_BUILD_STD", "core,alloc,std,panic_abort".into()),
        ("CARGO_UNSTABLE_BUILD_STD_FEATURES", "optimize_for_size".into()),
        ("RUSTFLAGS", FLAGS.into()),
        // wasm-bindgen finds more that nobody needs where functions have names. It takes the names away then.
        ("CARGO_PROFILE_SMALL_STRIP", "none".into()),
        // Beside the other builds: some crates look at RUSTC_BOOTSTRAP, and would be compiled anew each time.
        ("CARGO_TARGET_DIR", context.target.join("small-page")),
    ]
}

/// The path of a build whose wasm-bindgen writes short names.
///
/// # Errors
/// If there is no wasm-bindgen, or its stand-in cannot be written.
pub(crate) fn path(context: &Context) -> Result<OsString> {
    let folder = context.logs().join("bin");
    let bindgen = context.find(&["wasm-bindgen"]).context("there is no wasm-bindgen")?;
    let xtask = env::current_exe().context("xtask does not know where it is")?;
    let text = format!(
        "#!/bin/sh\nset -e\n\"{}\" --remove-name-section --remove-producers-section \"$@\"\nfor argument in \"$@\"; do\n  case \"$argument\" in\n    \
         --out-dir=*) \"{}\" shorten \"${{argument#--out-dir=}}\" ;;\n  esac\ndone\n",
        bindgen.display(),
        xtask.display(),
    );
    let stand_in = folder.join("wasm-bindgen");
    fs::create_dir_all(&folder)?;
    fs::write(&stand_in, text).with_context(|| format!("writing {}", stand_in.display()))?;
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755))?;
    let inherited = context.path();
    Ok(env::join_paths([folder].into_iter().chain(env::split_paths(&inherited)))?)
}

/// Looks whether the scripts and WebAssembly in `folder`, which are `what`'s, weigh no more than `most` bytes.
///
/// # Errors
/// If they do.
pub(crate) fn weigh(what: &str, folder: &Path, most: u64) -> Result<()> {
    const SCRIPT: &str = "\
        const fs = require('fs'), { brotliCompressSync } = require('zlib');\
        const [folder] = process.argv.slice(1);\
        const files = fs.readdirSync(folder, { recursive: true }).filter((name) => /\\.(js|wasm)$/.test(name));\
        console.log(files.reduce((sum, name) => sum + brotliCompressSync(fs.readFileSync(`${folder}/${name}`)).length, 0));";
    let mut node = Command::new(env::var_os("NODE").unwrap_or_else(|| "node".into()));
    let printed = output(node.args(["-e", SCRIPT]).arg(folder)).context("weighing: there is no node")?;
    let weight: u64 = printed.trim().parse().context("weighing")?;
    report::begin(format_args!("the {what}'s scripts and WebAssembly: {weight} bytes of brotli"));
    if weight > most {
        bail!("the {what} weighs {weight} bytes, and may weigh {most}: see docs/performance.md");
    }
    Ok(())
}

//! `cargo xtask fuzz`: runs each fuzz target for a minute. The bodies of the targets are in
//! `tests/fuzzed`.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    log::output,
    report,
    setup::{self, NIGHTLY},
};

/// How long each target runs, in seconds.
const TIME: u32 = 60;

/// Runs all targets, or those that are named. The fuzzer writes inputs that reach new code to
/// `fuzz/corpus`, and one that fails to `fuzz/artifacts`.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let all = targets(context)?;
    if let Some(unknown) = arguments.iter().find(|name| !all.contains(name)) {
        bail!("there is no target `{unknown}`; there are: {}", all.join(", "));
    }
    setup::ensure_fuzzer(context)?;
    let folder = context.root.join("fuzz");
    // The versions that are shipped.
    fs::copy(context.root.join("Cargo.lock"), folder.join("Cargo.lock")).context("copying Cargo.lock")?;
    let sanitizer = if has_address_sanitizer(context) { "address" } else { "none" };
    let chosen = all.iter().filter(|name| arguments.is_empty() || arguments.contains(name));
    let mut failed = Vec::new();
    for name in chosen {
        report::begin(format_args!("{name}: {TIME} s, after building it (usually 5 min the first time)"));
        let (corpus, seeds) = (folder.join("corpus").join(name), folder.join("seeds").join(name));
        fs::create_dir_all(&corpus).with_context(|| format!("making {}", corpus.display()))?;
        let mut fuzz = context.command("cargo-fuzz");
        fuzz.args(["run", "--fuzz-dir", "fuzz", "--dev", "--sanitizer", sanitizer, name]).arg(corpus).arg(seeds);
        fuzz.args(["--", &format!("-max_total_time={TIME}"), "-verbosity=0", "-print_final_stats=1"]);
        // It passes flags to the compiler that only nightly ones know.
        let status = fuzz.env("RUSTUP_TOOLCHAIN", NIGHTLY).status().context("running cargo-fuzz")?;
        if !status.success() {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "failed: {}; put what is in fuzz/artifacts into fuzz/seeds, so that every test run plays it",
        failed.join(", ")
    );
}

/// Each target has a folder of seeds.
fn targets(context: &Context) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(context.root.join("fuzz/seeds")).context("reading fuzz/seeds")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Not all platforms have it.
fn has_address_sanitizer(context: &Context) -> bool {
    let mut rustc = context.command("rustc");
    let libraries = output(rustc.args(["--print", "target-libdir"]).env("RUSTUP_TOOLCHAIN", NIGHTLY));
    let files = libraries.and_then(|folder| fs::read_dir(folder.trim()).ok());
    files.into_iter().flatten().flatten().any(|file| file.file_name().to_string_lossy().contains("rt.asan"))
}

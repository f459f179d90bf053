//! The nightly compiler that fuzz targets are built with, added by rustup where it is missing.
//! Nothing that is shipped is built with it.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{
    context::Context,
    log::{Log, succeeds},
    report,
};

/// Pinned, because another nightly may not build the targets.
pub(crate) const NIGHTLY: &str = "nightly-2026-05-20";

/// For a server that does not answer.
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn ensure(context: &Context) -> Result<()> {
    if succeeds(context.command("rustc").arg("--version").env("RUSTUP_TOOLCHAIN", NIGHTLY)) && has_rustup(context) {
        return Ok(());
    }
    if !has_rustup(context) {
        bail!(
            "the fuzz targets are built by Rust's {NIGHTLY}, which rustup installs: install rustup (https://rustup.rs)"
        );
    }
    report::begin(format_args!("Rust for the fuzzer: rustup toolchain install {NIGHTLY} (usually 30 s)"));
    let mut install = context.command("rustup");
    install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal", "--no-self-update"]);
    Log::create(context, "nightly")?.run_within(LIMIT, &mut install)
}

/// Without it a compiler takes no notice of which one is asked for.
fn has_rustup(context: &Context) -> bool {
    context.find(&["rustup"]).is_some()
}

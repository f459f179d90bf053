//! Builds the example in Rust, `examples/rust`, as its README says: by Trunk, from a workspace of
//! its own.
//!
//! The other examples need no more than the npm package and what npm has: the end-to-end tests
//! build them.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, log::Log, page};

/// Checks the format, builds, and returns the folder of the page.
pub(crate) fn build(context: &Context) -> Result<PathBuf> {
    let folder = context.root.join("examples/rust");
    // The versions that are shipped; what only the example needs is added to them.
    fs::copy(context.root.join("Cargo.lock"), folder.join("Cargo.lock")).context("copying Cargo.lock")?;
    let mut log = Log::create(context, "example")?;
    let here = |mut command: Command| {
        // Beside the other builds, so that `cargo clean` removes it.
        command.current_dir(&folder).env("CARGO_TARGET_DIR", context.target.join("examples"));
        command
    };
    log.run(&mut here(context.cargo(&["fmt", "--check"])))?;
    let page = context.target.join("rust-example");
    log.run(here(page::trunk(context, &["--dist"])).arg(&page))?;
    if !page.join("index.html").is_file() {
        bail!("Trunk built no page in {}", page.display());
    }
    Ok(page)
}

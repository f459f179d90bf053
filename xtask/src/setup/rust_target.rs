//! The standard library for targets other than this machine, added by rustup where it is missing.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, bail};

use crate::{
    context::Context,
    log::{Log, output},
    report,
};

/// The browser.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// For a server that does not answer; rustup gives up sooner if it refuses.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

pub(super) fn ensure(context: &Context, target: &str) -> Result<()> {
    if is_there(context, target) {
        return Ok(());
    }
    if context.find(&["rustup"]).is_none() {
        bail!(
            "the Rust compiler has no library for {target}, and there is no rustup to add it: install \
             rustup, or your distribution's package of that library"
        );
    }
    report::begin(format_args!("Rust for {target}: rustup target add (usually 10 s)"));
    let mut add = context.command("rustup");
    Log::create(context, "rustup")?.run_within(RUSTUP_LIMIT, add.args(["target", "add", target]))
}

fn is_there(context: &Context, target: &str) -> bool {
    let mut rustc = context.command("rustc");
    let folder = output(rustc.args(["--print", "target-libdir", "--target", target]));
    folder.is_some_and(|folder| holds_std(Path::new(&folder)))
}

/// Whether a folder of libraries holds the standard library.
fn holds_std(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

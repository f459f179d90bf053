//! Checks that what visitors download is as small as docs/performance.md says.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{log::output, report};

/// The limit for all scripts and WebAssembly of the page, in bytes of brotli at quality 11.
pub(crate) const PAGE: u64 = 125_000;

/// The same for the npm package.
pub(crate) const PACKAGE: u64 = 150_000;

/// Checks the size of the scripts and the WebAssembly in `folder`, named `what` in messages. The
/// package's CommonJS scripts do not count, because no page loads them beside the others.
///
/// # Errors
/// If they have more than `most` bytes.
pub(crate) fn check(what: &str, folder: &Path, most: u64) -> Result<()> {
    const SCRIPT: &str = "\
        const fs = require('fs'), { brotliCompressSync } = require('zlib');\
        const [folder] = process.argv.slice(1);\
        const files = fs.readdirSync(folder, { recursive: true }).filter((name) => /\\.(js|wasm)$/.test(name) && !name.startsWith('cjs'));\
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

//! What the end-to-end tests need of npm: ResClient, the JavaScript client that most pages use; TypeScript and Vite, for the package;
//! axe-core, which finds what keeps people from using a page.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{context::Context, log::Log, report};

/// The folder that has `node_modules`, installed as `tests/resclient/package-lock.json` says.
pub(super) fn ensure(context: &Context) -> Result<PathBuf> {
    if let Some(folder) = env::var_os("RESCLIENT_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let source = context.root.join("tests/resclient");
    let folder = context.cache.join("resclient");
    let wanted = fs::read(source.join("package-lock.json")).context("reading tests/resclient/package-lock.json")?;
    let stamp = folder.join("installed-lock.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    report::begin("ResClient, TypeScript and Vite: npm ci (usually 5 s)");
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(source.join(file), folder.join(file)).with_context(|| format!("copying tests/resclient/{file}"))?;
    }
    let mut install = context.command("npm");
    install.current_dir(&folder).args(["ci", "--no-audit", "--no-fund"]);
    Log::create(context, "npm")?.run(&mut install)?;
    fs::write(stamp, wanted)?;
    Ok(folder)
}

//! Packages from npm, as the repository's lock files pin them: those that build the package
//! (`web/npm`), those that the end-to-end tests need (`tests/resclient`), and those of a service
//! that they run (`examples/services/javascript`).

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{context::Context, log::Log, report};

/// esbuild and TypeScript, which build the package.
pub(super) fn ensure_builders(context: &Context) -> Result<()> {
    install(context, "web/npm", &builders(context), "esbuild and TypeScript: npm ci (usually 5 s)")
}

/// The folder with the `node_modules` of [`ensure_builders`].
pub(crate) fn builders(context: &Context) -> PathBuf {
    context.cache.join("package-tools")
}

/// ResClient, the JavaScript client that most pages use; frameworks of pages and their tests; and
/// axe-core, which checks accessibility. Returns the folder that has `node_modules`.
pub(super) fn ensure_for_tests(context: &Context) -> Result<PathBuf> {
    if let Some(folder) = env::var_os("RESCLIENT_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let folder = context.cache.join("resclient");
    install(context, "tests/resclient", &folder, "ResClient, bundlers and frameworks: npm ci (usually 30 s)")?;
    Ok(folder)
}

/// What the service in JavaScript needs. Returns the folder that has `node_modules`.
pub(super) fn ensure_for_service(context: &Context) -> Result<PathBuf> {
    if let Some(folder) = env::var_os("SERVICE_JAVASCRIPT") {
        return Ok(PathBuf::from(folder));
    }
    let folder = context.cache.join("service-javascript");
    install(context, "examples/services/javascript", &folder, "NATS's client for Node: npm ci (usually 5 s)")?;
    Ok(folder)
}

/// Installs what the lock file in `source` names, unless it is installed.
fn install(context: &Context, source: &str, folder: &Path, what: &str) -> Result<()> {
    let from = context.root.join(source);
    let lock = from.join("package-lock.json");
    let wanted = fs::read(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let stamp = folder.join("installed-lock.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    report::begin(what);
    fs::create_dir_all(folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), folder.join(file)).with_context(|| format!("copying {source}/{file}"))?;
    }
    let mut install = context.command("npm");
    install.current_dir(folder).args(["ci", "--no-audit", "--no-fund"]);
    Log::create(context, "npm")?.run(&mut install)?;
    fs::write(stamp, wanted)?;
    Ok(())
}

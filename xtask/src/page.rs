//! Builds the product: the page by Trunk into `target/page`, then the binary that carries it.
//!
//! Trunk takes seconds even if nothing has changed, so it runs only when an input of the page has
//! changed.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    log::{Log, output},
    report,
    setup::wasm_opt,
};

/// The inputs of the page.
const SOURCES: &[&str] = &[".cargo/config.toml", "www", "web", "crates", "Cargo.toml", "Cargo.lock", "Trunk.toml"];

/// Builds page and binary, and returns the path of the binary.
pub(crate) fn build(context: &Context) -> Result<PathBuf> {
    build_page(context)?;
    let binary = context.target.join("release/relogin");
    // Checking a finished build takes less than a second, so nothing is printed.
    if !binary.exists() {
        report::begin("relogin: cargo build --release (usually 4 min)");
    }
    Log::create(context, "build")?.run(&mut context.cargo(&["build", "--release", "--package", "relogin"]))?;
    Ok(binary)
}

/// Where a release build of the page is put (Trunk.toml), and where the build of the binary finds
/// it: not in CARGO_TARGET_DIR, which the binary's sources cannot know.
pub(crate) fn folder(context: &Context) -> PathBuf {
    context.root.join("target/page")
}

/// Builds the page, if any of its inputs has changed.
pub(crate) fn build_page(context: &Context) -> Result<()> {
    let page = folder(context);
    let index = page.join("index.html");
    let stamp = context.logs().join("page.stamp");
    if index.is_file() && fs::read_to_string(&stamp).ok() == Some(fingerprint(context, &page)?) {
        return Ok(());
    }
    report::begin("page: trunk build --release (usually 2 min)");
    let mut log = Log::create(context, "page")?;
    // Without wasm-opt on the path Trunk downloads it, if it can.
    match log.run(&mut trunk(context, &["--release"])) {
        Err(_) if !wasm_opt::is_there(context) => {
            report::begin("page: without wasm-opt, which cannot be had (usually 1 min)");
            log.run(trunk(context, WITHOUT_WASM_OPT).arg(&page))?;
        }
        result => result?,
    }
    if !index.is_file() {
        bail!("Trunk built no {}: its hook in Trunk.toml should put it there", index.display());
    }
    for entry in fs::read_dir(&page)? {
        let file = entry?.path();
        context.assert_unnamed(&file.display().to_string(), &fs::read(&file)?)?;
    }
    fs::write(stamp, fingerprint(context, &page)?)?;
    Ok(())
}

/// Trunk runs wasm-opt for release builds only. What follows is the folder.
const WITHOUT_WASM_OPT: &[&str] = &["--cargo-profile", "web", "--dist"];

/// `trunk build` with these options.
pub(crate) fn trunk(context: &Context, options: &[&str]) -> Command {
    let mut trunk = context.command("trunk");
    // Trunk refuses a `NO_COLOR` other than `true` or `false`, and a back trace would hide the
    // reason of a failure.
    trunk.env_remove("NO_COLOR").env("RUST_BACKTRACE", "0");
    // The page is in packages, too.
    trunk.env("CARGO_ENCODED_RUSTFLAGS", context.rustflags());
    trunk.arg("build").args(options);
    trunk
}

/// Changes with anything that goes into the page, and with the page, which others may have built.
fn fingerprint(context: &Context, page: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    hash_tree(page, &mut hasher)?;
    for source in SOURCES {
        hash_tree(&context.root.join(source), &mut hasher)?;
    }
    for program in ["rustc", "trunk", "wasm-bindgen", "wasm-opt"] {
        output(context.command(program).arg("--version")).hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    path.hash(hasher);
    if path.is_dir() {
        let entries = fs::read_dir(path).with_context(reading)?;
        let mut children = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        children.sort_unstable();
        return children.iter().try_for_each(|child| hash_tree(child, hasher));
    }
    fs::read(path).with_context(reading)?.hash(hasher);
    Ok(())
}

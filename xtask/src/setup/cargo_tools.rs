//! The tools that Cargo installs: Trunk, which builds the page, wasm-bindgen's command line, which
//! it calls, and tools of the tests and the fuzzer.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::Needs;
use crate::{
    context::Context,
    log::{Log, output, succeeds},
    report,
};

/// Builds with the oldest compiler that the workspace allows.
const TRUNK: &str = "0.21.14";

/// Runs the fuzz targets.
const CARGO_FUZZ: &str = "0.13.2";

/// Drives Firefox.
const GECKODRIVER: &str = "0.37.1";

/// Checks our dependencies.
const CARGO_DENY: &str = "0.20.2";

/// Makes a site of the documents.
const MDBOOK: &str = "0.5.4";

/// A download from a server that does not answer must not take longer than compiling.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(120);

struct Tool {
    package: &'static str,
    version: String,
    /// The installed program, which has an option `--version`.
    program: &'static str,
    options: &'static [&'static str],
    usually: &'static str,
}

/// Installs what is missing.
pub(super) fn ensure(context: &Context, needs: Needs) -> Result<()> {
    let bindgen = Tool {
        package: "wasm-bindgen-cli",
        version: locked_version(&context.root, "wasm-bindgen")?,
        program: "wasm-bindgen",
        options: &[],
        usually: "2 min",
    };
    let trunk = Tool {
        package: "trunk",
        version: TRUNK.to_owned(),
        program: "trunk",
        options: &["--locked", "--no-default-features", "--features", "rustls"],
        usually: "3 min",
    };
    install(context, &bindgen)?;
    install(context, &trunk)?;
    if needs == Needs::Tests {
        let deny = Tool {
            package: "cargo-deny",
            version: CARGO_DENY.to_owned(),
            program: "cargo-deny",
            options: &["--locked"],
            usually: "2 min",
        };
        install(context, &deny)?;
        install(context, &book())?;
    }
    clean_up(context)
}

/// Installs what makes a site of the documents.
pub(super) fn ensure_book(context: &Context) -> Result<()> {
    install(context, &book())?;
    clean_up(context)
}

fn book() -> Tool {
    Tool {
        package: "mdbook",
        version: MDBOOK.to_owned(),
        program: "mdbook",
        options: &["--locked", "--no-default-features", "--features", "search"],
        usually: "2 min",
    }
}

/// Installs what runs the fuzz targets.
pub(super) fn ensure_fuzzer(context: &Context) -> Result<()> {
    let fuzzer = Tool {
        package: "cargo-fuzz",
        version: CARGO_FUZZ.to_owned(),
        program: "cargo-fuzz",
        options: &["--locked"],
        usually: "1 min",
    };
    install(context, &fuzzer)?;
    clean_up(context)
}

/// The path of the driver of Firefox, which is installed if there is none.
pub(super) fn ensure_geckodriver(context: &Context) -> Result<PathBuf> {
    let find = || env::var_os("GECKODRIVER").map(PathBuf::from).or_else(|| context.find(&["geckodriver"]));
    if let Some(found) = find() {
        return Ok(found);
    }
    let driver = Tool {
        package: "geckodriver",
        version: GECKODRIVER.to_owned(),
        program: "geckodriver",
        options: &["--locked"],
        usually: "2 min",
    };
    install(context, &driver)?;
    clean_up(context)?;
    find().context("geckodriver is installed, and not found")
}

fn clean_up(context: &Context) -> Result<()> {
    // Removed only when all is installed: what was compiled for one tool is used for the next, also
    // after an interruption.
    let build = build_folder(context);
    if build.exists() {
        fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))?;
    }
    Ok(())
}

/// Puts `trunk` on the path, unless there is one.
pub(super) fn offer_trunk(context: &Context) -> Result<()> {
    let own = context.bin().join("trunk");
    let Some(folder) = cargo_bin().filter(|folder| own.is_file() && folder.is_dir()) else { return Ok(()) };
    let shim = folder.join("trunk");
    let is_free = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("trunk"))
        .all(|trunk| !trunk.is_file() || is_shim(&trunk));
    let text = format!(
        "#!/bin/sh\n{SHIM_MARK}\nPATH=\"{}:$PATH\"\nexport PATH\nexec \"{}\" \"$@\"\n",
        context.bin().display(),
        own.display()
    );
    if !is_free || fs::read_to_string(&shim).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(&shim, text).with_context(|| format!("writing {}", shim.display()))?;
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755))?;
    report::begin(format_args!("`trunk` can be called by its name now: {}", shim.display()));
    Ok(())
}

const SHIM_MARK: &str = "# Written by `cargo xtask setup` of Relogin; may be deleted.";

fn is_shim(program: &Path) -> bool {
    fs::read_to_string(program).is_ok_and(|text| text.contains(SHIM_MARK))
}

fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    Some(home.or_else(|| Some(env::home_dir()?.join(".cargo")))?.join("bin"))
}

fn install(context: &Context, tool: &Tool) -> Result<()> {
    if is_there(context, tool) {
        return Ok(());
    }
    let mut log = Log::create(context, tool.package)?;
    let named = format!("{}@{}", tool.package, tool.version);
    let root = context.cache.to_string_lossy().into_owned();
    if succeeds(context.cargo(&["binstall", "-V"])) {
        report::begin(format_args!("{named}: downloading it (usually 10 s)"));
        let mut binstall =
            context.cargo(&["binstall", "--no-confirm", "--force", "--disable-telemetry", "--root", &root]);
        // It would compile what it cannot download, with slower settings.
        binstall.args(["--disable-strategies", "compile", &named]);
        if log.run_within(DOWNLOAD_LIMIT, &mut binstall).is_ok() && is_there(context, tool) {
            return Ok(());
        }
    }
    report::begin(format_args!("{named}: compiling it (usually {})", tool.usually));
    let mut install = context.cargo(&["install", "--debug", "--force", "--root", &root]);
    install
        .args(tool.options)
        .arg(&named)
        .env("CARGO_TARGET_DIR", build_folder(context))
        // Build time matters more than run time: each runs for a second or two.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    log.run(&mut install)
}

fn is_there(context: &Context, tool: &Tool) -> bool {
    // The shim on the path may belong to another cache.
    let program = context.find(&[tool.program]).filter(|program| !is_shim(program));
    let version = program.and_then(|program| output(context.command(program).arg("--version")));
    version.is_some_and(|text| text.split_whitespace().any(|word| word.trim_start_matches('v') == tool.version))
}

fn build_folder(context: &Context) -> PathBuf {
    context.cache.join("build")
}

/// The version of a package in Cargo.lock: wasm-bindgen's library and command line must be of one
/// version.
fn locked_version(root: &Path, package: &str) -> Result<String> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).with_context(|| format!("Cargo.lock names no {package}"))
}

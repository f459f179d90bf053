//! `cargo xtask package`: a static binary, an archive and a Debian package with it, and a list of
//! what is inside. Nothing of the machine goes into them: times are those of the last commit, and
//! paths of the machine are replaced.

mod archive;
mod components;
mod contents;
mod debian;

use std::{
    env::{self, consts::ARCH},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    context::Context,
    log::{Log, output},
    page, report, setup,
};

/// What the packages are made of.
pub(crate) struct Parts<'a> {
    context: &'a Context,
    binary: PathBuf,
    /// A folder for the packages.
    to: PathBuf,
    /// Seconds of the Unix epoch: the time of all files in the packages.
    epoch: String,
}

/// Packages a static binary, or the binary that is named, into `dist`, and tries the packages.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let binary = match arguments {
        [] => build_static(context)?,
        [binary] => std::path::absolute(binary)?,
        [_, more, ..] => bail!("`{more}` is not understood: this command takes one binary at most"),
    };
    let to = context.root.join("dist");
    pack_twice(context, &binary, &to)?;
    report::begin("installing and using them");
    Log::create(context, "packages")?.run_tests(&mut tests(context, &to))
}

/// The tests of the packages in this folder.
pub(crate) fn tests(context: &Context, folder: &Path) -> Command {
    let mut tests = context.cargo(&["test", "--package", "relogin-tests", "--test", "packages", "--no-fail-fast"]);
    tests.env("RELOGIN_PACKAGES", folder);
    if !can_boot(context) {
        report::begin("but not under systemd, which only root of a Debian machine may start in namespaces");
        tests.args(["--", "--skip", "booted::"]);
    }
    tests
}

/// Whether systemd can be started in namespaces here, and knows packages.
fn can_boot(context: &Context) -> bool {
    let namespaces =
        ["--mount", "--pid", "--cgroup", "--ipc", "--uts", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"];
    setup::is_root()
        && output(context.command("dpkg-query").args(["--show", "systemd"])).is_some()
        && output(context.command("findmnt").args(["--first-only", "--types", "cgroup2"])).is_some()
        && output(context.command("unshare").args(namespaces)).is_some()
}

/// Makes the packages of this binary in the folder `to`, and once more elsewhere, and fails if they
/// differ: by the time, or by an order that is another one in each run.
pub(crate) fn pack_twice(context: &Context, binary: &Path, to: &Path) -> Result<()> {
    let again = context.target.join("packages-again");
    pack(context, binary, &again)?;
    for file in pack(context, binary, to)? {
        let path = to.join(&file);
        if fs::read(&path)? != fs::read(again.join(&file))? {
            bail!("packed twice, {file} is not the same: compare {} and {}", path.display(), again.display());
        }
        let size = fs::metadata(&path)?.len();
        report::begin(format_args!("{}: {:.1} MB", path.display(), size as f64 / 1e6));
    }
    Ok(())
}

/// Makes the packages of this binary in the folder `to`, and returns their names.
fn pack(context: &Context, binary: &Path, to: &Path) -> Result<[String; 2]> {
    setup::ensure_packager(context)?;
    fs::create_dir_all(to)?;
    let parts = Parts { context, binary: binary.to_owned(), to: to.to_owned(), epoch: epoch(context)? };
    let contents = contents::gather(&parts)?;
    let mut log = Log::create(context, "package")?;
    let files = [archive::pack(&parts, &contents, &mut log)?, debian::pack(&parts, &contents, &mut log)?];
    let mut sums = context.command("sha256sum");
    let sums = output(sums.current_dir(to).args(&files)).context("sha256sum failed")?;
    fs::write(to.join("SHA256SUMS"), sums + "\n")?;
    Ok(files)
}

/// The version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds the service for musl, without symbols, and checks that it needs no other file.
fn build_static(context: &Context) -> Result<PathBuf> {
    if env::consts::OS != "linux" {
        bail!("static binaries are built on Linux only; name the binary to be packaged");
    }
    let target = format!("{ARCH}-unknown-linux-musl");
    setup::ensure(context, setup::Needs::Page)?;
    setup::ensure_static(context, &target)?;
    page::build_page(context)?;
    report::begin(format_args!("relogin for {target}: cargo build --release (usually 5 min)"));
    let underscored = target.replace('-', "_");
    let maps = context.path_maps();
    let c: Vec<String> = maps.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect();
    let mut build = context.cargo(&["build", "--release", "--package", "relogin", "--target", &target]);
    build
        .env("CARGO_ENCODED_RUSTFLAGS", context.rustflags())
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env(format!("CC_{underscored}"), "musl-gcc")
        .env(format!("CFLAGS_{underscored}"), c.join(" "));
    Log::create(context, "static")?.run(&mut build)?;
    let binary = context.target.join(&target).join("release/relogin");
    context.assert_unnamed("the binary", &fs::read(&binary)?)?;
    run_alone(context, &binary)?;
    Ok(binary)
}

/// Runs the binary where there is no other file, as in an empty container.
fn run_alone(context: &Context, binary: &Path) -> Result<()> {
    let root = context.target.join("alone");
    fs::create_dir_all(&root)?;
    fs::copy(binary, root.join("relogin"))?;
    let mut version = if setup::is_root() {
        context.command("chroot")
    } else {
        let mut unshare = context.command("unshare");
        unshare.args(["--map-root-user", "chroot"]);
        unshare
    };
    let printed = output(version.arg(&root).args(["/relogin", "--version"]));
    match printed.as_deref() {
        Some(text) if text == format!("relogin {VERSION}") => Ok(()),
        _ => bail!("{} does not run without other files: it is not static", binary.display()),
    }
}

/// The time of the last commit, unless SOURCE_DATE_EPOCH is set.
fn epoch(context: &Context) -> Result<String> {
    if let Some(epoch) = env::var_os("SOURCE_DATE_EPOCH") {
        return Ok(epoch.to_string_lossy().into_owned());
    }
    output(context.command("git").args(["log", "-1", "--format=%ct"]))
        .context("the sources are in no git repository: set SOURCE_DATE_EPOCH to the time of the release")
}

impl Parts<'_> {
    /// A program whose output depends on the sources alone.
    fn program(&self, name: &str) -> Command {
        let mut command = self.context.command(name);
        command.env("SOURCE_DATE_EPOCH", &self.epoch).env("DPKG_DEB_THREADS_MAX", "1").env("LC_ALL", "C");
        command
    }

    /// The output of our binary.
    fn printed(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.context.command(&self.binary);
        let output = command.args(arguments).output()?;
        if !output.status.success() {
            bail!("`relogin {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output.stdout)
    }
}

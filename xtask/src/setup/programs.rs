//! Programs that come from the machine's package manager: found on it, else installed by apt or
//! Homebrew.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{context::Context, log::Log, log::succeeds, report};

/// A program, and its names.
#[derive(Debug)]
pub(super) struct Program {
    /// In messages.
    what: &'static str,
    /// The environment variable that selects another one, and tells tests which one to run.
    pub(super) variable: Option<&'static str>,
    names: &'static [&'static str],
    /// Sets of packages; the first set that the package manager knows is installed.
    apt: &'static [&'static [&'static str]],
    /// What Homebrew calls it; nothing if it does not have it.
    brew: &'static [&'static str],
}

/// Builds the service's allocator (docs/adr/0111-jemalloc.md).
pub(super) const MAKE: Program =
    Program { what: "make", variable: None, names: &["make"], apt: &[&["make"]], brew: &["make"] };

/// Sets the clock for one process, by a library that comes with it.
pub(super) const FAKETIME: Program = Program {
    what: "libfaketime",
    variable: None,
    names: &["faketime"],
    apt: &[&["faketime"]],
    brew: &["libfaketime"],
};

/// Gives a test a network of its own; only on Linux, where that test runs.
pub(super) const IP: Program = Program {
    what: "iproute2",
    variable: None,
    names: &["ip", "/usr/sbin/ip"],
    apt: &[&["iproute2"]],
    brew: &["iproute2mac"],
};

const CHROMIUM: Program = Program {
    what: "Chromium",
    variable: Some("CHROMIUM"),
    names: &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ],
    apt: CHROMIUM_PACKAGES,
    brew: &["--cask", "google-chrome"],
};

const CHROMEDRIVER: Program = Program {
    what: "chromedriver",
    variable: Some("CHROMEDRIVER"),
    names: &["chromedriver"],
    apt: CHROMIUM_PACKAGES,
    brew: &["--cask", "chromedriver"],
};

/// The tests do without it where it cannot be had.
pub(super) const FIREFOX: Program = Program {
    what: "Firefox",
    variable: None,
    names: &["firefox-esr", "firefox", "/Applications/Firefox.app/Contents/MacOS/firefox"],
    apt: &[&["firefox-esr"], &["firefox"]],
    brew: &["--cask", "firefox"],
};

/// Drives WebKit, as Safari and iOS have it; in Debian it comes with the browser that it drives.
/// The tests do without it where it cannot be had.
const WEBKIT_DRIVER: Program = Program {
    what: "WebKitWebDriver",
    variable: Some("WEBKIT_DRIVER"),
    names: &["WebKitWebDriver"],
    apt: WEBKIT_PACKAGES,
    brew: &[],
};

/// The browser that comes with WebKitGTK.
const MINI_BROWSER: Program = Program {
    what: "WebKitGTK's MiniBrowser",
    variable: Some("MINI_BROWSER"),
    names: &[
        "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
        "/usr/lib/x86_64-linux-gnu/webkitgtk-6.0/MiniBrowser",
        "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
        "/usr/lib/aarch64-linux-gnu/webkitgtk-6.0/MiniBrowser",
        "/usr/libexec/webkit2gtk-4.1/MiniBrowser",
        "/usr/libexec/webkitgtk-6.0/MiniBrowser",
    ],
    apt: WEBKIT_PACKAGES,
    brew: &[],
};

/// A screen in memory: WebKitGTK has no mode without one.
const XVFB: Program = Program { what: "Xvfb", variable: Some("XVFB"), names: &["Xvfb"], apt: &[&["xvfb"]], brew: &[] };

pub(super) const NODE: Program =
    Program { what: "Node", variable: Some("NODE"), names: &["node"], apt: NODE_PACKAGES, brew: &["node"] };

pub(super) const NPM: Program =
    Program { what: "npm", variable: None, names: &["npm"], apt: NODE_PACKAGES, brew: &["node"] };

pub(super) const GO: Program =
    Program { what: "Go", variable: None, names: &["go"], apt: &[&["golang-go"]], brew: &["go"] };

/// With what makes virtual environments.
pub(super) const PYTHON: Program = Program {
    what: "Python",
    variable: None,
    names: &["python3"],
    apt: &[&["python3", "python3-venv"]],
    brew: &["python"],
};

/// Compiles C for static binaries.
pub(super) const MUSL: Program =
    Program { what: "musl-gcc", variable: None, names: &["musl-gcc"], apt: &[&["musl-tools"]], brew: &[] };

/// Lets a user other than root install a package into a folder.
pub(super) const FAKEROOT: Program =
    Program { what: "fakeroot", variable: None, names: &["fakeroot"], apt: &[&["fakeroot"]], brew: &[] };

/// Packs, installs, and checks units.
pub(super) const PACKAGED_WITH: [&Program; 2] = [
    &Program { what: "dpkg", variable: None, names: &["dpkg-deb"], apt: &[&["dpkg"]], brew: &["dpkg"] },
    &Program { what: "systemd", variable: None, names: &["systemd-analyze"], apt: &[&["systemd"]], brew: &[] },
];

/// The programs that tests start.
pub(super) const TESTED_WITH: [&Program; 3] = [&CHROMIUM, &CHROMEDRIVER, &NODE];

/// What tests of WebKit start, and get the place of.
pub(super) const WEBKIT: [&Program; 3] = [&WEBKIT_DRIVER, &MINI_BROWSER, &XVFB];

const WEBKIT_PACKAGES: &[&[&str]] = &[&["webkit2gtk-driver"]];
/// Browser and driver of one version: Debian's names, then Ubuntu's.
const CHROMIUM_PACKAGES: &[&[&str]] =
    &[&["chromium", "chromium-driver"], &["chromium-browser", "chromium-chromedriver"]];
const NODE_PACKAGES: &[&[&str]] = &[&["nodejs", "npm"]];

impl Program {
    /// Where it is, if anywhere.
    pub(super) fn find(&self, context: &Context) -> Option<PathBuf> {
        if let Some(path) = self.variable.and_then(env::var_os) {
            return Some(PathBuf::from(path));
        }
        context.find(self.names)
    }
}

/// Installs those that are missing, all at once.
pub(super) fn ensure(context: &Context, programs: &[&Program]) -> Result<()> {
    let missing: Vec<&Program> = programs.iter().copied().filter(|program| program.find(context).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { install(context, &missing) }
}

/// Installs these, all at once.
pub(super) fn install(context: &Context, missing: &[&Program]) -> Result<()> {
    let attempt = if context.find(&["apt-get"]).is_some() {
        let packages = missing.iter().flat_map(|program| known_set(program.apt)).copied();
        apt_install(context, &unique(packages))
    } else if context.find(&["brew"]).is_some() {
        brew_install(context, missing)
    } else {
        Ok(())
    };
    let still_missing: Vec<&str> =
        missing.iter().filter(|program| program.find(context).is_none()).map(|program| program.what).collect();
    if still_missing.is_empty() {
        return Ok(());
    }
    attempt?;
    let names = still_missing.join(", ");
    bail!("missing: {names}. Install what is missing so that it is on the path, then run this again")
}

/// Installs packages by apt, as root or through sudo.
fn apt_install(context: &Context, packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let sudo = match (super::is_root(), context.find(&["sudo"])) {
        (true, _) => None,
        (false, Some(sudo)) => Some(sudo),
        (false, None) => bail!("installing packages takes root; as root, run: apt-get install {list}"),
    };
    let means = if sudo.is_some() { "sudo apt-get" } else { "apt-get" };
    report::begin(format_args!("system packages {list}: {means} install (usually 1 min)"));
    if let Some(sudo) = &sudo {
        // Asks for the password here, where the person sees it; the rest is quiet.
        if !Command::new(sudo).arg("-v").status()?.success() {
            bail!("sudo was refused; as root, run: apt-get install {list}");
        }
    }
    let apt = |arguments: &[&str]| {
        let mut command = match &sudo {
            Some(sudo) => {
                let mut command = context.command(sudo);
                command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
                command
            }
            None => context.command("apt-get"),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    let mut log = Log::create(context, "apt")?;
    log.run(&mut apt(&["update"]))?;
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    log.run(install.args(packages))
}

fn brew_install(context: &Context, programs: &[&Program]) -> Result<()> {
    let names: Vec<&str> = programs.iter().map(|program| program.what).collect();
    report::begin(format_args!("{}: brew install (usually 2 min)", names.join(", ")));
    let mut log = Log::create(context, "brew")?;
    for program in programs.iter().filter(|program| !program.brew.is_empty()) {
        log.run(context.command("brew").arg("install").args(program.brew))?;
    }
    Ok(())
}

/// The first set of which every package is known; if there is none, the first set, for the message.
fn known_set<'p>(sets: &'p [&'p [&'p str]]) -> &'p [&'p str] {
    let known = |package: &&str| succeeds(Command::new("apt-cache").args(["show", package]));
    sets.iter().find(|set| set.iter().all(known)).or(sets.first()).copied().unwrap_or_default()
}

fn unique<'p>(packages: impl Iterator<Item = &'p str>) -> Vec<&'p str> {
    let mut list: Vec<&str> = packages.collect();
    list.sort_unstable();
    list.dedup();
    list
}

//! Paths of the programs: from the environment variables that `cargo xtask test` sets, else from
//! the usual places.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// A program (or a folder of node modules) that the tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Our own binary.
    Relogin,
    /// The NATS server.
    NatsServer,
    /// The gateway that Relogin is made for.
    Resgate,
    /// The browser.
    Chromium,
    /// What drives the browser.
    Chromedriver,
    /// What drives WebKit.
    WebkitDriver,
    /// The browser that comes with WebKitGTK.
    MiniBrowser,
    /// A screen for it.
    Xvfb,
    /// Runs ResClient.
    Node,
    /// The folder whose `node_modules` has `resclient` and what else scripts and pages of tests
    /// need.
    Resclient,
    /// The package for JavaScript, built.
    Package,
    /// The page in Rust that README.md shows, built.
    Hello,
    /// The page in `examples/rust`, built.
    RustExample,
    /// What builds the page.
    Trunk,
    /// The folder whose `node_modules` has what `examples/services/javascript` needs.
    ServiceJavaScript,
    /// The service in `examples/services/go`, built.
    ServiceGo,
    /// A Python that has what `examples/services/python` needs.
    ServicePython,
}

impl Part {
    /// The environment variable that names it.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Relogin => "RELOGIN_BIN",
            Self::NatsServer => "NATS_SERVER",
            Self::Resgate => "RESGATE",
            Self::Chromium => "CHROMIUM",
            Self::Chromedriver => "CHROMEDRIVER",
            Self::WebkitDriver => "WEBKIT_DRIVER",
            Self::MiniBrowser => "MINI_BROWSER",
            Self::Xvfb => "XVFB",
            Self::Node => "NODE",
            Self::Resclient => "RESCLIENT_DIR",
            Self::Package => "RELOGIN_NPM",
            Self::Hello => "RELOGIN_HELLO",
            Self::RustExample => "RELOGIN_RUST_EXAMPLE",
            Self::Trunk => "TRUNK",
            Self::ServiceJavaScript => "SERVICE_JAVASCRIPT",
            Self::ServiceGo => "SERVICE_GO",
            Self::ServicePython => "SERVICE_PYTHON",
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Relogin => &["relogin"],
            Self::NatsServer => &["nats-server"],
            Self::Resgate => &["resgate"],
            Self::Chromium => &["chromium", "chromium-browser", "google-chrome"],
            Self::Chromedriver => &["chromedriver"],
            Self::WebkitDriver => &["WebKitWebDriver"],
            Self::MiniBrowser => &[
                "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
                "/usr/lib/x86_64-linux-gnu/webkitgtk-6.0/MiniBrowser",
                "/usr/lib/aarch64-linux-gnu/webkit2gtk-4.1/MiniBrowser",
                "/usr/lib/aarch64-linux-gnu/webkitgtk-6.0/MiniBrowser",
            ],
            Self::Xvfb => &["Xvfb"],
            Self::Node => &["node"],
            Self::Resclient => &["resclient"],
            Self::Package => &["npm"],
            Self::Hello => &["hello"],
            Self::RustExample => &["rust-example"],
            Self::Trunk => &["trunk"],
            Self::ServiceJavaScript => &["service-javascript"],
            Self::ServiceGo => &["service-go"],
            Self::ServicePython => &["service-python/bin/python"],
        }
    }

    /// The path of the part.
    ///
    /// # Errors
    /// A sentence that says what to do, if it is nowhere to be found. A test never skips: what did
    /// not run did not pass.
    pub fn path(self) -> Result<PathBuf> {
        if let Some(path) = env::var_os(self.variable()) {
            let path = PathBuf::from(path);
            if path.exists() {
                return Ok(path);
            }
            bail!("{} names {}, which does not exist", self.variable(), path.display());
        }
        let folders = match self {
            // Never an installed one: it is this workspace's that is tested.
            Self::Relogin => vec![target().join("debug")],
            Self::Package | Self::Hello | Self::RustExample => vec![target()],
            Self::Resclient | Self::ServiceJavaScript => vec![target().join("tools")],
            _ => {
                let tools = target().join("tools");
                let path = env::var_os("PATH").unwrap_or_default();
                [tools.clone(), tools.join("bin")].into_iter().chain(env::split_paths(&path)).collect()
            }
        };
        let mut candidates = folders.iter().flat_map(|folder| self.names().iter().map(|name| folder.join(name)));
        match candidates.find(|path| self.is_at(path)) {
            Some(path) => Ok(path),
            None => bail!(
                "{self:?} was not found: run `cargo xtask test`, which sets up every part, or name it in {}",
                self.variable()
            ),
        }
    }

    fn is_at(self, path: &Path) -> bool {
        match self {
            Self::Resclient | Self::ServiceJavaScript => path.join("node_modules").is_dir(),
            Self::Package => path.join("index.js").is_file(),
            Self::Hello => path.join("hello.js").is_file(),
            Self::RustExample => path.join("index.html").is_file(),
            _ => path.is_file(),
        }
    }
}

/// The workspace's target folder.
#[must_use]
pub fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |dir| workspace.join(dir))
}

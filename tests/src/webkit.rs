//! Real WebKit, as WebKitGTK has it, on a screen in memory: driven by WebDriver, or as its users
//! start it. WebKit is the engine of Safari and of every browser on iOS.
//!
//! A driven one ends when its network process does, and forgets everything with its end; so what is
//! about either plays in [`MiniBrowser`], which nobody drives: its page has to tell the test what
//! is to be known ([`crate::front::REPORT`]).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use fantoccini::wd::Capabilities;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::{DEADLINE, browser::Browser, in_time, net::Address, parts::Part, process::Process};

/// A screen, and what is shown on it.
#[derive(Debug)]
pub struct Webkit {
    logs: PathBuf,
    driver: Option<Driver>,
    display: String,
    /// Ended last: without it, nothing else goes on.
    _screen: Process,
}

#[derive(Debug)]
struct Driver {
    _process: Process,
    address: Address,
    /// Of the driver itself; browsers that it starts have one each, in memory.
    _profile: TempDir,
}

/// A browser that is not driven, with a profile that outlives it. Dropping it kills it.
#[derive(Debug)]
pub struct MiniBrowser {
    process: Process,
}

impl Webkit {
    /// Starts a screen. Output of programs is kept in the folder `logs`.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start(logs: &Path) -> Result<Self> {
        // It takes the first number that is free, and says which one.
        let args = ["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "1280x1024x24"];
        let screen = Process::start(&Part::Xvfb.path()?, args, &logs.join("xvfb.log"), |_| {})?;
        let number: u32 = screen.line("its number", |line| line.trim().parse().ok()).await?;
        Ok(Self { logs: logs.to_owned(), driver: None, display: format!(":{number}"), _screen: screen })
    }

    /// Starts a browser that WebDriver drives and that keeps nothing. One at a time is all that its
    /// driver has.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn driven(&mut self, label: &str) -> Result<Arc<Browser>> {
        if self.driver.is_none() {
            let address = Address::reserve()?;
            let args = ["--host=127.0.0.1".to_owned(), format!("--port={}", address.port())];
            let log = self.logs.join("webkitdriver.log");
            let profile = tempfile::tempdir()?;
            let process = self.program(Part::WebkitDriver, args, &log, profile.path())?;
            address.listens().await?;
            self.driver = Some(Driver { _process: process, address, _profile: profile });
        }
        let driver = self.driver.as_ref().context("the driver was started")?;
        let capabilities: Capabilities = serde_json::from_value(json!({
            "webkitgtk:browserOptions": { "binary": Part::MiniBrowser.path()?, "args": ["--automation"] },
            "timeouts": { "script": 2 * DEADLINE.as_millis(), "pageLoad": 2 * DEADLINE.as_millis() },
        }))?;
        Ok(Arc::new(Browser::connect(&format!("http://{}", driver.address.get()), label, capabilities).await?))
    }

    /// Starts a browser on the profile folder `profile`, which opens `url`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn browser(&self, profile: &Path, url: &str) -> Result<MiniBrowser> {
        let log = self.logs.join("minibrowser.log");
        let process = self.program(Part::MiniBrowser, [url.to_owned()], &log, profile)?;
        Ok(MiniBrowser { process })
    }

    /// Neither the developer's profile nor a desktop of theirs takes part.
    fn program(
        &self,
        part: Part,
        args: impl IntoIterator<Item = String>,
        log: &Path,
        profile: &Path,
    ) -> Result<Process> {
        let mut folders = Vec::new();
        for kind in ["DATA", "CACHE", "CONFIG", "STATE"] {
            let folder = profile.join(kind.to_lowercase());
            fs::create_dir_all(&folder).context("making a profile")?;
            folders.push((format!("XDG_{kind}_HOME"), folder));
        }
        Process::start(&part.path()?, args, log, |command| {
            command.envs(folders).env("DISPLAY", &self.display).env_remove("WAYLAND_DISPLAY");
            command.env("DBUS_SESSION_BUS_ADDRESS", "disabled:").env("NO_AT_BRIDGE", "1").env("GTK_A11Y", "none");
            command.env("GSETTINGS_BACKEND", "memory");
        })
    }
}

impl MiniBrowser {
    /// Kills the process that has its network and its databases (SIGKILL), as iOS does to one that
    /// takes too much memory. The browser starts another one.
    ///
    /// # Errors
    /// If there is none, or it cannot be killed.
    pub fn kill_network_process(&self) -> Result<()> {
        let browser = self.process.pid()?.as_raw_pid();
        let is_it = |pid: &i32| -> bool {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
            // The name is in brackets, cut to 15 characters; the state and the parent follow.
            let Some((head, rest)) = stat.rsplit_once(')') else { return false };
            head.ends_with("(WebKitNetworkPr") && rest.split_whitespace().nth(1) == Some(&browser.to_string())
        };
        let names = fs::read_dir("/proc").context("looking for processes")?.flatten().map(|entry| entry.file_name());
        let mut pids = names.filter_map(|name| name.to_str()?.parse::<i32>().ok());
        let pid = pids.find(is_it).and_then(Pid::from_raw).context("the browser has no network process")?;
        kill_process(pid, Signal::KILL).context("killing the network process")
    }

    /// Kills the browser (SIGKILL), and waits until all its processes have ended: its profile is
    /// free then.
    ///
    /// # Errors
    /// If they do not end in time.
    pub async fn kill(self) -> Result<()> {
        in_time("the end of the browser's processes", self.process.kill_all()).await
    }
}

//! A screen in memory (Xvfb), for browsers that have no mode without one. Knows no browser.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A running X server with a display of its own. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Screen {
    server: Child,
    display: String,
}

impl Screen {
    /// Starts `xvfb` and waits until it has a display.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn start(xvfb: &Path) -> Result<Self> {
        let mut command = Command::new(xvfb);
        // It takes the first number that is free, and says which one.
        command.args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "1280x1024x24"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let server = command.spawn().with_context(|| format!("starting {}", xvfb.display()))?;
        let mut screen = Self { server, display: String::new() };
        let mut said = String::new();
        if let Some(output) = screen.server.stdout.take() {
            BufReader::new(output).read_line(&mut said).context("waiting for Xvfb")?;
        }
        if said.trim().is_empty() {
            bail!("{} ended without a display", xvfb.display());
        }
        screen.display = format!(":{}", said.trim());
        Ok(screen)
    }

    /// The value of `DISPLAY` for programs that use it.
    pub(crate) fn display(&self) -> &str {
        &self.display
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing left to do.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

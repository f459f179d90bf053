//! Scripts that use ResClient from npm, under node: a client that is not ours.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::ChildStdin};

use crate::{parts::Part, process::Process};

/// A running script of `tests/resclient`. It says each step as a line of JSON `{"step": …}`, and
/// goes on after some of them only when it is told to.
#[derive(Debug)]
pub struct Script {
    process: Process,
    stdin: ChildStdin,
}

impl Script {
    /// Starts `tests/resclient/<name>.cjs` against a gateway.
    ///
    /// # Errors
    /// If node or ResClient are missing.
    pub fn start(name: &str, gateway: &str, log: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("resclient").join(format!("{name}.cjs"));
        let modules = Part::Resclient.path()?.join("node_modules");
        let mut process =
            Process::start(&Part::Node.path()?, [script.as_os_str(), gateway.as_ref()], log, |command| {
                command.env("NODE_PATH", modules).stdin(std::process::Stdio::piped());
            })?;
        let stdin = process.stdin().context("node's input was piped")?;
        Ok(Self { process, stdin })
    }

    /// Waits for a step, and answers what the script says with it.
    ///
    /// # Errors
    /// If the script ends before, or the deadline passes.
    pub async fn step(&self, step: &str) -> Result<Value> {
        let find = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|said| said["step"] == step);
        self.process.line(&format!("the step {step}"), find).await
    }

    /// Lets the script go on.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn go_on(&mut self) -> Result<()> {
        self.stdin.write_all(b"go on\n").await.context("the script has ended")
    }

    /// Waits until the script has ended well.
    ///
    /// # Errors
    /// If it fails.
    pub async fn ends(self) -> Result<()> {
        self.process.succeeds().await
    }
}

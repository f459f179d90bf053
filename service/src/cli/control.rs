//! `relogin status` and its like: what operators ask a running service, and how its answers are
//! shown. Must not know how the service is reached.

mod status;

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::ConfigArgs;
use crate::control::{
    client::ControlPlace,
    protocol::{ControlAnswer, ControlRequest},
};

/// Where the service is.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The data folder of the service [default: relogin-data]
    #[arg(long, env = "RELOGIN_DATA", value_name = "FOLDER", global = true)]
    pub(super) data: Option<PathBuf>,
    /// The socket of the service [default: control.sock in the data folder]
    #[arg(long, env = "RELOGIN_CONTROL_SOCKET", value_name = "PATH", global = true)]
    pub(super) control_socket: Option<PathBuf>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum ControlCommand {
    /// `relogin status`.
    Status {
        /// For programs.
        json: bool,
    },
}

/// The exit code if the service says that it is not so, or was not done.
const FAILED: u8 = 1;

const NO_OUTPUT: &str = "cannot write the answer";

/// Asks the service at `place`, and writes its answer to `out`. Returns the exit code and, if
/// something was not done, why.
///
/// # Errors
/// If the service cannot be reached, or the answer not be written.
pub async fn run(
    place: &ControlPlace,
    command: ControlCommand,
    out: &mut impl Write,
) -> anyhow::Result<(u8, Option<String>)> {
    match command {
        ControlCommand::Status { json } => match place.ask(&ControlRequest::Status).await? {
            ControlAnswer::Status(status) => {
                if json { print_json(&status, out) } else { status::print(&status, out) }.context(NO_OUTPUT)?;
                Ok((if status.ready { 0 } else { FAILED }, None))
            }
            ControlAnswer::Error(refusal) => Ok((FAILED, Some(refusal.message))),
        },
    }
}

/// For programs: one line.
fn print_json(answer: &impl serde::Serialize, out: &mut impl Write) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    writeln!(out)
}

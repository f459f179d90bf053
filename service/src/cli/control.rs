//! `relogin status` and its like: what operators ask a running service, and how its answers are
//! shown. Must not know how the service is reached.

mod instances;
pub(super) mod sessions;
mod status;
mod table;

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Args;
use relogin_bus::nats::NatsConfig;

use self::{instances::AllInstances, sessions::SessionCommand};
use super::{ConfigArgs, nats::NatsLogin};
use crate::{
    config::Options,
    control::{
        client::ControlPlace,
        protocol::{ControlAnswer, ControlRequest},
    },
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
    /// Ask on NATS, in place of the socket: a service with --control-nats, all of its instances for
    /// their status, any of them for the rest
    #[arg(long, value_name = "URL", global = true)]
    pub(super) nats: Option<String>,
    #[command(flatten)]
    pub(super) login: NatsLogin,
    /// Resource name of the service on NATS [default: session]
    #[arg(long, env = "RELOGIN_NAME", value_name = "NAME", global = true)]
    pub(super) name: Option<String>,
}

impl PlaceArgs {
    /// The options of `relogin serve` that they are, the configuration file, and NATS.
    pub(super) fn split(self) -> (Options, ConfigArgs, Option<NatsConfig>) {
        let Self { config, data, control_socket, nats, login, name } = self;
        (Options { data, control_socket, name, ..Options::default() }, config, nats.map(|url| login.to(url)))
    }
}

/// A question to a running service.
#[derive(Clone, Debug)]
pub enum ControlCommand {
    /// `relogin status`.
    Status {
        /// For programs.
        json: bool,
    },
    /// `relogin session`.
    Session(SessionCommand),
}

/// The exit code and output for an answer.
#[derive(Debug, Default)]
pub struct CommandOutcome {
    /// The exit code.
    pub code: u8,
    /// What was not done, and why.
    pub problems: Vec<String>,
}

impl CommandOutcome {
    /// The service has not done what it was asked for.
    fn refused(answer: ControlAnswer) -> Self {
        let problem = match answer {
            ControlAnswer::Error(refusal) => refusal.message,
            _ => "the service has answered something else; is it of another version than this program?".to_owned(),
        };
        Self { code: FAILED, problems: vec![problem] }
    }

    /// Both.
    fn add(&mut self, other: Self) {
        self.code = self.code.max(other.code);
        self.problems.extend(other.problems);
    }
}

/// The exit code if the service says that it is not so, or was not done.
const FAILED: u8 = 1;

const NO_OUTPUT: &str = "cannot write the answer";

/// Asks the service at `place`, and writes its answer to `out`.
///
/// # Errors
/// If the service cannot be reached, or the answer not be written.
pub async fn run(
    place: &ControlPlace,
    command: ControlCommand,
    out: &mut impl Write,
) -> anyhow::Result<CommandOutcome> {
    match command {
        ControlCommand::Status { json } if matches!(place, ControlPlace::Bus(..)) => {
            status_of_all(place, json, out).await
        }
        ControlCommand::Status { json } => match place.ask(&ControlRequest::Status).await? {
            ControlAnswer::Status(status) => {
                if json { print_json(&status, out) } else { status::print(&status, out) }.context(NO_OUTPUT)?;
                Ok(CommandOutcome { code: if status.ready { 0 } else { FAILED }, ..CommandOutcome::default() })
            }
            other => Ok(CommandOutcome::refused(other)),
        },
        ControlCommand::Session(command) => sessions::run(place, command, out).await,
    }
}

/// A row for each instance that answers, and for each that should and does not.
async fn status_of_all(place: &ControlPlace, json: bool, out: &mut impl Write) -> anyhow::Result<CommandOutcome> {
    let are_all = |answers: &[ControlAnswer]| AllInstances::of(answers.to_vec()).0.missing.is_empty();
    let answers = place.ask_each(&ControlRequest::Status, are_all).await?;
    let (all, refused) = AllInstances::of(answers);
    if json { print_json(&all, out) } else { all.print(out) }.context(NO_OUTPUT)?;
    let mut outcome = CommandOutcome { code: if all.are_ready() { 0 } else { FAILED }, ..CommandOutcome::default() };
    refused.into_iter().for_each(|answer| outcome.add(CommandOutcome::refused(answer)));
    Ok(outcome)
}

/// For programs: one line.
fn print_json(answer: &impl serde::Serialize, out: &mut impl Write) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, answer)?;
    writeln!(out)
}

//! The `relogin` program: reads the command line, does what it says, turns errors into one line and an exit code.
#![forbid(unsafe_code)]

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use relogin::{
    cli::{self, Invocation},
    config,
    errors::Chain,
};

/// What was asked for cannot be done as it was asked for.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("relogin: {}", Chain(error.as_ref())));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn run(args: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    match cli::parse(args) {
        Ok(Invocation::Print(text)) => io::stdout().write_all(text.as_bytes()).context("cannot write"),
        Ok(Invocation::User(layers, command)) => {
            Ok(cli::user::run(&config::users_file(layers)?, command, &mut io::stdout())?)
        }
        Ok(Invocation::Serve(layers)) => {
            config::Config::resolve(layers)?;
            Ok(())
        }
        Err(text) => {
            complain(text.trim_end());
            std::process::exit(EXIT_USAGE.into());
        }
    }
}

/// The last words on standard error. Nobody is left to be told if that fails.
fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

//! The project's own commands: `cargo xtask help` lists them.
//!
//! Each command sets up only what it needs, prints one line for each step that takes long, and
//! writes the output of child programs to log files under `target/xtask`. Nothing of the product
//! depends on this crate, and this crate uses the product only by its command line and its folders.

#![forbid(unsafe_code)]

mod bench;
mod chaos;
mod context;
mod differential;
mod dist;
mod examples;
mod fuzz;
mod idle;
mod log;
mod long_run;
mod npm;
mod package;
mod page;
mod report;
mod run;
mod screen;
mod screenshots;
mod setup;
mod site;
mod size;
mod soak;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};
use context::Context;

/// One command of `cargo xtask`.
struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&Context, &[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        arguments: "[-- ARGUMENTS OF relogin serve]",
        about: "build the page and the binary, start the demo (data in target/relogin-demo)",
        run: run::command,
    },
    Command {
        name: "test",
        arguments: "[STAGE...]",
        about: "everything that must hold, or some of: format lints docs site dependencies native browser firefox webkit example product packages end-to-end differential chaos",
        run: test::command,
    },
    Command {
        name: "dist",
        arguments: "",
        about: "build dist/relogin, the single binary with the page inside",
        run: dist::command,
    },
    Command {
        name: "package",
        arguments: "[BINARY]",
        about: "build an archive and a Debian package in dist/, of a static binary or of this one, and try them",
        run: package::command,
    },
    Command {
        name: "site",
        arguments: "",
        about: "build target/site/html, the documents as a site",
        run: site::command,
    },
    Command {
        name: "npm",
        arguments: "",
        about: "build target/npm, the package for JavaScript: client and session, for pages with and without a bundler",
        run: npm::command,
    },
    Command {
        name: "setup",
        arguments: "[web|test|all]",
        about: "only set up: what builds the page (web), or what runs the tests too (test, all)",
        run: setup::command,
    },
    Command {
        name: "bench",
        arguments: "[PART]",
        about: "run the benchmarks, or one part of them",
        run: bench::command,
    },
    Command {
        name: "fuzz",
        arguments: "[TARGET...]",
        about: "run the fuzz targets, or some of them, for a minute each",
        run: fuzz::command,
    },
    Command {
        name: "soak",
        arguments: "[MINUTES]",
        about: "let thousands of clients come and go among attackers, for an hour",
        run: soak::command,
    },
    Command {
        name: "chaos",
        arguments: "[MINUTES] [SEED]",
        about: "kill, halt and cut off servers, instances and gateways under 200 clients, for ten minutes",
        run: chaos::command,
    },
    Command {
        name: "differential",
        arguments: "[MINUTES] [SEED]",
        about: "let clients and a service do things at random at Resgate and at our gateway, for ten minutes",
        run: differential::command,
    },
    Command {
        name: "screenshots",
        arguments: "",
        about: "take pictures of every state of the page, into target/screenshots",
        run: screenshots::command,
    },
    Command { name: "help", arguments: "", about: "print this", run: help },
];

const ENVIRONMENT: &str = "\
Environment:
  RELOGIN_XTASK_CACHE  where tools are kept (default: relogin-xtask in the user's cache folder)
  NATS_SERVER, RESGATE, CHROMIUM, CHROMEDRIVER, NODE, RESCLIENT_DIR, SERVICE_JAVASCRIPT, SERVICE_GO, SERVICE_PYTHON
                       parts to be used in place of those that setup would find or install";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = arguments.collect();
    match start(&name, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn start(name: &str, arguments: &[String]) -> Result<()> {
    let name = if matches!(name, "--help" | "-h") { "help" } else { name };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        bail!("there is no command `{name}`; `cargo xtask help` lists those there are");
    };
    let before_dashes = arguments.iter().take_while(|argument| *argument != "--");
    if before_dashes.into_iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        report::line(format_args!("cargo xtask {} {}\n  {}", command.name, command.arguments, command.about));
        return Ok(());
    }
    (command.run)(&Context::new()?, arguments)
}

fn help(_: &Context, _: &[String]) -> Result<()> {
    report::line(format_args!("cargo xtask COMMAND\n"));
    for command in COMMANDS {
        report::line(format_args!("  {} {}\n        {}", command.name, command.arguments, command.about));
    }
    report::line(format_args!("\n{ENVIRONMENT}"));
    Ok(())
}

/// For commands that take no arguments.
fn no_arguments(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(argument) => bail!("`{argument}` is not understood: this command takes no arguments"),
    }
}

//! What the commands need beyond Cargo: found, else installed, each part once for a user.
//!
//! Each part is looked for itself; no record says that it was installed. So a part that somebody
//! removes is installed again, and one that the machine has is used.

mod cargo_tools;
mod components;
mod go_programs;
mod nightly;
pub(crate) mod npm_packages;
mod programs;
mod rust_target;
mod services;
pub(crate) mod wasm_opt;

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{context::Context, log, report};
pub(crate) use nightly::NIGHTLY;
pub(crate) use rust_target::TARGET;

/// What a command may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What builds the page.
    Page,
    /// What builds the npm package.
    Package,
    /// What runs the tests, for which the page is built too.
    Tests,
}

/// What was set up, for the programs that use it.
#[derive(Debug)]
pub(crate) struct Tools {
    variables: Vec<(&'static str, PathBuf)>,
}

impl Tools {
    /// The path of the part that this variable names.
    pub(crate) fn path(&self, variable: &str) -> Option<&Path> {
        self.variables.iter().find(|(name, _)| *name == variable).map(|(_, path)| path.as_path())
    }

    /// Sets the variables that tell a program where the parts are.
    pub(crate) fn name_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.variables.iter().map(|(name, path)| (name, path)))
    }
}

/// `cargo xtask setup`.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let needs = match words[..] {
        ["web"] => Needs::Page,
        [] | ["test" | "all"] => Needs::Tests,
        _ => bail!("`{}` is not understood; it may be `web`, `test` or `all`", words.join(" ")),
    };
    ensure(context, needs)?;
    if needs == Needs::Tests {
        offer(ensure_firefox(context));
        offer(ensure_webkit(context));
    }
    cargo_tools::offer_trunk(context)?;
    report::begin("everything is there");
    Ok(())
}

/// Sets up what is missing.
///
/// # Errors
/// If a part cannot be installed; the message says what to do.
pub(crate) fn ensure(context: &Context, needs: Needs) -> Result<Tools> {
    let _lock = lock(context)?;
    // Downloads and compilers run in two threads, because they do not need each other.
    let (system, cargo) = thread::scope(|scope| {
        let cargo = scope.spawn(|| cargo_tools::ensure(context, needs));
        (system_parts(context, needs), cargo.join())
    });
    let tools = system?;
    cargo.map_err(|_| anyhow!("setting up the tools that Cargo builds ended early"))??;
    Ok(tools)
}

/// Sets up what `cargo xtask fuzz` runs.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_fuzzer(context: &Context) -> Result<()> {
    let _lock = lock(context)?;
    nightly::ensure(context)?;
    cargo_tools::ensure_fuzzer(context)
}

/// Sets up the NATS server.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_nats_server(context: &Context) -> Result<Tools> {
    let _lock = lock(context)?;
    let server = &go_programs::NATS_SERVER;
    if server.find(context).is_none() {
        programs::ensure(context, &[&programs::GO])?;
    }
    Ok(Tools { variables: vec![(server.variable, server.ensure(context)?)] })
}

/// Sets up what makes a site of the documents.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_book(context: &Context) -> Result<()> {
    let _lock = lock(context)?;
    cargo_tools::ensure_book(context)
}

/// Sets up Firefox and its driver, and says where the driver is.
///
/// # Errors
/// If one of them cannot be had.
pub(crate) fn ensure_firefox(context: &Context) -> Result<PathBuf> {
    let _lock = lock(context)?;
    programs::ensure(context, &[&programs::FIREFOX])?;
    cargo_tools::ensure_geckodriver(context)
}

/// Sets up WebKitGTK, its driver and a screen for it, for the programs that use them.
///
/// # Errors
/// If one of them cannot be had.
pub(crate) fn ensure_webkit(context: &Context) -> Result<Tools> {
    let _lock = lock(context)?;
    programs::ensure(context, &programs::WEBKIT)?;
    Ok(Tools { variables: variables(context, &programs::WEBKIT) })
}

/// Sets up what makes packages and checks them.
///
/// # Errors
/// If a part cannot be installed.
pub(crate) fn ensure_packager(context: &Context) -> Result<()> {
    let _lock = lock(context)?;
    let mut programs = programs::PACKAGED_WITH.to_vec();
    if !is_root() {
        programs.push(&programs::FAKEROOT);
    }
    programs::ensure(context, &programs)
}

/// Sets up what builds a static binary for this target.
///
/// # Errors
/// If a part cannot be installed.
pub(crate) fn ensure_static(context: &Context, target: &str) -> Result<()> {
    let _lock = lock(context)?;
    programs::ensure(context, &[&programs::MUSL])?;
    rust_target::ensure(context, target)
}

/// Says what is missing that the tests do without.
fn offer<T>(part: Result<T>) {
    if let Err(error) = part {
        report::begin(format_args!("not every test can run: {error:#}"));
    }
}

fn variables(context: &Context, programs: &[&programs::Program]) -> Vec<(&'static str, PathBuf)> {
    programs.iter().filter_map(|program| program.variable.zip(program.find(context))).collect()
}

fn system_parts(context: &Context, needs: Needs) -> Result<Tools> {
    let mut programs = Vec::new();
    if needs != Needs::Package {
        programs.push(&programs::MAKE);
    }
    if needs == Needs::Tests {
        programs.extend(programs::TESTED_WITH);
        programs.extend([&programs::NPM, &programs::FAKETIME, &programs::IP]);
        if go_programs::ALL.iter().any(|program| program.find(context).is_none()) || services::needs_go(context)? {
            programs.push(&programs::GO);
        }
    }
    if needs == Needs::Package {
        programs.extend([&programs::NODE, &programs::NPM]);
    }
    programs::ensure(context, &programs)?;
    if needs == Needs::Tests {
        components::ensure(context)?;
    }
    rust_target::ensure(context, TARGET)?;
    wasm_opt::offer(context);
    if needs != Needs::Page {
        npm_packages::ensure_builders(context)?;
    }

    let mut variables = Vec::new();
    if needs == Needs::Tests {
        variables.extend(self::variables(context, &programs::TESTED_WITH));
        for program in &go_programs::ALL {
            variables.push((program.variable, program.ensure(context)?));
        }
        variables.push(("RESCLIENT_DIR", npm_packages::ensure_for_tests(context)?));
        variables.extend(services::ensure(context)?);
    }
    Ok(Tools { variables })
}

/// Keeps two commands from installing the same part at once.
fn lock(context: &Context) -> Result<File> {
    let path = context.cache.join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    if file.try_lock().is_err() {
        report::begin("waiting for another xtask, which is setting up the same tools");
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

/// True if this process is run by the superuser.
pub(crate) fn is_root() -> bool {
    log::output(Command::new("id").arg("-u")).is_some_and(|id| id == "0")
}

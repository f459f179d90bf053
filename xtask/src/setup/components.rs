//! Formatter and linter, which minimal installations of Rust lack.

use anyhow::{Result, bail};

use crate::{
    context::Context,
    log::{Log, succeeds},
    report,
};

/// Cargo's commands, and the rustup components that contain them.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

pub(super) fn ensure(context: &Context) -> Result<()> {
    for (command, component) in COMPONENTS {
        if succeeds(context.cargo(&[command, "--version"])) {
            continue;
        }
        if context.find(&["rustup"]).is_none() {
            bail!("there is no `cargo {command}`: install your distribution's package of {component}");
        }
        report::begin(format_args!("{component}: rustup component add (usually 5 s)"));
        let mut add = context.command("rustup");
        Log::create(context, component)?.run(add.args(["component", "add", component]))?;
    }
    Ok(())
}

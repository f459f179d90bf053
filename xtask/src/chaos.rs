//! `cargo xtask chaos`: three of everything, and faults at random, for ten minutes or another time.
//!
//! The suite has a run of 40 s, with one seed.

use anyhow::{Result, bail};

use crate::{context::Context, long_run::minutes_and_seed, page, report, setup};

/// Builds the binary as it is shipped and runs it with faults for as many minutes as the first
/// argument says; the second one is the seed, which is random without it.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let (minutes, seed) = minutes_and_seed(arguments)?;
    let tools = setup::ensure(context, setup::Needs::Tests)?;
    let binary = page::build(context)?;
    report::begin(format_args!("chaos for {minutes} min; again: cargo xtask chaos {minutes} {seed}"));
    let mut chaos = context.cargo(&["test", "--release", "--quiet", "--package", "relogin-chaos", "--test", "minute"]);
    chaos.args(["--", "--nocapture"]).env("RELOGIN_BIN", binary);
    chaos.env("RELOGIN_CHAOS_SECONDS", (minutes * 60).to_string()).env("RELOGIN_CHAOS_SEED", seed.to_string());
    let status = tools.name_to(&mut chaos).status()?;
    if !status.success() {
        bail!("chaos has found something with the seed {seed}");
    }
    Ok(())
}

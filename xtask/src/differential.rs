//! `cargo xtask differential`: histories at random at Resgate and at our gateway, for ten minutes
//! or another time, and the scripts for both.
//!
//! The suite has the scripts and 150 histories, always from the same seed on.

use anyhow::{Result, bail};

use crate::{context::Context, long_run::minutes_and_seed, page, report, setup};

/// Builds the binary as it is shipped and has histories for as many minutes as the first argument
/// says; the second one is the first seed, which is random without it.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let (minutes, seed) = minutes_and_seed(arguments)?;
    let tools = setup::ensure(context, setup::Needs::Tests)?;
    let binary = page::build(context)?;
    report::begin(format_args!("histories for {minutes} min; again: cargo xtask differential {minutes} {seed}"));
    let mut tests = context.cargo(&["test", "--quiet", "--package", "relogin-tests", "--test", "differential"]);
    tests.args(["--", "--nocapture"]).env("RELOGIN_BIN", binary);
    tests.env("RELOGIN_DIFFERENTIAL_SECONDS", (minutes * 60).to_string());
    tests.env("RELOGIN_DIFFERENTIAL_SEED", seed.to_string());
    if !tools.name_to(&mut tests).status()?.success() {
        bail!("the gateways differ, or a history has found something from the seed {seed} on");
    }
    Ok(())
}

//! `cargo xtask differential`: histories at random at Resgate and at our gateway, for ten minutes
//! or another time, and the scripts for both.
//!
//! The suite has the scripts and 150 histories, always from the same seed on.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, page, report, setup};

/// The default number of minutes.
const MINUTES: u64 = 10;

/// Builds the binary as it is shipped and has histories for as many minutes as the first argument
/// says; the second one is the first seed, which is random without it.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let number = |text: &String| text.parse::<u64>().with_context(|| format!("`{text}` is not a number"));
    let (minutes, seed) = match arguments {
        [] => (MINUTES, None),
        [minutes] => (number(minutes)?, None),
        [minutes, seed] => (number(minutes)?, Some(number(seed)?)),
        [_, _, rest @ ..] => return no_arguments(rest),
    };
    // Short enough to be typed.
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()) % 1_000_000);
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

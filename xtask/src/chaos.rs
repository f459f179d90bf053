//! `cargo xtask chaos`: three of everything, and faults at random, for ten minutes or another time.
//!
//! The suite has a run of 40 s, with one seed.

use std::hash::{BuildHasher as _, RandomState};

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, page, report, setup};

/// The default number of minutes.
const MINUTES: u64 = 10;

/// Builds the binary as it is shipped and runs it with faults for as many minutes as the first
/// argument says; the second one is the seed, which is random without it.
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

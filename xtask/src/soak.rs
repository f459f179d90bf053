//! `cargo xtask soak`: thousands of clients that come and go among attackers, for an hour or
//! another time.
//!
//! The scenario is part of the abuse suite, which runs it for a minute; here it runs longer.

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, page, report, setup};

/// The default number of minutes.
const MINUTES: u64 = 60;

/// Builds the binary as it is shipped and runs the scenario, for as many minutes as the argument
/// says.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let minutes = match arguments {
        [] => MINUTES,
        [minutes] => minutes.parse().with_context(|| format!("`{minutes}` is not a number of minutes"))?,
        [_, rest @ ..] => return no_arguments(rest),
    };
    let tools = setup::ensure(context, setup::Needs::Tests)?;
    let binary = page::build(context)?;
    report::begin(format_args!("soaking for {minutes} min"));
    let mut soak =
        context.cargo(&["test", "--release", "--quiet", "--package", "relogin-tests", "--test", "abuse", "soak"]);
    soak.args(["--", "--nocapture"]).env("RELOGIN_BIN", binary);
    soak.env("RELOGIN_SOAK_SECONDS", (minutes * 60).to_string());
    let status = tools.name_to(&mut soak).status()?;
    if !status.success() {
        bail!("the soak found something");
    }
    Ok(())
}

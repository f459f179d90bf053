//! `cargo xtask screenshots`: pictures of every state of the page, in light and in dark, narrow and
//! wide.
//!
//! The states are those of the end-to-end tests, which look at them with fewer eyes; this only says
//! where the pictures go.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{context::Context, no_arguments, page, report, setup};

/// Builds page and binary as they are shipped, and takes the pictures.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    let tools = setup::ensure(context, setup::Needs::Tests)?;
    let binary = page::build(context)?;
    let folder = context.target.join("screenshots");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    report::begin("the page in every state (usually 1 min)");
    let mut states = context.cargo(&["test", "--quiet", "--package", "relogin-tests", "--test", "e2e", "states::"]);
    states.env("RELOGIN_BIN", binary).env("RELOGIN_PICTURES", &folder);
    if !tools.name_to(&mut states).status()?.success() {
        bail!("not every state is as it should be");
    }
    report::begin(format_args!("{}: {} pictures", folder.display(), fs::read_dir(&folder)?.count()));
    Ok(())
}

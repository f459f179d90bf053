//! `cargo xtask run`: the demo, from nothing, in one command.

use std::os::unix::process::CommandExt;

use anyhow::{Context as _, Result};

use crate::{context::Context, page, report, setup};

/// Builds what is missing, then runs `relogin serve --demo` in place of this process.
pub(crate) fn command(context: &Context, arguments: &[String]) -> Result<()> {
    let own = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    setup::ensure(context, setup::Needs::Page)?;
    let binary = page::build(context)?;

    let mut serve = context.command(binary);
    serve.args(["serve", "--demo"]);
    if !names(own, "--data") {
        serve.arg("--data").arg(context.target.join("relogin-demo"));
    }
    report::begin("log in as admin, guest, jane or john, the password being the name; Ctrl-C ends it");
    // In this process's place, so that signals reach the service itself and its exit code is the
    // command's.
    Err(serve.args(own).exec()).context("starting relogin")
}

/// Whether the arguments set this option.
fn names(arguments: &[String], option: &str) -> bool {
    arguments.iter().any(|argument| argument.split('=').next() == Some(option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_seen_in_both_spellings_and_not_in_another_name() {
        let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names(&arguments("--data x"), "--data"));
        assert!(names(&arguments("--listen y --data=x"), "--data"));
        assert!(!names(&arguments("--database x"), "--data"));
    }
}

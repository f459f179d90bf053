//! Writes docs/options.md from what clap knows of `relogin serve`, and fails if the page differs.
//!
//! After a change of an option, `UPDATE_EXPECT=1 cargo test -p relogin --lib options_page` rewrites
//! the page.

use std::fmt::Write as _;

use clap::Command;
use expect_test::expect_file;

use super::{
    command,
    serve_option::{self, ServeOption, wrap},
};
use crate::config::OF_THE_GATEWAY_ALONE;

const WIDTH: usize = 100;

const INTRODUCTION: &str = "# Options of `relogin serve`

<!-- Generated from service/src/config/options.rs; see service/src/cli/reference.rs. -->

Each option is taken from the command line, else from the environment variable, else from the
configuration file. The file is `relogin.toml` in the working directory, or what `--config FILE`
(`RELOGIN_CONFIG`) names; its keys are the option names without the dashes, as in
`listen = \"127.0.0.1:8080\"`; `relogin config` prints one with every option as a comment. An empty
environment variable counts as not set. Times are written like `90s`, `10m`, `24h` or `30d`.
`relogin gateway`, the gateway alone, has those of them that say so.
[operations.md](operations.md) describes running the service.
";

#[test]
fn the_options_page_is_what_help_says() {
    let command = command();
    let serve = command.find_subcommand("serve").expect("there is a subcommand `serve`");
    expect_file!["../../../docs/options.md"].assert_eq(&page(serve));
}

fn page(serve: &Command) -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut heading = String::new();
    for option in serve_option::all(serve) {
        if heading != option.heading {
            write!(page, "\n## {}\n", option.heading).expect("strings can be written to");
            heading.clone_from(&option.heading);
        }
        section(&mut page, &option);
    }
    page
}

fn section(page: &mut String, option: &ServeOption) {
    let ServeOption { name, variable, .. } = option;
    let value = option.value.as_ref().map_or(String::new(), |value| format!(" {value}"));
    write!(page, "\n### `--{name}{value}`\n\n").expect("strings can be written to");
    wrap(page, "", &option.summary, WIDTH);
    let default = option.default.as_deref().unwrap_or("none");
    page.push('\n');
    let is_of_both = OF_THE_GATEWAY_ALONE.contains(&name.replace('-', "_").as_str());
    let also = if is_of_both { " Also of `relogin gateway`." } else { "" };
    wrap(page, "", &format!("Default: {default}. Environment: `{variable}`. File: `{name}`.{also}"), WIDTH);
    for paragraph in &option.details {
        page.push('\n');
        wrap(page, "", &linked(paragraph), WIDTH);
    }
}

/// Turns the names of pages in docs/ into links.
fn linked(text: &str) -> String {
    let word = |word: &str| match word
        .split_once("docs/")
        .and_then(|(before, rest)| Some((before, rest.split_once(".md")?)))
    {
        Some((before, (name, after))) => format!("{before}[{name}.md]({name}.md){after}"),
        None => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

//! Writes docs/options.md from what clap knows of `relogin serve`, and fails if the page differs.
//!
//! After a change of an option, `UPDATE_EXPECT=1 cargo test -p relogin --lib options_page` rewrites
//! the page.

use std::fmt::Write as _;

use clap::{Arg, Command};
use expect_test::expect_file;

use super::command;

const WIDTH: usize = 100;

const INTRODUCTION: &str = "# Options of `relogin serve`

<!-- Generated from service/src/config/options.rs; see service/src/cli/reference.rs. -->

Each option is taken from the command line, else from the environment variable, else from the
configuration file. The file is `relogin.toml` in the working directory, or what `--config FILE`
(`RELOGIN_CONFIG`) names; its keys are the option names without the dashes, as in
`listen = \"127.0.0.1:8080\"`. An empty environment variable counts as not set. Times are written
like `90s`, `10m`, `24h` or `30d`. [operations.md](operations.md) describes running the service.
";

#[test]
fn the_options_page_is_what_help_says() {
    let command = command();
    let serve = command.find_subcommand("serve").expect("there is a subcommand `serve`");
    expect_file!["../../../docs/options.md"].assert_eq(&page(serve));
}

fn page(serve: &Command) -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut heading = None;
    for arg in serve.get_arguments().filter(|arg| arg.get_help_heading().is_some()) {
        if heading != arg.get_help_heading() {
            heading = arg.get_help_heading();
            write!(page, "\n## {}\n", heading.unwrap_or_default()).expect("strings can be written to");
        }
        section(&mut page, arg);
    }
    page
}

fn section(page: &mut String, arg: &Arg) {
    let name = arg.get_long().expect("all options are long");
    let values: Vec<&str> = arg.get_value_names().into_iter().flatten().map(clap::builder::Str::as_str).collect();
    // A switch: the value need not be written.
    let value = if values == ["true|false"] { String::new() } else { format!(" {}", values.join(" ")) };
    let short = arg.get_help().expect("each option has a help text").to_string();
    let (short, default) = match short.split_once(" [default: ") {
        Some((text, default)) => (text, default.strip_suffix(']').expect("the default ends the text")),
        None => (short.as_str(), if value.is_empty() { "off" } else { "none" }),
    };
    write!(page, "\n### `--{name}{value}`\n\n").expect("strings can be written to");
    wrap(page, &format!("{}.", short.trim_end_matches('.')));
    let variable = arg.get_env().expect("each option has an environment variable").to_string_lossy();
    page.push('\n');
    wrap(page, &format!("Default: {default}. Environment: `{variable}`. File: `{name}`."));
    let long = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in long.split("\n\n").skip(1) {
        page.push('\n');
        wrap(page, &linked(paragraph));
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

fn wrap(page: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            page.push('\n');
            column = 0;
        } else if column > 0 {
            page.push(' ');
            column += 1;
        }
        page.push_str(word);
        column += length;
    }
    page.push('\n');
}

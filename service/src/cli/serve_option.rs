//! What clap knows of an option of `relogin serve`, in the parts of which pages are made. Must not
//! know any option by name.

use clap::{Arg, Command};

/// An option of `relogin serve`.
pub(super) struct ServeOption {
    /// Its name without dashes, which is its key in the configuration file.
    pub(super) name: String,
    pub(super) heading: String,
    /// What stands for its value; nothing for a switch, whose value need not be written.
    pub(super) value: Option<String>,
    /// What it does, in one sentence.
    pub(super) summary: String,
    /// What holds without it; none if that is nothing.
    pub(super) default: Option<String>,
    pub(super) variable: String,
    /// More about it.
    pub(super) details: Vec<String>,
}

/// The options of the subcommand `serve`, in the order of its help.
pub(super) fn all(serve: &Command) -> impl Iterator<Item = ServeOption> {
    serve.get_arguments().filter_map(|arg| Some(read(arg, arg.get_help_heading()?)))
}

fn read(arg: &Arg, heading: &str) -> ServeOption {
    let values: Vec<&str> = arg.get_value_names().into_iter().flatten().map(clap::builder::Str::as_str).collect();
    let value = (values != ["true|false"]).then(|| values.join(" "));
    let short = arg.get_help().expect("each option has a help text").to_string();
    let (summary, default) = match short.split_once(" [default: ") {
        Some((text, default)) => (text, Some(default.strip_suffix(']').expect("the default ends the text"))),
        None => (short.as_str(), value.is_none().then_some("off")),
    };
    let long = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
    ServeOption {
        name: arg.get_long().expect("all options are long").to_owned(),
        heading: heading.to_owned(),
        value,
        summary: format!("{}.", summary.trim_end_matches('.')),
        default: default.map(str::to_owned),
        variable: arg.get_env().expect("each option has an environment variable").to_string_lossy().into_owned(),
        details: long.split("\n\n").skip(1).map(str::to_owned).collect(),
    }
}

/// Appends `text` in lines of at most `width` columns, each of which begins with `prefix`.
pub(super) fn wrap(page: &mut String, prefix: &str, text: &str, width: usize) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            page.push('\n');
            column = 0;
        }
        let before = if column == 0 { prefix } else { " " };
        page.push_str(before);
        page.push_str(word);
        column += before.chars().count() + length;
    }
    page.push('\n');
}

//! The command line: what can be typed, and how a slip in it is answered. Knows not what the options mean: see [`crate::config`].

pub mod store;
pub mod user;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use relogin_session::{SessionId, UserId};

use crate::{
    config::{Layers, Options},
    users::UserChange,
};

/// Sessions that survive reconnects, for RES APIs: session service and embedded gateway in one binary.
#[derive(Debug, Parser)]
#[command(name = "relogin", version, arg_required_else_help = true, infer_subcommands = false)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the session service, and with it, unless --nats says otherwise, page and gateway
    ///
    /// Each option is looked for on the command line, then in the environment, then in relogin.toml.
    Serve(Box<ServeArgs>),
    /// Change the users; a running service follows within a second or two
    User(UserArgs),
    /// Look after the session store of a service that does not run
    Store(StoreArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Options in TOML [default: relogin.toml in the working directory, if there is one]
    #[arg(long, env = "RELOGIN_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct UserArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The users file [default: users.toml]
    #[arg(long, env = "RELOGIN_USERS", value_name = "FILE", global = true)]
    users: Option<PathBuf>,
    /// What hashing a password costs: Argon2id's KiB of memory, passes and lanes [default: m=19456,t=2,p=1]
    #[arg(long, env = "RELOGIN_PASSWORD_COST", value_name = "COST", global = true)]
    password_cost: Option<String>,
    /// The data folder of the service, for `changed` [default: relogin-data]
    #[arg(long, env = "RELOGIN_DATA", value_name = "FOLDER", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Args)]
struct StoreArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The data folder of the service [default: relogin-data]
    #[arg(long, env = "RELOGIN_DATA", value_name = "FOLDER", global = true)]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: StoreCommand,
}

/// What to do to the session store.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum StoreCommand {
    /// Say whether it is sound, and what is lost if it is not
    ///
    /// Nothing is changed. Exit code 0: it is sound; 1: something is damaged; 2: it could not be checked.
    Check,
    /// Put a store of all that can be read in its place, and keep the damaged one aside
    ///
    /// Exit code 0: it can be used, and nothing is lost; 1: it can be used, and what is lost was listed; 2: nothing was changed.
    Repair {
        /// Also keep sessions of which nobody knows any more whether they have ended
        #[arg(long)]
        keep_unverified: bool,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    #[command(flatten)]
    Edit(UserEdit),
    /// Tell the service that something has happened to a user whom a program or a service of yours keeps
    ///
    /// Within a second or two, or when the service starts: who is removed or disabled is logged out, and another name or role
    /// reaches all their connections.
    Changed {
        /// The user's id
        #[arg(value_parser = parse_user_id)]
        id: UserId,
        /// The user has another password: end their sessions
        #[arg(long)]
        password: bool,
        /// But not this one, in which they have changed it: `sid` of its access token
        #[arg(long, value_name = "SID", value_parser = parse_sid, requires = "password")]
        keep: Option<SessionId>,
    },
}

/// What to do to the users file.
#[derive(Debug, Subcommand)]
pub enum UserEdit {
    /// Add a user; makes the file if there is none
    Add {
        /// What the user logs in with; case does not matter
        username: String,
        /// A number, or a text [default: the number after the largest]
        #[arg(long, value_parser = parse_user_id)]
        id: Option<UserId>,
        /// What others see [default: the username]
        #[arg(long)]
        name: Option<String>,
        /// What services decide access by
        #[arg(long, default_value = "user")]
        role: String,
        /// How to get the password.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another password, and end their sessions
    Passwd {
        /// Whose password
        username: String,
        /// How to get the password.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Let a user log in no more for now, and end their sessions
    Disable {
        /// Who
        username: String,
    },
    /// Let a disabled user log in again
    Enable {
        /// Who
        username: String,
    },
    /// Remove a user, and end their sessions
    Remove {
        /// Who
        username: String,
    },
    /// Show the users
    List,
}

/// Where a password comes from.
#[derive(Clone, Copy, Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// What was typed, read as far as the command line goes.
#[derive(Debug)]
pub enum Invocation {
    /// `relogin serve`.
    Serve(Layers),
    /// `relogin user`; the options that can be given are `users`, `password-cost` and `config`.
    User(Layers, UserEdit),
    /// `relogin user changed`; the options that can be given are `data` and `config`.
    Changed(Layers, UserChange),
    /// `relogin store`; the options that can be given are `data` and `config`.
    Store(Layers, StoreCommand),
    /// Help or version was asked for: print this and succeed.
    Print(String),
}

/// Reads the command line and what it names of the environment.
///
/// # Errors
/// What to print, if it makes no sense: a line, or the help text if nothing was asked for at all.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let parsed = command().try_get_matches_from(args).and_then(|mut matches| {
        let typed = matches.clone();
        Ok((Cli::from_arg_matches_mut(&mut matches)?, typed))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return answer(&error),
    };
    let (_, matches) = matches.subcommand().expect("clap demands a subcommand");
    Ok(match cli.command {
        CliCommand::Serve(args) => Invocation::Serve(layers(args.options, args.config, matches)),
        CliCommand::Store(StoreArgs { config, data, command }) => {
            Invocation::Store(layers(Options { data, ..Options::default() }, config, matches), command)
        }
        CliCommand::User(UserArgs { config, users, password_cost, data, command }) => {
            let options = Options { users, password_cost, data, ..Options::default() };
            let layers = layers(options, config, matches);
            match command {
                UserCommand::Edit(edit) => Invocation::User(layers, edit),
                UserCommand::Changed { id, password, keep } => {
                    Invocation::Changed(layers, UserChange { id, is_password_new: password, keep })
                }
            }
        }
    })
}

/// The command line as clap knows it. An environment variable that is set to nothing counts as not set.
fn command() -> clap::Command {
    fn without_empty(arg: clap::Arg) -> clap::Arg {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(None) } else { arg }
    }
    Cli::command().mut_subcommands(|command| command.mut_args(without_empty))
}

fn layers(options: Options, config: ConfigArgs, matches: &ArgMatches) -> Layers {
    let from_env = matches
        .ids()
        .filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::EnvVariable))
        .map(|id| id.as_str().to_owned())
        .collect();
    Layers { given: options, from_env, config: config.config }
}

/// Turns clap's pages into one line, for scripts and logs.
fn answer(error: &clap::Error) -> Result<Invocation, String> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let text = error.render().to_string();
    match error.kind() {
        DisplayHelp | DisplayVersion => Ok(Invocation::Print(text)),
        DisplayHelpOnMissingArgumentOrSubcommand => Err(text),
        _ => {
            let (what, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
            let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
            let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
            let tip = tip.unwrap_or("see `relogin --help`");
            Err(format!("relogin: {}; {tip}", what.strip_prefix("error: ").unwrap_or(&what)))
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers return results")]
fn parse_user_id(text: &str) -> Result<UserId, std::convert::Infallible> {
    Ok(text.parse().map_or_else(|_| UserId::Text(text.to_owned()), UserId::Number))
}

fn parse_sid(text: &str) -> Result<SessionId, &'static str> {
    SessionId::parse(text).ok_or("no session's id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Result<Invocation, String> {
        parse(args.split(' ').map(Into::into))
    }

    #[test]
    fn the_declaration_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn slips_are_answered_in_one_line() {
        for (args, expected) in [
            (
                "relogin serve --nast x",
                "relogin: unexpected argument '--nast' found; a similar argument exists: '--nats'",
            ),
            ("relogin nope", "relogin: unrecognized subcommand 'nope'; see `relogin --help`"),
            ("relogin serve now", "relogin: unexpected argument 'now' found; see `relogin --help`"),
            (
                "relogin serve --listen",
                "relogin: a value is required for '--listen <HOST:PORT>' but none was supplied; see `relogin --help`",
            ),
            (
                "relogin serve --name a --name b",
                "relogin: the argument '--name <NAME>' cannot be used multiple times; see `relogin --help`",
            ),
            (
                "relogin user add",
                "relogin: the following required arguments were not provided: <USERNAME>; see `relogin --help`",
            ),
        ] {
            assert_eq!(parsed(args).unwrap_err(), expected);
        }
    }

    #[test]
    fn help_and_version_are_no_slips() {
        assert!(
            matches!(parsed("relogin --version"), Ok(Invocation::Print(text)) if text == concat!("relogin ", env!("CARGO_PKG_VERSION"), "\n"))
        );
        assert!(
            matches!(parsed("relogin serve --help"), Ok(Invocation::Print(text)) if text.contains("--key-lifetime"))
        );
        assert!(parsed("relogin").unwrap_err().contains("Usage: relogin"));
    }

    #[test]
    fn user_commands_take_their_options_before_and_after() {
        for args in ["relogin user --users f list", "relogin user list --users f"] {
            let Ok(Invocation::User(layers, UserEdit::List)) = parsed(args) else { panic!("{args}") };
            assert_eq!(layers.given.users, Some("f".into()), "{args}");
        }
        let Ok(Invocation::User(_, UserEdit::Add { id, role, name, password, .. })) =
            parsed("relogin user add jane --id 7 --name Jane --password-stdin")
        else {
            panic!()
        };
        assert_eq!((id, role.as_str(), name.as_deref()), (Some(UserId::Number(7)), "user", Some("Jane")));
        assert!(password.password_stdin);
        let Ok(Invocation::User(_, UserEdit::Add { id, .. })) = parsed("relogin user add jane --id j-7") else {
            panic!()
        };
        assert_eq!(id, Some(UserId::Text("j-7".into())));
    }
}

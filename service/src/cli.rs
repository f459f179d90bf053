//! The command line: subcommands, options, and one-line errors. Must not interpret the options:
//! that is what [`crate::config`] does.

mod backup;
mod config_file;
pub mod control;
mod copy;
mod gateway_alone;
pub mod health;
pub mod manual;
mod nats;
#[cfg(test)]
mod reference;
mod secret;
mod serve_option;
pub mod store;
pub mod user;

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use clap_complete::Shell;
use relogin_bus::nats::NatsConfig;
use relogin_session::{SessionId, UserId};
use relogin_users::UserChange;

pub use self::backup::{BackupArgs, RestoreArgs};
use self::{
    control::{
        ControlCommand, PlaceArgs,
        sessions::{self, SessionCommand},
    },
    copy::CopyArgs,
    gateway_alone::{GatewayArgs, only_of_a_gateway},
    user::UserEdit,
};
use crate::{
    app::{copying::Copying, secrets::SecretChange},
    config::{self, Layers, Options},
};

/// Sessions that survive reconnects, for RES APIs: a session service and an embedded gateway in one
/// binary.
#[derive(Debug, Parser)]
#[command(name = "relogin", version, arg_required_else_help = true, infer_subcommands = false, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the session service, and without --nats also the page and the gateway
    ///
    /// Each option is taken from the command line, else from the environment, else from
    /// relogin.toml.
    Serve(Box<ServeArgs>),
    /// Run the embedded gateway alone, between clients and services on NATS, in the place of a
    /// Resgate
    ///
    /// Each option is taken from the command line, else from the environment, else from
    /// relogin.toml or a configuration file of Resgate. What is different from Resgate is in
    /// docs/gateway.md.
    Gateway(Box<GatewayArgs>),
    /// Edit the users file; a running service notices within a second or two
    User(UserArgs),
    /// Check or repair the session store of a stopped service
    Store(StoreArgs),
    /// Write all sessions to a file, while the service runs or not
    ///
    /// The file is for its owner alone. Without --secret-passphrase the server's secret is not in
    /// it: keep the secret file apart. Exit codes: 0 if all sessions are in it, 2 if not.
    Backup(Box<BackupArgs>),
    /// Make a data folder of a backup, while no service runs on it
    ///
    /// The backup is checked before anything is written. Exit codes: 0 if all sessions are
    /// restored, 2 if not.
    Restore(Box<RestoreArgs>),
    /// Change the secrets that services keep in NATS (--secret-passphrase), while they run
    Secret(SecretArgs),
    /// Show how a running service is
    ///
    /// Exit codes: 0 if it can answer requests, 1 if it says that it cannot, 2 if it cannot be
    /// reached.
    Status {
        #[command(flatten)]
        place: PlaceArgs,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// List, show and end the sessions of a running service
    Session {
        #[command(flatten)]
        place: PlaceArgs,
        #[command(subcommand)]
        command: SessionCommand,
    },
    /// Ask a running service at its address whether it can answer requests
    ///
    /// For the health checks of containers; without TLS. Exit codes: 0 if it can, 1 if it says that
    /// it cannot, 2 if nobody answers.
    Health {
        /// The address of --listen
        #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:8080", value_parser = parse_listen)]
        address: String,
    },
    /// Print a configuration file with every option as a comment
    Config,
    /// Print the completions of a shell
    ///
    /// For bash: relogin completions bash > ~/.local/share/bash-completion/completions/relogin
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of all commands, for packages
    #[command(hide = true)]
    Man {
        /// The folder for them
        folder: PathBuf,
    },
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
    /// Configuration file in TOML [default: relogin.toml in the working directory, if there is one]
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
    /// Cost of password hashes: Argon2id's KiB of memory, passes and lanes [default:
    /// m=19456,t=2,p=1]
    #[arg(long, env = "RELOGIN_PASSWORD_COST", value_name = "COST", global = true)]
    password_cost: Option<String>,
    /// Characters that a new password must have, 8 to 64 [default: 8]
    #[arg(long, env = "RELOGIN_PASSWORD_MIN_LENGTH", value_name = "N", global = true)]
    password_min_length: Option<String>,
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
    command: StoreSubcommand,
}

/// What to do to the session store.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum StoreCommand {
    /// Report whether the store is sound, and what is lost if it is not
    ///
    /// Changes nothing. Exit codes: 0 if it is sound, 1 if something is damaged, 2 if it could not
    /// be checked.
    Check,
    /// Replace the store by one with everything that can be read, and keep the damaged one
    ///
    /// Exit codes: 0 if nothing is lost, 1 if lost sessions were listed, 2 if nothing was changed.
    Repair {
        /// Also keep sessions that may have ended
        #[arg(long)]
        keep_unverified: bool,
    },
}

#[derive(Debug, Subcommand)]
enum StoreSubcommand {
    #[command(flatten)]
    InPlace(StoreCommand),
    /// Copy all sessions into another store, while no service uses either
    ///
    /// The target must be empty. A copy that was interrupted is completed by the same command. At
    /// the end all sessions are compared. Exit codes: 0 if all are copied, 2 if not.
    Copy(Box<CopyArgs>),
}

#[derive(Debug, Args)]
struct SecretArgs {
    #[command(subcommand)]
    command: secret::SecretCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    #[command(flatten)]
    Edit(UserEdit),
    /// Tell the service that a user kept by your own program or service has changed
    ///
    /// Takes effect within a second or two, or when the service starts: a removed or disabled user
    /// is logged out, and a new name or role reaches all connections of the user.
    Changed {
        /// The user's id
        #[arg(value_parser = parse_user_id)]
        id: UserId,
        /// The user has a new password: end their sessions
        #[arg(long)]
        password: bool,
        /// Keep this session, in which the password was changed: `sid` of its access token
        #[arg(long, value_name = "SID", value_parser = parse_sid, requires = "password")]
        keep: Option<SessionId>,
    },
}

/// A parsed command line.
#[derive(Debug)]
pub enum Invocation {
    /// `relogin serve`.
    Serve(Layers),
    /// `relogin gateway`, maybe with Resgate's configuration file.
    Gateway(Layers, Option<PathBuf>),
    /// `relogin user`; the options that can be given are `users`, `password-cost` and `config`.
    User(Layers, UserEdit),
    /// `relogin user changed`; the options that can be given are `data` and `config`.
    Changed(Layers, UserChange),
    /// `relogin store`; the options that can be given are `data` and `config`.
    Store(Layers, StoreCommand),
    /// `relogin store copy`.
    Copy(Copying),
    /// `relogin backup`; the options that can be given are `data`, `control-socket`, `secret-file`
    /// and `config`.
    Backup(Layers, Box<BackupArgs>),
    /// `relogin restore`, likewise.
    Restore(Layers, Box<RestoreArgs>),
    /// `relogin secret`.
    Secret(SecretChange),
    /// `relogin status` and its like, maybe by NATS; the options that can be given are `data`,
    /// `control-socket`, `name` and `config`.
    Control(Layers, Option<NatsConfig>, ControlCommand),
    /// `relogin health`, with the address.
    Health(String),
    /// `relogin man`, with the folder for the pages.
    Manual(PathBuf),
    /// Help, the version or another text was asked for: print this and succeed.
    Print(String),
}

/// Parses the command line and the environment variables of its options.
///
/// # Errors
/// The text to print if the command line is invalid: one line, or the help text if it is empty.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, String> {
    let args: Vec<_> = sessions::with_ids(args.into_iter().collect());
    let parsed = command().try_get_matches_from(&args).and_then(|mut matches| {
        let typed = matches.clone();
        Ok((Cli::from_arg_matches_mut(&mut matches)?, typed))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return answer(&error, &args),
    };
    let (_, matches) = matches.subcommand().expect("clap demands a subcommand");
    Ok(match cli.command {
        CliCommand::Serve(args) => Invocation::Serve(layers(args.options, args.config, matches)),
        CliCommand::Gateway(args) => {
            let GatewayArgs { resgate_config, config, options } = *args;
            Invocation::Gateway(layers(options, config, matches), resgate_config)
        }
        CliCommand::Store(StoreArgs { config, data, command }) => match command {
            StoreSubcommand::InPlace(command) => {
                Invocation::Store(layers(Options { data, ..Options::default() }, config, matches), command)
            }
            StoreSubcommand::Copy(args) => Invocation::Copy(args.copying()),
        },
        CliCommand::Status { place, json } => {
            let (options, config, nats) = place.split();
            Invocation::Control(layers(options, config, matches), nats, ControlCommand::Status { json })
        }
        CliCommand::Session { place, command } => {
            let (options, config, nats) = place.split();
            Invocation::Control(layers(options, config, matches), nats, ControlCommand::Session(command))
        }
        CliCommand::Backup(mut args) => Invocation::Backup(args.places.layers(matches), args),
        CliCommand::Restore(mut args) => Invocation::Restore(args.places.layers(matches), args),
        CliCommand::Health { address } => Invocation::Health(address),
        CliCommand::Config => {
            Invocation::Print(config_file::text(command().find_subcommand("serve").expect("there is such a command")))
        }
        CliCommand::Completions { shell } => Invocation::Print(completions(shell)),
        CliCommand::Man { folder } => Invocation::Manual(folder),
        CliCommand::Secret(SecretArgs { command }) => Invocation::Secret(secret::change(command)),
        CliCommand::User(UserArgs { config, users, password_cost, password_min_length, data, command }) => {
            let options = Options { users, password_cost, password_min_length, data, ..Options::default() };
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

/// The clap command. An empty environment variable counts as not set, and of the options of
/// `relogin serve`, `relogin gateway` takes those that are about a gateway.
fn command() -> clap::Command {
    fn without_empty(arg: clap::Arg) -> clap::Arg {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(None) } else { arg }
    }
    Cli::command()
        .mut_subcommand("gateway", |gateway| gateway.mut_args(only_of_a_gateway))
        .mut_subcommands(|command| command.mut_args(without_empty))
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "relogin", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn layers(options: Options, config: ConfigArgs, matches: &ArgMatches) -> Layers {
    let from_env = matches
        .ids()
        .filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::EnvVariable))
        .map(|id| id.as_str().to_owned())
        .collect();
    Layers { given: options, from_env, config: config.config }
}

/// Reduces clap's error pages to one line, for scripts and logs: what is wrong, what was meant if
/// clap has a guess, and where the options are that could be meant.
fn answer(error: &clap::Error, args: &[OsString]) -> Result<Invocation, String> {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    let text = error.render().to_string();
    match error.kind() {
        DisplayHelp | DisplayVersion => Ok(Invocation::Print(text)),
        DisplayHelpOnMissingArgumentOrSubcommand => Err(text),
        _ => {
            let (what, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
            let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
            // Its other tips are about values that look like options.
            let similar = |line: &&str| line.contains("similar");
            let tip = rest.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).find(similar);
            let tip = tip.map(|tip| format!("; {tip}")).unwrap_or_default();
            let what = what.strip_prefix("error: ").unwrap_or(&what);
            Err(format!("relogin: {what}{tip}; see `{} --help`", command_of(args)))
        }
    }
}

/// The command that `args` name, with its subcommands: `relogin user add`.
fn command_of(args: &[OsString]) -> String {
    let root = command();
    let (mut command, mut names) = (&root, vec!["relogin"]);
    let mut is_value = false;
    for arg in args.iter().skip(1).map(|arg| arg.to_string_lossy()) {
        match command.find_subcommand(arg.as_ref()) {
            Some(found) => {
                command = found;
                names.push(found.get_name());
            }
            // An option, or what may be its value.
            None if arg.starts_with('-') || is_value => {}
            None => break,
        }
        is_value = arg.starts_with('-') && !arg.contains('=');
    }
    names.join(" ")
}

fn parse_listen(text: &str) -> Result<String, String> {
    config::listen(text.to_owned()).map_err(|problem| problem.to_string())
}

#[expect(clippy::unnecessary_wraps, reason = "clap's value parsers return results")]
fn parse_user_id(text: &str) -> Result<UserId, std::convert::Infallible> {
    Ok(text.parse().map_or_else(|_| UserId::Text(text.to_owned()), UserId::Number))
}

fn parse_sid(text: &str) -> Result<SessionId, &'static str> {
    SessionId::parse(text).ok_or("not a session id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OF_THE_GATEWAY_ALONE;

    fn parsed(args: &str) -> Result<Invocation, String> {
        parse(args.split(' ').map(Into::into))
    }

    #[test]
    fn the_declaration_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn errors_are_one_line() {
        for (args, expected) in [
            (
                "relogin serve --nast x",
                "relogin: unexpected argument '--nast' found; a similar argument exists: '--nats'; see `relogin serve --help`",
            ),
            (
                "relogin status --jsno",
                "relogin: unexpected argument '--jsno' found; a similar argument exists: '--json'; see `relogin status --help`",
            ),
            (
                "relogin session revoke --usr jane",
                "relogin: unexpected argument '--usr' found; a similar argument exists: '--user'; see `relogin session revoke --help`",
            ),
            (
                "relogin session show x",
                "relogin: invalid value 'x' for '<ID>': not a session id; see `relogin session show --help`",
            ),
            ("relogin nope", "relogin: unrecognized subcommand 'nope'; see `relogin --help`"),
            ("relogin nope serve", "relogin: unrecognized subcommand 'nope'; see `relogin --help`"),
            ("relogin serve now", "relogin: unexpected argument 'now' found; see `relogin serve --help`"),
            (
                "relogin serve --listen",
                "relogin: a value is required for '--listen <HOST:PORT>' but none was supplied; see `relogin serve --help`",
            ),
            (
                "relogin serve --name a --name b",
                "relogin: the argument '--name <NAME>' cannot be used multiple times; see `relogin serve --help`",
            ),
            (
                "relogin user add",
                "relogin: the following required arguments were not provided: <USERNAME>; see `relogin user add --help`",
            ),
            (
                "relogin user --users f add jane --verbose",
                "relogin: unexpected argument '--verbose' found; see `relogin user add --help`",
            ),
        ] {
            assert_eq!(parsed(args).unwrap_err(), expected);
        }
    }

    #[test]
    fn help_and_version_are_not_errors() {
        assert!(
            matches!(parsed("relogin --version"), Ok(Invocation::Print(text)) if text == concat!("relogin ", env!("CARGO_PKG_VERSION"), "\n"))
        );
        assert!(
            matches!(parsed("relogin serve --help"), Ok(Invocation::Print(text)) if text.contains("--key-lifetime"))
        );
        assert!(parsed("relogin").unwrap_err().contains("Usage: relogin"));
    }

    #[test]
    fn the_gateway_alone_takes_what_is_about_a_gateway() {
        let Ok(Invocation::Gateway(layers, None)) =
            parsed("relogin gateway --nats nats://a --ws-compression --log warn")
        else {
            panic!()
        };
        let Options { nats, ws_compression, log, .. } = layers.given;
        assert_eq!([nats, ws_compression, log].map(Option::unwrap_or_default), ["nats://a", "true", "warn"]);
        for args in ["--data folder", "--demo", "--public-url https://a.example"] {
            let line = parsed(&format!("relogin gateway {args}")).unwrap_err();
            assert!(line.ends_with("it is an option of `relogin serve`; see `relogin gateway --help`"), "{line}");
        }
        let line = parsed("relogin gateway --resgate-config a --config b").unwrap_err();
        assert!(line.contains("'--resgate-config <FILE>' cannot be used with '--config <FILE>'"), "{line}");
        let Ok(Invocation::Print(help)) = parsed("relogin gateway --help") else { panic!() };
        let serve = command().find_subcommand("serve").expect("there is such a command").clone();
        for option in serve.get_arguments().filter(|option| option.get_help_heading().is_some()) {
            let is_listed = help.contains(&format!("--{} ", option.get_long().unwrap()))
                || help.contains(&format!("--{}[", option.get_long().unwrap()));
            assert_eq!(is_listed, OF_THE_GATEWAY_ALONE.iter().any(|id| option.get_id() == id), "{}", option.get_id());
        }
    }

    #[test]
    fn user_commands_take_their_options_before_and_after() {
        for args in ["relogin user --users f list", "relogin user list --users f"] {
            let Ok(Invocation::User(layers, UserEdit::List { json: false })) = parsed(args) else { panic!("{args}") };
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

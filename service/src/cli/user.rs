//! `relogin user …`: asks for passwords, edits and lists the users file, and announces changes of
//! users that are kept elsewhere.

use std::{
    fs::File,
    io::{self, BufRead, Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use relogin_session::{Secret, User, UserId};
use relogin_users::{
    UserChange,
    change_spool::ChangeSpool,
    cost::Cost,
    edit::{self, EditError, NewUser},
    file::{FileError, UsersFile},
    list::Users,
    password::{HashingError, PasswordHash},
    password_rules::{PasswordRules, WeakPassword},
};
use serde_json::{Value as Json, json};
use thiserror::Error;
use zeroize::Zeroizing;

use super::parse_user_id;

/// What to do to the users file.
#[derive(Debug, Subcommand)]
pub enum UserEdit {
    /// Add a user; creates the file if there is none
    Add {
        /// Name to log in with; case does not matter
        username: String,
        /// Id, a number or a text [default: the largest number plus one]
        #[arg(long, value_parser = parse_user_id)]
        id: Option<UserId>,
        /// Display name [default: the username]
        #[arg(long)]
        name: Option<String>,
        /// Role, by which services decide on access
        #[arg(long, default_value = "user")]
        role: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Change a user's password, and end their sessions
    Passwd {
        /// The user's name
        username: String,
        /// Where the password comes from.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Change a user's display name; their sessions show it within a second or two
    SetName {
        /// The user's name
        username: String,
        /// What others see
        name: String,
    },
    /// Change a user's role; their sessions have it within a second or two
    SetRole {
        /// The user's name
        username: String,
        /// Role, by which services decide on access
        role: String,
    },
    /// Keep a user from logging in, and end their sessions
    Disable {
        /// The user's name
        username: String,
    },
    /// Let a disabled user log in again
    Enable {
        /// The user's name
        username: String,
    },
    /// Remove a user, and end their sessions
    Remove {
        /// The user's name
        username: String,
    },
    /// List the users
    List {
        /// As a JSON array, one object for each user, without passwords
        #[arg(long)]
        json: bool,
    },
}

/// Where a password comes from.
#[derive(Clone, Copy, Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// Why a command did nothing.
#[derive(Debug, Error)]
pub enum UserError {
    /// The file was not changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The file cannot be shown.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no file.
    #[error("there is no users file {}; create it with `relogin user add`", .0.display())]
    NoFile(PathBuf),
    /// The password could not be read.
    #[error("cannot read the password")]
    Password(#[source] io::Error),
    /// There is no terminal to ask on.
    #[error("there is no terminal to ask for the password; give it with --password-stdin")]
    NoTerminal,
    /// The password was empty.
    #[error("the password is empty; enter one")]
    EmptyPassword,
    /// The password was typed differently the second time.
    #[error("the passwords differ; nothing was changed")]
    PasswordsDiffer,
    /// The password is easy to guess.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// The password could not be hashed.
    #[error(transparent)]
    Hashing(#[from] HashingError),
    /// There is no such folder.
    #[error("there is no data folder {}; name the service's data folder with --data", .0.display())]
    NoData(PathBuf),
    /// The change could not be announced.
    #[error("cannot write into the data folder {}", .0.display())]
    Announce(PathBuf, #[source] io::Error),
    /// The list could not be written.
    #[error("cannot write the list")]
    Output(#[source] io::Error),
}

/// The longest password that is read: the longest that a login could send.
const MAX_PASSWORD: u64 = 32 * 1024;

/// Runs the command on the users file `path`, and reports to `out`. Passwords are hashed at this
/// cost, if they meet these rules.
///
/// # Errors
/// [`UserError`] if it failed; the file is then unchanged.
pub fn run(
    path: &Path,
    hashing: (Cost, PasswordRules),
    command: UserEdit,
    out: &mut impl Write,
) -> Result<(), UserError> {
    match command {
        UserEdit::Add { username, id, name, role, password } => {
            let password = hash(password, &username, hashing)?;
            let user = NewUser { username: username.clone(), id, name, role, password };
            let id = edit::add(path, user).map_err(|error| explain(path, error))?;
            say(out, format_args!("added {username} with id {id} to {}", path.display()))
        }
        UserEdit::Passwd { username, password } => {
            let password = hash(password, &username, hashing)?;
            edit::set_password(path, &username, &password).map_err(|error| explain(path, error))?;
            say(out, format_args!("changed the password of {username}"))
        }
        UserEdit::SetName { username, name } => {
            edit::set_name(path, &username, &name).map_err(|error| explain(path, error))?;
            say(out, format_args!("changed the name of {username}"))
        }
        UserEdit::SetRole { username, role } => {
            edit::set_role(path, &username, &role).map_err(|error| explain(path, error))?;
            say(out, format_args!("changed the role of {username}"))
        }
        UserEdit::Disable { username } => {
            edit::set_disabled(path, &username, true).map_err(|error| explain(path, error))?;
            say(out, format_args!("disabled {username}"))
        }
        UserEdit::Enable { username } => {
            edit::set_disabled(path, &username, false).map_err(|error| explain(path, error))?;
            say(out, format_args!("enabled {username}"))
        }
        UserEdit::Remove { username } => {
            edit::remove(path, &username).map_err(|error| explain(path, error))?;
            say(out, format_args!("removed {username}"))
        }
        UserEdit::List { json } => {
            let users = UsersFile::new(path.to_owned()).read().map_err(|error| explain(path, error.into()))?;
            let users = users.unwrap_or_default();
            let written = if json { list_json(&users, out) } else { list(&users, out) };
            written.map_err(UserError::Output)
        }
    }
}

/// Tells the service with this data folder about a change of a user, and reports to `out`.
///
/// # Errors
/// [`UserError`] if it was not announced.
pub fn announce(data: &Path, change: &UserChange, out: &mut impl Write) -> Result<(), UserError> {
    ChangeSpool::in_folder(data).add(change).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => UserError::NoData(data.to_owned()),
        _ => UserError::Announce(data.to_owned(), error),
    })?;
    say(out, format_args!("announced that user {} has changed", change.id))
}

fn explain(path: &Path, error: EditError) -> UserError {
    match error {
        EditError::File(error) if error.is_missing() => UserError::NoFile(path.to_owned()),
        EditError::File(error) => UserError::File(error),
        error => UserError::Edit(error),
    }
}

fn say(out: &mut impl Write, what: std::fmt::Arguments<'_>) -> Result<(), UserError> {
    writeln!(out, "{what}").map_err(UserError::Output)
}

/// A table whose columns are as wide as their contents.
fn list(users: &Users, out: &mut impl Write) -> io::Result<()> {
    let mut rows = vec![["ID", "USERNAME", "NAME", "ROLE"].map(str::to_owned)];
    rows.extend(users.entries().iter().map(|entry| {
        let user = &entry.user;
        // Text on a terminal must not be able to control it.
        let state = if entry.is_disabled { " (disabled)" } else { "" };
        [&user.id.to_string(), &entry.username, &user.name, &format!("{}{state}", user.role)]
            .map(|text| text.replace(char::is_control, "\u{fffd}"))
    }));
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for [id, username, name, role] in &rows {
        let [a, b, c, _] = widths;
        writeln!(out, "{id:a$}  {username:b$}  {name:c$}  {role}")?;
    }
    Ok(())
}

/// The same for programs. No password hash is in it.
fn list_json(users: &Users, out: &mut impl Write) -> io::Result<()> {
    let users = users.entries().iter().map(|entry| {
        let User { id, name, role } = &entry.user;
        json!({ "id": id, "username": entry.username, "name": name, "role": role, "disabled": entry.is_disabled })
    });
    serde_json::to_writer(&mut *out, &users.collect::<Json>())?;
    writeln!(out)
}

fn hash(args: PasswordArgs, username: &str, (cost, rules): (Cost, PasswordRules)) -> Result<PasswordHash, UserError> {
    let password = if args.password_stdin { from_stdin()? } else { from_terminal()? };
    if password.expose().is_empty() {
        return Err(UserError::EmptyPassword);
    }
    rules.check(&password, Some(username))?;
    Ok(PasswordHash::of(&password, cost)?)
}

/// The first line, without its line break.
fn from_stdin() -> Result<Secret, UserError> {
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().take(MAX_PASSWORD).read_line(&mut line).map_err(UserError::Password)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn from_terminal() -> Result<Secret, UserError> {
    // Where the prompt goes; standard input may be anything.
    if File::open("/dev/tty").is_err() {
        return Err(UserError::NoTerminal);
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Secret::new).map_err(UserError::Password);
    let password = ask("Password: ")?;
    if ask("Again: ")?.expose() == password.expose() { Ok(password) } else { Err(UserError::PasswordsDiffer) }
}

//! `relogin session`: lists sessions, shows one, and ends some.

use std::{
    collections::HashSet,
    ffi::OsString,
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context;
use clap::Subcommand;
use humantime::format_rfc3339_seconds;
use relogin_session::SessionId;

use super::{CommandOutcome, NO_OUTPUT, print_json, table::TextTable};
use crate::control::{
    client::ControlPlace,
    protocol::{ControlAnswer, ControlRequest, SessionDetails, SessionInfo},
};

/// A question about sessions.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum SessionCommand {
    /// List the sessions, those that end first at the top
    ///
    /// Exit codes: 0 if they are listed, 1 if there is no such user, 2 if the service cannot be
    /// reached.
    List {
        /// Those of one user: the name by which they log in, or their id
        #[arg(long, value_name = "NAME|ID")]
        user: Option<String>,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of a session and is not secret
    ///
    /// Exit codes: 0 if it is shown, 1 if there is none, 2 if the service cannot be reached.
    Show {
        /// The session's id
        #[arg(value_parser = parse_id)]
        id: SessionId,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// End sessions: their connections are logged out at once
    ///
    /// Exit codes: 0 if they have ended, 1 if there is no such session or user, 2 if the service
    /// cannot be reached.
    Revoke {
        /// The sessions' ids
        #[arg(value_name = "ID", value_parser = parse_id, required_unless_present = "user")]
        ids: Vec<SessionId>,
        /// All sessions of one user: the name by which they log in, or their id
        #[arg(long, value_name = "NAME|ID", conflicts_with = "ids")]
        user: Option<String>,
    },
}

const HEADS: [&str; 8] = ["ID", "USER", "NAME", "BROWSER", "ADDRESS", "BOUND", "CREATED", "LAST SEEN"];

/// Precedes an id that begins with a dash, so that it is not taken for an option.
const ID: &str = "id:";

/// The command line, with that before such ids: one in 64 begins with a dash.
pub(in crate::cli) fn with_ids(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_some_and(|command| command == "session") {
        let is_id = |arg: &str| arg.starts_with('-') && SessionId::parse(arg).is_some();
        for arg in &mut args[2..] {
            if let Some(id) = arg.to_str().filter(|arg| is_id(arg)) {
                *arg = format!("{ID}{id}").into();
            }
        }
    }
    args
}

fn parse_id(text: &str) -> Result<SessionId, &'static str> {
    SessionId::parse(text.strip_prefix(ID).unwrap_or(text)).ok_or("not a session id")
}

/// Does it, and writes the answer.
///
/// # Errors
/// If the service cannot be reached, or the answer not be written.
pub(super) async fn run(
    place: &ControlPlace,
    command: SessionCommand,
    out: &mut impl Write,
) -> anyhow::Result<CommandOutcome> {
    match command {
        SessionCommand::List { user, json } => list(place, user, json, out).await,
        SessionCommand::Show { id, json } => match place.ask(&ControlRequest::Session { id }).await? {
            ControlAnswer::Session(session) => {
                if json { print_json(&session, out) } else { print(&session, out) }.context(NO_OUTPUT)?;
                Ok(CommandOutcome::default())
            }
            other => Ok(CommandOutcome::refused(other)),
        },
        SessionCommand::Revoke { user: Some(user), .. } => revoke_user(place, user, out).await,
        SessionCommand::Revoke { ids, user: None } => {
            let mut outcome = CommandOutcome::default();
            for id in ids {
                match place.ask(&ControlRequest::Revoke { id }).await? {
                    ControlAnswer::Revoked { .. } => writeln!(out, "revoked session {id}").context(NO_OUTPUT)?,
                    other => outcome.add(CommandOutcome::refused(other)),
                }
            }
            Ok(outcome)
        }
    }
}

async fn list(
    place: &ControlPlace,
    user: Option<String>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<CommandOutcome> {
    let (mut listed, mut after) = (HashSet::new(), None);
    let mut table = TextTable::new(HEADS);
    let mut is_first = true;
    loop {
        let page = match place.ask(&ControlRequest::Sessions { user: user.clone(), after }).await? {
            ControlAnswer::Sessions(page) => page,
            other => return Ok(CommandOutcome::refused(other)),
        };
        // One that is used while they are listed comes again.
        let new: Vec<_> = page.sessions.into_iter().filter(|session| listed.insert(session.id)).collect();
        let written = if json { list_json(&new, is_first, out) } else { table.write(&rows(&new), out) };
        written.context(NO_OUTPUT)?;
        is_first &= new.is_empty();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if json {
        out.write_all(if is_first { b"[]\n" } else { b"]\n" }).context(NO_OUTPUT)?;
    }
    Ok(CommandOutcome::default())
}

/// A line for each session; the first one begins the list.
fn list_json(sessions: &[SessionInfo], is_first: bool, out: &mut impl Write) -> io::Result<()> {
    for (n, session) in sessions.iter().enumerate() {
        out.write_all(if is_first && n == 0 { b"[" } else { b"," })?;
        print_json(session, out)?;
    }
    Ok(())
}

fn rows(sessions: &[SessionInfo]) -> Vec<[String; 8]> {
    let row = |session: &SessionInfo| {
        let name = session.username.as_ref().or(session.name.as_ref());
        [
            session.id.to_string(),
            session.user_id.to_string(),
            or_dash(name),
            browser(session),
            or_dash(session.address.as_ref()),
            yes_or_no(session.bound).to_owned(),
            time(session.created),
            time(session.last_seen),
        ]
    };
    sessions.iter().map(row).collect()
}

fn print(session: &SessionDetails, out: &mut impl Write) -> io::Result<()> {
    let SessionDetails { session: info, .. } = session;
    let or_none = |text: &Option<String>| or_dash(text.as_ref());
    let lines = [
        ("id", info.id.to_string()),
        ("user", info.user_id.to_string()),
        ("username", or_none(&info.username)),
        ("name", or_none(&info.name)),
        ("role", or_none(&session.role)),
        ("issuer", or_none(&session.issuer)),
        ("label", or_none(&info.label)),
        ("browser", browser(info)),
        ("user agent", or_none(&session.user_agent)),
        ("address", or_none(&info.address)),
        ("created", time(info.created)),
        ("last seen", time(info.last_seen)),
        ("ends", format!("{} if it is not used, {} at the latest", time(info.expires), time(session.ends))),
        ("bound", bound(session).to_owned()),
        ("generation", format!("{}, made {}", session.generation, time(session.generation_made))),
        ("connections", session.connections.join(" ")),
    ];
    for (what, how) in lines {
        let line = format!("{what:12}{}", how.replace(char::is_control, "\u{fffd}"));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

async fn revoke_user(place: &ControlPlace, user: String, out: &mut impl Write) -> anyhow::Result<CommandOutcome> {
    let mut revoked = 0;
    loop {
        match place.ask(&ControlRequest::RevokeUser { user: user.clone() }).await? {
            ControlAnswer::Revoked { revoked: some, more } => {
                revoked += some;
                // What could not be ended would be found again and again.
                if !more || some == 0 {
                    break;
                }
            }
            other => return Ok(CommandOutcome::refused(other)),
        }
    }
    let sessions = if revoked == 1 { "session" } else { "sessions" };
    writeln!(out, "revoked {revoked} {sessions} of {user}").context(NO_OUTPUT)?;
    Ok(CommandOutcome::default())
}

/// `Firefox on Windows`, as far as that is known.
fn browser(session: &SessionInfo) -> String {
    match (&session.browser, &session.system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => "-".to_owned(),
    }
}

fn bound(session: &SessionDetails) -> &'static str {
    match (session.bound_to_device, session.bound_to_cookie, session.in_cookie) {
        (_, _, true) => "its key is in a cookie",
        (true, true, false) => "to a device key and a cookie",
        (true, false, false) => "to a device key",
        (false, true, false) => "to a cookie",
        (false, false, false) => "no",
    }
}

fn or_dash(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

fn yes_or_no(it: bool) -> &'static str {
    if it { "yes" } else { "no" }
}

/// ISO 8601, UTC, or `never`.
fn time(milliseconds: u64) -> String {
    const LAST: u64 = 253_402_300_799_999; // of the year 9999
    if milliseconds > LAST {
        return "never".to_owned();
    }
    format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(milliseconds)).to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use relogin_session::UserId;

    use super::*;

    fn info() -> SessionInfo {
        SessionInfo {
            id: SessionId([0xfb; 16]),
            user_id: UserId::Number(3),
            username: Some("jane".to_owned()),
            name: None,
            label: Some("work".to_owned()),
            browser: Some("Firefox".to_owned()),
            system: Some("Windows".to_owned()),
            address: Some("203.0.113.7".to_owned()),
            created: 1_795_983_725_123,
            last_seen: 1_795_987_325_999,
            expires: 1_796_070_125_000,
            connections: 2,
            bound: true,
        }
    }

    #[test]
    fn a_row_has_what_people_look_for() {
        let of_issuer = SessionInfo {
            user_id: UserId::Text("u-9".to_owned()),
            username: None,
            name: Some("Zoë".to_owned()),
            browser: None,
            address: None,
            bound: false,
            ..info()
        };
        let unknown = SessionInfo { name: None, system: None, ..of_issuer.clone() };
        let (mut table, mut text) = (TextTable::new(HEADS), Vec::new());
        table.write(&rows(&[info(), of_issuer, unknown]), &mut text).unwrap();
        expect![[r#"
            ID                      USER  NAME  BROWSER             ADDRESS      BOUND  CREATED               LAST SEEN
            -_v7-_v7-_v7-_v7-_v7-w  3     jane  Firefox on Windows  203.0.113.7  yes    2026-11-29T20:22:05Z  2026-11-29T21:22:05Z
            -_v7-_v7-_v7-_v7-_v7-w  u-9   Zoë   Windows             -            no     2026-11-29T20:22:05Z  2026-11-29T21:22:05Z
            -_v7-_v7-_v7-_v7-_v7-w  u-9   -     -                   -            no     2026-11-29T20:22:05Z  2026-11-29T21:22:05Z
        "#]].assert_eq(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn all_of_a_session_is_a_line_each() {
        let details = SessionDetails {
            session: info(),
            role: Some("user".to_owned()),
            issuer: None,
            user_agent: Some("Mozilla/5.0 \u{1b}[2J".to_owned()),
            ends: u64::MAX,
            generation: 7,
            generation_made: 1_795_987_325_000,
            bound_to_device: true,
            bound_to_cookie: false,
            in_cookie: false,
            connections: vec!["c1".to_owned(), "c2".to_owned()],
        };
        let mut text = Vec::new();
        print(&details, &mut text).unwrap();
        expect![[r#"
            id          -_v7-_v7-_v7-_v7-_v7-w
            user        3
            username    jane
            name        -
            role        user
            issuer      -
            label       work
            browser     Firefox on Windows
            user agent  Mozilla/5.0 �[2J
            address     203.0.113.7
            created     2026-11-29T20:22:05Z
            last seen   2026-11-29T21:22:05Z
            ends        2026-11-30T20:22:05Z if it is not used, never at the latest
            bound       to a device key
            generation  7, made 2026-11-29T21:22:05Z
            connections c1 c2
        "#]]
        .assert_eq(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn ids_that_look_like_options_are_ids() {
        let id = info().id.to_string();
        assert!(id.starts_with('-'));
        let args = |text: &str| with_ids(text.split(' ').map(Into::into).collect()).join(" ".as_ref());
        let revoke = format!("relogin session revoke {id} --json");
        assert_eq!(args(&revoke), *revoke.replace(&id, &format!("id:{id}")));
        let other = format!("relogin user changed 7 --keep {id}");
        assert_eq!(args(&other), *other);
        assert_eq!(parse_id(&format!("id:{id}")).unwrap(), info().id);
        assert!(parse_id("--user").is_err());
    }
}

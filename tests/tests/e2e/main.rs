//! The end-to-end tests: one binary, so that one link step and one machine's worth of parallelism
//! serve them all.
//!
//! A scenario is one function; [`on`] makes a test of it for each arrangement that it plays on.
//! README.md has the table of the faults that they stand against.
#![forbid(unsafe_code)]

#[macro_use(on)]
extern crate relogin_tests;

use std::collections::HashSet;

use anyhow::{Context, Result};
use relogin_tests::front::{Frame, Front};
use serde_json::Value;

mod compression;
mod cookies;
mod databases;
mod devices;
mod ending;
mod examples;
mod harness;
mod header_login;
mod jwt;
mod legacy;
mod losses;
mod own_page;
mod package;
mod packaging;
mod page;
mod positions;
mod readme;
mod redirect;
mod resclient;
mod services;
mod snippets;
mod states;
mod survival;
mod tabs;
mod theft;
mod trunk;
mod users;
mod wire;

const LOGIN: &str = "auth.session.login";
const LOGOUT: &str = "auth.session.logout";
const RELOGIN: &str = "auth.session.relogin";

/// The demo's users, as the page shows them: id, name, role.
const ADMIN: [&str; 3] = ["1", "Administrator", "admin"];
const JANE: [&str; 3] = ["3", "Jane Doe", "user"];
const JOHN: [&str; 3] = ["4", "John Doe", "user"];

/// Fails if a key was used twice, but for a repetition of the same use, with the same attempt: what
/// a service has to take for theft (faults 3, 4 and 10).
fn assert_no_key_used_twice(front: &Front) {
    let frames = front.frames(0);
    let uses: Vec<&Frame> = frames.iter().filter(|frame| frame.is_request(RELOGIN)).collect();
    for (number, one) in uses.iter().enumerate() {
        for other in &uses[..number] {
            let (one, other) = (&one.json["params"], &other.json["params"]);
            let repetition = one["attempt"].is_string() && one["attempt"] == other["attempt"];
            assert!(one["reloginKey"] != other["reloginKey"] || repetition, "a key was used twice: {uses:#?}");
        }
    }
}

/// What a session's key is worth by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing, without the browser that logged in.
    Bound,
    /// A use.
    Bearer,
}

impl Kind {
    /// Where a front serves the page to browsers whose sessions are to be of this kind.
    fn url(self, front: &Front) -> String {
        match self {
            Self::Bound => front.url(),
            Self::Bearer => front.plain_url(),
        }
    }

    /// Fails if a storage record is not of this kind.
    fn assert_of(self, record: &Value) {
        assert_eq!(record["bound"] == true, self == Self::Bound, "{record}");
    }
}

/// Waits until this many tabs have got back in since `mark`, each by a use of the key on another
/// connection.
async fn back_in(front: &Front, mark: usize, tabs: usize) -> Result<()> {
    let (mut uses, mut back) = (Vec::<Frame>::new(), HashSet::new());
    let is_last = |frame: &Frame| {
        if frame.is_request(RELOGIN) {
            uses.push(frame.clone());
        } else if frame.json["result"].is_object() && uses.iter().any(|request| frame.answers(request)) {
            back.insert(frame.connection);
        }
        back.len() == tabs
    };
    front.frame(mark, "everybody back in", is_last).await.map(drop)
}

/// Fails if the service has refused a key since `mark`.
fn assert_no_key_refused(front: &Front, mark: usize) {
    let refused = |frame: &&Frame| frame.error_code() == Some("session.invalidReloginKey");
    let frames = front.frames(mark);
    assert!(!frames.iter().any(|frame| refused(&frame)), "an honest page's key was refused: {frames:#?}");
}

/// How many relogins there were between the logout after `mark` and the login after that.
fn relogins_after_logout(front: &Front, mark: usize) -> Result<usize> {
    let frames = front.frames(mark);
    let logout = frames.iter().position(|frame| frame.is_request(LOGOUT)).context("there was no logout")?;
    relogins_before_login(&frames[logout..])
}

/// How many relogins there are before the first login.
fn relogins_before_login(frames: &[Frame]) -> Result<usize> {
    let login = frames.iter().position(|frame| frame.is_request(LOGIN)).context("there was no login")?;
    Ok(frames[..login].iter().filter(|frame| frame.is_request(RELOGIN)).count())
}

//! `relogin store …`: checks and repairs the session store of a stopped service.

use std::{
    io::{self, Write},
    path::Path,
};

use relogin_host::errors::Chain;
use relogin_store::{
    StoreError,
    sled::repair::{self, Lost, Repaired, Report},
};
use thiserror::Error;

use super::StoreCommand;

/// Why a command did nothing.
#[derive(Debug, Error)]
pub enum StoreCommandError {
    /// There is no store.
    #[error("there is no session store in the data folder {0}; name the service's data folder with --data")]
    NoStore(String),
    /// A service uses it.
    #[error("a service uses the data folder {0}; stop it first")]
    InUse(String),
    /// It could be neither read nor written.
    #[error("the session store in {0} could not be read to its end, and is unchanged")]
    Store(String, #[source] StoreError),
    /// The report could not be written.
    #[error("cannot write the report")]
    Output(#[source] io::Error),
}

/// Something is lost, or, after a check, must be repaired.
pub const DAMAGED: u8 = 1;

/// Runs the command on the store in the data folder `data`, and reports to `out`. Returns the exit
/// code: 0, or [`DAMAGED`].
///
/// # Errors
/// [`StoreCommandError`] if it failed; the store is then unchanged.
pub fn run(data: &Path, command: StoreCommand, out: &mut impl Write) -> Result<u8, StoreCommandError> {
    let folder = data.join("sessions");
    let shown = data.display().to_string();
    if !folder.is_dir() {
        return Err(StoreCommandError::NoStore(shown));
    }
    let explain = |error| match error {
        StoreError::InUse(_) => StoreCommandError::InUse(shown.clone()),
        error => StoreCommandError::Store(shown.clone(), error),
    };
    match command {
        StoreCommand::Check => {
            let report = repair::check(&folder).map_err(explain)?;
            print_check(&shown, &report, out).map_err(StoreCommandError::Output)?;
            Ok(if report.is_sound() { 0 } else { DAMAGED })
        }
        StoreCommand::Repair { keep_unverified } => {
            let repaired = repair::repair(&folder, keep_unverified).map_err(explain)?;
            print_repair(&shown, &repaired, out).map_err(StoreCommandError::Output)?;
            Ok(if loses(&repaired.report) { DAMAGED } else { 0 })
        }
    }
}

fn print_check(data: &str, report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.is_sound() {
        return writeln!(out, "the session store in {data} is sound: sessions: {}", report.whole);
    }
    print_report(report, out)?;
    writeln!(
        out,
        "intact sessions: {}, lost: {}; `relogin store repair --data {data}` keeps the intact ones",
        report.whole,
        report.lost.len()
    )?;
    if report.unverified > 0 {
        writeln!(
            out,
            "readable sessions that may have ended: {}; --keep-unverified keeps them too",
            report.unverified
        )?;
    }
    Ok(())
}

fn print_repair(data: &str, Repaired { report, aside }: &Repaired, out: &mut impl Write) -> io::Result<()> {
    let Some(aside) = aside else {
        return writeln!(out, "the session store in {data} is sound and unchanged: sessions: {}", report.whole);
    };
    print_report(report, out)?;
    if report.unverified > 0 {
        writeln!(out, "readable sessions that may have ended, not kept: {}", report.unverified)?;
    }
    writeln!(
        out,
        "the session store in {data} is repaired: sessions: {}, lost: {}; the damaged store is in {}",
        report.whole,
        report.lost.len(),
        aside.display()
    )
}

fn print_report(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for error in &report.damage {
        writeln!(out, "{}", Chain(error))?;
    }
    if has_gap(report) {
        writeln!(
            out,
            "part of the write-ahead log is lost. Sessions created in it are gone, sessions used in it end at their \
             next use, and sessions ended in it may be open again"
        )?;
    }
    for Lost { sid, user } in &report.lost {
        // Text on a terminal must not be able to control it.
        let user = user.as_ref().map_or_else(String::new, |user| format!(" of user {user}"));
        writeln!(out, "lost: session {sid}{}", user.replace(char::is_control, "\u{fffd}"))?;
    }
    Ok(())
}

/// True if a part of the write-ahead log is missing, so that nobody knows what else is lost.
fn has_gap(report: &Report) -> bool {
    use relogin_store::Damage;
    report.damage.iter().any(|error| match error {
        StoreError::Damaged(file, Damage::Gap { .. } | Damage::Missing) => {
            file.components().any(|part| part.as_os_str() == "journal")
        }
        _ => false,
    })
}

fn loses(report: &Report) -> bool {
    !report.lost.is_empty() || report.unverified > 0 || has_gap(report)
}

//! The time from a navigation to "logged in", for a user who is logged in: with nothing in the
//! browser's caches, and at a reload.
//!
//! Each round starts a browser on the same profile, without its caches of files and compiled code;
//! storage stays. `data-session` says when the user is logged in.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use relogin_tests::{browser::Browser, stage::Stage};
use serde::Deserialize;

use crate::figures::Figures;

const ROUNDS: usize = 11;

/// A script that records when the user is logged in, and when the page waited for the server: for a
/// file from its request to its end, for the WebSocket until it was open, for requests until they
/// were answered.
const WATCH: &str = include_str!("../../pages/watch.js");

/// One navigation until "logged in". Times are in milliseconds from its start, waits in
/// milliseconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Way {
    logged_in: f64,
    /// Wait for the document and the files of the page.
    files: f64,
    /// When the program opened its database or a connection, whichever was first.
    started: f64,
    /// Wait for the WebSocket to open.
    socket: f64,
    /// Wait for answers to requests.
    answers: f64,
    /// Wait for any of these; a moment with several waits counts once.
    server: f64,
}

/// The title of a row of the table, and its figure.
type Row = (&'static str, fn(&Way) -> f64);

pub(crate) async fn measure(stage: &mut Stage) -> Result<()> {
    stage.up(&[]).await?;
    let url = format!("http://{}/", stage.service_addr());
    let browser = stage.page("reload", &url).await?;
    browser.log_in("jane", "jane").await?;
    browser.close().await?;

    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forget_files(&stage.folder().join("profile-reload"))?;
        let browser = stage.browser("reload").await?;
        browser.before_each_page(WATCH).await?;
        browser.open(&url).await?;
        cold.push(way(&browser).await?);
        for _ in 0..2 {
            browser.reload().await?;
            warm.push(way(&browser).await?);
        }
        browser.close().await?;
    }
    println!(
        "  milliseconds, median (quartiles) of {ROUNDS} browsers{:<14}{:<26}two reloads in each",
        "", "nothing in caches"
    );
    let rows: [Row; 7] = [
        ("navigation to logged in", |way| way.logged_in),
        ("until the program runs", |way| way.started),
        ("waiting for the server", |way| way.server),
        ("  for document, scripts, WebAssembly, style", |way| way.files),
        ("  for the WebSocket to open", |way| way.socket),
        ("  for answers on it", |way| way.answers),
        ("ours, and the browser's: the rest", |way| way.logged_in - way.server),
    ];
    for (what, figure) in rows {
        let [cold, warm] = [&cold, &warm].map(|ways| Figures::of(ways.iter().map(figure)).cell());
        println!("  {what:<56}{cold:<26}{warm}");
    }
    Ok(())
}

async fn way(browser: &Browser) -> Result<Way> {
    let found = browser.until("the user", "document.body.dataset.session === 'in' && window.way?.()").await?;
    serde_json::from_value(found).context("what the page has noted")
}

/// Removes the browser's caches of files and compiled code from a profile.
fn forget_files(profile: &Path) -> Result<()> {
    for cache in ["Cache", "Code Cache", "GPUCache"] {
        let folder = profile.join("Default").join(cache);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    Ok(())
}

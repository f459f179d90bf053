//! Resources beside ResClient: both get the same frames, alternating in one page. A time is
//! measured from the page's request until the last listener has been called for what the gateway
//! sent.

use anyhow::{Result, ensure};
use relogin_tests::{
    browser::Browser,
    parts::Part,
    site::{Pages, Site},
    stage::Stage,
};
use serde_json::json;

use crate::{
    figures::Figures,
    gateway::{Gateway, ITEMS, MODELS, STEPS},
};

/// Rounds that are not counted, because a browser compiles only code that has run often.
const WARM_UP: usize = 5;
const ROUNDS: usize = 21;

/// The page's names of the parts, and their titles.
const PARTS: [(&str, &str); 4] = [
    ("change", "one change event to 1,000 listeners"),
    ("load", "a collection of 10,000 items"),
    ("move", "2,000 adds and removes in it"),
    ("changeAll", "a change of each of 1,000 models"),
];

pub(crate) async fn measure(stage: &mut Stage) -> Result<()> {
    ensure!((ITEMS, STEPS, MODELS) == (10_000, 2_000, 1_000), "the table says how many there are");
    let gateway = Gateway::open().await?;
    let pages = Pages::default()
        .with("/index.html", include_str!("../../pages/page.html"))
        .with("/page.js", include_str!("../../pages/figures.js"))
        .with("/resclient-module.js", include_str!("../../pages/resclient-module.js"))
        .with_folder("/resclient/", Part::Resclient.path()?.join("node_modules/resclient"))
        .with_folder("/relogin/", Part::Package.path()?);
    let site = Site::open(pages).await?;
    let browser = stage.browser("figures").await?;
    browser.open(&format!("{}?gateway={}", site.url(), gateway.url())).await?;
    browser.until("the page", "document.body.dataset.state === 'there'").await?;

    println!(
        "  milliseconds, median (quartiles) of {ROUNDS} rounds{:<16}{:<26}{:<26}ours of theirs",
        "", "ours", "ResClient 2.5"
    );
    for (part, what) in PARTS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..WARM_UP + ROUNDS {
            // They take turns at being first, because the first one leaves its garbage to the
            // second.
            let turns = if round.is_multiple_of(2) { ["ours", "theirs"] } else { ["theirs", "ours"] };
            for whose in turns {
                let time = once(&browser, part, whose).await?;
                if round >= WARM_UP {
                    if whose == "ours" { &mut ours } else { &mut theirs }.push(time);
                }
            }
        }
        let (ours, theirs) = (Figures::of(ours), Figures::of(theirs));
        let ratio = ours.median / theirs.median;
        println!("  {what:<56}{:<26}{:<26}{ratio:.2}", ours.cell(), theirs.cell());
    }
    let told = browser.console().await?;
    ensure!(!told.iter().any(|line| line.contains("Uncaught")), "{told:#?}");
    Ok(())
}

/// Plays a part with a new client. The page checks the result.
async fn once(browser: &Browser, part: &str, whose: &str) -> Result<f64> {
    browser.devtools("HeapProfiler.collectGarbage", json!({})).await?;
    let time = browser.run(&format!("return figures.play('{part}', '{whose}')")).await?;
    Ok(serde_json::from_value(time)?)
}

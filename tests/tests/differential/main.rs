//! The differential suite: scripts, and histories at random, at Resgate and at our gateway, on one
//! NATS server and with one configuration file; what comes of them must be the same but for the
//! differences on purpose, which `docs/gateway.md` lists.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what came of scripts is what those who name one want to see")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::{StreamExt, stream};

mod cast;
mod compressed;
mod gateways;
mod history;
mod rules;
mod script;
mod transcript;
mod wire;

use gateways::{COMPRESSED, Gateways, HEADS, KINDS, Kind};
use script::Script;
use transcript::{Difference, Transcript};

/// How many scripts are played at a time.
const AT_A_TIME: usize = 6;

/// `RELOGIN_DIFFERENTIAL=word` plays the scripts whose names have that word, and shows their
/// transcripts.
const ONLY: &str = "RELOGIN_DIFFERENTIAL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_have_the_same_outcome_at_both_gateways() -> Result<()> {
    play_all("scripts", script::all()?).await
}

/// Compression changes what is on the wire, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_have_the_same_outcome_with_compressed_messages() -> Result<()> {
    let plain = script::all()?.into_iter().filter(|script| script.on == "plain" && !script.opens_by_itself());
    play_all(COMPRESSED, plain.map(|script| Script { on: COMPRESSED.to_owned(), ..script }).collect()).await
}

async fn play_all(run: &str, scripts: Vec<Script>) -> Result<()> {
    let only = env::var(ONLY).unwrap_or_default();
    let scripts = scripts.into_iter().enumerate().filter(|(_, script)| script.name.contains(&only));
    let scripts: Vec<_> = scripts.collect();
    let count = scripts.len();
    let gateways = Arc::new(Gateways::start(run).await?);
    let plays = scripts.into_iter().map(|(number, script)| {
        let gateways = gateways.clone();
        async move {
            let outcome = tokio::spawn(async move { compare(&gateways, &script, number).await }).await;
            outcome.map_err(|error| anyhow!("{error}")).flatten()
        }
    });
    let outcomes: Vec<Result<()>> = stream::iter(plays).buffer_unordered(AT_A_TIME).collect().await;
    let complaints: Vec<String> =
        outcomes.into_iter().filter_map(|outcome| outcome.err().map(|error| format!("{error:#}"))).collect();
    Arc::into_inner(gateways).context("all scripts have ended")?.stop().await?;
    // A panic, because an error would be shown with a back trace through executors.
    assert!(complaints.is_empty(), "{} of {count} scripts:\n\n{}", complaints.len(), complaints.join("\n\n"));
    Ok(())
}

/// Plays a script at both gateways and looks whether what came of it differs as it says.
async fn compare(gateways: &Gateways, script: &Script, number: usize) -> Result<()> {
    let pair = gateways.pair(&script.on).await?;
    let pair = pair.get().context("they were started")?;
    let nats = gateways.nats_url();
    let play = |kind| cast::play(script, number, &nats, pair.of(kind));
    let [resgate, ours] = KINDS;
    let context = || script.name.clone();
    let (first, second) = if script.on == HEADS || script.on == "metrics" {
        let _turn = pair.turn.lock().await;
        (play(resgate).await.with_context(context)?, play(ours).await.with_context(context)?)
    } else {
        let both = tokio::join!(play(resgate), play(ours));
        (both.0.with_context(context)?, both.1.with_context(context)?)
    };
    judge(script, &first, &second)
}

fn judge(script: &Script, first: &Transcript, second: &Transcript) -> Result<()> {
    let found = first.difference(second);
    let declared = script.differs.as_ref().map(|differs| differs.lines.clone()).unwrap_or_default();
    let show = || first.show_beside(second, KINDS.map(Kind::name));
    let is_declared = declared != Difference::default();
    let is_whole = found == declared && is_declared == script.differs.is_some();
    ensure!(is_whole, "{} does not differ as it declares:\n{found}{}", script.name, show());
    ensure!(!first.has_stopped(), "{}: it times out at both\n{}", script.name, show());
    if env::var_os(ONLY).is_some() {
        println!("{}\n{}", script.name, show());
    }
    Ok(())
}

/// How many histories are lived through, unless there is a time.
const HISTORIES: u64 = 150;
/// For how many seconds there are histories in place of that.
const SECONDS: &str = "RELOGIN_DIFFERENTIAL_SECONDS";
/// The seed of the first history.
const SEED: &str = "RELOGIN_DIFFERENTIAL_SEED";

/// How many histories are lived through at a time.
const HISTORIES_AT_A_TIME: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_clients_equal_what_the_service_has_after_any_history() -> Result<()> {
    let (seconds, first) = (number(SECONDS, 0)?, number(SEED, 1)?);
    let gateways = Arc::new(Gateways::start("histories").await?);
    let pair = gateways.pair("plain").await?;
    let (deadline, nats) = (Instant::now() + Duration::from_secs(seconds), gateways.nats_url());
    let goes_on = |seed: &u64| if seconds == 0 { *seed < first + HISTORIES } else { Instant::now() < deadline };
    let seeds = (first..).take_while(goes_on);
    let lives = seeds.flat_map(|seed| KINDS.map(|kind| (seed, kind))).map(|(seed, kind)| {
        let (pair, nats) = (pair.clone(), nats.clone());
        let life = async move {
            let pair = pair.get().context("they were started")?;
            history::live(seed, &nats, pair.of(kind)).await
        };
        async move { tokio::spawn(life).await? }
    });
    let lives: Vec<Result<usize>> = stream::iter(lives).buffer_unordered(HISTORIES_AT_A_TIME).collect().await;
    drop(pair);
    let logs = gateways.logs().to_owned();
    Arc::into_inner(gateways).context("all histories have ended")?.stop().await?;
    let (lived, failed): (Vec<_>, Vec<_>) = lives.into_iter().partition(Result::is_ok);
    let events: usize = lived.iter().flatten().sum();
    let count = lived.len() + failed.len();
    println!("{count} histories from seed {first} on, half of them at each gateway; {events} events for clients");
    let complaints: Vec<_> = failed.into_iter().filter_map(Result::err).collect();
    let mut roots = Vec::new();
    for error in &complaints {
        let title = history::title(error);
        fs::write(logs.join(format!("{title}.log")), format!("{error:#}")).context("writing what happened")?;
        roots.push(format!("{title}: {}", error.root_cause()));
    }
    assert!(roots.is_empty(), "histories failed, and their logs are in {}: {roots:#?}", logs.display());
    Ok(())
}

fn number(variable: &str, usual: u64) -> Result<u64> {
    env::var(variable).map_or(Ok(usual), |text| text.parse().with_context(|| format!("{variable} is no number")))
}

#[test]
fn every_rule_has_scripts_and_every_script_a_rule() -> Result<()> {
    let scripts = script::all()?;
    let names: BTreeSet<_> = scripts.iter().map(|script| script.name.as_str()).collect();
    let rules: Vec<_> = rules::ALL.iter().flat_map(|group| group.iter()).collect();
    let told: BTreeSet<_> = rules.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let bare: Vec<_> = rules.iter().filter(|(_, names)| names.is_empty()).collect();
    assert!(bare.is_empty(), "rules without scripts: {bare:#?}");
    let strangers: Vec<_> = names.symmetric_difference(&told).collect();
    assert!(strangers.is_empty(), "scripts without a rule, or rules that name unknown scripts: {strangers:#?}");
    assert!(names.len() >= 150, "there are {} scripts", names.len());
    Ok(())
}

/// The last column of the tables in that section names scripts, or other tests.
#[test]
fn every_difference_is_in_the_docs_and_has_a_script() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gateway.md");
    let page = fs::read_to_string(page).context("reading the page")?;
    let (_, section) = page.split_once("\n## Differences from Resgate\n").context("the section is gone")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.contains("| script |"));
    let scripts = script::all()?;
    let differing: BTreeSet<_> =
        scripts.iter().filter(|script| script.differs.is_some()).map(|script| script.name.as_str()).collect();
    let mut listed = BTreeSet::new();
    for row in rows {
        let last = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = last.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no script or test is named in {row}");
        listed.extend(names);
    }
    let missing: Vec<_> = differing.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/gateway.md does not list {missing:#?}");
    let tests = all_tests()?;
    let wrong: Vec<_> = listed.difference(&differing).filter(|name| !tests.contains(**name)).collect();
    assert!(wrong.is_empty(), "docs/gateway.md lists what is neither a script that differs nor a test: {wrong:#?}");
    Ok(())
}

/// The names of all functions in Rust files of the workspace whose paths have `test`.
fn all_tests() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<_> = ["crates", "service", "tests"].map(|folder| root.join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).context("reading a folder")? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).context("reading a source")?;
                let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
                names.extend(functions.map(str::to_owned));
            }
        }
    }
    Ok(names)
}

//! One run: everything is started, disturbed, left alone, and checked.

use std::{fmt::Write as _, fs, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use relogin_tests::{DEADLINE, parts::target};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    browser::Browser,
    check::check,
    history::{Event, History, Owner},
    people::{Person, Thief},
    plan::plan,
    record::Recorder,
    tab::Place,
    world::World,
};

/// How many browsers there are; every fourth has two tabs, which makes 200. Every other one binds
/// its sessions.
const BROWSERS: usize = 160;
/// How many users they are.
const USERS: usize = 80;
const THIEVES: usize = 3;
/// How many are stolen from when everything is calm.
const CALM_THEFTS: usize = 4;

/// What a run saw, for people.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The numbers of faults, of uses of a key that got one, of logins and logouts that were
    /// answered, and of thefts.
    pub counts: [usize; 5],
    /// How often programs have ended by themselves and were started again.
    pub ends: u32,
    /// How long it took to start everything.
    pub start: Duration,
    /// How long it took until everybody was in again.
    pub recovery: Duration,
}

/// Runs it with faults for `length`.
///
/// # Errors
/// If a rule is broken, with all complaints, or a program fails. The history is then kept beside
/// the programs' logs.
pub async fn run(seed: u64, length: Duration) -> Result<Report> {
    let began = Instant::now();
    let world = Arc::new(World::start(USERS).await?);
    let start = began.elapsed();
    let name = |number: usize| format!("user{}", number % USERS);
    let is_bound = |number: usize| number % 2 == 1;
    let owners = (0..BROWSERS).map(|number| Owner { user: name(number), bound: is_bound(number) }).collect();
    let recorder = Arc::new(Recorder::new(owners));
    let place = Place { gateways: Arc::new(world.gateways()), recorder: Arc::clone(&recorder) };
    let steps = plan(seed, length);
    let faults = steps.len();

    let (stop, stopped) = watch::channel(false);
    let (mut people, mut thieves) = (JoinSet::new(), JoinSet::new());
    let mut victims = Vec::new();
    for number in 0..BROWSERS {
        let tabs = if number % 8 < 2 { 2 } else { 1 };
        let browser = Browser::new(number, name(number), is_bound(number));
        let person = Person::new(browser, tabs, &place, seed ^ number as u64);
        victims.push(Arc::clone(&person.browser));
        people.spawn(person.live(stopped.clone()));
    }
    let victims = Arc::new(victims);
    for number in 0..THIEVES {
        let thief = Thief::new(&place, seed ^ (number as u64) << 32);
        thieves.spawn(thief.live(Arc::clone(&victims), stopped.clone()));
    }
    let outcome = async {
        world.disturb(steps).await?;
        stop.send_replace(true);
        while let Some(thief) = thieves.join_next().await {
            thief??;
        }
        timeout(DEADLINE, world.agrees()).await.context("the NATS servers do not agree")?;
        let began = Instant::now();
        let mut people = people.join_all().await;
        people.sort_by_key(|person| person.browser.number);
        come_back(&mut people).await?;
        let recovery = began.elapsed();
        recorder.event(Event::Calm);
        calm_thefts(&mut people, &place, seed).await?;
        join_all(people.iter().map(Person::write_down)).await;
        anyhow::Ok(recovery)
    };
    let outcome = outcome.await;
    let history = recorder.so_far();
    let mut complaints = check(&history);
    let world = Arc::into_inner(world).context("no fault is under way any more")?;
    let stopped = world.stop().await;
    let recovery = outcome.map_err(|error| complaints.insert(0, format!("{error:#}"))).unwrap_or_default();
    let ends = stopped.map_err(|error| complaints.push(format!("{error:#}"))).unwrap_or_default();
    if !complaints.is_empty() {
        keep(&history)?;
    }
    ensure!(complaints.is_empty(), "seed {seed}: {} complaints\n{}", complaints.len(), complaints.join("\n"));
    Ok(Report { counts: counts(faults, &history), ends, start, recovery })
}

async fn come_back(people: &mut [Person]) -> Result<()> {
    let all = timeout(DEADLINE, join_all(people.iter_mut().map(Person::come_back))).await;
    let mut out = String::new();
    for person in people.iter().filter(|person| !person.is_in()) {
        let states: Vec<_> = person.tabs.iter().map(|tab| (tab.client.session(), tab.client.connection())).collect();
        writeln!(out, "{:?}: {states:?}", person.browser)?;
    }
    all.map(drop).with_context(|| format!("not everybody is in again:\n{out}"))
}

/// Without faults, the owners of stolen keys learn why, and log in again.
async fn calm_thefts(people: &mut [Person], place: &Place, seed: u64) -> Result<()> {
    let mut thief = Thief::new(place, seed);
    for person in people.iter_mut().step_by(2).take(CALM_THEFTS) {
        let robbed = async {
            // A new session has no used key yet.
            while !thief.steal(&person.browser).await? {
                sleep(Duration::from_millis(50)).await;
            }
            person.recover().await;
            anyhow::Ok(())
        };
        timeout(DEADLINE, robbed).await.context("the owner of a stolen key is not logged in again")??;
    }
    Ok(())
}

fn counts(faults: usize, history: &History) -> [usize; 5] {
    let mut counts = [faults, 0, 0, 0, 0];
    for exchange in history.exchanges() {
        let number = match (exchange.request, exchange.answer) {
            _ if exchange.is_theft() => 4,
            (_, None) => continue,
            (crate::history::Request::Use { .. }, _) if exchange.accepted().is_some() => 1,
            (crate::history::Request::Login, _) if exchange.accepted().is_some() => 2,
            (crate::history::Request::Logout(_), _) => 3,
            _ => continue,
        };
        counts[number] += 1;
    }
    counts
}

/// Keeps the history for those who look for the reason.
fn keep(history: &History) -> Result<()> {
    let lines: Vec<_> = history.events.iter().enumerate().map(|(at, event)| format!("{at} {event:?}")).collect();
    fs::write(target().join("e2e").join("chaos").join("history.log"), lines.join("\n")).context("keeping the history")
}

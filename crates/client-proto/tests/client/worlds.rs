//! Browsers, a gateway and a service with the real session rules, in the orders that a seed
//! chooses. A failure names its seed: with `RELOGIN_SEED=7` that one runs alone, with
//! `RELOGIN_TRACE=1` all that happens is said, and with `RELOGIN_SEEDS=100` a hundred times as many
//! seeds are tried as usual.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, time::Duration};

use relogin_client_proto::{Answer, EndReason, Input, PlatformEvent, Resource, SessionState};
use relogin_res::Value;
use relogin_session::Outcome;

use crate::support::{Browser, Profile, Thief, World, admin, ms, rid, s};

/// Runs `story` for each seed; says which seed failed.
pub(crate) fn for_seeds(seeds: u64, story: impl Fn(&mut World)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("RELOGIN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..seeds * number("RELOGIN_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        let run = || story(&mut World::new(seed));
        if let Err(failure) = std::panic::catch_unwind(AssertUnwindSafe(run)) {
            eprintln!("failed with RELOGIN_SEED={seed}");
            std::panic::resume_unwind(failure);
        }
    }
}

/// A browser with `count` tabs, the administrator logged in.
pub(crate) fn logged_in(world: &mut World, count: usize) -> Profile {
    let profile = Browser::profile();
    let first = world.open_tab(&profile);
    world.run(s(1));
    let token = world.login(first, "admin");
    world.run(s(1));
    assert_eq!(world.tabs[first].tab.settled[&token], Ok(Answer::Done));
    for _ in 1..count {
        world.open_tab(&profile);
    }
    world.run(s(2));
    assert_logged_in(world, count);
    profile
}

/// All of the first `count` tabs show the administrator and a running counter, and storage can go
/// on.
pub(crate) fn assert_logged_in(world: &World, count: usize) {
    for number in 0..count {
        let tab = &world.tabs[number].tab;
        assert_eq!(tab.state(), SessionState::LoggedIn(admin()), "tab {number}");
        let ticker = tab.client.resource(&rid("ticker.model"));
        assert!(matches!(ticker, Some(Resource::Model(model)) if model.contains_key("seconds")), "tab {number}");
    }
    let stored = world.tabs[0].tab.stored().expect("a key in storage");
    let [record] = *world.service.records.values().collect::<Vec<_>>() else { panic!("{:?}", world.service.records) };
    if stored.get("attempt").is_none() {
        assert_eq!(stored["generation"], record.generation, "storage has the newest key");
        for number in 0..count {
            assert!(world.tabs[number].tab.client.refresh_due().is_some(), "tab {number} does not refresh");
        }
    }
    world.assert_nothing_stolen();
}

#[test]
fn two_tabs_survive_a_restart_of_the_gateway() {
    for_seeds(50, |world| {
        logged_in(world, 2);
        for _ in 0..3 {
            let away = world.rng.range(0, 5000);
            world.stop_gateway();
            world.run(ms(away));
            world.start_gateway();
            let time = world.rng.range(40_000, 80_000);
            world.run(ms(time));
            assert_logged_in(world, 2);
        }
    });
}

#[test]
fn replies_and_requests_lost_at_any_position_log_nobody_out() {
    for_seeds(100, |world| {
        let tabs = usize::try_from(world.rng.range(1, 4)).unwrap();
        logged_in(world, tabs);
        (world.lose_requests, world.lose_replies, world.double_requests) = (20, 40, 20);
        for _ in 0..20 {
            let time = world.rng.range(1000, 30_000);
            world.run(ms(time));
            let number = usize::try_from(world.rng.range(0, 3)).unwrap() % tabs;
            world.drop_connection(number);
        }
        (world.lose_requests, world.lose_replies) = (0, 0);
        world.run(s(100));
        assert_logged_in(world, tabs);
    });
}

#[test]
fn reloads_in_the_middle_of_anything_log_nobody_out() {
    for_seeds(100, |world| {
        let profile = logged_in(world, 1);
        world.lose_replies = 30;
        let mut number = 0;
        for _ in 0..30 {
            // Mostly before the relogin has its answer.
            let time = if world.rng.chance(80) { world.rng.range(0, 300) } else { world.rng.range(0, 40_000) };
            world.run(ms(time));
            number = world.reload(number);
        }
        world.lose_replies = 0;
        world.run(s(100));
        assert_eq!(world.state(number), SessionState::LoggedIn(admin()));
        assert!(profile.borrow().storage.is_some());
        world.assert_nothing_stolen();
    });
}

#[test]
fn frozen_tabs_log_nobody_out_and_hold_nobody_up() {
    for_seeds(100, |world| {
        logged_in(world, 3);
        for _ in 0..6 {
            if world.rng.chance(50) {
                world.stop_gateway();
                world.run(ms(500));
                world.start_gateway();
            }
            // Often in the middle of a resume, with the lock in its hands.
            let time = if world.rng.chance(70) { world.rng.range(0, 1500) } else { world.rng.range(0, 70_000) };
            world.run(ms(time));
            world.freeze(0);
            let time = world.rng.range(1000, 110_000);
            world.run(ms(time));
            for number in 1..3 {
                // Two that have both stopped waiting may get in each other's way for a moment.
                let state = world.state(number);
                assert!(!matches!(state, SessionState::Ended(_) | SessionState::Anonymous), "{state:?}");
            }
            world.thaw(0);
            if world.rng.chance(50) {
                world.run(s(40));
            }
        }
        world.run(s(60));
        assert_logged_in(world, 3);
    });
}

#[test]
fn a_tab_that_slept_within_the_lifetime_of_the_key_is_still_logged_in() {
    for_seeds(50, |world| {
        logged_in(world, 1);
        for _ in 0..5 {
            world.freeze(0);
            // Alone, and so past its refresh, but not past the two minutes that a key lives.
            let time = world.rng.range(30_000, 50_000);
            world.run(ms(time));
            world.thaw(0);
            let time = world.rng.range(10_000, 70_000);
            world.run(ms(time));
            assert_logged_in(world, 1);
        }
    });
}

#[test]
fn a_service_that_is_away_logs_nobody_out() {
    for_seeds(50, |world| {
        logged_in(world, 2);
        for _ in 0..4 {
            world.service_up = false;
            let time = world.rng.range(100, 40_000);
            world.run(ms(time / 2));
            if world.rng.chance(50) {
                world.drop_connection(0);
            }
            world.run(ms(time / 2));
            for number in 0..2 {
                let state = world.state(number);
                assert!(matches!(state, SessionState::LoggedIn(_) | SessionState::Reconnecting(_)), "{state:?}");
            }
            world.service_up = true;
            world.run(s(70));
            assert_logged_in(world, 2);
        }
    });
}

#[test]
fn a_cable_that_is_pulled_is_noticed_and_survived() {
    for_seeds(50, |world| {
        logged_in(world, 2);
        world.tabs[0].cut = true;
        world.run(s(45));
        assert_eq!(world.state(0), SessionState::Reconnecting(admin()), "nobody said that the network is gone");
        world.tabs[0].cut = false;
        world.run(s(75));
        assert_logged_in(world, 2);
    });
}

#[test]
fn logging_out_reaches_every_tab_and_nothing_comes_back() {
    for_seeds(100, |world| {
        let profile = logged_in(world, 3);
        // In the middle of a resume, of a refresh, or of nothing.
        if world.rng.chance(60) {
            world.stop_gateway();
            world.run(ms(300));
            world.start_gateway();
        }
        let time = if world.rng.chance(60) { world.rng.range(0, 1500) } else { world.rng.range(0, 90_000) };
        world.run(ms(time));
        let token = world.logout(0);
        assert_eq!(world.state(0), SessionState::Ended(EndReason::LoggedOut));
        world.run(s(40));
        assert_eq!(world.tabs[0].tab.settled[&token], Ok(Answer::Done));
        assert_eq!(profile.borrow().storage, None);
        assert!(world.service.records.is_empty(), "the session is over at the service, too");
        assert_eq!(world.state(0), SessionState::Ended(EndReason::LoggedOut));
        for number in 1..3 {
            assert!(matches!(world.state(number), SessionState::Ended(_)), "{:?}", world.state(number));
        }
        let so_far = world.service.outcomes.len();
        world.run(s(600));
        assert_eq!(world.service.outcomes.len(), so_far, "no relogin follows");
    });
}

#[test]
fn logging_in_again_logs_every_tab_in_again() {
    for_seeds(50, |world| {
        logged_in(world, 3);
        world.logout(0);
        // As soon as the other tab shows the login form.
        while !matches!(world.state(1), SessionState::Ended(_)) {
            world.run(ms(1));
        }
        let token = world.login(1, "admin");
        world.run(s(45));
        assert_eq!(world.tabs[1].tab.settled[&token], Ok(Answer::Done));
        assert_logged_in(world, 3);
    });
}

#[test]
fn an_expired_session_ends_at_the_login_form_everywhere() {
    for_seeds(30, |world| {
        let profile = logged_in(world, 2);
        // The network is away for longer than the key lives.
        for seat in &mut world.tabs {
            seat.cut = true;
        }
        world.run(s(180));
        for seat in &mut world.tabs {
            seat.cut = false;
        }
        world.run(s(100));
        for number in 0..2 {
            assert!(matches!(world.state(number), SessionState::Ended(_)), "{:?}", world.state(number));
        }
        assert_eq!(profile.borrow().storage, None);
        let so_far = world.service.outcomes.len();
        world.run(s(600));
        assert_eq!(world.service.outcomes.len(), so_far, "no loop");
    });
}

#[test]
fn a_thief_and_the_owner_both_lose_the_session() {
    for_seeds(50, |world| {
        let profile = logged_in(world, 2);
        let time = world.rng.range(0, 90_000);
        world.run(ms(time));
        let storage = profile.borrow().storage.clone().expect("a key to steal");
        let now = world.unix();
        let (effects, reply) = Thief::copy(&storage).strike(&mut world.service, &mut world.rng, now);
        let got_in = reply.is_ok();
        world.effects(effects);
        world.run(s(10));
        for number in 0..2 {
            assert!(matches!(world.state(number), SessionState::Ended(_)), "{:?}", world.state(number));
        }
        assert!(world.service.records.is_empty());
        assert_eq!(world.service.count(Outcome::ReuseDetected), 1, "got in: {got_in}");
        assert_eq!(profile.borrow().storage, None);
    });
}

#[test]
fn a_gateways_restart_is_no_stampede() {
    let mut world = World::new(1);
    let profiles: Vec<_> = (0..200).map(|_| Browser::profile()).collect();
    for profile in &profiles {
        world.open_tab(profile);
    }
    world.run(s(20));
    world.arrivals.clear();
    world.stop_gateway();
    world.run(s(15));
    let first = world.arrivals.values().take(2).max().copied();
    assert!(first < Some(130), "the first try is spread, too: {:?}", world.arrivals);
    world.arrivals.clear();
    world.start_gateway();
    world.run(s(60));
    let worst = world.arrivals.values().max().copied();
    assert!(worst < Some(12), "{worst:?} of 200 within 100 ms: {:?}", world.arrivals);
    assert!(world.tabs.iter().all(|seat| seat.tab.is_connected()));
}

#[test]
fn no_fault_logs_anybody_out() {
    for_seeds(150, |world| {
        world.service.keep_keys();
        let profile = logged_in(world, 2);
        let mut open: BTreeSet<usize> = (0..2).collect();
        let mut frozen = BTreeSet::new();
        for _ in 0..40 {
            let pick = |world: &mut World, open: &BTreeSet<usize>| {
                let count = u64::try_from(open.len()).unwrap();
                *open.iter().nth(usize::try_from(world.rng.range(0, count)).unwrap()).unwrap()
            };
            let number = pick(world, &open);
            match world.rng.range(0, 11) {
                0 => {
                    world.stop_gateway();
                    let time = world.rng.range(0, 3000);
                    world.run(ms(time));
                    world.start_gateway();
                }
                1 => world.drop_connection(number),
                2 if open.len() > frozen.len() + 1 && !frozen.contains(&number) => {
                    world.freeze(number);
                    frozen.insert(number);
                }
                3 => {
                    if let Some(number) = frozen.pop_first() {
                        world.thaw(number);
                    }
                }
                4 if !frozen.contains(&number) => {
                    open.remove(&number);
                    let number = world.reload(number);
                    open.insert(number);
                }
                5 if open.len() < 4 => drop(open.insert(world.open_tab(&profile))),
                6 => world.lose_replies = world.rng.range(0, 60),
                7 => world.lose_requests = world.rng.range(0, 60),
                8 => world.service_up = !world.service_up,
                9 => world.double_requests = world.rng.range(0, 60),
                _ => world.input(number, hint(number)),
            }
            let time = if world.rng.chance(70) { world.rng.range(0, 400) } else { world.rng.range(0, 8000) };
            world.run(ms(time));
            world.assert_nothing_stolen();
        }
        (world.lose_replies, world.lose_requests, world.service_up) = (0, 0, true);
        for number in frozen {
            world.thaw(number);
        }
        world.run(Duration::from_secs(75));
        for number in open {
            assert_eq!(world.state(number), SessionState::LoggedIn(admin()), "tab {number}");
            let ticker = world.tabs[number].tab.client.resource(&rid("ticker.model"));
            let Some(Resource::Model(model)) = ticker else { panic!("tab {number} has no ticker") };
            assert!(model.get("seconds").is_some_and(|value| *value != Value::NULL));
        }
        world.assert_nothing_stolen();
    });
}

/// An event that a browser may report at any time.
fn hint(number: usize) -> Input {
    match number % 4 {
        0 => PlatformEvent::Wake.into(),
        1 => PlatformEvent::Online.into(),
        2 => Input::ConnectNow,
        _ => PlatformEvent::Offline.into(),
    }
}

//! Logins and logouts in several tabs, in the orders that a seed chooses: in the end all tabs agree
//! with storage, and storage with the service.

use std::collections::BTreeSet;

use relogin_client_proto::{EndReason, Event, PlatformEvent, SessionState};
use relogin_session::{Outcome, ReloginKey, SessionId};

use crate::{
    support::{Browser, Profile, World, admin, guest, ms, s},
    worlds::for_seeds,
};

/// A browser of the kind that the seed chooses, and a network that is as bad as the seed wants it.
pub(crate) fn any_browser(world: &mut World) -> Profile {
    world.service.keep_keys();
    let profile = Browser::seeded(world.rng.next());
    {
        let mut browser = profile.borrow_mut();
        browser.no_locks = world.rng.chance(30);
        browser.can_keep_keys = world.rng.chance(50);
        browser.silent_keys = if world.rng.chance(30) { world.rng.range(0, 40) } else { 0 };
        browser.stale_reads = if world.rng.chance(70) { world.rng.range(0, 80) } else { 0 };
    }
    profile
}

pub(crate) fn any_faults(world: &mut World) {
    let mut upto = |most| if world.rng.chance(50) { world.rng.range(0, most) } else { 0 };
    let (requests, replies, doubles, delays, crash) = (upto(40), upto(40), upto(50), upto(40), upto(15));
    (world.lose_requests, world.lose_replies, world.double_requests) = (requests, replies, doubles);
    (world.delay_requests, world.crash) = (delays, crash);
}

pub(crate) fn no_faults(world: &mut World) {
    (world.lose_requests, world.lose_replies, world.double_requests) = (0, 0, 0);
    (world.delay_requests, world.crash) = (0, 0);
}

/// Whose key storage has.
pub(crate) fn stored_session(profile: &Profile) -> Option<SessionId> {
    let record = profile.borrow().record()?;
    Some(ReloginKey::new(record["key"].as_str().unwrap().to_owned()).parse().unwrap().sid)
}

/// All of `tabs` show what storage says, and hold that at the service.
pub(crate) fn assert_agreed(world: &World, profile: &Profile, tabs: impl IntoIterator<Item = usize>) {
    let stored = stored_session(profile);
    let in_use = profile.borrow().record().is_some_and(|record| record.get("attempt").is_some());
    let record = stored.map(|sid| world.service.records.get(&sid).expect("the key in storage opens a session"));
    for number in tabs {
        let held = world.cid(number).and_then(|cid| world.service.session(&cid));
        assert_eq!(held, stored, "the session of tab {number}");
        let state = world.state(number);
        match record {
            Some(record) => {
                let user = [admin(), guest()].into_iter().find(|user| user.id == record.user_id).unwrap();
                assert_eq!(state, SessionState::LoggedIn(user), "tab {number}");
                assert!(in_use || world.tabs[number].tab.client.refresh_due().is_some(), "tab {number} refreshes");
            }
            None => assert!(matches!(state, SessionState::Anonymous | SessionState::Ended(_)), "{number} {state:?}"),
        }
    }
    if let Some(record) = record
        && let Some(stored) = profile.borrow().record()
        && !in_use
    {
        assert_eq!(stored["generation"], record.generation, "storage has the newest key");
    }
}

#[test]
fn after_any_logins_and_logouts_all_tabs_agree() {
    for_seeds(150, |world| {
        let profile = any_browser(world);
        for _ in 0..3 {
            world.open_tab(&profile);
        }
        any_faults(world);
        let mut frozen = BTreeSet::new();
        for _ in 0..30 {
            let number = usize::try_from(world.rng.range(0, 3)).unwrap();
            match world.rng.range(0, 14) {
                0..=3 => drop(world.login(number, ["admin", "guest", "nobody"][number])),
                4 | 5 => drop(world.login(number, "admin")),
                6 | 7 => drop(world.logout(number)),
                8 => world.drop_connection(number),
                9 => {
                    world.stop_gateway();
                    let time = world.rng.range(0, 2000);
                    world.run(ms(time));
                    world.start_gateway();
                }
                10 => any_faults(world),
                11 => {
                    world.freeze(number);
                    frozen.insert(number);
                }
                12 => {
                    if let Some(number) = frozen.pop_first() {
                        world.thaw(number);
                    }
                }
                _ => world.input(number, PlatformEvent::Wake),
            }
            let time = if world.rng.chance(70) { world.rng.range(0, 500) } else { world.rng.range(0, 15_000) };
            world.run(ms(time));
        }
        no_faults(world);
        for number in frozen {
            world.thaw(number);
        }
        world.run(s(150));
        for number in 0..3 {
            let tab = &world.tabs[number].tab;
            assert_eq!(tab.unsettled(), Vec::<u64>::new(), "tab {number}");
            let refused = Event::Session(SessionState::Ended(EndReason::Refused));
            assert!(!tab.events.contains(&refused), "tab {number}");
        }
        let bad = [Outcome::ReuseDetected, Outcome::StoreRolledBack, Outcome::ProofMissing];
        assert!(!world.service.outcomes.iter().any(|outcome| bad.contains(outcome)), "{:?}", world.service.outcomes);
        assert_agreed(world, &profile, 0..3);
    });
}

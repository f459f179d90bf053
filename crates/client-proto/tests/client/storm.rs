//! Everything at once: several tabs of one browser, a service that crashes after it has written,
//! gateways that restart, requests that are lost, doubled, delayed and overtaken, frozen tabs,
//! clocks that are wrong, storage that shows what it had a moment ago, and a thief who copies it.

use std::collections::BTreeSet;

use relogin_client_proto::{Input, PlatformEvent, SessionState};
use relogin_session::{Effect, Outcome};

use crate::{
    agreement::{any_browser, any_faults, assert_agreed, no_faults},
    support::{Profile, Thief, World, admin, ms, s},
    worlds::for_seeds,
};

/// The world, and what happens in it.
#[derive(Debug)]
struct Storm {
    profile: Profile,
    open: BTreeSet<usize>,
    frozen: BTreeSet<usize>,
    thief: Option<Thief>,
    /// How often the thief has used the key.
    strikes: usize,
}

impl Storm {
    fn begin(world: &mut World) -> Self {
        let profile = any_browser(world);
        let tabs = world.rng.range(1, 4);
        let open: BTreeSet<_> = (0..tabs).map(|_| world.open_tab(&profile)).collect();
        world.run(s(1));
        world.login(0, "admin");
        world.run(s(3));
        assert_eq!(world.state(0), SessionState::LoggedIn(admin()));
        Self { profile, open, frozen: BTreeSet::new(), thief: None, strikes: 0 }
    }

    fn any_tab(&self, world: &mut World) -> usize {
        let count = u64::try_from(self.open.len()).unwrap();
        *self.open.iter().nth(usize::try_from(world.rng.range(0, count)).unwrap()).unwrap()
    }

    fn step(&mut self, world: &mut World) {
        let number = self.any_tab(world);
        match world.rng.range(0, 12) {
            0 => {
                world.stop_gateway();
                let time = world.rng.range(0, 3000);
                world.run(ms(time));
                world.start_gateway();
            }
            1 => world.drop_connection(number),
            2 if self.open.len() > self.frozen.len() + 1 && !self.frozen.contains(&number) => {
                world.freeze(number);
                self.frozen.insert(number);
            }
            3 => {
                if let Some(number) = self.frozen.pop_first() {
                    world.thaw(number);
                }
            }
            4 if !self.frozen.contains(&number) => {
                self.open.remove(&number);
                self.open.insert(world.reload(number));
            }
            5 if self.open.len() < 4 => drop(self.open.insert(world.open_tab(&self.profile))),
            6 | 7 => any_faults(world),
            8 => world.crash_service(),
            9 => world.clock_error = i64::try_from(world.rng.range(0, 200_000)).unwrap() - 100_000,
            _ => {
                let hint = match number % 4 {
                    0 => PlatformEvent::Wake.into(),
                    1 => PlatformEvent::Online.into(),
                    2 => PlatformEvent::Offline.into(),
                    _ => Input::ConnectNow,
                };
                world.input(number, hint);
            }
        }
        let time = if world.rng.chance(70) { world.rng.range(0, 400) } else { world.rng.range(0, 12_000) };
        world.run(ms(time));
    }

    /// A thief copies what storage has.
    fn steal(&mut self) {
        let storage = self.profile.borrow().storage.clone();
        if let (None, Some(storage)) = (&self.thief, storage) {
            self.thief = Some(Thief::copy(&storage));
        }
    }

    /// The thief uses it, on a connection of their own, and has no device to sign with.
    fn strike(&mut self, world: &mut World) {
        let Some(thief) = &mut self.thief else { return };
        let now = world.unix();
        let (effects, reply) = thief.strike(&mut world.service, &mut world.rng, now);
        self.strikes += 1;
        if self.profile.borrow().can_keep_keys {
            assert!(reply.is_err(), "a key of a bound session has opened it");
            let gains = |effect: &Effect| matches!(effect, Effect::SetToken(cid, Some(_)) if *cid == thief.cid);
            assert!(!effects.iter().any(gains));
        }
        world.effects(effects);
    }

    /// Whether a thief has done what honest tabs may suffer from.
    fn is_robbed(&self) -> bool {
        self.strikes > 0 && !self.profile.borrow().can_keep_keys
    }

    fn quiet(&mut self, world: &mut World) {
        no_faults(world);
        while let Some(number) = self.frozen.pop_first() {
            world.thaw(number);
        }
        world.run(s(100));
    }

    /// Nobody honest was logged out.
    fn assert_unharmed(&self, world: &World) {
        for number in &self.open {
            let state = world.state(*number);
            assert!(!matches!(state, SessionState::Ended(_)), "tab {number}: {state:?}");
        }
        let bad = [Outcome::ReuseDetected, Outcome::StoreRolledBack];
        assert!(!world.service.outcomes.iter().any(|outcome| bad.contains(outcome)), "{:?}", world.service.outcomes);
    }

    /// The owner's connections and the thief's do not both hold the session.
    fn assert_one_holder(&self, world: &World) {
        let Some(thief) = &self.thief else { return };
        let stolen = world.service.session(&thief.cid);
        let owners: Vec<_> = self.open.iter().filter_map(|number| world.cid(*number)).collect();
        let shared = owners.iter().any(|cid| stolen.is_some() && world.service.session(cid) == stolen);
        assert!(!shared, "thief and owner both hold the session");
    }
}

#[test]
fn whatever_happens_nobody_honest_is_logged_out_and_no_thief_stays() {
    for_seeds(3000, |world| {
        let mut storm = Storm::begin(world);
        let robbery = world.rng.chance(50);
        any_faults(world);
        for _ in 0..25 {
            storm.step(world);
            if robbery && world.rng.chance(15) {
                storm.steal();
            }
            if robbery && world.rng.chance(10) {
                storm.strike(world);
            }
            if !storm.is_robbed() {
                storm.assert_unharmed(world);
            }
        }
        storm.quiet(world);
        if !storm.is_robbed() {
            storm.assert_unharmed(world);
            for number in &storm.open {
                assert_eq!(world.state(*number), SessionState::LoggedIn(admin()), "tab {number}");
            }
        }
        // Either a stolen session has ended for everybody, or only one side has it, and the tabs
        // know which.
        storm.assert_one_holder(world);
        assert_agreed(world, &storm.profile, storm.open.iter().copied());
        if robbery {
            storm.strike(world);
            world.run(s(100));
            storm.assert_one_holder(world);
            assert_agreed(world, &storm.profile, storm.open.iter().copied());
        }
    });
}

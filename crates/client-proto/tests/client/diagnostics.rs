//! The session manager's diagnostics over a whole session: they contain no key.

use std::collections::BTreeSet;

use relogin_client_proto::{Diagnostic, EndReason, SessionState};
use serde_json::Value as Json;

use crate::{
    support::{Profile, Thief, World, s},
    worlds::{for_seeds, logged_in},
};

/// Runs for a number of seconds, and notes the secrets that storage has meanwhile.
fn run(world: &mut World, profile: &Profile, seconds: u64, secrets: &mut BTreeSet<String>) {
    for _ in 0..seconds {
        world.run(s(1));
        let storage = profile.borrow().storage.clone();
        let Some(record) = storage.and_then(|text| serde_json::from_str::<Json>(&text).ok()) else { continue };
        let texts = ["key", "attempt"].into_iter().filter_map(|name| record[name].as_str());
        secrets.extend(texts.map(str::to_owned));
    }
}

/// Fails if a text has eight characters in a row of a secret.
fn assert_holds_none_of(secrets: &BTreeSet<String>, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        for text in [diagnostic.to_string(), format!("{diagnostic:?}")] {
            for secret in secrets {
                let has_part = secret.as_bytes().windows(8).any(|part| text.as_bytes().windows(8).any(|at| at == part));
                assert!(!has_part, "{text} has a part of {secret}");
            }
        }
    }
}

#[test]
fn diagnostics_of_a_whole_session_show_no_key() {
    for_seeds(10, |world| {
        let (profile, mut secrets) = (logged_in(world, 2), BTreeSet::new());
        run(world, &profile, 200, &mut secrets);
        world.logout(0);
        run(world, &profile, 10, &mut secrets);
        assert!(secrets.len() > 3, "there were refreshes");
        let told: Vec<Vec<Diagnostic>> = world.tabs.iter().map(|seat| seat.tab.diagnostics.clone()).collect();
        told.iter().for_each(|diagnostics| assert_holds_none_of(&secrets, diagnostics));
        let (first, all) = (&told[0], told.concat());
        assert!(first.contains(&Diagnostic::Started(None)), "{first:#?}");
        assert!(all.iter().any(|told| matches!(told, Diagnostic::LoginSent { attempt: Some(_), .. })), "{all:#?}");
        assert!(all.iter().any(|told| matches!(told, Diagnostic::KeySent { attempt: Some(_), .. })), "{all:#?}");
        assert!(all.iter().any(|told| matches!(told, Diagnostic::KeyReceived { generation: 3, .. })), "{all:#?}");
        assert!(first.ends_with(&[Diagnostic::Ended(EndReason::LoggedOut), Diagnostic::LogoutSent]), "{first:#?}");
    });
}

#[test]
fn diagnostics_of_a_theft_show_its_evidence() {
    for_seeds(10, |world| {
        let (profile, mut secrets) = (logged_in(world, 1), BTreeSet::new());
        run(world, &profile, 10, &mut secrets);
        let storage = profile.borrow().storage.clone().expect("a key in storage");
        let now = world.unix();
        let (effects, _) = Thief::copy(&storage).strike(&mut world.service, &mut world.rng, now);
        world.effects(effects);
        run(world, &profile, 10, &mut secrets);
        assert_eq!(world.state(0), SessionState::Ended(EndReason::Stolen));
        let told = &world.tabs[0].tab.diagnostics;
        assert_holds_none_of(&secrets, told);
        let place = |wanted: fn(&Diagnostic) -> bool| told.iter().position(wanted);
        let evidence = place(|told| matches!(told, Diagnostic::MadeElsewhere { .. })).expect("the evidence");
        let refusal = Diagnostic::Failed("session.invalidReloginKey".to_owned());
        let refused = told.iter().position(|told| *told == refusal).expect("the refusal");
        let ended = place(|told| matches!(told, Diagnostic::Ended(EndReason::Stolen))).expect("the end");
        assert!(evidence < refused && refused < ended, "{told:#?}");
    });
}

//! The reason why a session ended is reported as far as a client can know it, and no further.

use relogin_client_proto::{EndReason, SessionState};
use relogin_session::{ConnectionId, Outcome};
use serde_json::{Value as Json, json};

use crate::{
    bound,
    login::{answer, logged_in_with, record},
    support::{Profile, Thief, World, s},
    worlds::{assert_logged_in, for_seeds, logged_in},
};

fn assert_ended(world: &World, tabs: usize, why: EndReason) {
    for number in 0..tabs {
        assert_eq!(world.state(number), SessionState::Ended(why), "tab {number}");
    }
}

fn storage(profile: &Profile) -> String {
    profile.borrow().storage.clone().expect("a key in storage")
}

/// A thief with a legacy client, which sends no attempts, uses `storage`.
fn strike_plainly(world: &mut World, storage: &str) {
    let record: Json = serde_json::from_str(storage).expect("storage has JSON");
    let (thief, now) = (ConnectionId::parse("thief").expect("a cid"), world.unix());
    let params = json!({"reloginKey": record["key"]});
    let (effects, _) = world.service.auth(&thief, "relogin", &params, None, now);
    world.effects(effects);
}

#[test]
fn logged_out_here_and_in_another_tab() {
    for_seeds(20, |world| {
        logged_in(world, 2);
        world.logout(0);
        world.run(s(10));
        assert_ended(world, 1, EndReason::LoggedOut);
        assert_eq!(world.state(1), SessionState::Ended(EndReason::LoggedOutElsewhere));
    });
}

#[test]
fn ended_by_an_administrator() {
    for_seeds(20, |world| {
        logged_in(world, 2);
        let now = world.unix();
        let effects = world.service.revoke_all(now);
        world.effects(effects);
        world.run(s(10));
        assert_ended(world, 2, EndReason::LoggedOutElsewhere);
    });
}

#[test]
fn a_key_expires_unused() {
    for_seeds(20, |world| {
        logged_in(world, 2);
        for seat in &mut world.tabs {
            seat.cut = true;
        }
        world.run(s(180));
        for seat in &mut world.tabs {
            seat.cut = false;
        }
        world.run(s(100));
        assert_ended(world, 2, EndReason::Expired);
    });
}

#[test]
fn a_session_reaches_its_maximum_age() {
    for_seeds(5, |world| {
        logged_in(world, 1);
        world.run(s(3400));
        assert_logged_in(world, 1);
        world.run(s(250));
        let now = world.unix();
        let effects = world.service.expire(now);
        world.effects(effects);
        world.run(s(10));
        assert_ended(world, 1, EndReason::Expired);
    });
}

#[test]
fn a_thief_uses_the_newest_key() {
    for_seeds(20, |world| {
        let profile = logged_in(world, 1);
        let now = world.unix();
        let (effects, reply) = Thief::copy(&storage(&profile)).strike(&mut world.service, &mut world.rng, now);
        assert!(reply.is_ok());
        world.effects(effects);
        world.run(s(10));
        assert_ended(world, 1, EndReason::Stolen);
    });
}

#[test]
fn a_thief_with_a_legacy_client_uses_the_newest_key() {
    for_seeds(20, |world| {
        let profile = logged_in(world, 1);
        strike_plainly(world, &storage(&profile));
        world.run(s(10));
        assert_eq!(world.service.count(Outcome::ReuseDetected), 1);
        assert_ended(world, 1, EndReason::Stolen);
    });
}

#[test]
fn a_thief_uses_a_key_that_was_used() {
    for_seeds(20, |world| {
        let profile = logged_in(world, 1);
        let loot = storage(&profile);
        world.run(s(100));
        assert_logged_in(world, 1);
        strike_plainly(world, &loot);
        world.run(s(10));
        assert_eq!(world.service.count(Outcome::ReuseDetected), 1);
        assert_ended(world, 1, EndReason::Stolen);
    });
}

#[test]
fn what_happened_while_nobody_was_there_is_not_known() {
    for_seeds(20, |world| {
        let profile = logged_in(world, 1);
        let loot = storage(&profile);
        world.close_tab(0);
        strike_plainly(world, &loot);
        world.run(s(10));
        let owner = world.open_tab(&profile);
        world.run(s(10));
        assert_eq!(world.service.count(Outcome::ReuseDetected), 1);
        assert_eq!(world.state(owner), SessionState::Ended(EndReason::Refused));
    });
}

#[test]
fn ended_while_the_connection_was_lost() {
    for_seeds(20, |world| {
        logged_in(world, 1);
        world.stop_gateway();
        world.run(s(5));
        let now = world.unix();
        world.service.revoke_all(now);
        world.start_gateway();
        world.run(s(60));
        assert_ended(world, 1, EndReason::Refused);
    });
}

/// A tab that was frozen gets all events at once: no thief was at work.
#[test]
fn a_sibling_that_rotates_and_logs_out_is_no_thief() {
    let mut tab = logged_in_with("k1");
    tab.profile.borrow_mut().write(9, None);
    tab.event("session.user.{cid}.rotated", &json!({"generation": 2}));
    tab.change_user(None);
    tab.live(s(5));
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
    assert_eq!(tab.methods(), [""; 0], "no relogin follows");
}

#[test]
fn a_rotation_that_storage_accounts_for_is_no_theft() {
    let mut tab = logged_in_with("k1");
    tab.profile.borrow_mut().storage = Some(r#"{"key":"k2","generation":2}"#.into());
    tab.event("session.user.{cid}.rotated", &json!({"generation": 2}));
    tab.change_user(None);
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k2");
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::LoggedOutElsewhere));
}

#[test]
fn evidence_about_one_session_is_not_used_for_the_next() {
    let mut tab = logged_in_with("k1");
    tab.event("session.user.{cid}.rotated", &json!({"generation": 5}));
    let sent = tab.take("auth.session.relogin");
    tab.payload(sent.id, &answer("k5", 5));
    tab.drop_socket();
    tab.reconnect();
    let sent = tab.take("auth.session.relogin");
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Refused));
}

/// A browser whose storage goes back to a key that it had before: nobody else has made the newer
/// ones.
#[test]
fn a_generation_that_storage_once_had_is_no_evidence() {
    let mut tab = logged_in_with("k1");
    tab.event("session.user.{cid}.rotated", &json!({"generation": 2}));
    let sent = tab.take("auth.session.relogin");
    tab.payload(sent.id, &answer("k2", 2));
    tab.drop_socket();
    tab.profile.borrow_mut().storage = Some(record("k1", 1));
    tab.reconnect();
    let sent = tab.take("auth.session.relogin");
    assert_eq!(sent.params["reloginKey"], "k1");
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Refused));
}

/// Its key opens nothing without the device, so whatever happened, it was no theft.
#[test]
fn a_bound_session_is_never_said_to_be_stolen() {
    let mut tab = bound::resumed();
    tab.event("session.user.{cid}.rotated", &json!({"generation": 9}));
    let sent = tab.take("auth.session.relogin");
    tab.error(sent.id, "session.invalidReloginKey");
    assert_eq!(tab.state(), SessionState::Ended(EndReason::Refused));
}

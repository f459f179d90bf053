//! The properties that must hold in every state.

use std::time::Duration;

use relogin_client_proto::SessionState;
use relogin_session::ConnectionId;

use crate::{
    budget::Config,
    thief::Thief,
    world::{Left, State, Step},
};

/// By name.
pub const NOBODY_IS_LOGGED_OUT: &str = "no honest client is logged out while no thief acts";
/// By name.
pub const WAY_BACK: &str = "from every state an honest client with a live session gets back in";
/// By name.
pub const NOT_TWO_HOLDERS: &str = "never two holders after thief and owner have both used the key";
/// By name.
pub const NOBODY_AFTER_THEFT: &str = "nobody holds a bearer session whose key was used twice, by two attempts";
/// By name.
pub const NOTHING_FOR_THIEVES: &str = "a thief without the device key never gets a token";
/// By name.
pub const LOGOUT_IS_FINAL: &str = "a logout ends the session for everybody, and nothing that comes after it";

pub(crate) fn nobody_is_logged_out(state: &State) -> bool {
    if state.thief.has_acted || state.left != Left::Never {
        return true;
    }
    let is_in = |session: SessionState| !matches!(session, SessionState::Anonymous | SessionState::Ended(_));
    // A page that has just been loaded has not looked at storage yet.
    let all_in = state.tabs.iter().all(|tab| tab.is_waiting() || is_in(tab.client.session()));
    all_in && state.stored().is_some()
}

/// Once nothing goes wrong any more, all tabs are logged in after a while, and stay so over a
/// refresh; also if one of them is frozen for good, whatever it holds.
pub(crate) fn has_way_back(config: &Config, state: &State) -> bool {
    if state.thief.has_acted || state.left != Left::Never || !state.is_quiet() {
        return true;
    }
    let frozen = (0..state.tabs.len()).filter(|_| state.tabs.len() > 1).map(Some);
    frozen.chain([None]).all(|frozen| gets_back_in(config, state.clone(), frozen))
}

fn gets_back_in(config: &Config, mut state: State, frozen: Option<usize>) -> bool {
    let awake: Vec<usize> = (0..state.tabs.len()).filter(|tab| Some(*tab) != frozen).collect();
    // Time passes until all are in; then a refresh of each.
    for round in 0..=awake.len() {
        if let Some(tab) = round.checked_sub(1) {
            state.happen(Step::Timer(awake[tab]), config);
            state.drain(config, frozen);
        }
        for _ in 0..40 {
            let Some(out) = awake.iter().find(|tab| !state.is_logged_in(**tab)) else { break };
            state.happen(Step::Timer(*out), config);
            state.drain(config, frozen);
        }
        if !awake.iter().all(|tab| state.is_logged_in(*tab)) || state.stored().is_none() {
            return false;
        }
    }
    true
}

/// Checked at rest only: all events have been delivered.
pub(crate) fn has_not_two_holders(config: &Config, state: &State) -> bool {
    let owner_holds =
        |state: &State| (0..state.tabs.len()).any(|tab| state.cid(tab).is_some_and(|cid| has_token(state, &cid)));
    let both_hold = |state: &State| has_token(state, &Thief::cid()) && owner_holds(state);
    if !state.is_quiet() || !both_used(state) || !both_hold(state) {
        return true;
    }
    // What a tab puts off for a moment, for a sibling's sake, it still does. One without a
    // connection may never come back.
    let mut later = state.clone();
    for tab in (0..later.tabs.len()).filter(|tab| state.tabs[*tab].socket.is_some()) {
        let soon = later.tabs[tab].now + Duration::from_secs(20);
        while later.tabs[tab].client.poll_timeout().is_some_and(|due| due <= soon) {
            later.happen(Step::Timer(tab), config);
            later.drain(config, None);
        }
    }
    !both_hold(&later)
}

/// The owner has used a key that the thief has used, or one that came of it.
fn both_used(state: &State) -> bool {
    let first = state.uses.thief.iter().map(|(_, generation, _)| generation).min();
    first.is_some_and(|first| state.uses.owner.iter().any(|(_, generation, _)| generation >= first))
}

pub(crate) fn nobody_has_stolen_goods(state: &State) -> bool {
    let twice = state.uses.thief.iter().find(|(sid, generation, attempt)| {
        let is_other = |(other, same, another): &(_, _, _)| (other, same) == (sid, generation) && another != attempt;
        state.uses.owner.iter().any(is_other)
    });
    twice.is_none_or(|(sid, ..)| !state.service.is_live(sid))
}

pub(crate) fn has_token(state: &State, cid: &ConnectionId) -> bool {
    let token = state.gateway.0.get(cid).and_then(|connection| connection.token.as_ref());
    token.is_some_and(|token| state.service.is_live(&token.sid))
}

/// After a logout nobody is logged in, and the session is over, whatever becomes of the page; after
/// a login that was confirmed, everybody is.
pub(crate) fn is_logout_final(config: &Config, state: &State) -> bool {
    if state.left == Left::Never || !state.is_quiet() {
        return true;
    }
    let mut later = state.clone();
    let count = later.tabs.len();
    for _ in 0..12 {
        for tab in 0..count {
            if later.tabs[tab].client.poll_timeout().is_some() {
                later.happen(Step::Timer(tab), config);
                later.drain(config, None);
            }
        }
    }
    if state.left == Left::Out {
        let nobody_in = (0..count).all(|tab| !later.is_logged_in(tab));
        let nobody_holds = later.gateway.0.keys().all(|cid| !has_token(&later, cid));
        let is_over = later.service.records.keys().all(|sid| !later.service.is_live(sid));
        return nobody_in && nobody_holds && is_over && is_left_with_nothing(config, later);
    }
    let is_confirmed = state.tabs.iter().any(|tab| tab.is_login_confirmed);
    !is_confirmed || (0..count).all(|tab| later.is_logged_in(tab))
}

/// Of two places, one may have given back a logout that was confirmed before: that ends nothing
/// more, and the next page is done with it. No key is among what it gives back.
fn is_left_with_nothing(config: &Config, mut state: State) -> bool {
    let has_pending_only = |text: String| {
        let json: serde_json::Value = serde_json::from_str(&text).expect("what is stored is JSON");
        json.get("key").is_none() && json.get("pendingLogouts").is_some()
    };
    if state.places.is_some() && state.stored().is_some_and(has_pending_only) {
        state.budget.reloads = 1;
        state.happen(Step::Reload(0), config);
        state.drain(config, None);
        for _ in 0..12 {
            if state.tabs[0].client.poll_timeout().is_some() {
                state.happen(Step::Timer(0), config);
                state.drain(config, None);
            }
        }
    }
    state.stored().is_none()
}

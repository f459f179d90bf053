//! What must hold of several instances, in every state or once nothing more is to happen.

use std::collections::BTreeMap;

use relogin_session::{ConnectionId, SessionId};
use stateright::Property;

use super::{
    Config, LATE, Mutant, NOW, State,
    scripts::{Ask, Client},
};

/// By name.
pub const NOBODY_IS_REFUSED: &str = "a client with the newest key of a live session is not refused";
/// By name.
pub const NO_USED_KEY: &str = "of two attempts with one key, one at most gets the next, and the session ends";
/// By name.
pub const ALL_ANSWERED: &str = "in the end every request is answered";
/// By name.
pub const AS_STORED: &str = "in the end each connection shows what is stored";
/// By name.
pub const ON_ONE_SESSION: &str = "in the end a connection is on one session, and each session is somebody's";
/// By name.
pub const NOT_LESS: &str = "no answer says less than an event that came before its request";
/// By name.
pub const PUBLISHED_ONCE: &str = "an end is published once";
/// By name.
pub const WITHIN_CAP: &str = "in the end a user has as many sessions as allowed, and those are the newest";

pub(super) fn all() -> Vec<Property<Config>> {
    vec![
        Property::always(NOBODY_IS_REFUSED, nobody_is_refused),
        Property::always(NO_USED_KEY, no_used_key),
        Property::always(ALL_ANSWERED, |config, state: &State| {
            !is_at_rest(config, state) || state.clients.iter().all(Client::is_done)
        }),
        Property::always(AS_STORED, |config, state: &State| !is_at_rest(config, state) || is_as_stored(state)),
        Property::always(ON_ONE_SESSION, |config, state: &State| {
            !is_at_rest(config, state) || is_on_one_session(config, state)
        }),
        Property::always(NOT_LESS, |_, state: &State| !state.has_said_less),
        Property::always(PUBLISHED_ONCE, is_published_once),
        Property::always(WITHIN_CAP, |config, state: &State| {
            !is_at_rest(config, state) || is_within_cap(config, state)
        }),
    ]
}

/// True if nothing more can happen without another fault.
fn is_at_rest(config: &Config, state: &State) -> bool {
    let is_idle = state.instances.iter().all(|instance| {
        let misses = instance.misses && config.mutant != Some(Mutant::NoResend);
        let is_late = !config.ends || instance.is_late;
        instance.work.is_empty()
            && instance.lane.is_empty()
            && instance.unconfirmed.is_empty()
            && (!instance.is_up || is_late && !misses && instance.overdue().next().is_none())
    });
    let is_shown = state.instances.iter().all(|instance| !instance.is_up || instance.view.is_current(&state.truth));
    is_idle && is_shown && state.floating.is_none() && state.requests.is_empty()
}

/// Whether one key is used by two attempts: the first one, by all clients.
fn is_theft(config: &Config) -> bool {
    let first = |script: &&[Ask]| matches!(script.first(), Some(Ask::Relogin { .. }));
    config.scripts.iter().filter(|script| first(script)).count() > 1
}

fn nobody_is_refused(config: &Config, state: &State) -> bool {
    let ends = |ask: &Ask| matches!(ask, Ask::Logout { .. });
    let may_end = config.ends || config.cap.is_some() || config.scripts.iter().copied().flatten().any(ends);
    let is_key_refused = |client: &Client| matches!(client.refused, Some(Ask::Relogin { .. }));
    is_theft(config) || may_end || !state.clients.iter().any(is_key_refused)
}

fn no_used_key(config: &Config, state: &State) -> bool {
    let given = state.clients.iter().filter(|client| client.given > 0).count();
    !is_theft(config) || given < 2 && (!is_at_rest(config, state) || state.truth.records.is_empty())
}

/// The live sessions on each connection.
fn stored(state: &State) -> BTreeMap<&ConnectionId, Vec<SessionId>> {
    let mut on: BTreeMap<_, Vec<_>> = state.gateway.keys().map(|connection| (connection, Vec::new())).collect();
    let now = if state.instances.iter().any(|instance| instance.is_late) { LATE } else { NOW };
    for stored in state.truth.records.values().filter(|stored| !stored.record.is_expired(now)) {
        for connection in &stored.record.connections {
            on.entry(connection).or_default().push(stored.record.sid);
        }
    }
    on
}

fn is_as_stored(state: &State) -> bool {
    let stored = stored(state);
    state.gateway.iter().all(|(connection, known)| {
        let held = stored.get(connection).and_then(|sessions| sessions.first()).copied();
        known.token == held && known.user.is_none_or(|user| user == held.is_some())
    })
}

fn is_on_one_session(config: &Config, state: &State) -> bool {
    let is_known = |sid: &SessionId| state.clients.iter().any(|client| client.session == Some(*sid));
    let all_known = state.truth.records.keys().all(is_known) || state.left[super::KILLS] < config.kills;
    stored(state).values().all(|sessions| sessions.len() < 2) && all_known
}

/// Holds only if nothing crosses it that has to be corrected, and nobody was killed.
fn is_published_once(config: &Config, state: &State) -> bool {
    let has_requests = config.scripts.iter().any(|script| !script.is_empty());
    let was_killed = state.left[super::KILLS] < config.kills;
    was_killed || has_requests || !config.ends || state.gateway.values().all(|connection| connection.cleared < 2)
}

fn is_within_cap(config: &Config, state: &State) -> bool {
    let count = state.truth.records.len();
    config.cap.is_none_or(|cap| count <= cap && count > 0)
}

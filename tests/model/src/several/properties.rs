//! What must hold of several instances, in every state or once nothing more is to happen.

use std::collections::BTreeMap;

use relogin_session::{ConnectionId, SessionId};
use stateright::Property;

use super::{
    Absence, Config, Connection, Edit, LATE, Mutant, NOW, State,
    scripts::{Ask, Client, cid},
    store::Stored,
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

/// By name.
pub const NOT_STOLEN: &str = "no key counts as stolen that one client only has used";
/// By name.
pub const OUT_WITH_THE_OLD: &str =
    "in the end no session is left that a former password made, or of a user who is no more";
/// By name.
pub const ROLE_IS_KNOWN: &str = "in the end each token names the role that the user has";
/// By name.
pub const ABSENT_LEAVE: &str = "in the end a connection that is no more is off its session";
/// By name.
pub const PRESENT_STAY: &str = "in the end the connection that has used the key last is on its session";
/// By name.
pub const OVERDUE_GO: &str = "in the end nothing is stored that is overdue";

pub(super) fn all() -> Vec<Property<Config>> {
    vec![
        Property::always(NOBODY_IS_REFUSED, nobody_is_refused),
        Property::always(NO_USED_KEY, no_used_key),
        Property::always(ALL_ANSWERED, |config, state: &State| {
            !is_at_rest(config, state) || state.clients.iter().all(Client::is_done)
        }),
        Property::always(AS_STORED, |config, state: &State| !is_at_rest(config, state) || is_as_stored(config, state)),
        Property::always(ON_ONE_SESSION, |config, state: &State| {
            !is_at_rest(config, state) || is_on_one_session(config, state)
        }),
        Property::always(NOT_LESS, |_, state: &State| !state.has_said_less),
        Property::always(PUBLISHED_ONCE, is_published_once),
        Property::always(WITHIN_CAP, |config, state: &State| {
            !is_at_rest(config, state) || is_within_cap(config, state)
        }),
        Property::always(NOT_STOLEN, |config, state: &State| is_theft(config) || !state.has_cried_theft),
        Property::always(OUT_WITH_THE_OLD, |config, state: &State| {
            let keeps_out = config.edit.is_some_and(Edit::keeps_out);
            !keeps_out || !is_at_rest(config, state) || state.truth.records.is_empty()
        }),
        Property::always(ROLE_IS_KNOWN, |config, state: &State| {
            let knows = |connection: &Connection| connection.token.is_none() || connection.has_new_role;
            config.edit != Some(Edit::Role) || !is_at_rest(config, state) || state.gateway.values().all(knows)
        }),
        Property::always(ABSENT_LEAVE, |config, state: &State| {
            let is_there = |stored: &Stored| stored.record.is_on(&cid("a"));
            let is_gone = config.probe == Some(Absence::Gone);
            !is_gone || !is_at_rest(config, state) || !state.truth.records.values().any(is_there)
        }),
        Property::always(PRESENT_STAY, |config, state: &State| {
            let is_probed = config.probe == Some(Absence::Silent);
            !is_probed || !is_at_rest(config, state) || state.clients.iter().all(|client| is_present(state, client))
        }),
        Property::always(OVERDUE_GO, |config, state: &State| {
            let is_overdue = |stored: &Stored| stored.record.is_expired(LATE);
            !config.has_ttl || !is_at_rest(config, state) || !state.truth.records.values().any(is_overdue)
        }),
    ]
}

/// True if nothing more can happen without another fault.
fn is_at_rest(config: &Config, state: &State) -> bool {
    let is_idle = state.instances.iter().all(|instance| {
        let misses = instance.misses && config.mutant != Some(Mutant::NoResend);
        let is_late = !config.ends || instance.is_late;
        let is_notified = config.edit.is_none() || instance.has_notified();
        instance.work.is_empty()
            && instance.lane.is_empty()
            && instance.unconfirmed.is_empty()
            && (!instance.is_up
                || is_late && !misses && is_notified && instance.round.is_none() && instance.overdue().next().is_none())
    });
    let is_shown = state.instances.iter().all(|instance| !instance.is_up || instance.view.is_current(&state.truth));
    is_idle
        && is_shown
        && state.outlived(config).next().is_none()
        && state.floating.is_none()
        && state.requests.is_empty()
}

/// Whether one key is used by two attempts: the first one, by all clients.
fn is_theft(config: &Config) -> bool {
    let first = |script: &&[Ask]| matches!(script.first(), Some(Ask::Relogin { .. }));
    config.scripts.iter().filter(|script| first(script)).count() > 1
}

fn nobody_is_refused(config: &Config, state: &State) -> bool {
    let ends = |ask: &Ask| matches!(ask, Ask::Logout { .. });
    let may_end = config.ends
        || config.edit.is_some_and(Edit::keeps_out)
        || config.cap.is_some()
        || config.scripts.iter().copied().flatten().any(ends);
    let is_damaged = |client: &Client| client.session.is_some_and(|sid| state.damaged.contains(&sid));
    let is_key_refused = |client: &Client| matches!(client.refused, Some(Ask::Relogin { .. })) && !is_damaged(client);
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

fn is_as_stored(config: &Config, state: &State) -> bool {
    let stored = stored(state);
    // Until it notices, an instance may go on from a lost record (ADR 0090).
    let is_noticed = !config.is_quiet || state.left[super::LOSSES] == config.losses;
    let is_anybody_there = state.instances.iter().any(|instance| instance.is_up);
    let is_right = |(connection, known): (&ConnectionId, &Connection)| {
        let held = stored.get(connection).and_then(|sessions| sessions.first()).copied();
        let is_user = |user: bool| user == held.is_some();
        (known.is_token_unsure || known.token == held) && (known.is_user_unsure || known.user.is_none_or(is_user))
    };
    !is_anybody_there || !is_noticed || state.gateway.iter().all(is_right)
}

fn is_on_one_session(config: &Config, state: &State) -> bool {
    let is_known = |sid: &SessionId| state.clients.iter().any(|client| client.session == Some(*sid));
    let all_known = state.truth.records.keys().all(is_known)
        || state.left[super::KILLS] < config.kills
        || state.left[super::UNKNOWN] < config.unknown
        || state.left[super::LOSSES] < config.losses;
    stored(state).values().all(|sessions| sessions.len() < 2) && all_known
}

/// Holds only if nothing crosses it that has to be corrected, and nobody was killed.
fn is_published_once(config: &Config, state: &State) -> bool {
    let has_requests = config.scripts.iter().any(|script| !script.is_empty());
    let was_killed = state.left[super::KILLS] < config.kills;
    was_killed || has_requests || !config.ends || state.gateway.values().all(|connection| connection.cleared < 2)
}

/// Whether the connection on which a client has used its key last is on the session.
fn is_present(state: &State, client: &Client) -> bool {
    let (Some(Ask::Relogin { on, .. }), Some(sid)) = (client.last(), client.session) else { return true };
    state.truth.records.get(&sid).is_some_and(|stored| stored.record.is_on(&cid(on)))
}

fn is_within_cap(config: &Config, state: &State) -> bool {
    let count = state.truth.records.len();
    config.cap.is_none_or(|cap| count <= cap && count > 0)
}

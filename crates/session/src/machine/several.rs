//! What several processes with one store check after the events of a decision: these may have
//! crossed, and both may have put a connection on a session of its own. Must not know how they find
//! each other, nor a store.

use super::Effect;
use crate::{ConnectionId, SessionId};

/// The session that each connection's token names after these events; none: it has no token. The
/// last one of a connection counts.
pub fn last_tokens(effects: &[Effect]) -> impl Iterator<Item = (&ConnectionId, Option<SessionId>)> {
    effects.iter().filter_map(|effect| match effect {
        Effect::SetToken(connection, token) => Some((connection, token.as_ref().map(|token| token.sid))),
        Effect::SetUser(..) | Effect::Rotated(..) => None,
    })
}

/// The connections that were shown a user and sent no token, as by a refresh.
pub fn shown_only(effects: &[Effect]) -> impl Iterator<Item = &ConnectionId> {
    effects.iter().filter_map(|effect| match effect {
        Effect::SetUser(connection, Some(_)) if last_tokens(effects).all(|(sent, _)| sent != connection) => {
            Some(connection)
        }
        _ => None,
    })
}

/// The connections that leave a session that goes on: they are cleared before the write.
pub fn cleared_early(effects: &[Effect]) -> impl Iterator<Item = &ConnectionId> {
    effects.iter().filter_map(|effect| match effect {
        Effect::SetToken(connection, None) => Some(connection),
        _ => None,
    })
}

/// The session that a connection stays on, and those that it has to leave, if another process has
/// put it on another session than its `last_token` names. `sessions` are those that it is on, the
/// one that was written last first.
pub fn apart(
    last_token: Option<SessionId>,
    sessions: impl IntoIterator<Item = SessionId>,
) -> Option<(SessionId, Vec<SessionId>)> {
    let mut sessions = sessions.into_iter();
    let newest = sessions.next()?;
    let older: Vec<_> = sessions.collect();
    (!older.is_empty() || last_token != Some(newest)).then_some((newest, older))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Token, User, UserId};

    fn cid(name: &str) -> ConnectionId {
        ConnectionId::parse(name).unwrap()
    }

    fn token(on: &str, session: Option<u8>) -> Effect {
        let token = |n| Token { sid: SessionId([n; 16]), user_id: UserId::Number(1), role: "user".to_owned() };
        Effect::SetToken(cid(on), session.map(token))
    }

    fn user(on: &str, is_shown: bool) -> Effect {
        let user = User { id: UserId::Number(1), name: "N".to_owned(), role: "user".to_owned() };
        Effect::SetUser(cid(on), is_shown.then_some(user))
    }

    #[test]
    fn the_last_token_of_each_connection_counts_and_a_user_alone_is_found() {
        let effects = [
            token("a", Some(1)),
            user("a", true),
            Effect::Rotated(cid("b"), 2),
            user("c", true),
            user("d", false),
            token("d", None),
        ];
        let sent: Vec<_> = last_tokens(&effects).map(|(on, sid)| (on.as_str(), sid)).collect();
        assert_eq!(sent, [("a", Some(SessionId([1; 16]))), ("d", None)]);
        let shown: Vec<_> = shown_only(&effects).map(ConnectionId::as_str).collect();
        assert_eq!(shown, ["c"]);
        let cleared: Vec<_> = cleared_early(&effects).map(ConnectionId::as_str).collect();
        assert_eq!(cleared, ["d"]);
    }

    #[test]
    fn a_connection_is_apart_if_it_is_on_several_sessions_or_on_another_one() {
        let [one, two] = [1, 2].map(|n| SessionId([n; 16]));
        assert_eq!(apart(Some(one), []), None, "another process has taken it off");
        assert_eq!(apart(Some(one), [one]), None);
        assert_eq!(apart(Some(one), [one, two]), Some((one, vec![two])));
        assert_eq!(apart(Some(one), [two, one]), Some((two, vec![one])));
        assert_eq!(apart(Some(one), [two]), Some((two, vec![])));
        assert_eq!(apart(None, [two]), Some((two, vec![])));
    }
}

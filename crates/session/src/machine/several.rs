//! What several processes with one store check after the events of a decision: these may have
//! crossed, and both may have put a connection on a session of its own. Must not know how they find
//! each other, nor a store.

use super::Effect;
use crate::{ConnectionId, Record, SessionId, Timestamp};

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
///
/// It is as if one had come after the other. A relogin takes its connection off any other session,
/// so the one that was written last counts. A login is refused, or is the repetition of the one
/// before it, where there is a session already: so the session that it made yields to those that
/// were written before. Their keys may have been given out, which its own cannot: its process does
/// not answer before it has looked, and then sees them.
pub fn apart<'a>(
    last_token: Option<SessionId>,
    sessions: impl IntoIterator<Item = &'a Record>,
    now: Timestamp,
) -> Option<(SessionId, Vec<SessionId>)> {
    let sessions: Vec<_> = sessions.into_iter().collect();
    let mut kept = *sessions.first()?;
    for older in sessions.iter().skip(1).filter(|older| !older.is_expired(now)) {
        if kept.generation > 1 {
            break;
        }
        kept = older;
    }
    let others: Vec<_> = sessions.iter().map(|record| record.sid).filter(|sid| *sid != kept.sid).collect();
    let is_apart = !others.is_empty() || last_token != Some(kept.sid);
    is_apart.then_some((kept.sid, others))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Token, User, UserId};

    fn cid(name: &str) -> ConnectionId {
        ConnectionId::parse(name).unwrap()
    }

    fn login(n: u8) -> Record {
        Record::new(SessionId([n; 16]), [n; 16], UserId::Number(1), cid("a"), Timestamp(1))
    }

    fn relogged_in(n: u8) -> Record {
        Record { generation: 2, ..login(n) }
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
        let is_apart = |last, sessions: &[&Record]| apart(last, sessions.iter().copied(), Timestamp(2));
        let [one, two] = [1, 2].map(relogged_in);
        assert_eq!(is_apart(Some(one.sid), &[]), None, "another process has taken it off");
        assert_eq!(is_apart(Some(one.sid), &[&one]), None);
        assert_eq!(is_apart(Some(one.sid), &[&one, &two]), Some((one.sid, vec![two.sid])));
        assert_eq!(is_apart(Some(one.sid), &[&two, &one]), Some((two.sid, vec![one.sid])));
        assert_eq!(is_apart(Some(one.sid), &[&two]), Some((two.sid, vec![])));
        assert_eq!(is_apart(None, &[&two]), Some((two.sid, vec![])));
    }

    #[test]
    fn a_login_yields_to_what_was_there_before_it_and_a_relogin_to_nothing() {
        let now = Timestamp(2);
        let [first, second] = [1, 2].map(login);
        let (used, ended) = (relogged_in(3), relogged_in(4).ended());
        let kept = |sessions: &[&Record]| {
            let (kept, others) = apart(None, sessions.iter().copied(), now).unwrap();
            assert_eq!(others.len(), sessions.len() - 1);
            assert!(!others.contains(&kept));
            kept
        };
        assert_eq!(kept(&[&second, &first]), first.sid);
        assert_eq!(kept(&[&second, &first, &used]), used.sid);
        assert_eq!(kept(&[&second, &used, &first]), used.sid);
        assert_eq!(kept(&[&used, &second, &first]), used.sid);
        assert_eq!(kept(&[&second, &ended]), second.sid, "which is over");
        assert_eq!(kept(&[&second, &ended, &first]), first.sid);
    }
}

//! Says which counts when localStorage and the log differ: docs/protocol.md, section 4. Has no
//! state.

use relogin_session::SessionId;

use super::{local::LocalEntry, log::Head, text::Content};

/// Whose text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The log's, which may be none.
    Log,
    /// That of localStorage, which may be none: the log has lost it, or was not there to take it.
    Local,
}

/// Of two texts of one session the newer generation counts, of two sessions the log's. A removal is
/// told from a loss: the log of a removal has an entry, and a removal that the log was not there to
/// take is marked in localStorage.
pub(super) fn reconcile(local: &LocalEntry, head: Option<&Head>) -> Verdict {
    let is_local = match head {
        // The database is new, or was cleared.
        None => local.text.is_some(),
        Some(head) => outdoes(local, head),
    };
    if is_local { Verdict::Local } else { Verdict::Log }
}

/// Whether localStorage has gone back behind `known`, which it had. What a log that does not answer
/// cannot settle, localStorage settles by what it has: a text of another session, and a removal
/// that is marked. One that is not may be a loss; if it is none, the service tells, for the session
/// has ended.
pub(super) fn has_lost(local: &LocalEntry, known: &LocalEntry) -> bool {
    use Content::{Key, Nothing};
    match (Content::of(local.text.as_ref()), Content::of(known.text.as_ref())) {
        (Nothing, Key { .. }) => local.unlogged.is_none(),
        (
            Key { session, generation, is_begun },
            Key { session: other, generation: known, is_begun: is_begun_in_known },
        ) if session == other => generation < known || generation == known && is_begun_in_known && !is_begun,
        _ => false,
    }
}

fn outdoes(local: &LocalEntry, head: &Head) -> bool {
    use Content::{Key, NoKey, Nothing};
    let is_unlogged = local.unlogged.is_some();
    let has_replaced = |content| local.unlogged.as_ref().is_some_and(|replaced| replaced.has(content));
    let is_over = |session: Option<SessionId>| session.is_some_and(|session| head.ended.contains(&session));
    let logged = Content::of(head.text.as_ref());
    match (Content::of(local.text.as_ref()), logged) {
        (
            Key { session, generation, is_begun },
            Key { session: other, generation: logged, is_begun: is_begun_in_log },
        ) if session == other => {
            // An attempt that may have been sent is not forgotten.
            generation > logged || generation == logged && is_unlogged && is_begun && !is_begun_in_log
        }
        (Key { session, .. }, Key { .. }) => has_replaced(logged) && !is_over(session),
        // Only a login that the log was not there to take is newer than a removal.
        (Key { session, .. }, Nothing | NoKey) => is_unlogged && session.is_some() && !is_over(session),
        (Nothing | NoKey, Key { .. }) => has_replaced(logged),
        (NoKey, Nothing | NoKey) => is_unlogged && local.text != head.text,
        (Nothing, Nothing | NoKey) => false,
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "a table of cases reads better without references")]
mod tests {
    use super::{super::local::Replaced, *};
    use crate::Secret;

    const ATTEMPT: &str = r#","attempt":"AQEBAQEBAQEBAQEBAQEBAQ""#;

    fn sid(session: u8) -> SessionId {
        SessionId([session; 16])
    }

    fn key(session: u8, generation: u64, more: &str) -> Option<Secret> {
        let name = sid(session);
        Some(Secret::new(format!(r#"{{"key":"any","generation":{generation},"legacy":"{name}"{more}}}"#)))
    }

    fn head(text: Option<Secret>, ended: &[u8]) -> Option<Head> {
        Some(Head { at: 1, text, ended: ended.iter().copied().map(sid).collect() })
    }

    fn plain(text: Option<Secret>, head: Option<Head>) -> Verdict {
        reconcile(&LocalEntry::logged(text), head.as_ref())
    }

    /// `replaced`: sessions, each of generation 5.
    fn unlogged(text: Option<Secret>, replaced: &[u8], head: Option<Head>) -> Verdict {
        let replaced = replaced.iter().fold(Replaced::default(), |all, session| {
            all.and(Content::of(key(*session, 5, "").as_ref()), Content::Nothing)
        });
        reconcile(&LocalEntry { text, unlogged: Some(replaced) }, head.as_ref())
    }

    #[test]
    fn what_one_of_them_lost_the_other_has() {
        assert_eq!(plain(key(1, 1, ""), None), Verdict::Local);
        assert_eq!(unlogged(key(1, 1, ""), &[], None), Verdict::Local);
        assert_eq!(plain(None, head(key(1, 1, ""), &[])), Verdict::Log);
        assert_eq!(plain(None, None), Verdict::Log);
    }

    #[test]
    fn of_one_session_the_newer_counts() {
        assert_eq!(plain(key(1, 2, ""), head(key(1, 1, ATTEMPT), &[])), Verdict::Local);
        assert_eq!(plain(key(1, 2, ""), head(key(1, 2, ""), &[])), Verdict::Log);
        assert_eq!(unlogged(key(1, 1, ""), &[], head(key(1, 2, ""), &[])), Verdict::Log);
        assert_eq!(plain(key(1, 2, ATTEMPT), head(key(1, 2, ""), &[])), Verdict::Log);
        assert_eq!(unlogged(key(1, 2, ATTEMPT), &[], head(key(1, 2, ""), &[])), Verdict::Local);
        assert_eq!(unlogged(key(1, 2, ""), &[], head(key(1, 2, ATTEMPT), &[])), Verdict::Log);
    }

    #[test]
    fn of_two_sessions_the_logs_counts_unless_it_is_known_to_be_over() {
        assert_eq!(plain(key(1, 9, ""), head(key(2, 1, ""), &[])), Verdict::Log);
        assert_eq!(unlogged(key(1, 9, ""), &[], head(key(2, 1, ""), &[])), Verdict::Log);
        assert_eq!(unlogged(key(1, 1, ""), &[2], head(key(2, 5, ""), &[])), Verdict::Local);
        assert_eq!(unlogged(key(1, 1, ""), &[2], head(key(2, 6, ""), &[])), Verdict::Log, "it went on meanwhile");
        assert_eq!(unlogged(key(1, 1, ""), &[2], head(key(2, 5, ""), &[1])), Verdict::Log);
    }

    #[test]
    fn a_removal_is_no_loss() {
        assert_eq!(plain(key(1, 9, ""), head(None, &[1])), Verdict::Log);
        assert_eq!(plain(key(1, 9, ""), head(None, &[])), Verdict::Log, "also if its sessions are not known");
        assert_eq!(unlogged(key(1, 9, ""), &[], head(None, &[2, 1])), Verdict::Log);
        assert_eq!(unlogged(key(1, 9, ""), &[], head(None, &[2])), Verdict::Local, "a later login");
        assert_eq!(unlogged(None, &[1], head(key(1, 5, ATTEMPT), &[])), Verdict::Local);
        assert_eq!(unlogged(None, &[1], head(key(1, 6, ""), &[])), Verdict::Log, "a newer key was not removed");
        assert_eq!(unlogged(None, &[1], head(key(2, 1, ""), &[])), Verdict::Log);
        assert_eq!(unlogged(None, &[1], head(None, &[1])), Verdict::Log);
    }

    #[test]
    fn keys_that_show_no_session_do_not_outlive_a_removal() {
        let text = Some(Secret::new(r#"{"key":"any","generation":1}"#.to_owned()));
        assert_eq!(unlogged(text.clone(), &[], head(None, &[])), Verdict::Log);
        let replaced = Replaced::default().and(Content::of(text.as_ref()), Content::Nothing);
        let removal = LocalEntry { text: None, unlogged: Some(replaced) };
        assert_eq!(reconcile(&removal, head(text.clone(), &[]).as_ref()), Verdict::Local);
        assert_eq!(plain(None, head(text, &[])), Verdict::Log);
    }

    #[test]
    fn a_text_without_a_key_is_as_good_as_a_removal() {
        let none = || Some(Secret::new(r#"{"more":1}"#.to_owned()));
        assert_eq!(plain(key(1, 9, ""), head(none(), &[])), Verdict::Log);
        assert_eq!(unlogged(none(), &[1], head(key(1, 5, ""), &[])), Verdict::Local);
        assert_eq!(unlogged(none(), &[1], head(none(), &[1])), Verdict::Log);
        assert_eq!(unlogged(none(), &[1], head(None, &[1])), Verdict::Local);
    }
}

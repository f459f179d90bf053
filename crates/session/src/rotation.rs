//! The table of docs/protocol.md, section 2, as a function. Knows keys by their generation only,
//! and neither writes nor notifies.

use std::cmp::Ordering;

use crate::{Attempt, ConnectionId, Record};

/// What a genuine key of a live session means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// The newest key: make the next generation.
    Rotate,
    /// The request that made the newest generation, again: same answer.
    Retry,
    /// The request that made an earlier generation, again: doubled or delayed on its way. Refused,
    /// nothing changes.
    StaleRetry,
    /// A proven device with an old key (bound sessions): hand it the newest.
    CatchUp,
    /// A used key that somebody else brings (refresh token reuse detection, RFC 9700, section
    /// 4.14): nobody keeps the session.
    ReuseDetected,
    /// A key newer than the record: the store has lost writes that were durable.
    StoreRolledBack,
    /// The same, of a proven device: nobody else can have the key, so the next generation is made
    /// from it.
    Recover,
    /// A bound session's key without its device: refused, nothing changes.
    ProofMissing,
    /// The same, of a device that can prove it with the next request: nothing is decided.
    ProofLate,
}

/// What the request shows beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// No signature, or one that does not verify.
    None,
    /// The session's device key signed this key and a fresh challenge; or, of a session whose keys
    /// travel in a cookie, a challenge of the last minutes.
    Valid,
    /// Of a session whose keys travel in a cookie: the device has signed, but longer ago, or its
    /// browser says that it could not do so right now.
    Late,
}

/// Looks a genuine key of generation `presented` up in the table.
#[must_use]
pub fn rotation(
    record: &Record,
    presented: u64,
    connection: &ConnectionId,
    attempt: Option<Attempt>,
    proof: Proof,
) -> KeyUse {
    if record.is_bound() && proof != Proof::Valid {
        return KeyUse::ProofMissing;
    }
    if presented > record.generation {
        return if record.is_bound() { KeyUse::Recover } else { KeyUse::StoreRolledBack };
    }
    if presented == record.generation {
        return KeyUse::Rotate;
    }
    if record.is_bound() {
        return KeyUse::CatchUp;
    }
    let made = presented.saturating_add(1);
    let same_attempt = attempt.is_some_and(|attempt| record.was_made_by(made, attempt));
    if made == record.generation && (same_attempt || *connection == record.made_by.connection) {
        KeyUse::Retry
    } else if same_attempt {
        KeyUse::StaleRetry
    } else {
        KeyUse::ReuseDetected
    }
}

/// The same for a session whose keys travel in a cookie. No script can note an attempt there, nor
/// keep two tabs from sending it at once: so the key before the newest is as good as the newest,
/// however late and from wherever it comes. What is older has been replaced twice, and its browser
/// has had both. If the session has a device key, whoever comes without it changes nothing, and
/// nobody else can have a key that is newer than the record.
#[must_use]
pub fn in_cookie(record: &Record, presented: u64, is_young: bool, proof: Proof) -> KeyUse {
    match proof {
        Proof::None if record.is_bound() => return KeyUse::ProofMissing,
        Proof::Late if record.is_bound() => return KeyUse::ProofLate,
        _ => {}
    }
    match presented.checked_add(1).map(|next| next.cmp(&record.generation)) {
        _ if presented > record.generation && record.is_bound() => KeyUse::Recover,
        _ if presented > record.generation => KeyUse::StoreRolledBack,
        _ if presented == record.generation && !is_young => KeyUse::Rotate,
        Some(Ordering::Less) => KeyUse::ReuseDetected,
        _ => KeyUse::CatchUp,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::{Device, DeviceKey, MadeBy, SessionId, Timestamp, UserId};

    const MADE: Attempt = Attempt([1; 16]);
    const OTHER: Attempt = Attempt([2; 16]);
    /// Made generation 4, by no attempt generation 3, and this one generation 2.
    const EARLIER: Attempt = Attempt([4; 16]);
    const EARLIEST: Attempt = Attempt([3; 16]);

    fn connection(name: &str) -> ConnectionId {
        ConnectionId::parse(name).unwrap()
    }

    fn record(bound: bool, attempt: Option<Attempt>) -> Record {
        let new = Record::new(SessionId([1; 16]), [1; 16], UserId::Number(1), connection("maker"), Timestamp(0));
        Record {
            generation: 5,
            connections: vec![connection("maker"), connection("other")],
            device: Device { public_key: bound.then_some(DeviceKey::Ed25519([1; 32])), ..Device::default() },
            made_by: MadeBy { attempt, ..new.made_by.clone() },
            past: vec![[3; 4], [0; 4], [4; 4]],
            ..new
        }
    }

    /// Every cell of the table, and those that its lines cover without saying so.
    #[test]
    fn every_cell() {
        let mut table = String::new();
        let uses = [
            ("n=g", 5, "other", Some(OTHER)),
            ("n=g-1 by the attempt", 4, "other", Some(MADE)),
            ("n=g-1 on the connection", 4, "maker", Some(OTHER)),
            ("n=g-1 on the connection, no attempt", 4, "maker", None),
            ("n=g-1 by both", 4, "maker", Some(MADE)),
            ("n=g-1 by another attempt", 4, "other", Some(OTHER)),
            ("n=g-1 without attempt", 4, "other", None),
            ("n=g-1 by an earlier attempt", 4, "other", Some(EARLIER)),
            ("n=g-2 by the attempt that made g-1", 3, "other", Some(EARLIER)),
            ("n=g-2 by that, on the connection", 3, "maker", Some(EARLIER)),
            ("n=g-2 by the attempt that made g", 3, "maker", Some(MADE)),
            ("n=g-2 by the attempt that made g-3", 3, "other", Some(EARLIEST)),
            ("n=g-2 on the connection", 3, "maker", None),
            ("n=g-3, when no attempt made g-2", 2, "other", None),
            ("n=g-4 by the attempt that made g-3", 1, "other", Some(EARLIEST)),
            ("n<g-1 otherwise", 1, "other", None),
            ("n=g+1", 6, "maker", Some(MADE)),
            ("n>g+1", u64::MAX, "other", None),
        ];
        for (name, presented, on, attempt) in uses {
            let cell = |bound, proof| rotation(&record(bound, Some(MADE)), presented, &connection(on), attempt, proof);
            assert_eq!(cell(false, Proof::None), cell(false, Proof::Valid), "a bearer session knows no proof: {name}");
            let row = (cell(false, Proof::None), cell(true, Proof::None), cell(true, Proof::Valid));
            table += &format!("{name}: bearer {:?}, bound {:?}, proven {:?}\n", row.0, row.1, row.2);
        }
        expect![[r#"
            n=g: bearer Rotate, bound ProofMissing, proven Rotate
            n=g-1 by the attempt: bearer Retry, bound ProofMissing, proven CatchUp
            n=g-1 on the connection: bearer Retry, bound ProofMissing, proven CatchUp
            n=g-1 on the connection, no attempt: bearer Retry, bound ProofMissing, proven CatchUp
            n=g-1 by both: bearer Retry, bound ProofMissing, proven CatchUp
            n=g-1 by another attempt: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-1 without attempt: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-1 by an earlier attempt: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-2 by the attempt that made g-1: bearer StaleRetry, bound ProofMissing, proven CatchUp
            n=g-2 by that, on the connection: bearer StaleRetry, bound ProofMissing, proven CatchUp
            n=g-2 by the attempt that made g: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-2 by the attempt that made g-3: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-2 on the connection: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-3, when no attempt made g-2: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g-4 by the attempt that made g-3: bearer StaleRetry, bound ProofMissing, proven CatchUp
            n<g-1 otherwise: bearer ReuseDetected, bound ProofMissing, proven CatchUp
            n=g+1: bearer StoreRolledBack, bound ProofMissing, proven Recover
            n>g+1: bearer StoreRolledBack, bound ProofMissing, proven Recover
        "#]]
        .assert_eq(&table);
    }

    #[test]
    fn two_requests_without_attempt_are_not_one_attempt() {
        let guide = record(false, None);
        assert_eq!(rotation(&guide, 4, &connection("other"), None, Proof::None), KeyUse::ReuseDetected);
        assert_eq!(rotation(&guide, 4, &connection("maker"), None, Proof::None), KeyUse::Retry);
    }
}

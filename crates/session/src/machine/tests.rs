//! Each cell of the state table, with its write and its effects in their order.

use expect_test::{Expect, expect};

use super::*;
use crate::{Attempt, Device, DeviceKey, MadeBy, Proof, UserId};

const NOW: Timestamp = Timestamp(1_000_000);
const SID: SessionId = SessionId([1; 16]);
const SALT: [u8; 16] = [2; 16];
const MADE: Attempt = Attempt([1; 16]);
const OTHER: Attempt = Attempt([2; 16]);
const EARLIER: Attempt = Attempt([4; 16]);

fn rules() -> Rules {
    Rules {
        policy: Policy { key_lifetime: 120, session_lifetime: 1_000, refresh: 60, revoke_within: None },
        keyring: Keyring::new(vec![vec![7; 32]]).unwrap(),
    }
}

fn cid(name: &str) -> ConnectionId {
    ConnectionId::parse(name).unwrap()
}

fn jane() -> User {
    User { id: UserId::Number(3), name: "Jane Doe".to_owned(), role: "user".to_owned() }
}

fn janes_token() -> Token {
    Token { sid: SID, user_id: UserId::Number(3), role: "user".to_owned() }
}

/// Generation 5, on `maker` (which made it, by [`MADE`]) and `other`. [`EARLIER`] made generation
/// 4.
fn live() -> Record {
    let new = Record::new(SID, SALT, UserId::Number(3), cid("maker"), NOW);
    Record {
        key_deadline: NOW.plus(50),
        session_deadline: NOW.plus(500),
        generation: 5,
        made: Timestamp(0),
        connections: vec![cid("maker"), cid("other")],
        made_by: MadeBy { attempt: Some(MADE), ..new.made_by.clone() },
        past: vec![[4; 4]],
        ..new
    }
}

/// The same, after a retry on `maker`.
fn retried() -> Record {
    let made_by = MadeBy { retried: true, ..live().made_by };
    Record { made_by, ..live() }
}

fn bound() -> Record {
    Record { device: Device { public_key: Some(DeviceKey::Ed25519([1; 32])), ..Device::default() }, ..live() }
}

fn over() -> Record {
    Record { key_deadline: NOW, ..live() }
}

fn login(on: &str, attempt: Option<Attempt>) -> Command {
    log_in(Login { attempt, ..Login::new(cid(on), jane()) })
}

fn log_in(login: Login) -> Command {
    Command::Login { login, sid: SessionId([9; 16]), salt: SALT, began: NOW }
}

/// A relogin whose parts a test may change before it asks.
#[derive(Clone)]
struct Use {
    on: &'static str,
    generation: u64,
    attempt: Option<Attempt>,
    proof: Proof,
    cookie: Option<[u8; 32]>,
    user: Option<User>,
    token: Option<Token>,
    other: OtherSession,
    genuine: bool,
}

impl Use {
    /// On a new connection, as a client of our own.
    fn of(generation: u64) -> Self {
        Self {
            on: "new",
            generation,
            attempt: Some(OTHER),
            proof: Proof::None,
            cookie: None,
            user: Some(jane()),
            token: None,
            other: OtherSession::None,
            genuine: true,
        }
    }

    /// On a new connection, as a legacy client.
    fn legacy(generation: u64) -> Self {
        Self { attempt: None, ..Self::of(generation) }
    }

    fn command(&self) -> Command {
        let salt = if self.genuine { SALT } else { [0; 16] };
        Command::Relogin(Relogin {
            connection: cid(self.on),
            key: rules().keyring.mint(SID, &salt, self.generation).parse().unwrap(),
            attempt: self.attempt,
            proof: self.proof,
            cookie: self.cookie,
            remote_addr: Some("192.0.2.7:1234".to_owned()),
            user: self.user.clone(),
            token: self.token.clone(),
            other: self.other.clone(),
        })
    }
}

/// The decision in a form that reads like the table.
#[expect(clippy::needless_pass_by_value, reason = "calls that read like the table")]
fn check(record: Option<&Record>, command: Command, expected: Expect) {
    expected.assert_eq(&shown(&decide(record, command, &rules(), NOW)));
}

fn granted(decision: &Decision) -> &LoggedIn {
    decision.reply().unwrap().as_ref().unwrap().as_ref().unwrap()
}

fn shown(decision: &Decision) -> String {
    let record = |record: &Record| {
        let connections: Vec<_> = record.connections.iter().map(ConnectionId::as_str).collect();
        format!(
            "g{} until +{} of +{} on {} made by {} {:?}{}",
            record.generation,
            record.key_deadline.since(NOW),
            record.session_deadline.since(NOW),
            connections.join(","),
            record.made_by.connection,
            record.made_by.attempt.map(|attempt| attempt.0[0]),
            if record.made_by.retried { " retried" } else { "" },
        )
    };
    let write = match &decision.write {
        Write::Keep => "keep".to_owned(),
        Write::Create(next) => format!("create {}", record(next)),
        Write::Replace(next) => format!("replace {}", record(next)),
        Write::Remove => "remove".to_owned(),
    };
    let mut lines = vec![format!("{:?}: {write}", decision.outcome)];
    lines.extend(decision.effects.iter().map(|effect| match effect {
        Effect::SetToken(on, token) => format!("{on}: token {:?}", token.as_ref().map(|token| &token.role)),
        Effect::SetUser(on, user) => format!("{on}: user {:?}", user.as_ref().map(|user| &user.name)),
        Effect::Rotated(on, generation) => format!("{on}: rotated {generation}"),
    }));
    lines.push(match &decision.next {
        Next::DecideAgain => "again".to_owned(),
        Next::Reply(Ok(None)) => "null".to_owned(),
        Next::Reply(Ok(Some(reply))) => {
            let key = reply.relogin_key.parse().unwrap();
            assert!(rules().keyring.verify(&key, &SALT), "what is handed out is genuine");
            assert_eq!(key.generation, reply.generation);
            format!("key {} for {}, refresh in {}", reply.generation, reply.expires_in, reply.refresh_in)
        }
        Next::Reply(Err(denied)) => denied.to_string(),
    });
    lines.join("\n")
}

/// Whatever a client may send is in it, at its longest: a new field belongs here, too.
#[test]
fn the_longest_login_makes_a_small_record() {
    let long = || Some("x".repeat(60_000));
    let device = Device { public_key: None, user_agent: long(), remote_addr: long(), label: long() };
    let cookie = Some(NewCookie { digest: [1; 32], carries_key: true });
    let (attempt, token) = (Some(MADE), Some(SID));
    let login = Login { connection: cid("a"), user: jane(), vouched: None, attempt, device, cookie, token };
    let Write::Create(record) = decide(None, log_in(login), &rules(), NOW).write else { panic!("no session") };
    assert!(record.encode().unwrap().len() < 1_000, "the limit of each text is {}", Device::MAX_TEXT);
}

#[test]
fn login_makes_a_session() {
    check(
        None,
        login("new", Some(MADE)),
        expect![[r#"
        LoggedIn: create g1 until +120 of +1000 on new made by new Some(1)
        new: token Some("user")
        new: user Some("Jane Doe")
        key 1 for 120, refresh in 60"#]],
    );
}

#[test]
fn login_on_a_session_that_is_over_ends_that_first() {
    check(
        Some(&over()),
        login("maker", None),
        expect![[r#"
        Expired: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        again"#]],
    );
}

/// A process that began after the session's last use finds it on a connection that has no token of
/// it.
#[test]
fn login_on_an_orphaned_session_leaves_that_first() {
    let began = NOW.plus(1);
    let orphaned = |login: Login| Command::Login { login, sid: SessionId([9; 16]), salt: SALT, began };
    let unused = Record { generation: 1, connections: vec![cid("maker")], ..live() };
    let by_another = Login { attempt: Some(OTHER), ..Login::new(cid("maker"), jane()) };
    check(
        Some(&unused),
        orphaned(by_another.clone()),
        expect![[r#"
        Abandoned: remove
        again"#]],
    );
    check(
        Some(&live()),
        orphaned(by_another.clone()),
        expect![[r#"
        Detached: replace g5 until +50 of +500 on other made by maker Some(1)
        again"#]],
    );
    let has_its_token = Login { token: Some(SID), ..by_another.clone() };
    let repeated = Login { attempt: Some(MADE), ..by_another };
    for (login, outcome) in [(has_its_token, Outcome::AlreadyLoggedIn), (repeated, Outcome::Retried)] {
        assert_eq!(decide(Some(&unused), orphaned(login), &rules(), NOW).outcome, outcome);
    }
}

#[test]
fn relogin_on_a_connection_of_another_session_leaves_that_first() {
    let others = Record { sid: SessionId([8; 16]), connections: vec![cid("new"), cid("tab")], ..live() };
    let other = OtherSession::Held(Box::new(others));
    let used = Use { other, ..Use::of(5) };
    check(
        Some(&live()),
        used.command(),
        expect![[r#"
        Detached: replace g5 until +50 of +500 on tab made by maker Some(1)
        again"#]],
    );
    let left = Use { other: OtherSession::Left, ..Use::of(5) };
    let never = Use { other: OtherSession::None, ..left.clone() };
    let [again, anyway] = [left, never].map(|used| shown(&decide(Some(&live()), used.command(), &rules(), NOW)));
    assert_eq!(again, anyway);
    // One that is refused stays where it is.
    for refused in [Use { genuine: false, ..used.clone() }, Use { user: None, ..used }] {
        let Decision { write, next, .. } = decide(Some(&live()), refused.command(), &rules(), NOW);
        assert!(!matches!(write, Write::Replace(_)));
        assert_eq!(next, Next::Reply(Err(Denied::InvalidReloginKey)));
    }
}

/// Somebody else was faster: the connection has left its session for nothing, and is told that it
/// holds none.
#[test]
fn a_connection_that_left_its_session_and_is_refused_is_cleared() {
    let left = Use { other: OtherSession::Left, genuine: false, ..Use::of(5) };
    check(
        Some(&live()),
        left.command(),
        expect![[r#"
        Refused: keep
        new: user None
        new: token None
        Invalid relogin key"#]],
    );
    check(
        Some(&live()),
        Use { genuine: true, generation: 4, ..left }.command(),
        expect![[r#"
            ReuseDetected: remove
            maker: rotated 6
            other: rotated 6
            maker: user None
            maker: token None
            other: user None
            other: token None
            new: user None
            new: token None
            Invalid relogin key"#]],
    );
}

#[test]
fn login_on_a_live_session_is_denied() {
    for (on, attempt) in [("maker", None), ("maker", Some(OTHER)), ("maker", Some(MADE)), ("other", Some(MADE))] {
        let decision = decide(Some(&live()), login(on, attempt), &rules(), NOW);
        assert_eq!(shown(&decision), "AlreadyLoggedIn: keep\nAlready logged in", "{on} {attempt:?}");
    }
}

#[test]
fn a_repeated_login_gets_the_same_answer() {
    let first = Record { generation: 1, ..live() };
    check(
        Some(&first),
        login("maker", Some(MADE)),
        expect![[r#"
            Retried: keep
            maker: token Some("user")
            maker: user Some("Jane Doe")
            key 1 for 50, refresh in 50"#]],
    );
    for (record, on, attempt) in [
        (&first, "maker", Some(OTHER)),
        (&first, "other", Some(MADE)),
        (&Record { made_by: MadeBy { attempt: None, ..first.made_by.clone() }, ..first.clone() }, "maker", None),
        (&Record { user_id: UserId::Number(4), ..first.clone() }, "maker", Some(MADE)),
    ] {
        let decision = decide(Some(record), login(on, attempt), &rules(), NOW);
        assert_eq!(decision.reply(), Some(&Err(Denied::AlreadyLoggedIn)), "{on} {attempt:?}");
    }
}

#[test]
fn the_newest_key_rotates_and_the_other_connections_are_notified() {
    check(
        Some(&live()),
        Use::of(5).command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on maker,other,new made by new Some(2)
            maker: rotated 6
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
    check(
        Some(&live()),
        Use { on: "maker", ..Use::of(5) }.command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,maker made by maker Some(2)
            other: rotated 6
            maker: token Some("user")
            maker: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
}

#[test]
fn a_legacy_clients_newest_key_rotates_and_moves_the_session() {
    check(
        Some(&live()),
        Use::legacy(5).command(),
        expect![[r#"
        Rotated: replace g6 until +120 of +500 on new made by new None
        new: token Some("user")
        new: user Some("Jane Doe")
        maker: rotated 6
        other: rotated 6
        maker: user None
        maker: token None
        other: user None
        other: token None
        key 6 for 120, refresh in 60"#]],
    );
    check(
        Some(&live()),
        Use { on: "other", ..Use::legacy(5) }.command(),
        expect![[r#"
        Rotated: replace g6 until +120 of +500 on other made by other None
        other: token Some("user")
        other: user Some("Jane Doe")
        maker: rotated 6
        maker: user None
        maker: token None
        key 6 for 120, refresh in 60"#]],
    );
}

#[test]
fn the_same_attempt_on_another_connection_moves_the_use() {
    check(
        Some(&live()),
        Use { attempt: Some(MADE), ..Use::of(4) }.command(),
        expect![[r#"
            Retried: replace g5 until +120 of +500 on other,new made by new Some(1) retried
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            maker: user None
            maker: token None
            key 5 for 120, refresh in 60"#]],
    );
    check(
        Some(&live()),
        Use { attempt: Some(MADE), on: "other", ..Use::of(4) }.command(),
        expect![[r#"
            Retried: replace g5 until +120 of +500 on other made by other Some(1) retried
            other: token Some("user")
            other: user Some("Jane Doe")
            maker: user None
            maker: token None
            key 5 for 120, refresh in 60"#]],
    );
    // And from there to the next: never two of those who had the request keep the session.
    check(
        Some(&retried()),
        Use { attempt: Some(MADE), ..Use::of(4) }.command(),
        expect![[r#"
            Retried: replace g5 until +120 of +500 on other,new made by new Some(1) retried
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            maker: user None
            maker: token None
            key 5 for 120, refresh in 60"#]],
    );
    let left = Record { connections: vec![cid("other")], ..live() };
    check(
        Some(&left),
        Use { attempt: Some(MADE), ..Use::of(4) }.command(),
        expect![[r#"
            Retried: replace g5 until +120 of +500 on other,new made by new Some(1) retried
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            key 5 for 120, refresh in 60"#]],
    );
}

#[test]
fn the_same_attempt_on_the_same_connection_moves_nothing() {
    for record in [live(), retried()] {
        let again = Use { attempt: Some(MADE), on: "maker", ..Use::of(4) };
        let decision = decide(Some(&record), again.command(), &rules(), NOW);
        let Write::Replace(next) = &decision.write else { panic!("not replaced") };
        assert_eq!((decision.outcome, &next.made_by), (Outcome::Retried, &record.made_by));
        // The others are told again: a crash may be why it is repeated.
        let announced = record.generation + u64::from(record.made_by.retried);
        let others = record.connections.iter().filter(|other| **other != cid("maker"));
        let mut expected: Vec<_> = others.map(|other| Effect::Rotated(other.clone(), announced)).collect();
        expected.extend(set(&cid("maker"), janes_token(), jane()));
        assert_eq!(decision.effects, expected);
    }
}

#[test]
fn who_retried_gives_way_to_another_use_of_the_key() {
    check(
        Some(&retried()),
        Use::of(5).command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,new made by new Some(2)
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            maker: user None
            maker: token None
            key 6 for 120, refresh in 60"#]],
    );
    check(
        Some(&retried()),
        Use { on: "other", ..Use::of(5) }.command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other made by other Some(2)
            other: token Some("user")
            other: user Some("Jane Doe")
            maker: user None
            maker: token None
            key 6 for 120, refresh in 60"#]],
    );
    // Its own use shows that only one side has the key again, or that the other one is a thief.
    check(
        Some(&retried()),
        Use { on: "maker", ..Use::of(5) }.command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,maker made by maker Some(2)
            other: rotated 6
            maker: token Some("user")
            maker: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
    // It has left by itself.
    let left = Record { connections: vec![cid("other")], ..retried() };
    check(
        Some(&left),
        Use::of(5).command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,new made by new Some(2)
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
}

#[test]
fn a_late_request_changes_nothing() {
    for on in ["new", "maker", "other"] {
        let late = Use { attempt: Some(EARLIER), on, ..Use::of(3) };
        let decision = decide(Some(&live()), late.command(), &rules(), NOW);
        assert_eq!(shown(&decision), "StaleRetry: keep\nInvalid relogin key", "{on}");
        // Also if the user is gone: that is found out by a use that would succeed.
        let nobody = Use { user: None, ..late };
        assert_eq!(decide(Some(&live()), nobody.command(), &rules(), NOW).outcome, Outcome::StaleRetry);
    }
}

#[test]
fn the_last_attempts_are_remembered_and_no_more() {
    let mut record = live();
    let attempt = |generation: u64| Attempt([u8::try_from(generation).unwrap(); 16]);
    let rotated = |record: &Record, used: Use| {
        let Write::Replace(next) = decide(Some(record), used.command(), &rules(), NOW).write else { panic!() };
        next
    };
    for generation in 5..60 {
        record = rotated(&record, Use { attempt: Some(attempt(generation)), ..Use::of(generation) });
    }
    assert_eq!(record.past.len(), Record::PAST_ATTEMPTS);
    for generation in 5..60 {
        let doubled = Use { attempt: Some(attempt(generation)), ..Use::of(generation) };
        let expected = match generation {
            59 => Outcome::Retried,
            35..59 => Outcome::StaleRetry,
            _ => Outcome::ReuseDetected,
        };
        assert_eq!(decide(Some(&record), doubled.command(), &rules(), NOW).outcome, expected, "{generation}");
    }
    // A use without an attempt is remembered as one, and nobody can repeat it by an attempt that
    // looks like none.
    let after = rotated(&rotated(&record, Use::legacy(60)), Use::of(61));
    for (generation, used, expected) in [
        (59, attempt(59), Outcome::StaleRetry),
        (60, Attempt([0; 16]), Outcome::ReuseDetected),
        (60, attempt(59), Outcome::ReuseDetected),
        (61, OTHER, Outcome::Retried),
    ] {
        let doubled = Use { attempt: Some(used), ..Use::of(generation) };
        assert_eq!(decide(Some(&after), doubled.command(), &rules(), NOW).outcome, expected, "{generation}");
    }
    // What has nothing to be remembered takes no room, and a bound session has no use for it.
    let mut guides = record;
    for generation in 60..90 {
        guides = rotated(&guides, Use::legacy(generation));
    }
    assert_eq!(guides.past, [[0; 4]; 0]);
    assert_eq!(rotated(&bound(), Use { proof: Proof::Valid, ..Use::of(5) }).past, bound().past);
}

#[test]
fn the_same_connection_retries() {
    check(
        Some(&live()),
        Use { on: "maker", ..Use::legacy(4) }.command(),
        expect![[r#"
            Retried: replace g5 until +120 of +500 on maker made by maker Some(1)
            maker: token Some("user")
            maker: user Some("Jane Doe")
            other: user None
            other: token None
            key 5 for 120, refresh in 60"#]],
    );
    check(
        Some(&live()),
        Use { on: "maker", ..Use::of(4) }.command(),
        expect![[r#"
            Retried: replace g5 until +120 of +500 on other,maker made by maker Some(1)
            other: rotated 5
            maker: token Some("user")
            maker: user Some("Jane Doe")
            key 5 for 120, refresh in 60"#]],
    );
}

#[test]
fn a_used_key_ends_a_bearer_session() {
    let expected = "ReuseDetected: remove
maker: rotated 6
other: rotated 6
maker: user None
maker: token None
other: user None
other: token None
Invalid relogin key";
    for used in [Use::of(4), Use::legacy(4), Use::of(3), Use { attempt: Some(MADE), on: "maker", ..Use::of(3) }] {
        assert_eq!(shown(&decide(Some(&live()), used.command(), &rules(), NOW)), expected, "{}", used.generation);
    }
}

#[test]
fn a_key_newer_than_its_record_ends_a_bearer_session_and_a_proven_device_goes_on() {
    check(
        Some(&live()),
        Use::of(6).command(),
        expect![[r#"
            StoreRolledBack: remove
            maker: user None
            maker: token None
            other: user None
            other: token None
            Invalid relogin key"#]],
    );
    for generation in [6, 9] {
        let proven = Use { proof: Proof::Valid, ..Use::of(generation) };
        let decision = decide(Some(&bound()), proven.command(), &rules(), NOW);
        assert_eq!((decision.outcome, granted(&decision).generation), (Outcome::Recovered, generation + 1));
        let Write::Replace(next) = &decision.write else { panic!("{decision:?}") };
        // Its answer may be lost.
        let again = decide(Some(next), proven.command(), &rules(), NOW);
        assert_eq!((again.outcome, granted(&again)), (Outcome::CaughtUp, granted(&decision)));
        let announced = shown(&decision);
        assert!(announced.contains(&format!("other: rotated {}", generation + 1)), "{announced}");
    }
}

#[test]
fn a_bound_session_changes_nothing_without_proof() {
    for generation in [1, 3, 4, 5, 6] {
        for on in ["new", "maker"] {
            let used = Use { on, attempt: Some(MADE), ..Use::of(generation) };
            let decision = decide(Some(&bound()), used.command(), &rules(), NOW);
            assert_eq!(shown(&decision), "ProofMissing: keep\nInvalid relogin key", "{generation} on {on}");
        }
    }
}

#[test]
fn a_proven_device_rotates_or_catches_up_and_never_ends_its_session() {
    let proven = |generation| Use { proof: Proof::Valid, ..Use::legacy(generation) };
    check(
        Some(&bound()),
        proven(5).command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on maker,other,new made by new None
            maker: rotated 6
            other: rotated 6
            new: token Some("user")
            new: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
    check(
        Some(&bound()),
        proven(4).command(),
        expect![[r#"
            CaughtUp: replace g5 until +120 of +500 on maker,other,new made by maker Some(1)
            new: token Some("user")
            new: user Some("Jane Doe")
            key 5 for 120, refresh in 60"#]],
    );
    for used in [proven(1), proven(3), Use { on: "maker", ..proven(4) }, Use { attempt: Some(MADE), ..proven(4) }] {
        let decision = decide(Some(&bound()), used.command(), &rules(), NOW);
        assert_eq!(decision.outcome, Outcome::CaughtUp, "{}", used.generation);
    }
}

/// Each use that some cell would answer or punish.
fn uses() -> Vec<Use> {
    let mut uses = Vec::new();
    for generation in [1, 3, 4, 5, 6] {
        for on in ["new", "maker", "other"] {
            for attempt in [None, Some(MADE), Some(OTHER)] {
                for proof in [Proof::None, Proof::Valid] {
                    uses.push(Use { on, attempt, proof, ..Use::of(generation) });
                }
            }
        }
    }
    uses
}

#[test]
fn what_does_not_open_a_session_changes_nothing() {
    for used in uses() {
        let closed = [
            (None, used.clone(), "no session"),
            (Some(live()), Use { genuine: false, ..used.clone() }, "not genuine"),
            (Some(bound()), Use { genuine: false, ..used.clone() }, "not genuine, bound"),
            (Some(over()), used.clone(), "expired"),
            (Some(Record { device: bound().device, ..over() }), used.clone(), "expired, bound"),
            (Some(Record { session_deadline: NOW, ..live() }), used.clone(), "session expired"),
            (Some(Record { sid: SessionId([3; 16]), ..live() }), used.clone(), "another session"),
        ];
        for (record, used, why) in closed {
            let decision = decide(record.as_ref(), used.command(), &rules(), NOW);
            assert_eq!(shown(&decision), "Refused: keep\nInvalid relogin key", "{why}");
        }
    }
}

/// Whatever the key, the owner stays in: neither a used key nor one newer than the record ends the
/// session.
#[test]
fn without_its_cookie_a_key_opens_and_ends_nothing() {
    for (record, proof) in [(live(), Proof::None), (bound(), Proof::Valid)] {
        let record = Record { cookie: Some([1; 32]), ..record };
        for (generation, cookie) in (1..=7).flat_map(|generation| [(generation, None), (generation, Some([2; 32]))]) {
            let used = Use { cookie, proof, ..Use::of(generation) };
            for used in [used.clone(), Use { on: "maker", ..used.clone() }, Use { attempt: Some(MADE), ..used.clone() }]
            {
                let decision = decide(Some(&record), used.command(), &rules(), NOW);
                assert_eq!(shown(&decision), "CookieMismatch: keep\nInvalid relogin key", "generation {generation}");
            }
        }
        let forged = Use { genuine: false, proof, ..Use::of(5) };
        assert_eq!(decide(Some(&record), forged.command(), &rules(), NOW).outcome, Outcome::Refused);
    }
    let record = Record { cookie: Some([1; 32]), ..bound() };
    assert_eq!(decide(Some(&record), Use::of(5).command(), &rules(), NOW).outcome, Outcome::ProofMissing);
}

#[test]
fn a_cookie_that_is_not_asked_for_or_is_the_same_does_no_harm() {
    let cookie = Record { cookie: Some([1; 32]), ..live() };
    for record in [live(), cookie] {
        let used = Use { cookie: Some([1; 32]), ..Use::of(5) };
        assert_eq!(decide(Some(&record), used.command(), &rules(), NOW).outcome, Outcome::Rotated);
    }
}

#[test]
fn a_removed_user_s_session_ends() {
    check(
        Some(&live()),
        Use { user: None, ..Use::of(5) }.command(),
        expect![[r#"
        UserRemoved: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        Invalid relogin key"#]],
    );
}

#[test]
fn a_token_in_place_is_not_sent_again() {
    let here = Use { on: "maker", token: Some(janes_token()), ..Use::of(5) };
    check(
        Some(&live()),
        here.command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,maker made by maker Some(2)
            other: rotated 6
            maker: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
    // The gateway sent the request before it heard that the session had moved away from this
    // connection.
    let away = Record { connections: vec![cid("other")], ..live() };
    check(
        Some(&away),
        here.command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,maker made by maker Some(2)
            other: rotated 6
            maker: token Some("user")
            maker: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
}

#[test]
fn a_changed_role_reaches_all_connections() {
    let user = User { role: "guest".to_owned(), ..jane() };
    let used = Use { on: "maker", token: Some(janes_token()), user: Some(user), ..Use::of(5) };
    check(
        Some(&live()),
        used.command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on other,maker made by maker Some(2)
            other: rotated 6
            other: token Some("guest")
            other: user Some("Jane Doe")
            maker: token Some("guest")
            maker: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
}

#[test]
fn tabs_of_a_proven_device_are_notified_like_any_others() {
    // A rotation tells them; that a device which was behind has caught up does not concern them.
    let proven = |generation| Use { proof: Proof::Valid, on: "other", ..Use::legacy(generation) };
    let rotated = decide(Some(&bound()), proven(5).command(), &rules(), NOW);
    assert!(rotated.effects.contains(&Effect::Rotated(cid("maker"), 6)));
    let caught_up = decide(Some(&bound()), proven(2).command(), &rules(), NOW);
    assert!(!caught_up.effects.iter().any(|effect| matches!(effect, Effect::Rotated(..))));
    // Another role than in the token that it has.
    let user = User { role: "guest".to_owned(), ..jane() };
    check(
        Some(&bound()),
        Use { token: Some(janes_token()), user: Some(user), ..proven(2) }.command(),
        expect![[r#"
            CaughtUp: replace g5 until +120 of +500 on maker,other made by maker Some(1)
            maker: token Some("guest")
            maker: user Some("Jane Doe")
            other: token Some("guest")
            other: user Some("Jane Doe")
            key 5 for 120, refresh in 60"#]],
    );
    // A token in place is not given again, and the oldest connection leaves a full session.
    let here = Use { token: Some(janes_token()), ..proven(2) };
    assert_eq!(decide(Some(&bound()), here.command(), &rules(), NOW).effects.len(), 1);
    let names: Vec<_> = (0..MAX_CONNECTIONS).map(|n| cid(&format!("c{n}"))).collect();
    let full = Record { connections: names.clone(), ..bound() };
    let decision = decide(Some(&full), proven(2).command(), &rules(), NOW);
    assert_eq!(decision.effects[2..], cleared(&names[0]));
    let gone = Use { user: None, ..proven(2) };
    assert_eq!(decide(Some(&bound()), gone.command(), &rules(), NOW).outcome, Outcome::UserRemoved);
}

#[test]
fn the_longest_unused_connections_leave_a_full_session() {
    let names: Vec<_> = (0..MAX_CONNECTIONS).map(|n| cid(&format!("c{n}"))).collect();
    let full = Record { connections: names.clone(), ..live() };
    let decision = decide(Some(&full), Use::of(5).command(), &rules(), NOW);
    let Write::Replace(next) = decision.write else { panic!("not replaced") };
    assert_eq!(next.connections, [&names[1..], &[cid("new")]].concat());
    assert_eq!(decision.effects[decision.effects.len() - 2..], cleared(&names[0]));
    assert!(!decision.effects.contains(&Effect::Rotated(names[0].clone(), 6)));
}

#[test]
fn deadlines_move_with_each_use_but_not_past_the_session_s() {
    for used in [Use::of(5), Use { attempt: Some(MADE), ..Use::of(4) }] {
        let near_end = Record { session_deadline: NOW.plus(70), ..live() };
        let decision = decide(Some(&near_end), used.command(), &rules(), NOW);
        assert!(shown(&decision).ends_with("for 70, refresh in 60"), "{}", shown(&decision));
        let nearer = Record { session_deadline: NOW.plus(7), ..live() };
        let decision = decide(Some(&nearer), used.command(), &rules(), NOW);
        assert!(shown(&decision).ends_with("for 7, refresh in 7"), "{}", shown(&decision));
    }
}

#[test]
fn logout_clears_every_connection() {
    let logout =
        |on| Command::Logout { connection: cid(on), sid: None, held: (on != "new").then_some(SID), token: None };
    check(
        None,
        logout("new"),
        expect![[r#"
        NotLoggedIn: keep
        new: user None
        new: token None
        null"#]],
    );
    check(
        Some(&live()),
        logout("other"),
        expect![[r#"
        LoggedOut: remove
        other: user None
        other: token None
        maker: user None
        maker: token None
        null"#]],
    );
    // By its token's sid: the session is not on the connection that holds its token.
    check(
        Some(&live()),
        Command::Logout { connection: cid("new"), sid: None, held: None, token: Some(SID) },
        expect![[r#"
        LoggedOut: remove
        new: user None
        new: token None
        maker: user None
        maker: token None
        other: user None
        other: token None
        null"#]],
    );
    check(
        Some(&over()),
        logout("maker"),
        expect![[r#"
        LoggedOut: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        null"#]],
    );
}

/// Another session than [`live`]'s.
const ANOTHER: SessionId = SessionId([8; 16]);

#[test]
fn a_logout_is_about_one_session() {
    for (sid, held, token, ended) in [
        (None, None, None, None),
        (None, Some(SID), Some(ANOTHER), Some(SID)),
        (None, None, Some(ANOTHER), Some(ANOTHER)),
        (Some(SID), Some(SID), None, Some(SID)),
        (Some(SID), Some(SID), Some(ANOTHER), Some(SID)),
        (Some(SID), Some(ANOTHER), Some(SID), Some(SID)),
        (Some(SID), None, Some(SID), Some(SID)),
        (Some(SID), Some(ANOTHER), None, None),
        (Some(SID), None, Some(ANOTHER), None),
        (Some(SID), None, None, None),
    ] {
        assert_eq!(ended_by_logout(sid, held, token), ended, "{sid:?} {held:?} {token:?}");
    }
}

#[test]
fn a_logout_that_names_its_session_ends_no_other() {
    let logout = |held, token| Command::Logout { connection: cid("maker"), sid: Some(SID), held, token };
    check(
        Some(&live()),
        logout(Some(SID), Some(SID)),
        expect![[r#"
            LoggedOut: remove
            maker: user None
            maker: token None
            other: user None
            other: token None
            null"#]],
    );
    // Doubled or delayed until after the next login on the connection, whose it is not to take
    // away.
    check(
        Some(&live()),
        logout(Some(ANOTHER), Some(SID)),
        expect![[r#"
            LoggedOut: remove
            other: user None
            other: token None
            null"#]],
    );
    // It was the connection's: it is over, and known to be.
    let over = decide(None, logout(Some(ANOTHER), Some(SID)), &rules(), NOW);
    assert_eq!(shown(&over), "NotLoggedIn: keep\nnull");
    // It is not the connection's: it may live on elsewhere, so a caller that wants it ended must
    // not be told that it is.
    for decision in [
        decide(Some(&Record { sid: ANOTHER, ..live() }), logout(Some(ANOTHER), Some(ANOTHER)), &rules(), NOW),
        decide(None, logout(None, Some(ANOTHER)), &rules(), NOW),
        decide(None, logout(None, None), &rules(), NOW),
    ] {
        assert_eq!(shown(&decision), "NotLoggedIn: keep\nNot logged in");
    }
    // It is over by now, and the connection has its token still.
    check(
        None,
        logout(None, Some(SID)),
        expect![[r#"
            NotLoggedIn: keep
            maker: user None
            maker: token None
            null"#]],
    );
}

#[test]
fn detach_takes_one_connection_off() {
    let detach = |on| Command::Detach { connection: cid(on) };
    check(
        Some(&live()),
        detach("maker"),
        expect![[r#"
        Detached: replace g5 until +50 of +500 on other made by maker Some(1)
        null"#]],
    );
    check(
        Some(&live()),
        detach("new"),
        expect![[r#"
        NotLoggedIn: keep
        null"#]],
    );
    check(
        None,
        detach("new"),
        expect![[r#"
        NotLoggedIn: keep
        null"#]],
    );
}

#[test]
fn expiry_ends_only_what_is_over() {
    check(
        Some(&over()),
        Command::Expire,
        expect![[r#"
        Expired: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        null"#]],
    );
    check(
        Some(&live()),
        Command::Expire,
        expect![[r#"
        StillAlive: keep
        null"#]],
    );
    check(
        None,
        Command::Expire,
        expect![[r#"
        NotLoggedIn: keep
        null"#]],
    );
}

#[test]
fn an_orphaned_session_is_removed() {
    let abandon = || Command::Abandon { connection: cid("maker") };
    let unheard_of = Record { generation: 1, connections: vec![cid("maker")], ..live() };
    check(
        Some(&unheard_of),
        abandon(),
        expect![[r#"
            Abandoned: remove
            null"#]],
    );
    for record in [live(), Record { generation: 1, ..live() }, Record { connections: vec![cid("maker")], ..live() }] {
        let decision = decide(Some(&record), abandon(), &rules(), NOW);
        assert_eq!(decision.outcome, Outcome::Detached);
        assert_eq!(
            shown(&decision),
            shown(&decide(Some(&record), Command::Detach { connection: cid("maker") }, &rules(), NOW))
        );
    }
    for record in [None, Some(Record { connections: vec![cid("other")], ..live() })] {
        assert_eq!(decide(record.as_ref(), abandon(), &rules(), NOW).outcome, Outcome::NotLoggedIn);
    }
}

#[test]
fn unresponsive_connections_leave() {
    let prune = |unresponsive: &[&str], asked_by: &str| {
        let unresponsive = unresponsive.iter().map(|on| cid(on)).collect();
        Command::Prune { unresponsive, asked_by: cid(asked_by) }
    };
    check(
        Some(&live()),
        prune(&["maker", "gone"], "other"),
        expect![[r#"
        Pruned: replace g5 until +50 of +500 on other made by maker Some(1)
        maker: user None
        maker: token None
        null"#]],
    );
    // It has relogged in since, be it at another process.
    check(
        Some(&live()),
        prune(&["other"], "maker"),
        expect![[r#"
            StillAlive: keep
            null"#]],
    );
    check(
        Some(&live()),
        prune(&["maker", "other"], "gone"),
        expect![[r#"
            StillAlive: keep
            null"#]],
    );
    check(
        None,
        prune(&["maker"], "other"),
        expect![[r#"
            NotLoggedIn: keep
            null"#]],
    );
}

#[test]
fn a_user_s_change_reaches_each_connection() {
    let admin = || User { role: "admin".to_owned(), ..jane() };
    check(
        Some(&live()),
        Command::UserChanged { user: Some(admin()) },
        expect![[r#"
        UserChanged: keep
        maker: token Some("admin")
        maker: user Some("Jane Doe")
        other: token Some("admin")
        other: user Some("Jane Doe")
        null"#]],
    );
    check(
        Some(&live()),
        Command::UserChanged { user: None },
        expect![[r#"
        UserRemoved: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        null"#]],
    );
    for record in [None, Some(over())] {
        for user in [None, Some(admin())] {
            let decision = decide(record.as_ref(), Command::UserChanged { user }, &rules(), NOW);
            assert_eq!(shown(&decision), "NotLoggedIn: keep\nnull");
        }
    }
}

#[test]
fn a_revoked_session_is_gone_for_each_connection() {
    check(
        Some(&live()),
        Command::Revoke,
        expect![[r#"
        Revoked: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        null"#]],
    );
    let of_one_over = decide(Some(&over()), Command::Revoke, &rules(), NOW);
    assert_eq!(shown(&of_one_over), shown(&decide(Some(&live()), Command::Revoke, &rules(), NOW)));
    check(
        None,
        Command::Revoke,
        expect![[r#"
        NotLoggedIn: keep
        null"#]],
    );
}

/// A session whose keys travel in a cookie: generation 5, made long enough ago to be replaced.
fn in_cookie() -> Record {
    Record { cookie: Some([1; 32]), in_cookie: true, ..live() }
}

fn by_cookie(generation: u64) -> Use {
    Use { cookie: Some([1; 32]), ..Use::legacy(generation) }
}

#[test]
fn a_login_whose_key_goes_into_a_cookie() {
    let cookie = Some(NewCookie { digest: [1; 32], carries_key: true });
    let command = log_in(Login { cookie, ..Login::new(cid("new"), jane()) });
    let Write::Create(record) = decide(None, command, &rules(), NOW).write else { panic!() };
    assert_eq!((record.cookie, record.in_cookie), (Some([1; 32]), true));
}

#[test]
fn the_newest_key_of_a_cookie_is_replaced_and_all_connections_stay() {
    check(
        Some(&in_cookie()),
        by_cookie(5).command(),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on maker,other,new made by new None
            new: token Some("user")
            new: user Some("Jane Doe")
            key 6 for 120, refresh in 60"#]],
    );
}

/// Two tabs that open at once, a response that was lost, and one that came late: nothing that
/// script could tell from each other.
#[test]
fn the_key_before_the_newest_gets_the_newest_from_anywhere_at_any_time() {
    for on in ["new", "maker", "other"] {
        for attempt in [None, Some(OTHER)] {
            let decision = decide(Some(&in_cookie()), Use { on, attempt, ..by_cookie(4) }.command(), &rules(), NOW);
            assert_eq!(decision.outcome, Outcome::CaughtUp, "{on}");
            assert_eq!(granted(&decision).generation, 5);
            let Write::Replace(next) = decision.write else { panic!() };
            assert_eq!(next.generation, 5);
            assert!(["maker", "other", on].iter().all(|name| next.is_on(&cid(name))));
            assert!(!decision.effects.iter().any(|effect| matches!(effect, Effect::SetToken(_, None))), "{on}");
        }
    }
}

#[test]
fn a_key_that_was_just_made_is_not_replaced() {
    let young = Record { made: NOW, ..in_cookie() };
    let decision = decide(Some(&young), by_cookie(5).command(), &rules(), NOW);
    assert_eq!((decision.outcome, granted(&decision).generation), (Outcome::CaughtUp, 5));
    let decision = decide(Some(&young), by_cookie(5).command(), &rules(), NOW.plus(30));
    assert_eq!(decision.outcome, Outcome::Rotated, "half a refresh later");
}

#[test]
fn a_key_of_a_cookie_that_was_replaced_twice_ends_the_session() {
    for generation in 1..=3 {
        for attempt in [None, Some(MADE)] {
            let decision =
                decide(Some(&in_cookie()), Use { attempt, ..by_cookie(generation) }.command(), &rules(), NOW);
            assert_eq!((decision.outcome, decision.write), (Outcome::ReuseDetected, Write::Remove), "{generation}");
        }
    }
    assert_eq!(decide(Some(&in_cookie()), by_cookie(6).command(), &rules(), NOW).outcome, Outcome::StoreRolledBack);
}

fn refresh(generation: u64, cookie: Option<[u8; 32]>, user: Option<User>) -> Command {
    let key = rules().keyring.mint(SID, &SALT, generation).parse().unwrap();
    Command::Refresh(Refresh { key, proof: Proof::None, cookie, remote_addr: None, user })
}

#[test]
fn a_refresh_makes_the_next_key_and_puts_nobody_on_the_session() {
    check(
        Some(&in_cookie()),
        refresh(5, Some([1; 32]), Some(jane())),
        expect![[r#"
            Rotated: replace g6 until +120 of +500 on maker,other made by maker None
            key 6 for 120, refresh in 60"#]],
    );
    for (record, command, outcome) in [
        (in_cookie(), refresh(4, Some([1; 32]), Some(jane())), Outcome::CaughtUp),
        (in_cookie(), refresh(3, Some([1; 32]), Some(jane())), Outcome::ReuseDetected),
        (in_cookie(), refresh(6, Some([1; 32]), Some(jane())), Outcome::StoreRolledBack),
        (in_cookie(), refresh(5, Some([1; 32]), None), Outcome::UserRemoved),
        (in_cookie(), refresh(5, None, Some(jane())), Outcome::CookieMismatch),
        (in_cookie(), refresh(1, Some([2; 32]), Some(jane())), Outcome::CookieMismatch),
        (Record { key_deadline: NOW, ..in_cookie() }, refresh(5, Some([1; 32]), Some(jane())), Outcome::Refused),
        (live(), refresh(5, Some([1; 32]), Some(jane())), Outcome::Refused),
        (bound(), refresh(5, Some([1; 32]), Some(jane())), Outcome::Refused),
    ] {
        assert_eq!(decide(Some(&record), command, &rules(), NOW).outcome, outcome);
    }
    assert_eq!(decide(None, refresh(5, None, Some(jane())), &rules(), NOW).outcome, Outcome::Refused);
}

const DEVICE: DeviceKey = DeviceKey::P256 { x: [1; 32], y: [2; 32] };
const OTHER_DEVICE: DeviceKey = DeviceKey::P256 { x: [3; 32], y: [4; 32] };

/// The same session once its browser has proven a device key.
fn with_device() -> Record {
    Record { device: Device { public_key: Some(DEVICE), ..Device::default() }, ..in_cookie() }
}

#[test]
fn the_first_key_that_a_browser_proves_is_its_sessions() {
    let prove = |record: &Record, key, is_registered| {
        decide(Some(record), Command::ProveDevice(ProvenDevice { key, is_registered }), &rules(), NOW)
    };
    let decision = prove(&in_cookie(), DEVICE, true);
    assert_eq!(
        (decision.outcome, &decision.effects, decision.reply()),
        (Outcome::DeviceBound, &vec![], Some(&Ok(None)))
    );
    assert_eq!(decision.write, Write::Replace(with_device()), "and nothing else changes");

    for is_registered in [true, false] {
        let again = prove(&with_device(), DEVICE, is_registered);
        assert_eq!((again.outcome, again.write), (Outcome::DeviceProven, Write::Keep));
        let other = prove(&with_device(), OTHER_DEVICE, is_registered);
        assert_eq!((other.outcome, other.write), (Outcome::ProofMissing, Write::Keep));
    }
    let over = Record { key_deadline: NOW, ..in_cookie() };
    for (record, is_registered, outcome) in [
        (in_cookie(), false, Outcome::ProofMissing),
        (over, true, Outcome::Refused),
        // Those have, or have not, a key of another kind.
        (live(), true, Outcome::Refused),
        (bound(), true, Outcome::Refused),
    ] {
        let refused = prove(&record, DEVICE, is_registered);
        assert_eq!((refused.outcome, refused.write), (outcome, Write::Keep));
    }
    let gone = decide(None, Command::ProveDevice(ProvenDevice { key: DEVICE, is_registered: true }), &rules(), NOW);
    assert_eq!(gone.outcome, Outcome::Refused);
}

/// Whatever copies of the cookies there are, and however old.
#[test]
fn without_its_device_a_key_in_a_cookie_opens_and_ends_nothing() {
    for generation in 1..=6 {
        for (proof, denied) in [(Proof::None, Denied::InvalidReloginKey), (Proof::Late, Denied::InvalidChallenge)] {
            let key = rules().keyring.mint(SID, &SALT, generation).parse().unwrap();
            let used = Refresh { key, proof, cookie: Some([1; 32]), remote_addr: None, user: Some(jane()) };
            for command in [Use { proof, ..by_cookie(generation) }.command(), Command::Refresh(used)] {
                let decision = decide(Some(&with_device()), command, &rules(), NOW);
                assert_eq!((decision.outcome, &decision.write), (Outcome::ProofMissing, &Write::Keep), "{generation}");
                assert_eq!((decision.reply(), decision.effects.len()), (Some(&Err(denied)), 0), "{generation}");
            }
        }
    }
    for generation in [4, 5] {
        let decision =
            decide(Some(&with_device()), Use { proof: Proof::Valid, ..by_cookie(generation) }.command(), &rules(), NOW);
        assert!(matches!(decision.reply(), Some(Ok(Some(_)))), "{generation}");
    }
    // Where no device is registered, none is asked for.
    for proof in [Proof::None, Proof::Late, Proof::Valid] {
        let decision = decide(Some(&in_cookie()), Use { proof, ..by_cookie(5) }.command(), &rules(), NOW);
        assert_eq!(decision.outcome, Outcome::Rotated);
    }
}

#[test]
fn an_operator_ends_a_session_and_learns_whether_there_was_one() {
    let by_operator = |record: Option<&Record>| decide(record, Command::RevokeForOperator, &rules(), NOW);
    let revoked = decide(Some(&live()), Command::Revoke, &rules(), NOW);
    assert_eq!(shown(&by_operator(Some(&live()))), shown(&revoked).replace("Revoked", "RevokedByOperator"));
    for none in [None, Some(&over())] {
        let decision = by_operator(none);
        assert_eq!(decision.outcome, Outcome::NoSuchSession);
        assert_eq!((decision.write, decision.effects), (Write::Keep, Vec::new()));
        assert_eq!(decision.next, Next::Reply(Err(Denied::NoSuchSession)));
    }
}

#[test]
fn an_evicted_session_ends_as_a_revoked_one_does() {
    let evicted = decide(Some(&live()), Command::Evict, &rules(), NOW);
    let revoked = decide(Some(&live()), Command::Revoke, &rules(), NOW);
    assert_eq!(shown(&evicted), shown(&revoked).replace("Revoked", "Evicted"));
    assert_eq!(decide(None, Command::Evict, &rules(), NOW).outcome, Outcome::NotLoggedIn);
}

#[test]
fn of_too_many_sessions_the_least_recently_used_end_and_never_the_newest() {
    let sid = |n: u8| SessionId([n; 16]);
    let sessions =
        vec![(Timestamp(30), sid(3)), (Timestamp(10), sid(1)), (Timestamp(10), sid(9)), (Timestamp(20), sid(2))];
    for (newest, most, ending) in [
        (3, 4, vec![]),
        (3, 3, vec![1]),
        (3, 2, vec![1, 9]),
        (1, 3, vec![9]),
        (1, 1, vec![9, 2, 3]),
        (1, 0, vec![9, 2, 3]),
    ] {
        let expected: Vec<_> = ending.into_iter().map(sid).collect();
        assert_eq!(over_cap(sessions.clone(), sid(newest), most), expected, "{newest} {most}");
    }
}

/// The record's user asks on a connection of another session of theirs, made a second ago.
fn revoker() -> Revoker {
    Revoker { sid: SessionId([8; 16]), user_id: live().user_id, logged_in: Timestamp(NOW.0 - 1_000) }
}

#[test]
fn a_user_ends_a_session_of_theirs_and_learns_nothing_of_others() {
    let by = |by: Revoker| Command::RevokeForUser { by: Some(by) };
    check(
        Some(&live()),
        by(revoker()),
        expect![[r#"
            RevokedByUser: remove
            maker: user None
            maker: token None
            other: user None
            other: token None
            null"#]],
    );
    // The session on which they ask.
    check(
        Some(&live()),
        by(Revoker { sid: SID, ..revoker() }),
        expect![[r#"
        RevokedByUser: remove
        maker: user None
        maker: token None
        other: user None
        other: token None
        null"#]],
    );
    let strangers =
        shown(&decide(Some(&live()), by(Revoker { user_id: UserId::Number(77), ..revoker() }), &rules(), NOW));
    expect![[r#"
        NoSuchSession: keep
        No such session"#]]
    .assert_eq(&strangers);
    for record in [None, Some(&over())] {
        assert_eq!(shown(&decide(record, by(revoker()), &rules(), NOW)), strangers, "{record:?}");
    }
    check(
        Some(&live()),
        Command::RevokeForUser { by: None },
        expect![[r#"
        NotLoggedIn: keep
        Not logged in"#]],
    );
    assert_eq!(Revoker::of(&over(), NOW), None);
    assert_eq!(Revoker::of(&live(), NOW).map(|by| (by.sid, by.user_id)), Some((SID, live().user_id)));
}

#[test]
fn an_old_login_ends_no_other_session_where_a_limit_says_so() {
    let mut rules = rules();
    let mut revoke = |within, record: Option<&Record>, sid| {
        rules.policy.revoke_within = within;
        let by = Some(Revoker { sid, ..revoker() });
        decide(record, Command::RevokeForUser { by }, &rules, NOW).outcome
    };
    let other = revoker().sid;
    assert_eq!(revoke(Some(1_000), Some(&live()), other), Outcome::RevokedByUser);
    assert_eq!(revoke(Some(999), Some(&live()), other), Outcome::LoginTooOld);
    assert_eq!(revoke(Some(999), None, other), Outcome::LoginTooOld, "before the session is looked at");
    assert_eq!(revoke(Some(999), Some(&live()), SID), Outcome::RevokedByUser, "that is a logout");
}

#[test]
fn a_use_of_a_key_says_from_where_and_the_address_is_cut() {
    let address = |remote_addr: Option<String>| {
        let Command::Relogin(used) = Use::of(live().generation).command() else { panic!("it is one") };
        let record =
            Record { device: Device { remote_addr: Some("198.51.100.1:1".to_owned()), ..live().device }, ..live() };
        let used = Command::Relogin(Relogin { remote_addr, ..used });
        let Write::Replace(next) = decide(Some(&record), used, &rules(), NOW).write else { panic!("not used") };
        next.device.remote_addr.unwrap()
    };
    assert_eq!(address(Some("192.0.2.7:1234".to_owned())), "192.0.2.7:1234");
    assert_eq!(address(None), "198.51.100.1:1", "a gateway that does not say");
    assert_eq!(address(Some("x".repeat(60_000))).len(), Device::MAX_TEXT);
}

//! One use of the key in storage: claim it there, send it, put the successor in its place. And what
//! follows from each answer: a transient one keeps the key, a refused key gets a second look at
//! storage.
//!
//! What is read may be stale; what follows a swap is what storage really has. So nothing is
//! concluded from a read but that a sibling is ahead, and every other conclusion begins with a
//! swap.
//!
//! | stage | event | next |
//! |---|---|---|
//! | locking | locked | read storage: claiming |
//! | claiming | no key, or a key in use, by a read | swap it for itself: claiming |
//! | claiming | a key that nobody uses | note an attempt in storage: claiming |
//! | claiming | a key in use, for certain | prove possession, if bound, and send it: sent |
//! | claiming | nothing to do, or not now | over |
//! | sent | granted | put the successor into storage: storing |
//! | sent | refused | swap the key for itself: second look |
//! | sent | no decision | over: failed |
//! | storing | stored, or something newer is there | over: attached |
//! | second look | still that key | remove it: removing |
//! | second look, removing | another key | as claiming |
//! | removing | no key | over: refused |

use std::time::Duration;

use relogin_session::Denied;

use super::{
    Facts, MAX_TRIES, Next, OperationEvent, Step, is_denied,
    proof::{Proof, ProofNext},
};
use crate::{
    RequestError,
    record::{Granted, Record, Stored},
    session::{Attached, Want},
};

/// A relogin that runs.
#[derive(Clone, Debug)]
pub(crate) struct Relogin {
    /// Why the key is used.
    pub(crate) want: Want,
    /// A sibling has announced the key to all others at the same moment.
    pub(crate) is_simultaneous: bool,
    stage: ReloginStage,
}

#[derive(Clone, Debug, Default)]
enum ReloginStage {
    /// Waiting for the storage lock.
    #[default]
    Locking,
    /// Finding out what storage has, and noting an attempt there.
    Claiming,
    /// Proving possession of the device's key.
    Proving(Claim, Proof),
    /// Waiting for the answer.
    Sent {
        claim: Claim,
        sent: Duration,
        /// The user logged out since.
        is_overtaken: bool,
    },
    /// Putting the answer's key into storage; `tries` counts the attempts at that.
    Storing { granted: Granted, sent: Duration, tries: u8 },
    /// After a refusal: finding out what storage has now.
    SecondLook(Claim),
    /// After a refusal: removing the key.
    Removing(Claim),
}

/// A key whose use is noted in storage.
#[derive(Clone, Debug)]
struct Claim {
    /// The key, with the attempt.
    record: Record,
    /// The pending logouts that storage has beside it.
    beside: Vec<Record>,
}

/// What a relogin came to.
#[derive(Debug)]
pub(crate) enum ReloginOutcome {
    /// Storage has no key.
    NoKey,
    /// A sibling has done what was wanted: storage has this key.
    CaughtUp(Record),
    /// A sibling has made this key, and holds the session of a legacy service.
    StandBy(Record),
    /// Storage has another session than the connection.
    OtherSession,
    /// The use of another session's key may still take the connection.
    NeedsNewConnection,
    /// A sibling uses the key: not before this time.
    Yielded(Duration),
    /// Nothing was decided. The key and its attempt stay where they are: the next use repeats this
    /// one.
    Failed,
    /// The key was removed by somebody else.
    KeyGone,
    /// The service no longer takes this key.
    Refused(Record),
    /// The connection holds the session.
    Attached(Box<Attached>),
    /// The user has logged out meanwhile: what became of the use of this key.
    Overtaken(Record, Result<Granted, RequestError>),
}

type NextStep = Next<ReloginOutcome>;

impl Relogin {
    /// One that waits for the lock.
    pub(crate) fn new(want: Want, is_simultaneous: bool) -> Self {
        Self { want, is_simultaneous, stage: ReloginStage::Locking }
    }

    pub(crate) fn handle(&mut self, event: OperationEvent, facts: &mut Facts<'_>) -> NextStep {
        match (std::mem::take(&mut self.stage), event) {
            (ReloginStage::Locking, OperationEvent::Locked) => self.go_on(ReloginStage::Claiming, Step::Read),
            (ReloginStage::Claiming, OperationEvent::Stored(stored)) => self.claim(&stored, facts),
            (ReloginStage::Proving(claim, proof), event) => match proof.handle(event, &claim.record, facts) {
                ProofNext::Do(proof, step) => self.prove(claim, proof, step, facts),
                ProofNext::Failed(_) => Next::Over(ReloginOutcome::Failed),
                ProofNext::Wait(proof) => {
                    self.stage = ReloginStage::Proving(claim, proof);
                    Next::Wait
                }
            },
            (ReloginStage::Sent { claim, is_overtaken: true, .. }, OperationEvent::Answered(result)) => {
                Next::Over(ReloginOutcome::Overtaken(claim.record, result))
            }
            (ReloginStage::Sent { claim, sent, .. }, OperationEvent::Answered(result)) => {
                self.answered(claim, sent, result)
            }
            (ReloginStage::Storing { granted, sent, tries }, OperationEvent::Stored(stored)) => {
                self.store(granted, sent, tries, &stored)
            }
            (ReloginStage::SecondLook(claim), OperationEvent::Stored(stored)) => match &stored.record {
                Some(record) if record.key == claim.record.key => {
                    let step = Step::Swap { from: stored.text.clone(), to: stored.without_record() };
                    self.go_on(ReloginStage::Removing(claim), step)
                }
                // A sibling's, who was ahead of us.
                Some(_) => self.claim(&stored, facts),
                None => Next::Over(ReloginOutcome::KeyGone),
            },
            (ReloginStage::Removing(claim), OperationEvent::Stored(stored)) => match stored.record {
                Some(_) => self.claim(&stored, facts),
                None => Next::Over(ReloginOutcome::Refused(claim.record)),
            },
            (stage, _) => {
                self.stage = stage;
                Next::Wait
            }
        }
    }

    /// The key that is used, with the attempt.
    pub(crate) fn used(&self) -> Option<&Record> {
        match &self.stage {
            ReloginStage::Locking | ReloginStage::Claiming | ReloginStage::Storing { .. } => None,
            ReloginStage::Proving(claim, _) | ReloginStage::Sent { claim, .. } => Some(&claim.record),
            ReloginStage::SecondLook(claim) | ReloginStage::Removing(claim) => Some(&claim.record),
        }
    }

    pub(crate) fn is_sent(&self) -> bool {
        !matches!(self.stage, ReloginStage::Locking | ReloginStage::Claiming | ReloginStage::Proving(..))
    }

    pub(crate) fn overtake(&mut self) {
        if let ReloginStage::Sent { is_overtaken, .. } = &mut self.stage {
            *is_overtaken = true;
        }
    }

    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(self.stage, ReloginStage::Sent { is_overtaken: true, .. })
    }

    fn go_on(&mut self, stage: ReloginStage, step: Step) -> NextStep {
        self.stage = stage;
        Next::Do(step)
    }

    /// Notes in storage that the key is being used, and how. If it is being used already, that use
    /// is repeated.
    fn claim(&mut self, stored: &Stored, facts: &mut Facts<'_>) -> NextStep {
        let itself = || Step::Swap { from: stored.text.clone(), to: stored.text.clone() };
        let Some(record) = &stored.record else {
            if stored.certain {
                return Next::Over(ReloginOutcome::NoKey);
            }
            return self.go_on(ReloginStage::Claiming, itself());
        };
        if facts.session.is_met(self.want, record) {
            return Next::Over(ReloginOutcome::CaughtUp(record.clone()));
        }
        if facts.session.can_stand_by(self.want, record) {
            return Next::Over(ReloginOutcome::StandBy(record.clone()));
        }
        let Some(attempt) = record.attempt() else {
            let attempt = facts.turn.attempt;
            facts.lock.note_own_use(attempt);
            let step = Step::Swap { from: stored.text.clone(), to: stored.with(&record.begun(attempt)) };
            return self.go_on(ReloginStage::Claiming, step);
        };
        if !stored.certain {
            return self.go_on(ReloginStage::Claiming, itself());
        }
        let holding = record.holding();
        if facts.session.held().is_some_and(|held| !held.is_same_session(holding)) {
            Next::Over(ReloginOutcome::OtherSession)
        } else if facts.connection.unanswered.is_some_and(|other| !other.is_same_session(holding)) {
            Next::Over(ReloginOutcome::NeedsNewConnection)
        } else if facts.lock.yields_to(attempt) {
            Next::Over(ReloginOutcome::Yielded(facts.lock.deadline(facts.turn)))
        } else {
            let (proof, step) = Proof::begin(record, facts);
            self.prove(Claim { record: record.clone(), beside: stored.pending.clone() }, proof, step, facts)
        }
    }

    fn prove(&mut self, claim: Claim, proof: Option<Proof>, step: Step, facts: &Facts<'_>) -> NextStep {
        let stage = match proof {
            Some(proof) => ReloginStage::Proving(claim, proof),
            None => ReloginStage::Sent { claim, sent: facts.turn.now, is_overtaken: false },
        };
        self.go_on(stage, step)
    }

    fn answered(&mut self, claim: Claim, sent: Duration, result: Result<Granted, RequestError>) -> NextStep {
        let used = Some(claim.record.text(&claim.beside));
        match result {
            Ok(granted) => {
                let to = Some(granted.record.text(&claim.beside));
                self.go_on(ReloginStage::Storing { granted, sent, tries: 0 }, Step::Swap { from: used, to })
            }
            Err(error) if is_denied(&error, Denied::InvalidReloginKey) => {
                self.go_on(ReloginStage::SecondLook(claim), Step::Swap { from: used.clone(), to: used })
            }
            Err(_) => Next::Over(ReloginOutcome::Failed),
        }
    }

    /// What storage has after the successor was put over its predecessor only: neither over a
    /// sibling's newer key or another session's, nor where a logout has left nothing.
    fn store(&mut self, granted: Granted, sent: Duration, tries: u8, stored: &Stored) -> NextStep {
        let new = &granted.record;
        let old = stored.record.as_ref();
        if old.is_some_and(|old| old.is_before(new)) && tries < MAX_TRIES {
            // Not as we had it, but older all the same.
            let step = Step::Swap { from: stored.text.clone(), to: stored.with(new) };
            return self.go_on(ReloginStage::Storing { granted, sent, tries: tries + 1 }, step);
        }
        let is_same = old.is_some_and(|old| old.holding().is_same_session(new.holding()));
        let newer = old.filter(|old| is_same && old.generation > new.generation);
        let (is_stored, is_beside) = (is_same && !old.is_some_and(|old| old.is_before(new)), old.is_some() && !is_same);
        let record = newer.unwrap_or(new).clone();
        Next::Over(ReloginOutcome::Attached(Box::new(Attached { record, granted, is_stored, is_beside, sent })))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::table::{SIBLINGS, World, bound_key, check, granted, key, name, record, stored, words},
        *,
    };
    use crate::session::SessionStatus;

    fn claim() -> Claim {
        Claim { record: key().begun(SIBLINGS), beside: Vec::new() }
    }

    fn sent(is_overtaken: bool) -> ReloginStage {
        ReloginStage::Sent { claim: claim(), sent: Duration::ZERO, is_overtaken }
    }

    fn outcome(outcome: &ReloginOutcome) -> String {
        match outcome {
            ReloginOutcome::NoKey => "no key".to_owned(),
            ReloginOutcome::CaughtUp(record) => format!("caught up with {}", name(record)),
            ReloginOutcome::StandBy(record) => format!("stand by for {}", name(record)),
            ReloginOutcome::OtherSession => "other session".to_owned(),
            ReloginOutcome::NeedsNewConnection => "needs a new connection".to_owned(),
            ReloginOutcome::Yielded(_) => "yielded".to_owned(),
            ReloginOutcome::Failed => "failed".to_owned(),
            ReloginOutcome::KeyGone => "key gone".to_owned(),
            ReloginOutcome::Refused(record) => format!("refused {}", name(record)),
            ReloginOutcome::Attached(new) => {
                let stored = if new.is_stored { "stored" } else { "not stored" };
                let beside = if new.is_beside { ", beside another session" } else { "" };
                format!("attached by {}, {stored}{beside}", name(&new.record))
            }
            ReloginOutcome::Overtaken(record, _) => format!("overtaken, {}", name(record)),
        }
    }

    #[test]
    fn each_event_in_each_state() {
        let stage = |state: &str| {
            let proving = |proof| ReloginStage::Proving(Claim { record: bound_key(), beside: Vec::new() }, proof);
            match state {
                "locking" => ReloginStage::Locking,
                "claiming" => ReloginStage::Claiming,
                "challenging" => proving(Proof::Challenging),
                "signing" => proving(Proof::Signing("c".to_owned())),
                "sent" => sent(false),
                "overtaken" => sent(true),
                "storing" => ReloginStage::Storing { granted: granted(), sent: Duration::ZERO, tries: 0 },
                "second look" => ReloginStage::SecondLook(claim()),
                _ => ReloginStage::Removing(claim()),
            }
        };
        let next = |state: &str, event| {
            let mut relogin = Relogin { want: Want::Resume, is_simultaneous: false, stage: stage(state) };
            words(&relogin.handle(event, &mut World::with_challenge().facts()), outcome)
        };
        let table = [
            ("locking", "locked", "read"),
            ("claiming", "read nothing", "swap nothing for nothing"),
            ("claiming", "has nothing", "over: no key"),
            ("claiming", "read k1", "swap k1 for k1*"),
            ("claiming", "has k1", "swap k1 for k1*"),
            ("claiming", "read k1*", "swap k1* for k1*"),
            ("claiming", "has k1*", "send relogin"),
            ("claiming", "has b1*", "sign"),
            ("claiming", "has k2", "swap k2 for k2*"),
            ("claiming", "has k3", "swap k3 for k3*"),
            ("challenging", "challenged", "sign"),
            ("challenging", "not challenged", "over: failed"),
            ("signing", "signed", "send relogin with proof"),
            ("signing", "no device key", "send relogin"),
            ("signing", "not signed", "over: failed"),
            ("sent", "granted", "swap k1* for k2"),
            ("sent", "invalid key", "swap k1* for k1*"),
            ("sent", "already logged in", "over: failed"),
            ("sent", "no answer", "over: failed"),
            ("overtaken", "granted", "over: overtaken, k1*"),
            ("overtaken", "invalid key", "over: overtaken, k1*"),
            ("overtaken", "already logged in", "over: overtaken, k1*"),
            ("overtaken", "no answer", "over: overtaken, k1*"),
            ("storing", "read nothing", "over: attached by k2, not stored"),
            ("storing", "has nothing", "over: attached by k2, not stored"),
            ("storing", "read k1", "swap k1 for k2"),
            ("storing", "has k1", "swap k1 for k2"),
            ("storing", "read k1*", "swap k1* for k2"),
            ("storing", "has k1*", "swap k1* for k2"),
            ("storing", "has b1*", "swap b1* for k2"),
            ("storing", "has k2", "over: attached by k2, stored"),
            ("storing", "has k3", "over: attached by k3, stored"),
            ("second look", "read nothing", "over: key gone"),
            ("second look", "has nothing", "over: key gone"),
            ("second look", "read k1", "swap k1 for nothing"),
            ("second look", "has k1", "swap k1 for nothing"),
            ("second look", "read k1*", "swap k1* for nothing"),
            ("second look", "has k1*", "swap k1* for nothing"),
            ("second look", "has b1*", "sign"),
            ("second look", "has k2", "swap k2 for k2*"),
            ("second look", "has k3", "swap k3 for k3*"),
            ("removing", "read nothing", "over: refused k1*"),
            ("removing", "has nothing", "over: refused k1*"),
            ("removing", "read k1", "swap k1 for k1*"),
            ("removing", "has k1", "swap k1 for k1*"),
            ("removing", "read k1*", "swap k1* for k1*"),
            ("removing", "has k1*", "send relogin"),
            ("removing", "has b1*", "sign"),
            ("removing", "has k2", "swap k2 for k2*"),
            ("removing", "has k3", "swap k3 for k3*"),
        ];
        let states = [
            "locking",
            "claiming",
            "challenging",
            "signing",
            "sent",
            "overtaken",
            "storing",
            "second look",
            "removing",
        ];
        check(&table, next, &states);
    }

    /// A key of the session `sid`.
    fn key_of(sid: u8, generation: u64) -> Record {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let bytes = [&[sid; 16][..], &generation.to_be_bytes(), &[0; 32]].concat();
        record(&format!(r#"{{"key":"{}","generation":{generation}}}"#, URL_SAFE_NO_PAD.encode(bytes)))
    }

    #[test]
    fn what_was_found_in_storage_is_judged_by_what_is_known() {
        let claim = |want, world: &mut World, found: &Record| {
            let mut relogin = Relogin { want, is_simultaneous: false, stage: ReloginStage::Claiming };
            let stored = stored(Some(found), true);
            match relogin.handle(OperationEvent::Stored(stored), &mut world.facts()) {
                Next::Over(over) => outcome(&over).split(" with").next().unwrap().to_owned(),
                next => words(&next, outcome),
            }
        };
        let attached = |sid, generation| {
            let mut world = World::new();
            let holding = key_of(sid, generation).holding();
            world.session.status = SessionStatus::Attached { holding, stored: true };
            world
        };
        let in_use = |sid, generation| key_of(sid, generation).begun(SIBLINGS);
        for (want, held, found, expected) in [
            (Want::Refresh(1), 1, 2, "caught up"),
            (Want::Refresh(1), 2, 2, "caught up"),
            (Want::Refresh(2), 2, 2, "send relogin"),
            (Want::Reach(2), 1, 2, "caught up"),
            (Want::Reach(3), 1, 2, "send relogin"),
            (Want::Resume, 1, 2, "send relogin"),
        ] {
            assert_eq!(claim(want, &mut attached(1, held), &in_use(1, found)), expected, "{want:?} {held} {found}");
        }
        assert_eq!(claim(Want::Resume, &mut attached(1, 1), &in_use(2, 1)), "other session");
        let mut world = World::new();
        world.connection.unanswered = Some(key_of(1, 1).holding());
        assert_eq!(claim(Want::Resume, &mut world, &in_use(2, 1)), "needs a new connection");
        assert_eq!(claim(Want::Resume, &mut world, &in_use(1, 1)), "send relogin");
        let mut world = World::new().without_lock();
        assert_eq!(claim(Want::Resume, &mut world, &in_use(1, 1)), "yielded");
        assert_eq!(claim(Want::Resume, &mut world, &in_use(1, 1)), "send relogin", "once for each use");
    }
}

//! Which worlds there are, and what is broken in them on purpose. Must not know what happens in
//! them.

use super::scripts::Ask;

/// A world to be checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the clients send. The first one begins with the session that there is, on `a`.
    pub scripts: &'static [&'static [Ask]],
    /// How many requests are taken by both instances.
    pub doubled: u8,
    /// How many writes get no answer.
    pub unknown: u8,
    /// Whether those that are done later are done before anything else happens.
    pub lands_at_once: bool,
    /// How many instances are killed.
    pub kills: u8,
    /// Whether the second instance starts only now.
    pub starts: bool,
    /// Whether deadlines pass.
    pub ends: bool,
    /// Whether the secret is rotated.
    pub rotates: bool,
    /// How many sessions a user may have.
    pub cap: Option<usize>,
    /// How often the bucket goes back to an earlier state.
    pub losses: u8,
    /// Whether instances keep their connections when it does, so that only the bucket shows it.
    pub is_quiet: bool,
    /// Whether what they are at waits until they have read the bucket, and goes on.
    pub waits: bool,
    /// Whether devices prove who they are.
    pub is_bound: bool,
    /// What changes about the user. Each instance sees it by itself.
    pub edit: Option<Edit>,
    /// What is wrong with `a`, if connections are probed.
    pub probe: Option<Absence>,
    /// Whether the bucket removes overdue sessions that nobody has disposed of.
    pub has_ttl: bool,
    /// What is broken on purpose.
    pub mutant: Option<Mutant>,
}

impl Config {
    /// No faults: messages may only cross.
    pub const CALM: Self = Self {
        scripts: &[],
        doubled: 0,
        unknown: 0,
        lands_at_once: false,
        kills: 0,
        starts: false,
        ends: false,
        rotates: false,
        cap: None,
        losses: 0,
        is_quiet: false,
        waits: false,
        is_bound: false,
        edit: None,
        probe: None,
        has_ttl: false,
        mutant: None,
    };
}

/// One thing that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A decision that no write proves is made without a read barrier.
    StaleVerdict,
    /// A get is answered without a read barrier.
    StaleAnswer,
    /// The answer to a get is not checked afterwards.
    NoCheckAfterAnswer,
    /// An instance is ready before it has read all of the bucket.
    ReadyTooEarly,
    /// What connections were sent is not checked.
    NoCheck,
    /// It is checked without a read barrier.
    StaleCheck,
    /// A connection on two sessions stays on both.
    NoSettling,
    /// A session that ends is not marked before its connections get their events.
    EndIsNotMarked,
    /// An instance that loses the race to dispose of an overdue session publishes the end as well.
    LoserPublishesToo,
    /// Writes name no revision.
    NoCompare,
    /// An unanswered write is taken for done.
    UnansweredIsDone,
    /// When an instance is killed, the other one does not send its connections their events again.
    NoResend,
    /// Connections that a refresh has shown a user are not checked.
    NoCheckAfterRefresh,
    /// A check that has failed is not repeated.
    FailedCheckIsForgotten,
    /// Each instance counts only the sessions that it has made.
    CapOfOwn,
    /// Each of two logins at once ends the session of the other.
    CapOfAll,
    /// A new secret signs before all know it.
    SignsTooEarly,
    /// After a loss the replica goes on behind the last sequence that it has seen.
    HistoryGoesOn,
    /// A write is under the sequence that it was decided on, also if that was in another history.
    RevisionsOutliveHistories,
    /// A key that is newer than the record counts as stolen.
    LossLooksLikeTheft,
    /// Of two logins on one connection the one that was written last stays.
    LaterLoginStays,
    /// A connection that is taken off sessions is taken to have been sent the one that it stays on.
    SentIsForgotten,
    /// A connection on two sessions is not checked if it cannot be taken off one.
    ApartUnchecked,
    /// A connection is not checked if the session that a login creates there gets no answer.
    CreationIsForgotten,
    /// The repetition of a login that is withdrawn then is answered with its key.
    WithdrawnIsRepeated,
    /// A login that is repeated counts as another one.
    LoginIsAnother,
    /// A login is not checked again if users have changed meanwhile.
    NoSecondCheck,
    /// If an instance is killed that had not seen a change, the others notify nobody again.
    NotNotifiedAgain,
    /// The answers to a probe go to any instance.
    ProbeAnsweredToAny,
    /// Silence counts, also of a connection that has used its key since.
    SilenceCounts,
    /// Who is cleared before a write is not checked if that is not done.
    LeftUnchecked,
    /// Who is cleared before a write is not cleared again after it.
    ClearedOnce,
    /// The bucket removes no session.
    NoTimeToLive,
    /// It removes sessions as soon as they are overdue.
    TimeToLiveTooShort,
}

/// What changes about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The password: what was made by the old one ends.
    Password,
    /// The role.
    Role,
    /// The user is no more.
    Removal,
}

impl Edit {
    /// Whether the password that clients have is wrong after it.
    #[must_use]
    pub fn keeps_out(self) -> bool {
        matches!(self, Self::Password | Self::Removal)
    }
}

/// Why a connection does not answer a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is no more.
    Gone,
    /// Its gateway does not know the question.
    Silent,
}

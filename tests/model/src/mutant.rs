//! Mutants: rules broken on purpose, which the check must notice. Each alters an input or an output
//! of the shipped code, never the code itself.

/// One thing that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A used key is answered with its successor, whatever attempt it comes with.
    RetryWithoutAttempt,
    /// A reused key is refused, and the session goes on.
    ReuseIsRefused,
    /// A used key of a bearer session is answered with the newest.
    CatchUpForBearer,
    /// A request that comes once more, late, is taken for a thief's.
    StaleRetryIsReuse,
    /// A retry on another connection takes the session from nobody.
    RetryMovesNothing,
    /// A new generation is announced to other connections after the one that made it has its token.
    AnnouncedAfterToken,
    /// The reply and the events go out before the record is written.
    ReplyBeforeWrite,
    /// Whatever a bound session's key comes with is taken for a proof.
    AnyProofWill,
    /// A logout ends what the connection holds, whatever it names.
    LogoutNamesNothing,
    /// A logout of a session that the connection has lost is answered as if it had ended it.
    LogoutElsewhereIsDone,
    /// The attempt is sent, and not written to storage before.
    AttemptNotWritten,
    /// Each time that a key is sent, it is a new attempt.
    AttemptDrawnAgain,
    /// A refused key is given up without a second look at storage.
    NoSecondLook,
    /// The successor is written over whatever storage has.
    SuccessorOverAnything,
    /// The successor is not written.
    SuccessorNotWritten,
    /// A logout leaves nothing in storage for the next page to finish.
    LogoutLeavesNothing,
    /// The events that announce a new generation to other connections are lost.
    RotationNotAnnounced,
    /// The log is not asked: whose turn it is, is settled in localStorage.
    LogNotAsked,
    /// A removal in the log is taken for a loss.
    RemovalIsLoss,
    /// A log that is empty is taken for a removal.
    LossIsRemoval,
    /// A removal that the log was not there to take leaves nothing in localStorage.
    RemovalNotMarked,
    /// The attempt is written to the log, and not to localStorage.
    ClaimNotInLocal,
}

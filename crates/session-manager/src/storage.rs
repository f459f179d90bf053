//! The storage record in two places: docs/protocol.md, section 4. localStorage has it at once, and
//! the log of a database settles whose turn it is among tabs; what one of them has lost, the other
//! restores. Pure: says what is to be read and written next, and knows no browser.
//!
//! One operation at a time: [`StorageInput::Read`] or [`StorageInput::Swap`] begins it, each action
//! is answered by one input, and [`StorageAction::Done`] ends it.

mod local;
mod log;
mod reconcile;
mod text;

pub use self::log::{Log, LogAppend, LogEntry, LogRemoval};
use self::{
    local::{LocalEntry, Replaced},
    reconcile::{Verdict, has_lost, reconcile},
    text::Content,
};
use crate::Secret;

/// How often a text of localStorage is put into the log, and how often a refused append is tried,
/// before the operation goes on without.
const MAX_TRIES: u8 = 2;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageAction {
    /// Read the entry of localStorage; answered by [`StorageInput::Local`].
    ReadLocal,
    /// Write it, or remove it; answered by [`StorageInput::LocalWritten`]. What cannot be written
    /// is removed.
    WriteLocal(Option<Secret>),
    /// Read all of the log in one transaction; answered by [`StorageInput::Log`].
    ReadLog,
    /// Append to the log that was read last, in one transaction and to disk; answered by
    /// [`StorageInput::Appended`].
    Append(LogAppend),
    /// Remove from that log; answered by [`StorageInput::Removed`].
    Remove(LogRemoval),
    /// Wait until other tabs' writes to localStorage have come here, and ours to them; answered by
    /// [`StorageInput::Settled`].
    Settle,
    /// The operation is done.
    Done {
        /// The stored text. After a swap it is never stale as long as the log answers. If the swap
        /// has succeeded, it equals the swap's own text to the letter.
        text: Option<Secret>,
        /// Whether other tabs are to be notified that it has changed.
        is_changed: bool,
    },
}

/// What begins an operation, and the answers to its actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageInput {
    /// Say what storage has; it may be what it had a moment ago. As
    /// [`PlatformAction::ReadStorage`](crate::PlatformAction::ReadStorage).
    Read,
    /// Exchange the text, as [`PlatformAction::SwapStorage`](crate::PlatformAction::SwapStorage).
    Swap {
        /// What has to be there.
        from: Option<Secret>,
        /// What is to be there.
        to: Option<Secret>,
    },
    /// The entry of localStorage. An error: it cannot be read.
    Local(Result<Option<Secret>, Unavailable>),
    /// Whether the entry was written.
    LocalWritten(Result<(), Unavailable>),
    /// The log. An error: it does not answer, or not in time.
    Log(Result<Log, Unavailable>),
    /// The number of the entry that was appended. An error: it was refused, or that log is gone, or
    /// nobody knows.
    Appended(Result<u64, Unavailable>),
    /// It was removed, or could not be.
    Removed,
    /// The wait is over.
    Settled,
}

/// A place that cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this storage cannot be used now")]
pub struct Unavailable;

/// Keeps the storage record in both places.
#[derive(Clone, Debug, Default)]
pub struct RecordStorage {
    /// What localStorage would not take: it lives as long as this page.
    held: Option<LocalEntry>,
    /// Whether the log answered last.
    is_logged: bool,
    /// What counted last for this page. `None`: the log has never answered, and localStorage is all
    /// there is.
    known: Option<LocalEntry>,
    operation: StorageOperation,
}

/// What is under way.
#[derive(Clone, Debug, Default)]
struct StorageOperation {
    swap: Option<(Option<Secret>, Option<Secret>)>,
    stage: StorageStage,
    local: LocalEntry,
    log: Log,
    /// Whether what is appended is the text of localStorage, so that the swap is still to come.
    is_restoring: bool,
    restores: u8,
    failures: u8,
    is_changed: bool,
    /// What it will have come to.
    text: Option<Secret>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StorageStage {
    #[default]
    Idle,
    /// Reading localStorage, before the log: what the log has then is no older.
    ReadingLocal,
    /// Noting in localStorage that a key is being removed.
    MarkingRemoval,
    ReadingLog,
    Appending,
    /// Finding out whether the entry of this number was the first to follow.
    Verifying(u64),
    Removing,
    /// Looking at what localStorage has by now.
    Comparing,
    WritingLocal,
    /// Writing what the log cannot take.
    WritingUnlogged,
    /// Looking at who was last to write that.
    Settling,
}

impl RecordStorage {
    /// Takes in what happened, and says what is to be done next.
    pub fn handle(&mut self, input: StorageInput) -> StorageAction {
        match (self.operation.stage, input) {
            (_, StorageInput::Read) => self.begin(None),
            (_, StorageInput::Swap { from, to }) => self.begin(Some((from, to))),
            (StorageStage::ReadingLocal, StorageInput::Local(entry)) => self.local_read(entry),
            (StorageStage::ReadingLog, StorageInput::Log(Ok(log))) => self.log_read(log),
            (StorageStage::Verifying(at), StorageInput::Log(Ok(log))) => self.verified(at, log),
            (_, StorageInput::Log(_)) => self.go_without_log(),
            (_, StorageInput::Appended(Ok(at))) => self.appended(at),
            (_, StorageInput::Appended(Err(Unavailable))) => self.append_failed(),
            (_, StorageInput::Removed) => self.decide(),
            (_, StorageInput::Settled) => self.settled(),
            (StorageStage::Settling, StorageInput::Local(entry)) => self.looked_again(entry),
            (_, StorageInput::Local(entry)) => self.compare(entry),
            (_, StorageInput::LocalWritten(result)) => self.local_written(result),
        }
    }

    /// Whether an entry of localStorage that another tab has just written may mean a change: what
    /// the log has is told by other means.
    #[must_use]
    pub fn is_news(&self, entry: Option<Secret>) -> bool {
        let entry = LocalEntry::parse(entry);
        !self.is_logged || entry.text.is_none() || entry.unlogged.is_some()
    }

    fn begin(&mut self, swap: Option<(Option<Secret>, Option<Secret>)>) -> StorageAction {
        self.operation = StorageOperation { swap, stage: StorageStage::ReadingLocal, ..StorageOperation::default() };
        StorageAction::ReadLocal
    }

    fn local_read(&mut self, entry: Result<Option<Secret>, Unavailable>) -> StorageAction {
        self.operation.local = self.entry(entry);
        if let Some(entry) = self.operation.removal() {
            // At once, for the page may be gone before the log has taken it.
            self.operation.stage = StorageStage::MarkingRemoval;
            return self.write(entry);
        }
        let is_enough = self.operation.swap.is_none() && self.held.is_none();
        if is_enough && self.operation.local.text.is_some() {
            // It may be older than what the log has, and that is no harm.
            self.operation.text = self.operation.local.text.take();
            return self.done();
        }
        self.read_log(StorageStage::ReadingLog)
    }

    fn read_log(&mut self, stage: StorageStage) -> StorageAction {
        self.operation.stage = stage;
        StorageAction::ReadLog
    }

    fn log_read(&mut self, log: Log) -> StorageAction {
        self.is_logged = true;
        let is_behind = log.head().is_some() && self.known.as_ref().is_some_and(|known| known.unlogged.is_some());
        self.operation.log = log;
        if is_behind {
            // It answers again, and does not have what this page wrote meanwhile; nor may
            // localStorage have it.
            let local = std::mem::take(&mut self.operation.local);
            self.operation.local = self.restored(local);
        }
        self.decide()
    }

    /// Both are known: what counts, and what becomes of it.
    fn decide(&mut self) -> StorageAction {
        let operation = &mut self.operation;
        let head = operation.log.head();
        let is_local = reconcile(&operation.local, head.as_ref()) == Verdict::Local;
        operation.text = if is_local { operation.local.text.clone() } else { head.and_then(|head| head.text) };
        if is_local && operation.restores < MAX_TRIES {
            operation.restores += 1;
            operation.is_restoring = true;
            let replaced = operation.local.unlogged.clone().unwrap_or_default();
            return self.append(self.operation.local.text.clone(), &replaced);
        }
        match operation.wanted() {
            Some(to) => {
                operation.is_restoring = false;
                self.append(to, &Replaced::default())
            }
            None => self.finish(),
        }
    }

    fn append(&mut self, to: Option<Secret>, replaced: &Replaced) -> StorageAction {
        self.operation.stage = StorageStage::Appending;
        StorageAction::Append(self.operation.log.append(to, replaced))
    }

    fn appended(&mut self, at: u64) -> StorageAction {
        if !self.operation.is_restoring {
            // It counts or came too late, and is not tried again either way.
            self.operation.swap = None;
        }
        self.read_log(StorageStage::Verifying(at))
    }

    fn append_failed(&mut self) -> StorageAction {
        self.operation.failures += 1;
        if self.operation.failures < MAX_TRIES {
            // The browser may have taken the database from us: there may be another, and
            // localStorage may have moved on.
            self.operation.stage = StorageStage::ReadingLocal;
            return StorageAction::ReadLocal;
        }
        self.write_unlogged()
    }

    fn verified(&mut self, at: u64, log: Log) -> StorageAction {
        let operation = &mut self.operation;
        operation.log = log;
        match operation.log.too_late(at) {
            Some(removal) => {
                operation.stage = StorageStage::Removing;
                StorageAction::Remove(removal)
            }
            None => {
                operation.is_changed = true;
                self.decide()
            }
        }
    }

    /// What the log has is known, and written to localStorage if that has something else.
    fn finish(&mut self) -> StorageAction {
        self.known = Some(LocalEntry::logged(self.operation.text.clone()));
        self.operation.stage = StorageStage::Comparing;
        StorageAction::ReadLocal
    }

    fn compare(&mut self, entry: Result<Option<Secret>, Unavailable>) -> StorageAction {
        let (entry, wanted) = (self.entry(entry), LocalEntry::logged(self.operation.text.clone()));
        let head = self.operation.log.head();
        self.operation.stage = StorageStage::WritingLocal;
        // Newer: a sibling was faster than we. The next look takes it up.
        if entry == wanted || reconcile(&entry, head.as_ref()) == Verdict::Local {
            return self.done();
        }
        self.write(wanted)
    }

    /// The log does not answer: localStorage has to do, and what it has lost, this page knows.
    fn go_without_log(&mut self) -> StorageAction {
        self.is_logged = false;
        let local = std::mem::take(&mut self.operation.local);
        self.operation.local = self.restored(local);
        self.operation.text = self.operation.local.text.clone();
        self.write_unlogged()
    }

    fn write_unlogged(&mut self) -> StorageAction {
        let operation = &mut self.operation;
        let Some(to) = operation.wanted() else { return self.done() };
        let (before, after) = (Content::of(operation.text.as_ref()), Content::of(to.as_ref()));
        let unlogged = Some(operation.local.unlogged.take().unwrap_or_default().and(before, after));
        operation.text.clone_from(&to);
        operation.is_changed = true;
        operation.stage = StorageStage::WritingUnlogged;
        self.write(LocalEntry { text: to, unlogged })
    }

    /// Of what two tabs write at once each sees its own for a moment, and then both see the same.
    fn settled(&mut self) -> StorageAction {
        self.operation.stage = StorageStage::Settling;
        StorageAction::ReadLocal
    }

    fn looked_again(&mut self, entry: Result<Option<Secret>, Unavailable>) -> StorageAction {
        let entry = self.entry(entry);
        self.operation.text = self.restored(entry).text;
        self.done()
    }

    fn write(&mut self, entry: LocalEntry) -> StorageAction {
        let text = entry.write();
        if self.known.is_some() {
            self.known = Some(entry.clone());
        }
        self.operation.local = entry;
        StorageAction::WriteLocal(text)
    }

    fn local_written(&mut self, result: Result<(), Unavailable>) -> StorageAction {
        self.held = result.is_err().then(|| self.operation.local.clone());
        match self.operation.stage {
            StorageStage::MarkingRemoval => self.read_log(StorageStage::ReadingLog),
            // What this page alone has is in step.
            StorageStage::WritingUnlogged if self.held.is_none() => StorageAction::Settle,
            _ => self.done(),
        }
    }

    fn done(&mut self) -> StorageAction {
        let StorageOperation { text, is_changed, .. } = std::mem::take(&mut self.operation);
        StorageAction::Done { text, is_changed }
    }

    /// The entry, or what this page knows that it was. A browser that loses its databases while a
    /// page is open can lose what it has not yet written of localStorage with them.
    fn restored(&self, entry: LocalEntry) -> LocalEntry {
        match &self.known {
            Some(known) if has_lost(&entry, known) => known.clone(),
            _ => entry,
        }
    }

    /// The entry that counts for this page.
    fn entry(&self, entry: Result<Option<Secret>, Unavailable>) -> LocalEntry {
        match &self.held {
            Some(held) => held.clone(),
            None => LocalEntry::parse(entry.unwrap_or_default()),
        }
    }
}

impl StorageOperation {
    /// What localStorage has from now on, if the swap removes the key that it has.
    fn removal(&mut self) -> Option<LocalEntry> {
        let (from, to) = self.swap.as_ref()?;
        let (before, after) = (Content::of(from.as_ref()), Content::of(to.as_ref()));
        let is_removal = before.is_key() && !after.is_key();
        if !is_removal || *from != self.local.text {
            return None;
        }
        let replaced = self.local.unlogged.take().unwrap_or_default().and(before, after);
        Some(LocalEntry { text: to.clone(), unlogged: Some(replaced) })
    }

    /// The text that the swap puts in the place of what counts, if that is what it goes from.
    #[expect(clippy::option_option, reason = "told apart: there is nothing to do, and the text is to go")]
    fn wanted(&self) -> Option<Option<Secret>> {
        let (from, to) = self.swap.as_ref()?;
        let applies = *from == self.text && from != to;
        applies.then(|| to.clone())
    }
}

//! The bucket, and how an instance sees it. Must not know what records mean.

use std::collections::{BTreeMap, BTreeSet};

use relogin_session::{ConnectionId, Record, SessionId};

/// A session in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its record.
    pub record: Record,
    /// The sequence that wrote it.
    pub revision: u64,
}

/// The bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// The sessions.
    pub records: BTreeMap<SessionId, Stored>,
    last: u64,
    /// How often it has gone back.
    history: u8,
    /// Its earlier states, if it may go back.
    earlier: Option<Vec<(BTreeMap<SessionId, Stored>, u64)>>,
}

/// A write that may still be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floating {
    /// Of which session.
    pub sid: SessionId,
    /// The revision that it names; 0: there must be none.
    pub expected: u64,
    /// The record; none: it is removed.
    pub next: Option<Record>,
}

/// A replica of the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    known: BTreeMap<SessionId, Stored>,
    /// What was written until then it has never been shown.
    since: u64,
    /// Sessions of which only the bucket's leader can say what they are.
    in_doubt: BTreeSet<SessionId>,
    /// In which history that is, and the last sequence that it was shown; 0 where there is but one.
    position: (u8, u64),
    /// How often that, or a session, has gone back. What was decided before is not written.
    pub setbacks: u8,
}

impl Truth {
    /// From now on it may go back to where it was.
    pub fn remember_if(&mut self, may_go_back: bool) {
        self.earlier = may_go_back.then(Vec::new);
    }

    /// How many states it may go back to.
    #[must_use]
    pub fn earlier(&self) -> usize {
        self.earlier.as_ref().map_or(0, Vec::len)
    }

    /// One of them.
    #[must_use]
    pub fn gone_back(&self, earlier: usize, may_go_back: bool) -> Self {
        let (records, last) = self.earlier.as_ref().expect("it may go back")[earlier].clone();
        Self { records, last, history: self.history + 1, earlier: may_go_back.then(Vec::new) }
    }

    fn position(&self) -> (u8, u64) {
        let may_go_back = self.earlier.is_some() || self.history > 0;
        (self.history, if may_go_back { self.last } else { 0 })
    }

    /// Writes, if the revision is the expected one or nobody compares; returns the new one.
    pub fn swap(&mut self, sid: SessionId, expected: u64, next: Option<Record>, compares: bool) -> Option<u64> {
        let newest = self.records.get(&sid).map_or(0, |stored| stored.revision);
        if compares && newest != expected {
            return None;
        }
        if let Some(earlier) = &mut self.earlier {
            earlier.push((self.records.clone(), self.last));
        }
        self.last += 1;
        match next {
            Some(record) => drop(self.records.insert(sid, Stored { record, revision: self.last })),
            None => drop(self.records.remove(&sid)),
        }
        Some(self.last)
    }
}

impl View {
    /// One that has read all of the bucket.
    #[must_use]
    pub fn of(truth: &Truth) -> Self {
        let mut view = Self::default();
        view.catch_up(truth);
        view
    }

    /// One that has read nothing and believes that it has.
    #[must_use]
    pub fn from_now_on(truth: &Truth) -> Self {
        Self { since: truth.last, ..Self::default() }
    }

    /// The watch shows everything.
    pub fn catch_up(&mut self, truth: &Truth) {
        let is_shown = |stored: &&Stored| stored.revision > self.since;
        self.setbacks += u8::from(!self.is_of(truth));
        self.position = truth.position();
        self.known =
            truth.records.values().filter(is_shown).map(|stored| (stored.record.sid, stored.clone())).collect();
    }

    /// Whether the watch has nothing to show.
    #[must_use]
    pub fn is_current(&self, truth: &Truth) -> bool {
        let shown = truth.records.values().filter(|stored| stored.revision > self.since);
        self.is_of(truth) && shown.eq(self.known.values())
    }

    /// Whether it is of the same history.
    #[must_use]
    pub fn is_of(&self, truth: &Truth) -> bool {
        self.position.0 == truth.history
    }

    /// Whether a write with this sequence shows that it is not.
    #[must_use]
    pub fn is_behind_us(&self, revision: u64, truth: &Truth) -> bool {
        !self.is_of(truth) && revision <= self.position.1
    }

    /// The watch goes on in another history, behind the last sequence that it has shown.
    pub fn go_on(&mut self, truth: &Truth) {
        let shown = truth.records.values().filter(|stored| stored.revision > self.position.1);
        self.known.extend(shown.map(|stored| (stored.record.sid, stored.clone())));
        self.position.1 = self.position.1.max(truth.last);
    }

    /// Asks the leader for a session.
    pub fn refresh(&mut self, sid: SessionId, truth: &Truth) {
        let (known, now) = (self.known.get(&sid), truth.records.get(&sid));
        let is_newer = |known: &Stored| now.is_some_and(|now| now.revision > known.revision);
        let goes_back = !self.is_of(truth) && known != now && !known.is_none_or(is_newer);
        self.setbacks += u8::from(goes_back);
        match now {
            Some(stored) => drop(self.known.insert(sid, stored.clone())),
            None => drop(self.known.remove(&sid)),
        }
        self.in_doubt.remove(&sid);
    }

    /// Asks the leader for whatever is in doubt.
    pub fn be_certain(&mut self, truth: &Truth) {
        for sid in std::mem::take(&mut self.in_doubt) {
            self.refresh(sid, truth);
        }
    }

    /// A write got no answer.
    pub fn doubt(&mut self, sid: SessionId) {
        self.in_doubt.insert(sid);
    }

    /// A write was done.
    pub fn apply(&mut self, sid: SessionId, revision: u64, next: Option<Record>) {
        match next {
            Some(record) => drop(self.known.insert(sid, Stored { record, revision })),
            None => drop(self.known.remove(&sid)),
        }
    }

    /// A session.
    #[must_use]
    pub fn load(&self, sid: SessionId) -> Option<&Stored> {
        self.known.get(&sid)
    }

    /// The sessions on a connection, the one that was written last first.
    #[must_use]
    pub fn all_on(&self, connection: &ConnectionId) -> Vec<&Stored> {
        let mut on: Vec<_> = self.known.values().filter(|stored| stored.record.is_on(connection)).collect();
        on.sort_by_key(|stored| std::cmp::Reverse(stored.revision));
        on
    }

    /// All sessions.
    pub fn records(&self) -> impl Iterator<Item = &Stored> {
        self.known.values()
    }
}

//! Writes resources into a message, a little at a time: there may be thousands of them. Must not
//! depend on what the message is for, nor on who else writes.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use relogin_res::{ResourceId, client::OpenFrame};

use super::task::{Deliver, FetchKind};
use crate::{
    content::{BYTES_A_STEP, Content, Dialect, Draft, push_json},
    http::resources::Found,
};

/// A message that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    found: BTreeMap<ResourceId, Found>,
    dialect: Dialect,
    stage: WritePhase,
    /// The last of the resources that this stage is done with.
    last: Option<ResourceId>,
    /// The text of the one after it, as far as it is made.
    draft: Draft,
    /// How many resources of each section there are, and about how many bytes all will have.
    counts: [usize; SECTIONS.len()],
    bytes: usize,
    frame: String,
    after: String,
}

/// What a message is that is being written, with the resources that are new to the client.
#[derive(Debug)]
pub(crate) enum PendingMessage {
    /// An answer to a request for a resource.
    Answer(ResourceId, FetchKind, Vec<ResourceId>),
    /// An event.
    Event(Deliver, Vec<ResourceId>),
}

/// What is done with all resources, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WritePhase {
    /// Their texts are made, for all connections, and counted, so that the message need not grow.
    Measure,
    /// Those that belong in a section are written.
    Write(usize),
}

/// How much was done in a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WriteStep {
    /// So many bytes of text were made or written, and it is not finished.
    Written(usize),
    /// It is finished.
    Finished(String),
}

/// The members of a resource set, in this order.
const SECTIONS: [&str; 3] = ["models", "collections", "errors"];

/// How many bytes their names have, with what stands around them. One byte more than was reserved
/// would double the room for a message.
const SECTIONS_BYTES: usize = r#"{"models":{},"collections":{},"errors":{},"#.len();

/// How many resources are looked at or values made text in a step.
const VALUES_A_STEP: usize = 16;

impl Writing {
    /// Begins to write `found` into a frame.
    pub(crate) fn new(frame: OpenFrame, found: BTreeMap<ResourceId, Found>, dialect: Dialect) -> Self {
        Self {
            found,
            dialect,
            stage: WritePhase::Measure,
            last: None,
            draft: Draft::default(),
            counts: [0; SECTIONS.len()],
            bytes: frame.before.len() + SECTIONS_BYTES + frame.after.len(),
            frame: frame.before,
            after: frame.after,
        }
    }

    /// How many bytes the message will have, about. None while that is not known.
    pub(crate) fn bytes(&self) -> Option<usize> {
        (self.stage != WritePhase::Measure).then_some(self.bytes)
    }

    /// Writes some more.
    pub(crate) fn step(&mut self) -> WriteStep {
        let mut most = VALUES_A_STEP;
        match self.stage {
            WritePhase::Measure => {
                let (bytes, is_all) = self.measure(&mut most);
                if is_all {
                    self.begin(0);
                }
                WriteStep::Written(bytes)
            }
            WritePhase::Write(section) if section < SECTIONS.len() => {
                let before = self.frame.len();
                self.frame.reserve_exact(self.bytes.saturating_sub(before));
                if self.write(section, most) {
                    self.frame.push('}');
                    self.begin(section + 1);
                }
                WriteStep::Written(self.frame.len() - before)
            }
            WritePhase::Write(_) => {
                self.frame.push_str(&self.after);
                WriteStep::Finished(std::mem::take(&mut self.frame))
            }
        }
    }

    /// How many bytes the message has so far, and how many it has room for.
    #[cfg(test)]
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.frame.len() + self.draft.bytes(), self.frame.capacity())
    }

    /// How many resources it is made of.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// What was written, for whoever frees it.
    pub(crate) fn into_found(self) -> BTreeMap<ResourceId, Found> {
        self.found
    }

    /// Begins with a section, the first from that one on that is not empty.
    fn begin(&mut self, section: usize) {
        self.last = None;
        let next = (section..SECTIONS.len()).find(|section| self.counts[*section] > 0).unwrap_or(SECTIONS.len());
        self.stage = WritePhase::Write(next);
        if let Some(name) = SECTIONS.get(next) {
            self.separate();
            push_json(&mut self.frame, name);
            self.frame.push_str(":{");
        }
    }

    /// Sees to the texts of some resources. Returns how many bytes it has made for that, and
    /// whether those were the last ones.
    fn measure(&mut self, most: &mut usize) -> (usize, bool) {
        let after = self.last.as_ref().map_or(Unbounded, Excluded);
        let mut rest = self.found.range::<ResourceId, _>((after, Unbounded));
        let (mut last, mut made) = (None, 0);
        let is_all = loop {
            if *most == 0 || made >= BYTES_A_STEP {
                break false;
            }
            let Some((rid, found)) = rest.next() else { break true };
            let bytes = match found {
                Found::Content(snapshot) => match snapshot.text(self.dialect) {
                    Some(text) => text.len(),
                    None => {
                        let before = self.draft.bytes();
                        let is_made = snapshot.draft(&mut self.draft, self.dialect, most);
                        let bytes = snapshot.text(self.dialect).map_or(self.draft.bytes(), str::len);
                        made += bytes - before;
                        if !is_made {
                            break false;
                        }
                        bytes
                    }
                },
                Found::Error(error) => error.message.len() + ERROR_BYTES,
            };
            *most = most.saturating_sub(1);
            self.counts[section_of(found)] += 1;
            self.bytes += rid.as_str().len() + bytes + r#""":,"#.len();
            last = Some(rid.clone());
        };
        self.last = last.or(self.last.take());
        (made, is_all)
    }

    /// Writes some resources of a section. True if those were the last ones.
    fn write(&mut self, section: usize, most: usize) -> bool {
        let after = self.last.take();
        let mut rest = self.found.range::<ResourceId, _>((after.as_ref().map_or(Unbounded, Excluded), Unbounded));
        let end = self.frame.len() + BYTES_A_STEP;
        let mut last = None;
        for _ in 0..most {
            let Some((rid, found)) = rest.next() else { return true };
            last = Some(rid);
            if section_of(found) != section {
                continue;
            }
            if !self.frame.ends_with('{') {
                self.frame.push(',');
            }
            push_json(&mut self.frame, rid);
            self.frame.push(':');
            match found {
                Found::Content(snapshot) => self.frame.push_str(snapshot.text(self.dialect).unwrap_or("null")),
                Found::Error(error) => push_json(&mut self.frame, error),
            }
            if self.frame.len() > end {
                break;
            }
        }
        self.last = last.cloned();
        false
    }

    fn separate(&mut self) {
        if !self.frame.ends_with('{') {
            self.frame.push(',');
        }
    }
}

/// About how long an error is beside its message.
const ERROR_BYTES: usize = 64;

/// Where it belongs.
fn section_of(found: &Found) -> usize {
    match found {
        Found::Content(snapshot) => usize::from(matches!(snapshot.content, Content::Collection(_))),
        Found::Error(_) => 2,
    }
}

//! Large answers to get requests that are being decoded elsewhere. They are taken in where they
//! came: what came after them for the same name waits. Must not depend on connections.

use std::{collections::BTreeMap, mem};

use super::{Cache, round::Waiting};
use crate::{bus::Bus, ids::ResourceKey, tag::Tag};

/// Answers that are being decoded.
#[derive(Debug, Default)]
pub(super) struct Decoding {
    /// For which name, and how many bytes they have. Each waits at its name.
    answers: BTreeMap<Tag, (String, usize)>,
    bytes: usize,
    /// True if more waits for them than may.
    is_behind: bool,
}

impl Cache {
    /// Keeps the place of an answer of so many bytes until it is decoded.
    pub(crate) fn await_decoding(&mut self, key: ResourceKey, tag: Tag, bytes: usize, bus: &mut Bus) {
        let Some(name) = self.name_of(key).map(str::to_owned) else { return };
        self.decoding.bytes += bytes;
        self.decoding.answers.insert(tag, (name.clone(), bytes));
        self.keep_waiting(&name, Waiting::Decoding(tag, bytes), bus);
    }

    /// True while the answer to this request is being decoded.
    pub(crate) fn is_decoding(&self, tag: Tag) -> bool {
        self.decoding.answers.contains_key(&tag)
    }

    /// True if so much is being decoded, or waits for that, that nothing may be added.
    pub(crate) fn has_too_much_to_decode(&self) -> bool {
        self.decoding.is_behind || self.decoding.bytes > self.max_waiting_bytes
    }

    /// Notes that more waits for answers that are being decoded than may.
    pub(super) fn wait_for_decoding(&mut self) {
        self.decoding.is_behind = !self.decoding.answers.is_empty();
    }

    /// Puts what an answer says in its place, or gives up that place.
    pub(super) fn end_decoding(&mut self, tag: Tag, with: Option<Waiting>) {
        let Some((text, bytes)) = self.decoding.answers.remove(&tag) else { return };
        self.decoding.bytes -= bytes;
        self.decoding.is_behind = false;
        let Some(name) = self.names.get_mut(&text) else { return };
        let is_it = |waiting: &Waiting| matches!(waiting, Waiting::Decoding(of, _) if *of == tag);
        let Some(at) = name.waiting.iter().position(is_it) else { return };
        let replaced = match with {
            Some(waiting) => {
                name.waiting_bytes += waiting.bytes();
                Some(mem::replace(&mut name.waiting[at], waiting))
            }
            None => name.waiting.remove(at),
        };
        name.waiting_bytes -= replaced.map_or(0, |replaced| replaced.bytes());
        if at == 0 && name.can_go_on() {
            self.unlocked.push_back(text);
        }
    }

    /// Gives up a get request.
    pub(super) fn release_get(&mut self, tag: Tag, bus: &mut Bus) {
        bus.release(tag);
        self.end_decoding(tag, None);
    }

    #[cfg(test)]
    pub(super) fn check_decoding(&self) {
        let waiting = self.names.values().flat_map(|name| &name.waiting);
        let mut tags: Vec<_> = waiting
            .filter_map(|waiting| if let Waiting::Decoding(tag, _) = waiting { Some(*tag) } else { None })
            .collect();
        tags.sort();
        assert!(tags.iter().eq(self.decoding.answers.keys()), "answers that are decoded for nobody");
        assert_eq!(self.decoding.bytes, self.decoding.answers.values().map(|(_, bytes)| bytes).sum::<usize>());
    }
}

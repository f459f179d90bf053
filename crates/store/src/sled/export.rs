//! Reads all sessions of an open store, as they are at one moment, while it is written. Must not
//! know who wants them.
//!
//! The index is gone through a few sessions at a time, and meanwhile the state notes what becomes
//! of the sessions that change. At the end these notes are taken in one step: that is the moment,
//! and they override what was read before. So nobody waits for an export, and what it needs of
//! memory is one value of each session that changes while it runs.

use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use super::{
    super::{Export, Exported, StoreError},
    database,
    shared::SledShared,
    state::{Location, Values},
};

/// How many slots of the index are read under one lock.
const SLOTS: usize = 256;

/// Sends all sessions to `to`. Blocks while that is full.
pub(super) fn run(shared: &Arc<SledShared>, to: &Sender<Vec<Export>>) -> Result<Exported, StoreError> {
    let mut state = shared.lock();
    let tree = state.tree.clone().ok_or(StoreError::Closed)?;
    let slots = state.index.slots();
    let mut unreadable: Vec<_> = state.damaged.iter().copied().collect();
    state.changed = Some(Values::default());
    drop(state);
    let noting = Noting(shared);
    let (mut from, mut moved) = (0, Vec::new());
    while from < slots {
        let state = shared.lock();
        let upto = state.index.slots().min(slots).min(from + SLOTS);
        let sids: Vec<_> = state.index.in_slots(from..upto).map(|known| known.sid).collect();
        let places: Vec<_> = sids.into_iter().map(|sid| (sid, state.find(sid))).collect();
        drop(state);
        let mut portion = Vec::with_capacity(places.len());
        for (sid, place) in places {
            let stored = match place {
                Location::Session(stored) => Ok(stored),
                Location::Value(_, value) => database::decode(&value).map(Arc::new).map_err(drop),
                Location::Database(Some(revision)) => {
                    match tree.get(sid.0).map(|value| value.map(|value| database::decode(&value))) {
                        Ok(Some(Ok(stored))) if stored.revision == revision => Ok(Arc::new(stored)),
                        // It has changed in the meantime, and follows with the notes.
                        Ok(None | Some(Ok(_))) => {
                            moved.push(sid);
                            continue;
                        }
                        Ok(Some(Err(_))) | Err(_) => Err(()),
                    }
                }
                Location::Database(None) | Location::Nothing => Err(()),
            };
            match stored {
                Ok(stored) => portion.push(Export::Session(stored)),
                Err(()) => unreadable.push(sid),
            }
        }
        send(to, portion)?;
        from = upto.max(from + 1);
    }
    let changed = noting.take();
    unreadable.extend(moved.into_iter().filter(|sid| !changed.contains_key(sid)));
    let mut portion = Vec::new();
    for (sid, value) in changed {
        unreadable.retain(|other| *other != sid);
        portion.push(match value.map(|value| database::decode(&value)) {
            Some(Ok(stored)) => Export::Session(Arc::new(stored)),
            Some(Err(error)) => return Err(StoreError::Record(sid, error)),
            None => Export::Ended(sid),
        });
        if portion.len() == SLOTS {
            send(to, std::mem::take(&mut portion))?;
        }
    }
    send(to, portion)?;
    unreadable.sort_unstable();
    unreadable.dedup();
    Ok(Exported { unreadable })
}

fn send(to: &Sender<Vec<Export>>, portion: Vec<Export>) -> Result<(), StoreError> {
    if portion.is_empty() {
        return Ok(());
    }
    // Nobody wants the rest.
    to.blocking_send(portion).map_err(|_| StoreError::Closed)
}

/// While the state notes changes.
struct Noting<'a>(&'a SledShared);

impl Noting<'_> {
    /// Ends it, and returns the notes.
    fn take(self) -> Values {
        self.0.lock().changed.take().unwrap_or_default()
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        let notes = self.0.lock().changed.take();
        // Outside the lock: they may be many.
        drop(notes);
    }
}

//! Copies sessions into a store: those of another store, or of whatever else has all of them. Must
//! not know which stores they are.

use std::{collections::HashSet, fmt, pin::pin};

use futures_util::{Stream, StreamExt, TryStreamExt, future::try_join_all, stream};
use relogin_session::{Record, SessionId, Timestamp};
use thiserror::Error;

use crate::{SessionStore, StoreError};

/// What a copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// How many sessions the target has, each compared with the source's after all were written.
    pub sessions: usize,
    /// How many of them were there already, from a copy that was interrupted.
    pub were_there: usize,
}

/// Why sessions were not copied, or not all of them.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The source failed.
    #[error("cannot read the sessions to copy")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The target failed. What was copied stays; another copy goes on from there.
    #[error("cannot write the copy; run the same command again to complete it")]
    Target(#[source] StoreError),
    /// The target has sessions that are not part of this copy. Nothing was written.
    #[error("the target has {0} sessions that are missing from the source or differ from it; copy into an empty store")]
    Foreign(usize),
    /// What was written is not what is read.
    #[error("session {0} of the copy is not as in the source; is a service using one of the two?")]
    Unverified(SessionId),
}

/// Has sessions, which are gone through several times and never all held in memory.
pub trait Source {
    /// How many they are.
    fn count(&self) -> usize;

    /// Whether this is one of them.
    fn has(&self, sid: SessionId) -> bool;

    /// All of them, some at a time.
    fn portions(&self) -> impl Stream<Item = Result<Vec<Record>, CopyError>>;
}

/// How many sessions are copied at once.
pub const PORTION: usize = 256;

/// The sessions of a store.
pub struct StoreSource<'a> {
    store: &'a dyn SessionStore,
    sids: Vec<SessionId>,
    known: HashSet<SessionId>,
}

/// A copy that can be made: the target is empty, or was filled by one that was interrupted.
pub struct Copy<'a, S> {
    from: &'a S,
    to: &'a dyn SessionStore,
    there: HashSet<SessionId>,
}

impl<'a> StoreSource<'a> {
    /// Those that `store` has now. No service may use it.
    ///
    /// # Errors
    /// [`CopyError::Source`] if it does not say.
    pub async fn of(store: &'a dyn SessionStore) -> Result<Self, CopyError> {
        let sids = all(store).await.map_err(unread)?;
        Ok(Self { store, known: sids.iter().copied().collect(), sids })
    }
}

impl Source for StoreSource<'_> {
    fn count(&self) -> usize {
        self.sids.len()
    }

    fn has(&self, sid: SessionId) -> bool {
        self.known.contains(&sid)
    }

    fn portions(&self) -> impl Stream<Item = Result<Vec<Record>, CopyError>> {
        stream::iter(self.sids.chunks(PORTION)).then(|some| {
            try_join_all(some.iter().map(async |&sid| {
                let stored = self.store.load(sid).await.map_err(unread)?;
                stored.map(|stored| stored.record.clone()).ok_or(CopyError::Unverified(sid))
            }))
        })
    }
}

impl<'a, S: Source> Copy<'a, S> {
    /// Looks whether the sessions of `from` can be copied into `to`, which must be empty, or have
    /// been filled by a copy that was interrupted. No service may use it. Writes nothing.
    ///
    /// # Errors
    /// [`CopyError`] if they cannot.
    pub async fn check(from: &'a S, to: &'a dyn SessionStore) -> Result<Self, CopyError> {
        let there: HashSet<_> = all(to).await.map_err(CopyError::Target)?.into_iter().collect();
        let mut foreign = there.iter().filter(|sid| !from.has(**sid)).count();
        if !there.is_empty() {
            let mut portions = pin!(from.portions());
            while let Some(mut some) = portions.try_next().await? {
                some.retain(|record| there.contains(&record.sid));
                let same = try_join_all(some.iter().map(|record| is_same(record, to))).await?;
                foreign += same.into_iter().filter(|is_same| !is_same).count();
            }
        }
        if foreign > 0 { Err(CopyError::Foreign(foreign)) } else { Ok(Self { from, to, there }) }
    }

    /// Copies them, and compares all. `progress` is called with how many of how many are done.
    ///
    /// # Errors
    /// [`CopyError`] if they were not all copied.
    pub async fn run(self, mut progress: impl FnMut(usize, usize)) -> Result<Copied, CopyError> {
        let Self { from, to, there } = self;
        let mut done = there.len();
        let mut portions = pin!(from.portions());
        while let Some(mut some) = portions.try_next().await? {
            some.retain(|record| !there.contains(&record.sid));
            if some.is_empty() {
                continue;
            }
            done += some.len();
            let copying = some.into_iter().map(|record| to.create(record));
            try_join_all(copying).await.map_err(CopyError::Target)?;
            progress(done, from.count());
        }
        let mut portions = pin!(from.portions());
        while let Some(some) = portions.try_next().await? {
            let same = try_join_all(some.iter().map(|record| is_same(record, to))).await?;
            if let Some((record, _)) = some.iter().zip(same).find(|(_, is_same)| !is_same) {
                return Err(CopyError::Unverified(record.sid));
            }
        }
        Ok(Copied { sessions: from.count(), were_there: there.len() })
    }
}

impl fmt::Debug for StoreSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSource").field("count", &self.sids.len()).finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Copy<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy").field("there", &self.there.len()).finish_non_exhaustive()
    }
}

async fn all(store: &dyn SessionStore) -> Result<Vec<SessionId>, StoreError> {
    store.read_barrier().await?;
    store.overdue(Timestamp::NEVER, usize::MAX).await
}

async fn is_same(record: &Record, to: &dyn SessionStore) -> Result<bool, CopyError> {
    let target = to.load(record.sid).await.map_err(CopyError::Target)?;
    Ok(target.is_some_and(|stored| stored.record == *record))
}

fn unread(error: StoreError) -> CopyError {
    CopyError::Source(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        contract::{cid, record, sid},
        memory::MemoryStore,
    };

    async fn copy(
        from: &MemoryStore,
        to: &MemoryStore,
        progress: impl FnMut(usize, usize),
    ) -> Result<Copied, CopyError> {
        Copy::check(&StoreSource::of(from).await?, to).await?.run(progress).await
    }

    async fn full() -> MemoryStore {
        let store = MemoryStore::default();
        for n in 0..=255 {
            store.create(record(n, &[&format!("c{n}")])).await.unwrap();
        }
        for n in 0..=99_u16 {
            let mut bytes = [0; 16];
            bytes[..3].copy_from_slice(&[1, u8::try_from(n).unwrap(), 2]);
            let more = relogin_session::Record { sid: SessionId(bytes), ..record(0, &[]) };
            store.create(more).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn all_sessions_are_copied_and_an_interrupted_copy_is_completed() {
        let (from, to) = (full().await, MemoryStore::default());
        let mut steps = Vec::new();
        let copied = copy(&from, &to, |done, of| steps.push((done, of))).await.unwrap();
        assert_eq!((copied, steps), (Copied { sessions: 356, were_there: 0 }, vec![(256, 356), (356, 356)]));
        for n in 0..=255 {
            let held = to.find_by_connection(&cid(&format!("c{n}"))).await.unwrap().unwrap();
            assert_eq!(held.record, record(n, &[&format!("c{n}")]));
        }
        let lost = to.load(sid(7)).await.unwrap().unwrap();
        to.remove(sid(7), lost.revision).await.unwrap();
        assert_eq!(copy(&from, &to, |_, _| {}).await.unwrap(), Copied { sessions: 356, were_there: 355 });
        assert!(to.load(sid(7)).await.unwrap().is_some());
    }

    /// A store in use, whose sessions a copy would bring back or take away.
    #[tokio::test]
    async fn a_store_with_other_sessions_is_left_alone() {
        let (from, to) = (MemoryStore::default(), MemoryStore::default());
        from.create(record(1, &["a"])).await.unwrap();
        to.create(record(2, &["b"])).await.unwrap();
        assert!(matches!(copy(&from, &to, |_, _| {}).await, Err(CopyError::Foreign(1))));
        from.create(record(2, &["c"])).await.unwrap();
        assert!(matches!(copy(&from, &to, |_, _| {}).await, Err(CopyError::Foreign(1))), "another record");
        assert_eq!(to.load(sid(1)).await.unwrap(), None);
    }
}

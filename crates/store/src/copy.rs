//! Copies the sessions of one store into another. Must not know which stores they are.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use relogin_session::{SessionId, Timestamp};
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
    Source(#[source] StoreError),
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

/// How many sessions are copied at once.
const AT_ONCE: usize = 256;

/// Copies all sessions of `from` into `to`, which must be empty, or have been filled by a copy that
/// was interrupted. No service may use either. `progress` is called with how many of how many are
/// done.
///
/// # Errors
/// [`CopyError`] if they were not all copied.
pub async fn copy(
    from: &dyn SessionStore,
    to: &dyn SessionStore,
    mut progress: impl FnMut(usize, usize),
) -> Result<Copied, CopyError> {
    let sids = all(from).await.map_err(CopyError::Source)?;
    let there = all(to).await.map_err(CopyError::Target)?;
    let known: HashSet<_> = sids.iter().collect();
    let mut foreign = there.iter().filter(|sid| !known.contains(sid)).count();
    for some in there.chunks(AT_ONCE) {
        let same = try_join_all(some.iter().map(|sid| is_same(from, to, *sid))).await?;
        foreign += some.iter().zip(same).filter(|(sid, is_same)| known.contains(sid) && !is_same).count();
    }
    if foreign > 0 {
        return Err(CopyError::Foreign(foreign));
    }
    let there: HashSet<_> = there.into_iter().collect();
    let missing: Vec<_> = sids.iter().filter(|sid| !there.contains(sid)).collect();
    let mut done = there.len();
    for some in missing.chunks(AT_ONCE) {
        let copying = some.iter().map(async |&&sid| match from.load(sid).await.map_err(CopyError::Source)? {
            Some(stored) => to.create(stored.record.clone()).await.map(drop).map_err(CopyError::Target),
            None => Err(CopyError::Unverified(sid)),
        });
        try_join_all(copying).await?;
        done += some.len();
        progress(done, sids.len());
    }
    for some in sids.chunks(AT_ONCE) {
        let same = try_join_all(some.iter().map(|sid| is_same(from, to, *sid))).await?;
        if let Some((sid, _)) = some.iter().zip(same).find(|(_, is_same)| !is_same) {
            return Err(CopyError::Unverified(*sid));
        }
    }
    Ok(Copied { sessions: sids.len(), were_there: there.len() })
}

async fn all(store: &dyn SessionStore) -> Result<Vec<SessionId>, StoreError> {
    store.read_barrier().await?;
    store.overdue(Timestamp::NEVER, usize::MAX).await
}

async fn is_same(from: &dyn SessionStore, to: &dyn SessionStore, sid: SessionId) -> Result<bool, CopyError> {
    let source = from.load(sid).await.map_err(CopyError::Source)?;
    let target = to.load(sid).await.map_err(CopyError::Target)?;
    Ok(source.map(|stored| stored.record.clone()) == target.map(|stored| stored.record.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        contract::{cid, record, sid},
        memory::MemoryStore,
    };

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

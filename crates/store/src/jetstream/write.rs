//! Writing one session. Must not decide what is written.

use relogin_session::{Record, SessionId};
use tokio::time::Instant;

use super::{
    JetStreamStore, Shared,
    bucket::{ANSWER_DEADLINE, Published},
    replica::{Change, Encoded, WriteId},
};
use crate::{Revision, StoreError};

impl JetStreamStore {
    /// Writes one session under its revision (`None`: there must be none).
    pub(super) async fn write(
        &self,
        sid: SessionId,
        revision: Option<Revision>,
        next: Option<Record>,
    ) -> Result<Revision, StoreError> {
        let shared = &self.shared;
        shared.certain(sid).await?;
        let connections = next.as_ref().map(|next| next.connections.as_slice()).unwrap_or_default();
        for connection in connections {
            shared.certain_of(connection).await?;
        }
        let (write, expected, history) = {
            let mut replica = shared.open()?;
            if replica.handed_out(sid) != revision {
                return Err(StoreError::Conflict);
            }
            // A removed session leaves a marker behind, which a new one of the same id follows.
            let expected = replica.last(sid).unwrap_or_default();
            (PendingWrite { shared, id: replica.begin(sid, connections)? }, expected, replica.history())
        };
        let change = match next {
            Some(record) => Change::Put(Encoded::new(record)?),
            None => Change::Remove,
        };
        let (before, began) = (shared.progress.now(), Instant::now());
        let is_still = || shared.is_still(&shared.replica(), history);
        let published = match shared.bucket.publish(sid, expected, &change, is_still).await {
            Published::Conflict if revision.is_none() => match shared.marker(sid).await? {
                Some(marker) => shared.bucket.publish(sid, marker, &change, is_still).await,
                None => Published::Conflict,
            },
            published => published,
        };
        match published {
            Published::Done(written) => {
                shared.syncs.add(began.elapsed());
                shared.compare(before, written);
                let revision = shared.change(|replica| {
                    shared.is_still(replica, history).then(|| {
                        replica.apply(sid, written, change);
                        replica.of_now(written)
                    })
                });
                // Otherwise it may be lost already, or have been sent on the next connection and
                // compared there: it is in doubt.
                let revision = revision.ok_or_else(|| StoreError::Backend("the bucket may have gone back".into()))?;
                write.end();
                Ok(revision)
            }
            Published::Conflict => {
                write.end();
                // What won is what the caller decides on next.
                shared.refresh(sid).await?;
                Err(StoreError::Conflict)
            }
            Published::Nobody => {
                write.end();
                shared.progress.suspect(before.round);
                Err(StoreError::Shortage("there is no such bucket, or it has no leader".into()))
            }
            Published::Unsent => {
                write.end();
                // Until then nobody knows what the next decision is to be made on.
                shared.progress.reliable(ANSWER_DEADLINE).await?;
                Err(StoreError::Conflict)
            }
            Published::Late => {
                write.end();
                // Until then nobody knows what the other write has come to.
                shared.barriers.pass(shared).await?;
                Err(StoreError::Conflict)
            }
            Published::Refused(error) => {
                write.end();
                Err(StoreError::Shortage(error))
            }
            Published::Unknown(error) => Err(StoreError::Backend(error)),
        }
    }
}

/// A write under way. Dropped before it has ended, also by a caller that gives up, it is in doubt.
struct PendingWrite<'a> {
    shared: &'a Shared,
    id: WriteId,
}

impl PendingWrite<'_> {
    fn end(self) {
        self.shared.replica().end(self.id);
    }
}

impl Drop for PendingWrite<'_> {
    fn drop(&mut self) {
        // Of one that has ended the replica knows nothing.
        self.shared.replica().doubt(self.id);
    }
}

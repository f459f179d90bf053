//! Reads all of the bucket when the store opens, and follows it from then on. Must not decide what counts: that is the replica's.

use std::{collections::HashSet, pin::Pin, sync::Arc, sync::atomic::Ordering, time::Duration};

use async_nats::jetstream::kv::{self, Watch};
use futures_util::StreamExt;
use relogin_host::errors::Chain;
use relogin_session::SessionId;
use tokio::time::{sleep, timeout};

use super::{OpenError, Shared, bucket, replica::Change};
use crate::Revision;

/// How long a message of the bucket may take while all of it is read.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait after a failure, and between two looks at what is in doubt.
const PAUSE: Duration = Duration::from_secs(1);

type Entries = Pin<Box<Watch>>;

/// Reads all of the bucket, and returns the watch that shows what comes then. What the replica has and the bucket has not is
/// removed from the replica.
pub(super) async fn catch_up(shared: &Shared) -> Result<Entries, OpenError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Bucket {
        bucket: shared.bucket.store.name.clone(),
        source,
    };
    let before: HashSet<SessionId> = shared.replica().sids().collect();
    let mut store = shared.bucket.store.clone();
    let watch = store.watch_with_history(">").await.map_err(|error| failed(error.into()))?;
    let state = store.stream.info().await.map_err(|error| failed(error.into()))?.state.clone();
    let mut watch = Box::pin(watch);
    let mut missing = before;
    let mut is_complete = state.messages == 0;
    while !is_complete {
        let entry = match timeout(PATIENCE, watch.next()).await {
            Ok(Some(entry)) => entry.map_err(|error| failed(error.into()))?,
            Ok(None) => return Err(failed("the server has ended the watch".into())),
            // The last message may have gone with its time to live in between.
            Err(_) => {
                let now = store.stream.info().await.map_err(|error| failed(error.into()))?;
                if now.state.messages == 0 {
                    break;
                }
                return Err(failed("the server sends no more of it".into()));
            }
        };
        is_complete = entry.delta == 0 || entry.revision >= state.last_sequence;
        if let Some(sid) = take_up(shared, &entry) {
            missing.remove(&sid);
        }
    }
    let end = Revision(state.last_sequence);
    shared.change(|replica| {
        for sid in missing {
            if replica.last(sid).is_some_and(|last| last <= end) {
                replica.apply(sid, end, Change::Remove);
            }
        }
        replica.followed(end);
    });
    shared.is_following.store(true, Ordering::Release);
    Ok(watch)
}

/// Follows the bucket until the store is closed.
pub(super) async fn follow(shared: Arc<Shared>, watch: Entries) {
    let settle = async {
        loop {
            sleep(PAUSE).await;
            let doubted = shared.replica().doubted();
            for sid in doubted {
                // If it fails, it is tried again in a moment, and by whoever loads the session.
                shared.refresh(sid).await.ok();
            }
        }
    };
    tokio::join!(settle, watch_on(&shared, watch));
}

async fn watch_on(shared: &Shared, mut watch: Entries) {
    loop {
        match watch.next().await {
            Some(Ok(entry)) => {
                take_up(shared, &entry);
                continue;
            }
            Some(Err(error)) => tracing::warn!("following the bucket again: {}", Chain(&error)),
            None => tracing::warn!("following the bucket again: the server has ended the watch"),
        }
        shared.is_following.store(false, Ordering::Release);
        watch = loop {
            sleep(PAUSE).await;
            match catch_up(shared).await {
                Ok(watch) => break watch,
                Err(error) => tracing::debug!("cannot follow the bucket yet: {}", Chain(&error)),
            }
        };
    }
}

/// Returns the session that the entry is about, if it is about one. A record that cannot be read leaves its session in doubt: an
/// error for whoever loads that one, and for nobody else.
fn take_up(shared: &Shared, entry: &kv::Entry) -> Option<SessionId> {
    let revision = Revision(entry.revision);
    let sid = bucket::session(&entry.key)?;
    match bucket::change(sid, entry) {
        Ok(change) => shared.change(|replica| {
            replica.apply(sid, revision, change);
            replica.followed(revision);
        }),
        Err(error) => {
            tracing::error!(session = %sid, "a record in the bucket cannot be read: {}", Chain(&error));
            shared.change(|replica| {
                replica.doubt_session(sid);
                replica.followed(revision);
            });
        }
    }
    Some(sid)
}

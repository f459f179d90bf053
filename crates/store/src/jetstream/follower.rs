//! Reads all of the bucket when the store opens, and follows it from then on. Must not decide what
//! counts: that is the replica's.

use std::{collections::HashSet, pin::Pin, sync::Arc, sync::atomic::Ordering, time::Duration};

use async_nats::jetstream::kv::{self, Watch};
use futures_util::StreamExt;
use relogin_host::errors::Chain;
use relogin_session::SessionId;
use tokio::time::{sleep, timeout};

use super::{OpenError, Shared, bucket};
use crate::Revision;

/// How long a message of the bucket may take while all of it is read.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait after a failure, and between two looks at what is in doubt.
const PAUSE: Duration = Duration::from_secs(1);

type Entries = Pin<Box<Watch>>;

/// Reads all of the bucket, and returns the watch that shows what comes then. The watch has shown
/// all once it shows the barrier that was written after it was opened, or a later one in its place.
pub(super) async fn catch_up(shared: &Shared) -> Result<Entries, OpenError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Bucket {
        bucket: shared.bucket.store.name.clone(),
        source,
    };
    let mut missing: HashSet<SessionId> = shared.replica().sids().collect();
    let watch = shared.bucket.store.watch_with_history(">").await.map_err(|error| failed(error.into()))?;
    let mut watch = Box::pin(watch);
    let end = shared.bucket.publish_barrier().await.map_err(|error| failed(error.into()))?;
    let mut reached = Revision::default();
    while reached < end {
        let entry = match timeout(PATIENCE, watch.next()).await {
            Ok(Some(entry)) => entry.map_err(|error| failed(error.into()))?,
            Ok(None) => return Err(failed("the server has ended the watch".into())),
            Err(_) => return Err(failed("the server sends no more of it".into())),
        };
        reached = Revision(entry.revision);
        if let Some(sid) = take_up(shared, &entry) {
            missing.remove(&sid);
        }
    }
    // Removed, and the marker is gone too; or written again just now.
    for sid in missing {
        shared.refresh(sid).await?;
    }
    shared.reached(reached);
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
        let next = tokio::select! {
            next = watch.next() => next,
            () = shared.lagging.notified() => {
                tracing::warn!("following the bucket again: the server shows less than it has acknowledged");
                watch = again(shared).await;
                continue;
            }
        };
        match next {
            Some(Ok(entry)) => {
                take_up(shared, &entry);
                shared.reached(Revision(entry.revision));
                continue;
            }
            Some(Err(error)) => tracing::warn!("following the bucket again: {}", Chain(&error)),
            None => tracing::warn!("following the bucket again: the server has ended the watch"),
        }
        sleep(PAUSE).await;
        watch = again(shared).await;
    }
}

async fn again(shared: &Shared) -> Entries {
    shared.is_following.store(false, Ordering::Release);
    loop {
        match catch_up(shared).await {
            Ok(watch) => return watch,
            Err(error) => tracing::debug!("cannot follow the bucket yet: {}", Chain(&error)),
        }
        sleep(PAUSE).await;
    }
}

/// Returns the session that the entry is about, if it is about one. A record that cannot be read
/// leaves its session in doubt: an error for whoever loads that one, and for nobody else.
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

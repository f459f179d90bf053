//! Reads all of the bucket when the store opens, and follows it from then on. Must not decide what
//! counts: that is the replica's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use relogin_host::errors::Chain;
use relogin_session::SessionId;
use tokio::time::{sleep, timeout};

use super::{
    OpenError, Shared,
    watch::{Watch, WatchedEntry},
};
use crate::Revision;

/// How long a message of the bucket may take while all of it is read.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait after a failure, and between two looks at what is in doubt.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads all of the bucket, and returns the watch that shows what comes then. The watch has shown
/// all once it shows the barrier that was written after it was opened, or a later one in its place.
/// What the bucket has counts, also if it is older than what the replica had: then a server has
/// lost writes.
pub(super) async fn catch_up(shared: &Shared) -> Result<Watch, OpenError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Bucket {
        bucket: shared.bucket.store.name.clone(),
        source,
    };
    let connection = shared.progress.connection();
    let known = shared.replica().restart();
    let mut watch = shared.bucket.watch().await?;
    let end = shared.bucket.publish_barrier().await.map_err(|error| failed(error.into()))?;
    let (mut reached, mut shown, mut unsure) = (Revision::default(), HashSet::new(), Vec::new());
    while reached < end {
        let entry = match timeout(MESSAGE_DEADLINE, watch.next()).await {
            Ok(entry) => entry.map_err(|error| failed(error.into()))?,
            Err(_) => return Err(failed("the server sends no more of it".into())),
        };
        reached = entry.sequence;
        if let Some(sid) = take_up(shared, &entry, Some(&known)) {
            shown.insert(sid);
            if shared.replica().last(sid).is_some_and(|last| last > reached) {
                unsure.push(sid);
            }
        }
    }
    let dropped = shared.change(|replica| replica.keep_only(&shown, &known, &mut unsure));
    // Written by us meanwhile: the leader knows whether that still holds.
    for sid in unsure {
        shared.refresh(sid).await?;
    }
    if dropped > 0 {
        tracing::warn!(sessions = dropped, "the bucket no longer has sessions that it had");
    }
    shared.replica().followed(reached);
    shared.progress.begin_round(connection, reached);
    Ok(watch)
}

/// Follows the bucket until the store is closed.
pub(super) async fn follow(shared: Arc<Shared>, watch: Watch) {
    let settle = async {
        loop {
            sleep(PAUSE).await;
            shared.progress.look();
            let doubted = shared.replica().doubted();
            for sid in doubted {
                // If it fails, it is tried again in a moment, and by whoever loads the session.
                shared.refresh(sid).await.ok();
            }
        }
    };
    tokio::join!(settle, watch_on(&shared, watch));
}

async fn watch_on(shared: &Shared, mut watch: Watch) {
    loop {
        let next = tokio::select! {
            next = watch.next() => next,
            () = shared.progress.is_suspected() => {
                tracing::warn!("reading all of the bucket again: the server may have lost some of it");
                watch = again(shared).await;
                continue;
            }
        };
        match next {
            Ok(entry) => {
                take_up(shared, &entry, None);
                shared.reached(entry.sequence);
                continue;
            }
            Err(error) => tracing::warn!("reading all of the bucket again: {}", Chain(&error)),
        }
        watch = again(shared).await;
    }
}

async fn again(shared: &Shared) -> Watch {
    shared.progress.stop_following();
    let mut is_missed = false;
    loop {
        match catch_up(shared).await {
            Ok(watch) => return watch,
            Err(error @ OpenError::Missing(_)) if !is_missed => {
                is_missed = true;
                tracing::error!(
                    "{}: no request is answered until it is there. Restore it; or restart the service to begin with no \
                     sessions",
                    Chain(&error)
                );
            }
            Err(error) => tracing::debug!("cannot follow the bucket yet: {}", Chain(&error)),
        }
        sleep(PAUSE).await;
    }
}

/// Returns the session that the entry is about, if it is about one. It counts if it is newer than
/// what is there, or if that was `known` before the bucket was read. A record that cannot be read
/// leaves its session in doubt: an error for whoever loads that one, and for nobody else.
fn take_up(shared: &Shared, entry: &WatchedEntry, known: Option<&HashMap<SessionId, Revision>>) -> Option<SessionId> {
    let revision = entry.sequence;
    let sid = shared.bucket.session(&entry.subject)?;
    match super::bucket::change(sid, entry) {
        Ok(change) => shared.change(|replica| {
            match known {
                Some(known) if replica.last(sid) == known.get(&sid).copied() => replica.set(sid, revision, change),
                _ => replica.apply(sid, revision, change),
            }
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

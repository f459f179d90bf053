//! Reads all of the bucket when the store opens, as soon as it takes writes. Must not depend on
//! what the replica has.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{OpenError, Shared, follower, watch::Watch};

/// For how long the bucket may be without a leader when the store opens, as another instance may
/// just have made it, and how long to wait before it is tried again.
const LEADER_DEADLINE: Duration = Duration::from_secs(10);
const LEADER_PAUSE: Duration = Duration::from_millis(200);

/// Reads all of the bucket, and returns the watch that shows what comes then.
pub(super) async fn catch_up(shared: &Shared) -> Result<Watch, OpenError> {
    let began = Instant::now();
    loop {
        match follower::catch_up(shared).await {
            Err(error) if error.is_shortage() && began.elapsed() < LEADER_DEADLINE => sleep(LEADER_PAUSE).await,
            caught_up => return caught_up,
        }
    }
}

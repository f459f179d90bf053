//! Carries out what [`super::liveness_probe`] keeps account of: asks connections whether they are
//! there, and removes those that have not answered. Must not know when that is due
//! ([`crate::probing`]).

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{Sessions, SessionsError, request::SessionRequest};

/// How many sessions are pruned at once: they share the disk's syncs.
const AT_ONCE: usize = 256;

impl Sessions {
    /// Probes the connections of sessions that have many, and removes those that have not answered
    /// in time. Returns the instant at which the next ones are to be removed.
    pub(crate) async fn probe_connections(&self) -> Result<Option<Instant>, SessionsError> {
        let sids = self.liveness_probe.to_ask();
        if !sids.is_empty() {
            self.events.ask_to_renew(&sids).await?;
            self.liveness_probe.asked(&sids, Instant::now());
        }
        let prune = |(sid, prune)| async move { self.serve(&SessionRequest::OnSession(sid, prune)).await.map(drop) };
        let over = stream::iter(self.liveness_probe.over(Instant::now())).map(prune);
        // All of them are processed before an error of one is returned.
        let pruned: Vec<_> = over.buffer_unordered(AT_ONCE).collect().await;
        pruned.into_iter().collect::<Result<(), _>>()?;
        Ok(self.liveness_probe.next())
    }

    /// Resolves when a session must be probed, even if nobody was waiting. For one task. Cancel
    /// safe.
    pub(crate) async fn probe_wanted(&self) {
        self.liveness_probe.wanted().await;
    }
}

//! Removes unresponsive connections from sessions that have many, with one task and one timer for
//! all of them. Must not depend on the store, RES or the rules.

use std::{sync::Arc, time::Duration};

use relogin_host::errors::Chain;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::sessions::Sessions;

/// How long sessions to probe are gathered: at a gateway, each probe goes over all connections, and
/// after a storm there are many sessions at once.
const GATHERING: Duration = Duration::from_millis(100);

/// The sleep after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// Probes the connections of each session that exceeds the threshold, and removes those that do not
/// answer, until `stop`.
pub async fn run(sessions: Arc<Sessions>, stop: CancellationToken) {
    loop {
        let next = sessions.probe_connections().await.unwrap_or_else(|error| {
            tracing::error!("cannot probe connections: {}", Chain(&error));
            Some(Instant::now() + PAUSE)
        });
        let wake = async {
            match next {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake => {}
            () = sessions.probe_wanted() => tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(GATHERING) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use relogin_session::{ConnectionId, ReloginKey, SessionId};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::sessions::tests::{World, cid};

    /// How long a session's connections have for their answers.
    const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

    /// Jane on as many connections, `c0` to `c<n>`, with the liveness probe running.
    struct Probed {
        world: World,
        key: ReloginKey,
        sid: SessionId,
        uses: u8,
        stop: CancellationToken,
        _running: JoinHandle<()>,
    }

    impl Probed {
        async fn of(connections: u8) -> Self {
            let world = World::new().await;
            let key = world.login("c0", 1).await.unwrap().relogin_key;
            let (sid, stop) = (key.parse().unwrap().sid, CancellationToken::new());
            let running = tokio::spawn(run(world.sessions.clone(), stop.clone()));
            let mut probed = Self { world, key, sid, uses: 0, stop, _running: running };
            for n in 1..connections {
                probed.relogin(&format!("c{n}")).await;
            }
            probed
        }

        async fn relogin(&mut self, on: &str) {
            self.uses += 1;
            self.key = self.world.attempt(on, &self.key, self.uses).await.unwrap().relogin_key;
        }

        async fn answer(&self, on: &str) {
            self.world.sessions.renew(&cid(on), self.sid).await.unwrap();
        }

        /// The events from now on until `pause` has passed; not what follows from relogins.
        async fn published_for(&mut self, pause: Duration) -> String {
            tokio::time::sleep(pause).await;
            let published = self.world.published();
            published
                .lines()
                .filter(|line| line.contains("null") || line.contains("probe"))
                .collect::<Vec<_>>()
                .join("\n")
        }

        async fn connections(&self) -> String {
            let record = self.world.sessions.on_connection(&cid("c0")).await.unwrap();
            let names = record.map(|record| record.connections).unwrap_or_default();
            names.iter().map(ConnectionId::as_str).collect::<Vec<_>>().join(" ")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_connections_are_not_asked() {
        let mut probed = Probed::of(4).await;
        assert_eq!(probed.published_for(ANSWER_DEADLINE * 2).await, "");
        probed.relogin("c0").await;
        assert_eq!(probed.published_for(ANSWER_DEADLINE * 2).await, "");
    }

    #[tokio::test(start_paused = true)]
    async fn unresponsive_connections_are_detached_and_cleared() {
        let mut probed = Probed::of(5).await;
        assert_eq!(probed.published_for(GATHERING + ANSWER_DEADLINE / 2).await, "probe of 1");
        for on in ["c0", "c3", "c4"] {
            probed.answer(on).await;
        }
        assert_eq!(probed.published_for(ANSWER_DEADLINE / 2 - Duration::from_millis(1)).await, "");
        assert_eq!(probed.connections().await, "c0 c1 c2 c3 c4", "there is time yet");
        let published = probed.published_for(Duration::from_millis(2)).await;
        assert_eq!(published, "c1 user null\nc1 token null\nc2 user null\nc2 token null");
        assert_eq!(probed.connections().await, "c0 c3 c4");
        probed.stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_of_one_storm_are_probed_and_pruned_together() {
        let mut probed = Probed::of(1).await;
        let mut keys = Vec::new();
        for n in 0..8_u8 {
            keys.push(probed.world.login(&format!("s{n}c0"), 2).await.unwrap().relogin_key);
        }
        for connection in 1..=4 {
            for (n, key) in (0..).zip(&mut keys) {
                let on = format!("s{n}c{connection}");
                *key = probed.world.attempt(&on, key, connection).await.unwrap().relogin_key;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(probed.published_for(GATHERING).await, "probe of 8");
        for n in 0..8 {
            let on = cid(&format!("s{n}c4"));
            let sid = probed.world.sessions.on_connection(&on).await.unwrap().unwrap().sid;
            probed.world.sessions.renew(&on, sid).await.unwrap();
        }
        probed.world.store.is_slow.store(true, SeqCst);
        let published = probed.published_for(ANSWER_DEADLINE + Duration::from_millis(150)).await;
        assert_eq!(published.lines().filter(|line| line.ends_with("token null")).count(), 8 * 4, "{published}");
    }

    /// A gateway that does not know the question, or is cut off, must not cost anybody the session.
    #[tokio::test(start_paused = true)]
    async fn if_no_connection_answers_none_is_detached() {
        let mut probed = Probed::of(6).await;
        assert_eq!(probed.published_for(ANSWER_DEADLINE * 2).await, "probe of 1");
        assert_eq!(probed.connections().await, "c0 c1 c2 c3 c4 c5");
        // It is asked again, for nothing was learned.
        probed.relogin("c5").await;
        assert_eq!(probed.published_for(ANSWER_DEADLINE * 2).await, "probe of 1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_asked_once_at_a_time_and_who_relogins_is_there() {
        // The fifth connection is the reason to ask; the sixth comes while they are asked.
        let mut probed = Probed::of(6).await;
        probed.relogin("c1").await;
        probed.relogin("c6").await;
        probed.answer("c4").await;
        probed.answer("c0").await;
        let published = probed.published_for(ANSWER_DEADLINE * 2).await;
        // Not c1 that has relogged in, and not c5 and c6 that were not there to be asked.
        let left = "c2 user null\nc2 token null\nc3 user null\nc3 token null";
        assert_eq!(published, format!("probe of 1\n{left}"));
        assert_eq!(probed.connections().await, "c0 c4 c5 c1 c6");
    }

    #[tokio::test(start_paused = true)]
    async fn the_renewal_of_a_token_without_its_session_clears_it() {
        let mut probed = Probed::of(1).await;
        let sessions = probed.world.sessions.clone();
        probed.world.published();
        probed.answer("c0").await;
        probed.world.login("john", 2).await.unwrap();
        probed.world.published();
        // Pruned, or its session over: cleared. On another session by now: that one has notified it
        // what counts.
        sessions.renew(&cid("gone"), probed.sid).await.unwrap();
        sessions.renew(&cid("john"), probed.sid).await.unwrap();
        assert_eq!(probed.world.published(), "gone user null\ngone token null");
        sessions.logout(cid("c0"), None, None).await.unwrap().unwrap();
        probed.world.published();
        probed.answer("c0").await;
        assert_eq!(probed.world.published(), "c0 user null\nc0 token null");
    }
}

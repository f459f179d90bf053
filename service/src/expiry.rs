//! Disposes of expired sessions, with one task and one timer for all of them. Must not depend on
//! the store or RES.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use relogin_host::errors::Chain;
use tokio_util::sync::CancellationToken;

use crate::sessions::{Sessions, SessionsError};

/// How many sessions are disposed of at once: they share the disk's syncs.
const AT_ONCE: usize = 256;

/// The longest sleep. The timer does not notice a clock that is set, or a machine that slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The sleep after an error, or while another process ends a session.
const PAUSE: Duration = Duration::from_secs(1);

/// Disposes of expired sessions, now and whenever a deadline passes, until `stop`.
pub async fn run(sessions: Arc<Sessions>, stop: CancellationToken) {
    loop {
        let sleep = match dispose(&sessions, &stop).await {
            // What is overdue by now is left to another process.
            Ok(Some(Duration::ZERO)) => PAUSE,
            Ok(next) => next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP)),
            Err(error) => {
                tracing::error!("cannot dispose of expired sessions: {}", Chain(&error));
                PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(sleep) => {}
            () = sessions.deadline_moved() => {}
        }
    }
}

/// Disposes of all expired sessions. Returns the time until the next one.
async fn dispose(sessions: &Sessions, stop: &CancellationToken) -> Result<Option<Duration>, SessionsError> {
    while !stop.is_cancelled() {
        let overdue = sessions.overdue(AT_ONCE).await?;
        if overdue.is_empty() {
            break;
        }
        // All of them are processed before an error of one is returned.
        let disposed = join_all(overdue.into_iter().map(|sid| sessions.expire(sid))).await;
        disposed.into_iter().collect::<Result<(), _>>()?;
    }
    Ok(sessions.next_deadline_in().await?.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use relogin_session::{Record, SessionId, Timestamp, UserId};
    use relogin_store::SessionStore;
    use tokio::{task::JoinHandle, time::Instant};

    use super::*;
    use crate::{
        clock::tests::RuntimeClock,
        sessions::tests::{World, cid},
    };

    fn started(world: &World) -> (JoinHandle<()>, CancellationToken) {
        let stop = CancellationToken::new();
        (tokio::spawn(run(world.sessions.clone(), stop.clone())), stop)
    }

    /// A session on the connection `c<n>` that ends so long after the clock's start.
    fn ending(n: u16, after: Duration) -> Record {
        let mut sid = [0; 16];
        sid[..2].copy_from_slice(&n.to_be_bytes());
        let deadline = RuntimeClock::START.plus(u64::try_from(after.as_millis()).unwrap());
        let connection = cid(&format!("c{n}"));
        Record {
            key_deadline: deadline,
            ..Record::new(SessionId(sid), [0; 16], UserId::Number(1), connection, Timestamp(0))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_overdue_at_start_are_disposed_of_and_their_connections_cleared() {
        let mut world = World::new().await;
        for n in 0..600 {
            world.store.create(ending(n, Duration::ZERO)).await.unwrap();
        }
        world.store.create(ending(1_000, Duration::from_secs(3600))).await.unwrap();
        let begin = Instant::now();
        let (running, stop) = started(&world);
        let mut published = std::collections::HashMap::<_, Vec<_>>::new();
        for _ in 0..1_200 {
            let message = world.published.next().await.unwrap();
            // Both subjects have the cid before the last part.
            let on = message.subject.rsplit('.').nth(1).unwrap().to_owned();
            published.entry(on).or_default().push(message.subject.starts_with("event."));
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(published.len(), 600);
        assert!(published.values().all(|events| *events == [true, false]), "the user, then the token");
        stop.cancel();
        running.await.unwrap();
        assert_eq!(world.store.find_by_user(&UserId::Number(1)).await.unwrap(), [ending(1_000, Duration::ZERO).sid]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_ends_at_its_deadline_and_an_earlier_one_wakes() {
        let mut world = World::new().await;
        let begin = Instant::now();
        world.store.create(ending(1, Duration::from_secs(100))).await.unwrap();
        let (_running, _stop) = started(&world);
        // Let it fall asleep before the earlier one comes.
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.store.create(ending(2, Duration::from_secs(7))).await.unwrap();
        for (on, deadline) in [("c2", 7), ("c1", 100)] {
            let message = world.published.next().await.unwrap();
            assert_eq!(message.subject, format!("event.session.user.{on}.change"));
            assert_eq!(begin.elapsed(), Duration::from_secs(deadline));
            assert_eq!(world.published.next().await.unwrap().subject, format!("conn.{on}.token"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_in_use_lives_to_its_own_deadline() {
        let mut world = World::new().await;
        let begin = Instant::now();
        let (_running, _stop) = started(&world);
        let mut key = world.login("a", 1).await.unwrap().relogin_key;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(100)).await;
            key = world.relogin("a", &key).await.unwrap().relogin_key;
        }
        assert!(!world.published().contains("null"));
        assert_eq!(world.published.next().await.unwrap().subject, "event.session.user.a.change");
        // Not 500 s and 120 more: the session's absolute lifetime.
        assert_eq!(begin.elapsed(), Duration::from_secs(600));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_could_not_be_sent_is_tried_again() {
        let mut world = World::new().await;
        world.store.create(ending(1, Duration::ZERO)).await.unwrap();
        world.bus.fails.store(true, SeqCst);
        let (_running, _stop) = started(&world);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.published(), "");
        world.bus.fails.store(false, SeqCst);
        assert_eq!(world.published.next().await.unwrap().subject, "event.session.user.c1.change");
        assert_eq!(world.user_on("c1").await, None);
    }
}

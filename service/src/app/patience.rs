//! What a start waits for: NATS, JetStream and its buckets, whose servers may start at the same
//! time. What may pass by waiting, the errors say themselves (`may_pass`). Must not open anything.

use std::time::Duration;

use anyhow::Error;
use relogin_bus::nats::{ConnectError, NatsBus};
use relogin_host::errors::Chain;
use relogin_store::jetstream::OpenError;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::secret::SecretError;

/// For how long something may be missing that may come.
#[derive(Debug)]
pub(super) struct Patience {
    until: Instant,
}

/// A cluster that starts at the same time has elected its leaders long before.
const OF_A_SERVER: Duration = Duration::from_secs(60);

/// A bucket that was just made has a leader long before.
const OF_A_COMMAND: Duration = Duration::from_secs(10);

/// How long to wait before something is tried again.
const PAUSE: Duration = Duration::from_millis(200);

impl Patience {
    /// Of a service or gateway, which may be started together with its NATS servers.
    pub(super) fn of_a_server() -> Self {
        Self { until: Instant::now() + OF_A_SERVER }
    }

    /// Of a command, which somebody waits for.
    pub(super) fn of_a_command() -> Self {
        Self { until: Instant::now() + OF_A_COMMAND }
    }

    /// Does it, again while that fails for a reason that may pass. Says so once.
    ///
    /// # Errors
    /// Those of the last time, and what NATS does not permit of JetStream.
    pub(super) async fn insist<T>(
        &self,
        nats: Option<&NatsBus>,
        attempt: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut is_said = false;
        loop {
            let refused = async {
                match nats {
                    Some(nats) => nats.jetstream_refused().await,
                    None => std::future::pending().await,
                }
            };
            let attempted = tokio::select! {
                biased;
                // It must wait before something is asked for: what is refused to nobody is logged.
                refused = refused => return Err(refused.into()),
                attempted = attempt() => attempted,
            };
            let left = self.until.saturating_duration_since(Instant::now());
            match attempted {
                Err(error) if !left.is_zero() && may_pass(&error) => {
                    if !is_said {
                        is_said = true;
                        info!("waiting for it for up to {} s: {}", left.as_secs_f64().ceil(), Chain(error.as_ref()));
                    }
                    sleep(PAUSE).await;
                }
                attempted => return attempted,
            }
        }
    }
}

fn may_pass(error: &Error) -> bool {
    error.downcast_ref().is_some_and(ConnectError::may_pass)
        || error.downcast_ref().is_some_and(OpenError::may_pass)
        || error.downcast_ref().is_some_and(SecretError::may_pass)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    fn unanswered() -> Error {
        SecretError::Bucket { bucket: "b".to_owned(), source: "timed out".into() }.into()
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_within_a_minute_is_given_up() {
        let (begin, patience) = (Instant::now(), Patience::of_a_server());
        let never = async || Err::<(), _>(unanswered());
        patience.insist(None, never).await.unwrap_err();
        assert!((OF_A_SERVER..OF_A_SERVER + PAUSE * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        // It is one minute for all that is waited for.
        patience.insist(None, never).await.unwrap_err();
        assert!(begin.elapsed() < OF_A_SERVER + PAUSE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        let patience = Patience::of_a_server();
        let tries = AtomicUsize::new(0);
        let third = async || if tries.fetch_add(1, SeqCst) < 2 { Err(unanswered()) } else { Ok("there") };
        assert_eq!(patience.insist(None, third).await.unwrap(), "there");
        let begin = Instant::now();
        for lasting in [
            || Error::from(SecretError::Missing { bucket: "b".to_owned() }),
            || OpenError::NoJetStream("n1".to_owned()).into(),
            || Error::msg("something else"),
        ] {
            patience.insist(None, async || Err::<(), _>(lasting())).await.unwrap_err();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}

//! Retries what a start needs, up to a deadline: NATS, JetStream and its buckets, whose servers may
//! start at the same time. Each error says itself whether it may pass (`may_pass`). Must not open
//! anything.

use std::time::Duration;

use anyhow::Error;
use relogin_bus::nats::{ConnectError, NatsBus};
use relogin_host::errors::Chain;
use relogin_store::jetstream::OpenError;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::secret::SecretError;

/// The time until which a missing server or bucket is waited for.
#[derive(Debug)]
pub(super) struct RetryDeadline {
    until: Instant,
}

/// A cluster that starts at the same time has elected its leaders long before.
const FOR_SERVER: Duration = Duration::from_secs(60);

/// A bucket that was just made has a leader long before.
const FOR_COMMAND: Duration = Duration::from_secs(10);

/// How long to wait before something is tried again.
const PAUSE: Duration = Duration::from_millis(200);

impl RetryDeadline {
    /// For a service or gateway, which may be started together with its NATS servers.
    pub(super) fn for_server() -> Self {
        Self { until: Instant::now() + FOR_SERVER }
    }

    /// For a command, which somebody waits for.
    pub(super) fn for_command() -> Self {
        Self { until: Instant::now() + FOR_COMMAND }
    }

    /// Makes the attempt, and repeats it while it fails for a reason that may pass. Logs that once.
    ///
    /// # Errors
    /// Those of the last time, and what NATS does not permit of JetStream.
    pub(super) async fn retry<T>(
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
        let (begin, deadline) = (Instant::now(), RetryDeadline::for_server());
        let never = async || Err::<(), _>(unanswered());
        deadline.retry(None, never).await.unwrap_err();
        assert!((FOR_SERVER..FOR_SERVER + PAUSE * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        // It is one minute for all that is waited for.
        deadline.retry(None, never).await.unwrap_err();
        assert!(begin.elapsed() < FOR_SERVER + PAUSE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        let deadline = RetryDeadline::for_server();
        let tries = AtomicUsize::new(0);
        let third = async || if tries.fetch_add(1, SeqCst) < 2 { Err(unanswered()) } else { Ok("there") };
        assert_eq!(deadline.retry(None, third).await.unwrap(), "there");
        let begin = Instant::now();
        for lasting in [
            || Error::from(SecretError::Missing { bucket: "b".to_owned() }),
            || OpenError::NoJetStream("n1".to_owned()).into(),
            || Error::msg("something else"),
        ] {
            deadline.retry(None, async || Err::<(), _>(lasting())).await.unwrap_err();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}

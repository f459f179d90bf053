//! Changes that a users service announces on `SUBJECT.changed` (docs/users.md). Must not depend on
//! sessions or RES.

use std::{sync::Arc, time::Duration};

use relogin_bus::{Bus, BusError, Message, Subscription};
use relogin_host::errors::Chain;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{UserListener, external};

/// Receives changes and applies them to the sessions.
pub struct Changes {
    bus: Arc<dyn Bus>,
    messages: Subscription,
    listener: Arc<dyn UserListener>,
}

/// How many changes are applied at once. Those behind them wait.
const AT_ONCE: usize = 64;

/// The pause before a failed change is retried.
const PAUSE: Duration = Duration::from_secs(1);

const DONE: &[u8] = br#"{"result":null}"#;
const FAILED: &[u8] = br#"{"error":{"code":"system.internalError","message":"Internal error"}}"#;
const MALFORMED: &[u8] = br#"{"error":{"code":"system.invalidParams","message":"Invalid parameters"}}"#;

impl Changes {
    /// Subscribes to the changes of a service that answers on `subject`. What arrives from now on
    /// is applied once this runs.
    ///
    /// # Errors
    /// [`BusError`] if the bus fails.
    pub async fn new(bus: Arc<dyn Bus>, subject: &str, listener: Arc<dyn UserListener>) -> Result<Self, BusError> {
        let messages = bus.subscribe(&[format!("{subject}.changed")]).await?;
        Ok(Self { bus, messages, listener })
    }

    /// Applies changes until it is told to stop. What is not applied by then was confirmed to
    /// nobody.
    pub async fn run(mut self, stop: CancellationToken) {
        let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE)));
        let applying = async {
            while let Some(message) = self.messages.next().await {
                let place = Arc::clone(&places).acquire_owned().await;
                let (bus, listener) = (Arc::clone(&self.bus), Arc::clone(&self.listener));
                let apply = stop.clone().run_until_cancelled_owned(async move {
                    apply_change(bus.as_ref(), listener.as_ref(), message).await;
                    drop(place);
                });
                tasks.spawn(apply);
            }
        };
        stop.run_until_cancelled(applying).await;
        tasks.close();
        tasks.wait().await;
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

/// Applies one change. A sender that waits for an answer learns whether it is done; for others it
/// is retried until it is.
async fn apply_change(bus: &dyn Bus, listener: &dyn UserListener, message: Message) {
    let answer = match external::read_change(&message.payload) {
        Some(change) => loop {
            let Err(error) = listener.user_changed(&change).await else { break DONE };
            error!(user = %change.id, "a change of a user did not reach their sessions: {}", Chain(error.as_ref()));
            if message.reply.is_some() {
                break FAILED;
            }
            tokio::time::sleep(PAUSE).await;
        },
        None => {
            warn!("ignored a message from the users service that is not a change of a user");
            MALFORMED
        }
    };
    if let Some(reply) = message.reply
        && let Err(error) = bus.publish(&reply, answer.into()).await
    {
        warn!("cannot reply to the users service: {}", Chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use async_trait::async_trait;
    use relogin_bus::{Deliveries, Delivery, Mailbox, Tag, local::LocalBus};
    use relogin_session::{SessionId, UserId};

    use super::*;
    use crate::UserChange;

    #[derive(Default)]
    struct Listener {
        told: Mutex<Vec<UserChange>>,
        failures: AtomicUsize,
    }

    #[async_trait]
    impl UserListener for Listener {
        async fn user_changed(&self, change: &UserChange) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            if self.failures.load(SeqCst) > 0 {
                self.failures.fetch_sub(1, SeqCst);
                return Err("out of order".into());
            }
            self.told.lock().unwrap().push(change.clone());
            Ok(())
        }
    }

    async fn answer(inbox: &mut Deliveries) -> String {
        match inbox.next().await.unwrap() {
            Delivery::Reply { payload, .. } => String::from_utf8(payload.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_applied_and_answered() {
        let (bus, listener) = (Arc::new(LocalBus::new()), Arc::<Listener>::default());
        let changes = Changes::new(bus.clone(), "my.users", listener.clone()).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(changes.run(stop.clone()));
        let (mailbox, mut inbox) = Mailbox::new();
        let sid = SessionId([0; 16]);
        for (payload, failures, expected) in [
            (r#"{"id":3}"#.to_owned(), 0, DONE),
            (format!(r#"{{"id":"j","password":true,"keep":"{sid}","more":1}}"#), 0, DONE),
            (r#"{"id":4}"#.to_owned(), 1, FAILED),
            ("{}".to_owned(), 0, MALFORMED),
            (r#"{"id":3,"keep":"x"}"#.to_owned(), 0, MALFORMED),
            ("hunter2".to_owned(), 0, MALFORMED),
        ] {
            listener.failures.store(failures, SeqCst);
            let _asked = bus.ask("my.users.changed", payload.clone().into(), &mailbox, Tag(0)).await.unwrap();
            assert_eq!(answer(&mut inbox).await.as_bytes(), expected, "{payload}");
        }
        // Without anybody who could send it again, it is tried until it is done.
        listener.failures.store(3, SeqCst);
        bus.publish("my.users.changed", r#"{"id":5}"#.into()).await.unwrap();
        tokio::time::sleep(4 * PAUSE).await;
        let change = |id, is_password_new, keep| UserChange { id, is_password_new, keep };
        assert_eq!(
            *listener.told.lock().unwrap(),
            [
                change(UserId::Number(3), false, None),
                change(UserId::Text("j".into()), true, Some(sid)),
                change(UserId::Number(5), false, None),
            ]
        );
        stop.cancel();
        running.await.unwrap();
    }
}

//! Carries the requests of operators over the message bus: to one of the instances of a name, or to
//! each of them. Must not know what is asked.
//!
//! Whoever may publish to the subject may do everything that operators may, so a service listens
//! only if that is asked for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use relogin_bus::{Bus, BusError, Message, Need, Subscription};
use relogin_host::errors::Chain;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    ANSWER_DEADLINE,
    protocol::{ControlAnswer, ControlRefusal, MAX_REQUEST, text},
};

/// How many requests are answered at a time; more wait.
const AT_ONCE: usize = 8;

/// How long a request may wait: whoever sent it has given up by then.
const WAITING: Duration = Duration::from_secs(5);

/// The subject on which one of the services of `name` is asked.
#[must_use]
pub fn subject(name: &str) -> String {
    format!("relogin.{name}.control")
}

/// The subject on which each of them is asked.
#[must_use]
pub fn subject_of_each(name: &str) -> String {
    format!("relogin.{name}.control.each")
}

/// The permissions that a service needs for them.
#[must_use]
pub fn needs(name: &str) -> Vec<Need> {
    vec![Need::subscribe(subject(name)), Need::subscribe(subject_of_each(name))]
}

/// Listens for requests to `name`, of which each goes to one instance.
///
/// # Errors
/// [`BusError`] if the bus fails.
pub async fn listen(bus: &dyn Bus, name: &str) -> Result<Subscription, BusError> {
    bus.subscribe_with_group(&[], &format!("relogin-{name}"), &[subject(name)]).await
}

/// Listens for requests to each of the instances of `name`.
///
/// # Errors
/// [`BusError`] if the bus fails.
pub async fn listen_for_each(bus: &dyn Bus, name: &str) -> Result<Subscription, BusError> {
    bus.subscribe(&[subject_of_each(name)]).await
}

/// Has `answer` answer requests until `stop`. Those that were begun by then are answered.
pub async fn run<A: Future<Output = ControlAnswer> + Send + 'static>(
    mut requests: Subscription,
    bus: Arc<dyn Bus>,
    answer: impl Fn(Bytes) -> A,
    stop: CancellationToken,
) {
    let (places, serving) = (Arc::new(Semaphore::new(AT_ONCE)), TaskTracker::new());
    let answering = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let Some((Message { payload, reply, .. }, since)) = requests.next_since().await else { return };
            let Some(reply) = reply.filter(|_| since.elapsed() < WAITING) else { continue };
            let is_too_long = payload.len() > MAX_REQUEST;
            let (bus, answer) = (Arc::clone(&bus), (!is_too_long).then(|| timeout(ANSWER_DEADLINE, answer(payload))));
            serving.spawn(async move {
                let answer = match answer {
                    Some(answer) => answer.await.ok().map(carried),
                    None => Some(ControlAnswer::Error(ControlRefusal::too_long())),
                };
                if let Some(answer) = answer
                    && let Err(error) = bus.publish(&reply, text(&answer).into()).await
                {
                    debug!("a request of an operator was not answered: {}", Chain(&error));
                }
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(answering).await;
    requests.end();
    serving.close();
    serving.wait().await;
}

/// The answer as it can be sent in one message, which an export cannot.
fn carried(answer: ControlAnswer) -> ControlAnswer {
    match answer {
        ControlAnswer::Export {} => ControlAnswer::Error(ControlRefusal::needs_the_socket()),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use relogin_bus::{Deliveries, Delivery, Guard, Mailbox, Tag, local::LocalBus};
    use tokio::time::sleep;

    use super::*;
    use crate::control::protocol::RefusalCode;

    /// Asks, under this number.
    async fn ask(bus: &LocalBus, mailbox: &Mailbox, number: u64, request: &str) -> Guard {
        bus.ask(&subject("session"), request.to_owned().into(), mailbox, Tag(number)).await.unwrap()
    }

    /// The number of the next request that is answered, and how.
    async fn next(answers: &mut Deliveries) -> (u64, ControlAnswer) {
        match answers.next().await {
            Some(Delivery::Reply { tag: Tag(number), payload }) => (number, serde_json::from_slice(&payload).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_export_is_refused_on_the_bus() {
        let (bus, (mailbox, mut answers)) = (Arc::new(LocalBus::new()), Mailbox::new());
        let requests = listen(bus.as_ref(), "session").await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(requests, bus.clone(), async |_| ControlAnswer::Export {}, stop.clone()));
        let _asking = ask(&bus, &mailbox, 1, r#"{"command":"export"}"#).await;
        let refused = (1, ControlAnswer::Error(ControlRefusal::needs_the_socket()));
        assert_eq!(next(&mut answers).await, refused);
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn requests_on_the_bus_are_bounded() {
        let (bus, (mailbox, mut answers)) = (Arc::new(LocalBus::new()), Mailbox::new());
        let requests = listen(bus.as_ref(), "session").await.unwrap();
        let (gate, stop) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
        let behind = Arc::clone(&gate);
        let answer = move |_| {
            let gate = Arc::clone(&behind);
            async move {
                gate.acquire().await.unwrap().forget();
                ControlAnswer::Revoked { revoked: 1, more: false }
            }
        };
        let running = tokio::spawn(run(requests, bus.clone(), answer, stop.clone()));
        // Nobody waits for an answer to this one, and this one is not looked at.
        bus.publish(&subject("session"), "{}".into()).await.unwrap();
        let _long = ask(&bus, &mailbox, 99, &" ".repeat(MAX_REQUEST + 1)).await;
        assert!(matches!(
            next(&mut answers).await,
            (99, ControlAnswer::Error(ControlRefusal { code: RefusalCode::TooLong, .. }))
        ));

        let mut asking = Vec::new();
        for number in 0..AT_ONCE as u64 {
            asking.push(ask(&bus, &mailbox, number, "{}").await);
        }
        asking.push(ask(&bus, &mailbox, 20, "{}").await);
        sleep(WAITING - Duration::from_secs(1)).await;
        asking.push(ask(&bus, &mailbox, 30, "{}").await);
        // The one that has waited for too long is left out.
        sleep(Duration::from_secs(2)).await;
        gate.add_permits(AT_ONCE + 2);
        let mut answered = Vec::new();
        for _ in 0..=AT_ONCE {
            answered.push(next(&mut answers).await.0);
        }
        answered.sort_unstable();
        assert_eq!(answered, [0, 1, 2, 3, 4, 5, 6, 7, 30]);
        stop.cancel();
        running.await.unwrap();
        assert_eq!(gate.available_permits(), 1);
    }
}

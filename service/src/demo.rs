//! The demo's resource, `ticker.model {seconds}`, which streams to logged-in users. Must not depend
//! on sessions: it checks only the token, like any service of a RES API.

use std::{sync::Arc, time::Duration};

use relogin_bus::{Bus, BusError, Message, Subscription};
use relogin_host::errors::Chain;
use relogin_res::{
    Change, Error, Map, Value, read,
    service::{AccessRequest, Content, GetRequest, Payload, Resource, Response, Subject, encode_change, event_subject},
};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// The resource that `--demo` adds.
pub const DEMO_NAME: &str = "ticker";

/// Counts the seconds since its start, for connections whose token has a role.
pub struct Ticker {
    bus: Arc<dyn Bus>,
    requests: Subscription,
    seconds: u64,
}

impl Ticker {
    /// Subscribes to the resource's subjects.
    ///
    /// # Errors
    /// [`BusError`] if the bus fails.
    pub async fn new(bus: Arc<dyn Bus>) -> Result<Self, BusError> {
        let requests = bus.subscribe(&[format!("access.{DEMO_NAME}.>"), format!("get.{DEMO_NAME}.>")]).await?;
        Ok(Self { bus, requests, seconds: 0 })
    }

    /// Ticks and answers until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                request = self.requests.next() => match request {
                    Some(request) => self.answer(&request).await,
                    None => return,
                },
                _ = tick.tick() => {
                    self.seconds += 1;
                    let values = Map::from([("seconds".to_owned(), Change::Set(self.value()))]);
                    self.send(&event_subject(&model(), "change"), encode_change(&values)).await;
                }
            }
        }
    }

    async fn answer(&self, request: &Message) {
        let Some(reply) = &request.reply else { return };
        let response = self.response(request).unwrap_or_else(Response::error);
        self.send(reply, response.encode()).await;
    }

    fn response(&self, request: &Message) -> Result<Response, Error> {
        match Subject::parse(&request.subject) {
            Some(Subject::Access(name)) if name == model() => {
                let token = AccessRequest::parse(&request.payload)?.token;
                Ok(Response::result(&CounterAccess { get: token.is_some_and(|token| has_role(token.get())) }))
            }
            Some(Subject::Get(name)) if name == model() => {
                GetRequest::parse(&request.payload)?;
                let values = Map::from([("seconds".to_owned(), self.value())]);
                Ok(Response::result(&Resource { content: Content::Model(values), query: None }))
            }
            _ => Err(Error::not_found()),
        }
    }

    fn value(&self) -> Value {
        Value::of(self.seconds.into())
    }

    async fn send(&self, subject: &str, payload: Vec<u8>) {
        // A bus that is down recovers, and gateways then fetch the model again.
        if let Err(error) = self.bus.publish(subject, payload.into()).await {
            debug!("cannot publish the ticker: {}", Chain(&error));
        }
    }
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker").field("seconds", &self.seconds).finish_non_exhaustive()
    }
}

/// The access result, with `get` written out even if it is false.
#[derive(Serialize)]
struct CounterAccess {
    get: bool,
}

fn model() -> String {
    format!("{DEMO_NAME}.model")
}

/// Whether an access token names a role.
fn has_role(token: &str) -> bool {
    #[derive(Deserialize)]
    struct Token {
        role: String,
    }
    read::object(token.as_bytes()).is_ok_and(|Token { role }| !role.is_empty())
}

#[cfg(test)]
mod tests {
    use relogin_bus::{Deliveries, Delivery, Mailbox, Tag, local::LocalBus};
    use serde_json::{Value as Json, json};

    use super::*;

    async fn ask(bus: &LocalBus, subject: &str, payload: &str) -> Json {
        let (mailbox, mut answers) = Mailbox::new();
        let _asking = bus.ask(subject, payload.to_owned().into(), &mailbox, Tag(1)).await.unwrap();
        json_of(answers.next().await)
    }

    async fn next(events: &mut Deliveries) -> Json {
        json_of(events.next().await)
    }

    fn json_of(delivery: Option<Delivery>) -> Json {
        match delivery.unwrap() {
            Delivery::Reply { payload, .. } => serde_json::from_slice(&payload).unwrap(),
            Delivery::Message { message, .. } => serde_json::from_slice(&message.payload).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_counter_is_for_users_with_a_role() {
        let bus = Arc::new(LocalBus::new());
        let (mailbox, mut events) = Mailbox::new();
        let _listening = bus.listen("event.ticker.model.change", &mailbox, Tag(2)).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(Ticker::new(bus.clone()).await.unwrap().run(stop.clone()));

        assert_eq!(ask(&bus, "get.ticker.model", "").await, json!({"result": {"model": {"seconds": 0}}}));
        assert_eq!(next(&mut events).await, json!({"values": {"seconds": 1}}));
        assert_eq!(next(&mut events).await, json!({"values": {"seconds": 2}}));
        assert_eq!(ask(&bus, "get.ticker.model", "{}").await, json!({"result": {"model": {"seconds": 2}}}));

        for (token, get) in [
            (json!({"sid": "x", "userId": 1, "role": "guest"}), true),
            (json!(null), false),
            (json!({"role": ""}), false),
            (json!({"role": 7}), false),
            (json!("role"), false),
            (json!(["guest"]), false),
        ] {
            let request = json!({"cid": "c", "token": token}).to_string();
            assert_eq!(ask(&bus, "access.ticker.model", &request).await, json!({"result": {"get": get}}), "{token}");
        }
        let code = async |subject: &str, payload: &str| ask(&bus, subject, payload).await["error"]["code"].clone();
        assert_eq!(code("get.ticker.other", "").await, "system.notFound");
        assert_eq!(code("access.ticker.other", r#"{"cid":"c"}"#).await, "system.notFound");
        assert_eq!(code("access.ticker.model", "x").await, "system.invalidParams");

        stop.cancel();
        running.await.unwrap();
    }
}

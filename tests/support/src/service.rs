//! A RES service of a test's own, which answers requests as the test says. Must not depend on a
//! gateway.

use std::sync::Arc;

use bytes::Bytes;
use relogin_bus::{Bus, Mailbox, Message, Subscription, Tag};
use serde_json::{Value, json};

use crate::soon;

/// Answers requests for the resources `test.*`.
pub struct Service {
    bus: Arc<dyn Bus>,
    requests: Subscription,
}

/// A request to one of its methods.
#[derive(Debug)]
pub struct Request {
    /// Where it was sent.
    pub subject: String,
    /// As it was sent.
    pub payload: Value,
    reply: String,
}

impl Request {
    /// What the method was called with.
    #[must_use]
    pub fn params(&self) -> &Value {
        &self.payload["params"]
    }
}

impl Service {
    /// Subscribes on a bus.
    pub async fn on(bus: Arc<dyn Bus>) -> Self {
        let kinds = ["access", "get", "call", "auth"];
        let patterns: Vec<_> = kinds.iter().map(|kind| format!("{kind}.test.>")).collect();
        Self { requests: bus.subscribe(&patterns).await.unwrap(), bus }
    }

    /// From now on, methods return their params.
    pub fn echo(mut self) {
        tokio::spawn(async move {
            while let Some(request) = self.next().await {
                let params = request.params().clone();
                self.answer(&request, &json!({ "result": params })).await;
            }
        });
    }

    /// The next request to a method. Access and get requests are answered on the way.
    pub async fn next(&mut self) -> Option<Request> {
        loop {
            let request = self.receive().await?;
            let answer = match request.subject.split_once('.').unwrap().0 {
                "access" => json!({ "result": { "get": true, "call": "*" } }),
                "get" => json!({ "result": { "model": {} } }),
                _ => {
                    self.ask_for_time(&request).await;
                    return Some(request);
                }
            };
            self.answer(&request, &answer).await;
        }
    }

    /// The next request of any kind.
    pub async fn next_of_all(&mut self) -> Option<Request> {
        let request = self.receive().await?;
        self.ask_for_time(&request).await;
        Some(request)
    }

    async fn receive(&mut self) -> Option<Request> {
        let Message { subject, reply, payload } = self.requests.next().await?;
        let payload = serde_json::from_slice(&payload).unwrap();
        Some(Request { subject, payload, reply: reply.unwrap() })
    }

    /// Tests take their time.
    async fn ask_for_time(&self, request: &Request) {
        self.bus.publish(&request.reply, Bytes::from(r#"timeout:"3600000""#)).await.unwrap();
    }

    /// Answers a request.
    pub async fn answer(&self, request: &Request, answer: &Value) {
        self.bus.publish(&request.reply, Bytes::from(answer.to_string())).await.unwrap();
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// True if anybody is subscribed to a subject.
pub async fn has_subscriber(bus: &dyn Bus, subject: &str) -> bool {
    let (mailbox, mut deliveries) = Mailbox::new();
    let _guard = bus.ask(subject, Bytes::new(), &mailbox, Tag(0)).await.unwrap();
    deliveries.try_next().is_none()
}

/// Waits until nobody is subscribed to a subject.
pub async fn until_unsubscribed(bus: &dyn Bus, subject: &str) {
    let until = async {
        while has_subscriber(bus, subject).await {
            tokio::task::yield_now().await;
        }
    };
    soon(until).await;
}

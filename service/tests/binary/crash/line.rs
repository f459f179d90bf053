//! A connection to the service: through its embedded gateway, which goes with it, or over NATS,
//! where it outlives a crash.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_nats::ConnectOptions;
use futures_util::StreamExt;
use relogin_tests::res::{Answer, Res};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{nats_gateway::Gateway, program::Service};

/// Where connections come from.
pub(super) enum Front<'a> {
    Embedded(&'a Service),
    Nats(Arc<Wire>),
}

/// One connection.
pub(super) enum Line {
    Embedded(Box<Res>),
    Nats { wire: Arc<Wire>, cid: String },
}

/// The state of all connections of a gateway on NATS.
pub(super) struct Wire {
    gateway: Gateway,
    next: AtomicU32,
    /// The connections' tokens, as events have set them.
    tokens: Arc<Mutex<HashMap<String, Value>>>,
    /// Whether the service is there.
    is_up: watch::Sender<bool>,
}

/// A gateway on NATS.
pub(super) struct Bus(Arc<Wire>);

impl Bus {
    pub(super) async fn connect(url: &str) -> Self {
        let tokens = Arc::new(Mutex::new(HashMap::new()));
        let client = async_nats::connect(url).await.unwrap();
        let mut events = client.subscribe("conn.*.token").await.unwrap();
        client.flush().await.unwrap();
        let heard = Arc::clone(&tokens);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let cid = event.subject.split('.').nth(1).unwrap().to_owned();
                let mut payload: Value = serde_json::from_slice(&event.payload).unwrap();
                heard.lock().unwrap().insert(cid, payload["token"].take());
            }
        });
        let gateway = Gateway::receiving("system.>", ConnectOptions::new(), url).await;
        Self(Arc::new(Wire { gateway, next: AtomicU32::new(0), tokens, is_up: watch::Sender::new(false) }))
    }

    /// The service is there.
    pub(super) fn up(&self) -> Arc<Wire> {
        self.0.is_up.send_replace(true);
        Arc::clone(&self.0)
    }

    /// The service is gone: pending requests are never answered.
    pub(super) fn down(&self) {
        self.0.is_up.send_replace(false);
    }
}

impl Front<'_> {
    pub(super) async fn connect(&self) -> Line {
        match self {
            Self::Embedded(service) => Line::Embedded(Box::new(service.connect().await)),
            Self::Nats(wire) => {
                let number = wire.next.fetch_add(1, Ordering::Relaxed);
                Line::Nats { wire: Arc::clone(wire), cid: format!("c{number}") }
            }
        }
    }
}

impl Line {
    /// Whether it survived: connections of the embedded gateway do not survive a crash.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Nats { .. })
    }

    /// Calls an auth method. `None` if the service went before it answered.
    pub(super) async fn auth(&mut self, method: &str, params: Value) -> Option<Answer> {
        match self {
            Self::Embedded(res) => {
                let answer = res.request(&format!("auth.session.{method}"), Some(params)).await.ok()?;
                Some(match answer {
                    Answer::Result(mut result) => Answer::Result(result["payload"].take()),
                    Answer::Error(error) => Answer::Error(error),
                })
            }
            Self::Nats { wire, cid } => {
                let token = wire.tokens.lock().unwrap().get(cid).cloned();
                wire.ask(&format!("auth.session.{method}"), json!({"cid": cid, "token": token, "params": params})).await
            }
        }
    }

    /// Whether somebody is logged in on this connection. `None` if the service went before it
    /// answered, or if nobody but a client of the embedded gateway could ask.
    pub(super) async fn has_user(&self) -> Option<bool> {
        let Self::Nats { wire, cid } = self else { return None };
        match wire.ask(&format!("get.session.user.{cid}"), json!({})).await? {
            Answer::Result(result) => Some(!result["model"]["id"].is_null()),
            Answer::Error(error) => panic!("{error}"),
        }
    }
}

impl Wire {
    async fn ask(&self, subject: &str, payload: Value) -> Option<Answer> {
        let mut is_up = self.is_up.subscribe();
        let answer = async {
            let mut asked = self.gateway.send(subject, payload).await;
            loop {
                let text = asked.next().await;
                // No responders: NATS has noticed sooner than we have.
                if text.is_empty() {
                    return None;
                }
                // A pre-response is not JSON.
                if let Ok(mut answer) = serde_json::from_str::<Value>(&text) {
                    return Some(match answer.get_mut("error") {
                        Some(error) => Answer::Error(error.take()),
                        None => Answer::Result(answer["result"].take()),
                    });
                }
            }
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            _ = is_up.wait_for(|is_up| !is_up) => None,
        }
    }
}

//! Gateways' connections, each with a session on it: the same client against everybody.

use std::time::{Duration, Instant};

use async_nats::Client;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::{StreamExt, future::join_all};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use crate::{contender::Contender, figures::Round};

/// What a relogin is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On a connection that has no token: token event, change event, answer.
    Resume,
    /// As gateways send a refresh: the token is in place, and only the answer comes.
    Refresh,
    /// A refresh with the device's signature.
    Bound(Curve),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    Ed25519,
    P256,
}

/// The resource name of a service that is given none.
const NAME: &str = "session";

enum Device {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

/// A connection and its session.
pub(crate) struct Session {
    client: Client,
    /// The resource name of the service.
    name: String,
    connection: String,
    key: String,
    token: Value,
    device: Option<(Device, String)>,
}

/// Sessions on so many connections.
pub(crate) async fn sessions(contender: &Contender, kind: Kind, count: usize) -> Vec<Session> {
    let client = async_nats::connect(contender.nats.url()).await.unwrap();
    sessions_at(&client, NAME, kind, count).await
}

/// The same, of the service with this resource name.
pub(crate) async fn sessions_at(client: &Client, name: &str, kind: Kind, count: usize) -> Vec<Session> {
    let connection = |n| format!("{kind:?}{n}").replace(['(', ')'], "");
    join_all((0..count).map(|n| Session::log_in(client.clone(), name, connection(n), kind))).await
}

/// One relogin after the other on each of the sessions, for so long.
pub(crate) async fn round(sessions: &mut Vec<Session>, measured: Duration) -> Round {
    let end = Instant::now() + measured;
    let workers = sessions.drain(..).map(|session| tokio::spawn(session.relogins(end)));
    let mut times = Vec::new();
    for worker in join_all(workers).await {
        let (session, took) = worker.unwrap();
        sessions.push(session);
        times.extend(took);
    }
    Round::of(times, measured)
}

impl Session {
    pub(crate) async fn log_in(client: Client, name: &str, connection: String, kind: Kind) -> Self {
        let mut tokens = client.subscribe(format!("conn.{connection}.token")).await.unwrap();
        client.flush().await.unwrap();
        let device = match kind {
            Kind::Bound(curve) => Some(Device::new(curve)),
            Kind::Resume | Kind::Refresh => None,
        };
        let mut params = json!({"username": "jane", "password": "jane"});
        if let Some(device) = &device {
            params["device"] = json!({"publicKey": device.public_key()});
        }
        let mut session =
            Self { client, name: name.to_owned(), connection, key: String::new(), token: Value::Null, device: None };
        session.key = session.ask("login", params).await["reloginKey"].as_str().unwrap().to_owned();
        if kind != Kind::Resume {
            // The constant responder sends none.
            let told = tokio::time::timeout(Duration::from_millis(300), tokens.next()).await.ok().flatten();
            let token = told.map(|told| serde_json::from_slice::<Value>(&told.payload).unwrap()["token"].take());
            session.token = token.unwrap_or_else(|| json!({"sid": "s".repeat(22), "userId": 3, "role": "user"}));
        }
        if let Some(device) = device {
            let challenge = session.ask("challenge", json!({})).await["challenge"].as_str().unwrap().to_owned();
            session.device = Some((device, challenge));
        }
        session
    }

    async fn relogins(mut self, end: Instant) -> (Self, Vec<Duration>) {
        let mut times = Vec::new();
        loop {
            let begun = Instant::now();
            if begun >= end {
                return (self, times);
            }
            let mut params = json!({"reloginKey": self.key});
            if let Some((device, challenge)) = &self.device {
                let signature = device.sign(format!("relogin/1{challenge}{}", self.key).as_bytes());
                params["proof"] = json!({"challenge": challenge, "signature": signature});
            }
            self.key = self.ask("relogin", params).await["reloginKey"].as_str().unwrap().to_owned();
            times.push(begun.elapsed());
        }
    }

    /// Logs out.
    pub(crate) async fn end(&self) {
        let request = json!({"cid": self.connection, "token": null}).to_string();
        self.client.request(format!("auth.{}.logout", self.name), request.into()).await.unwrap();
    }

    /// The result of an auth method.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let request = json!({"cid": self.connection, "token": self.token, "params": params}).to_string();
        let inbox = self.client.new_inbox();
        let subject = format!("auth.{}.{method}", self.name);
        let answer = if method == "login" {
            let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
            self.client.publish_with_reply(subject, inbox, request.into()).await.unwrap();
            loop {
                let answer = answers.next().await.unwrap().payload;
                // Not a request for more time while the password check queues.
                if answer.starts_with(b"{") {
                    break answer;
                }
            }
        } else {
            self.client.request(subject, request.into()).await.unwrap().payload
        };
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["result"].is_object(), "{method}: {answer}");
        answer["result"].take()
    }
}

impl Device {
    fn new(curve: Curve) -> Self {
        let random = SystemRandom::new();
        match curve {
            Curve::Ed25519 => {
                let pair = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Self::Ed25519(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
            }
            Curve::P256 => {
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
                Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap(), random)
            }
        }
    }

    fn public_key(&self) -> Value {
        match self {
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key())})
            }
            Self::P256(pair, _) => {
                let point = pair.public_key().as_ref();
                let [x, y] = [&point[1..33], &point[33..]].map(|part| BASE64.encode(part));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
        }
    }

    fn sign(&self, message: &[u8]) -> String {
        match self {
            Self::Ed25519(pair) => BASE64.encode(pair.sign(message)),
            Self::P256(pair, random) => BASE64.encode(pair.sign(random, message).unwrap()),
        }
    }
}

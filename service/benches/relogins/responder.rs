//! Responders that answer each request with the same bytes after a part of what a relogin takes:
//! none of it, the wait for the disk, the look at a signature, or both; or an update of a key in
//! JetStream. What they reach is the most that anything behind async-nats can that has this to do.

use std::{
    collections::HashMap,
    error::Error,
    fs::OpenOptions,
    iter::successors,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, mpsc},
};

use async_nats::{
    Client, Message, ServerAddr,
    jetstream::{self, ErrorCode, kv},
};
use bytes::Bytes;
use futures_util::StreamExt;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use serde_json::{Value, json};

use crate::million::record;

/// The argument with which this program is a responder.
pub(crate) const RESPONDER: &str = "responder";

/// What is done before the answer: nothing.
pub(crate) const CONSTANT: &str = "constant";
/// As many requests as wait share one write and one sync, while the next ones gather.
pub(crate) const SYNCED: &str = "constant, synced";
/// A signature is verified.
pub(crate) const ED25519_VERIFIED: &str = "constant, Ed25519 verified";
/// A signature is verified.
pub(crate) const P256_VERIFIED: &str = "constant, P-256 verified";
/// A signature is verified, and then it goes on as in [`SYNCED`].
pub(crate) const ED25519_BOTH: &str = "constant, Ed25519 verified and synced";
/// A signature is verified, and then it goes on as in [`SYNCED`].
pub(crate) const P256_BOTH: &str = "constant, P-256 verified and synced";

/// The key of the request's connection is updated, in a bucket with so many replicas as the last
/// letter says.
pub(crate) const UPDATED: [&str; 2] = ["updated, R1", "updated, R3"];

/// How often an update is sent, of which the second one does nearly always.
const TRIES: usize = 1_000;

/// How many are dealt with together.
const TOGETHER: usize = 32;
/// A block, and how many of them there are to write to.
const BLOCK: usize = 4096;
const BLOCKS: usize = 1024;
/// As long as what a device signs.
const MESSAGE: [u8; 120] = [7; 120];

/// Answers requests at the NATS servers with these addresses, divided by commas.
pub(crate) async fn respond(part: &str, urls: &str) {
    let addresses: Vec<ServerAddr> = urls.split(',').map(|url| url.parse().unwrap()).collect();
    let client = async_nats::connect(addresses).await.unwrap();
    let mut requests = client.subscribe("auth.session.>").await.unwrap();
    client.flush().await.unwrap();
    let deal = match part {
        SYNCED => synced(client),
        ED25519_VERIFIED => verified(ed25519(), answered(client)),
        P256_VERIFIED => verified(p256(), answered(client)),
        ED25519_BOTH => verified(ed25519(), synced(client)),
        P256_BOTH => verified(p256(), synced(client)),
        part if UPDATED.contains(&part) => updated(client, if part.ends_with('1') { 1 } else { 3 }).await,
        _ => {
            println!("ready on nats");
            let answer = answer();
            while let Some(request) = requests.next().await {
                client.publish(request.reply.unwrap(), answer.clone()).await.unwrap();
            }
            return;
        }
    };
    let mut requests = requests.ready_chunks(TOGETHER);
    println!("ready on nats");
    while let Some(requests) = requests.next().await {
        deal(requests);
    }
}

type Deal = Arc<dyn Fn(Vec<Message>) + Send + Sync>;

/// What a relogin is answered with.
fn answer() -> Bytes {
    let result = json!({
        "reloginKey": "k".repeat(75), "generation": 1, "expiresIn": 120_000, "refreshIn": 60_000,
        // What a login and a challenge are answered with, for the same client asks for both.
        "challenge": "c".repeat(60), "token": null,
    });
    Bytes::from(json!({ "result": result }).to_string())
}

async fn answer_all(client: Client, requests: Vec<Message>, answer: Bytes) {
    for request in requests {
        client.publish(request.reply.unwrap(), answer.clone()).await.unwrap();
    }
}

fn synced(client: Client) -> Deal {
    let (sender, gathered) = mpsc::channel::<Vec<Message>>();
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(Path::new("blocks")).unwrap();
    file.write_all_at(&vec![0; BLOCK * BLOCKS], 0).unwrap();
    file.sync_all().unwrap();
    let (runtime, answer) = (tokio::runtime::Handle::current(), answer());
    std::thread::spawn(move || {
        for (n, mut requests) in (0..).zip(std::iter::from_fn(|| gathered.recv().ok())) {
            requests.extend(gathered.try_iter().flatten());
            let blocks = (requests.len() * 300).next_multiple_of(BLOCK);
            file.write_all_at(&vec![1; blocks], (n % (BLOCKS / 8) * 8 * BLOCK) as u64).unwrap();
            file.sync_data().unwrap();
            runtime.spawn(answer_all(client.clone(), requests, answer.clone()));
        }
    });
    Arc::new(move |requests| sender.send(requests).unwrap())
}

async fn updated(client: Client, num_replicas: usize) -> Deal {
    // Its own: it begins with no revisions.
    let bucket = format!("updated-{}", std::process::id());
    let config = kv::Config { bucket, num_replicas, ..kv::Config::default() };
    let store = jetstream::new(client.clone()).create_key_value(config).await.unwrap();
    let (answer, value) = (answer(), Bytes::from(record(1, 1).encode().unwrap()));
    // A connection has one request at a time.
    let revisions = Arc::new(Mutex::new(HashMap::<String, u64>::new()));
    Arc::new(move |requests| {
        for request in requests {
            let (client, store, revisions) = (client.clone(), store.clone(), Arc::clone(&revisions));
            let (answer, value) = (answer.clone(), value.clone());
            tokio::spawn(async move {
                let parsed: Value = serde_json::from_slice(&request.payload).unwrap();
                let key = parsed["cid"].as_str().unwrap();
                let revision = revisions.lock().unwrap().get(key).copied().unwrap_or_default();
                let revision = update(&store, key, &value, revision).await.unwrap();
                revisions.lock().unwrap().insert(key.to_owned(), revision);
                client.publish(request.reply.unwrap(), answer).await.unwrap();
            });
        }
    })
}

/// Updates a key that has this revision, and returns the next one.
///
/// A leader of several replicas acknowledges a write a moment before it lets go of the key, and
/// refuses an update that comes in between, with an error of its own. That update is sent again.
pub(crate) async fn update(store: &kv::Store, key: &str, value: &Bytes, revision: u64) -> Result<u64, kv::UpdateError> {
    for _ in 1..TRIES {
        match store.update(key, value.clone(), revision).await {
            Err(error) if is_held(&error) => {}
            result => return result,
        }
    }
    store.update(key, value.clone(), revision).await
}

/// True if the leader has not let go of the key. Of another revision, the error would be
/// [`ErrorCode::STREAM_WRONG_LAST_SEQUENCE`].
fn is_held(error: &kv::UpdateError) -> bool {
    let mut answers = successors(Some(error as &dyn Error), |&error| error.source());
    answers.any(|error| {
        let answer = error.downcast_ref::<jetstream::Error>();
        answer.is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
    })
}

fn answered(client: Client) -> Deal {
    let answer = answer();
    Arc::new(move |requests| {
        tokio::spawn(answer_all(client.clone(), requests, answer.clone()));
    })
}

fn verified(signed: Signed, then: Deal) -> Deal {
    Arc::new(move |requests| {
        let (signed, then) = (signed.clone(), Arc::clone(&then));
        tokio::spawn(async move {
            for _ in &requests {
                let (algorithm, key, signature) = &signed;
                UnparsedPublicKey::new(*algorithm, key).verify(&MESSAGE, signature).unwrap();
            }
            then(requests);
        });
    })
}

/// A public key and its signature of the message.
type Signed = (&'static dyn VerificationAlgorithm, Vec<u8>, Vec<u8>);

fn ed25519() -> Signed {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    (&ED25519, pair.public_key().as_ref().to_vec(), pair.sign(&MESSAGE).as_ref().to_vec())
}

fn p256() -> Signed {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let pair = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pair.as_ref(), &random).unwrap();
    let signature = pair.sign(&random, &MESSAGE).unwrap();
    (&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref().to_vec(), signature.as_ref().to_vec())
}

//! Who answers: Relogin with one of its stores, or a responder that answers a constant. Each has a nats-server of its own.

use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt;
use relogin_tests::process::Process;
use serde_json::json;
use tempfile::TempDir;

use crate::nats_server::NatsServer;

/// The argument with which this program is the responder.
pub(crate) const RESPONDER: &str = "responder";

pub(crate) struct Contender {
    pub(crate) process: Process,
    pub(crate) nats: NatsServer,
    pub(crate) folder: TempDir,
}

impl Contender {
    pub(crate) async fn constant() -> Self {
        let here = std::env::current_exe().unwrap();
        Self::start(&here, |url| vec![RESPONDER.to_owned(), url.to_owned()]).await
    }

    pub(crate) async fn relogin(store: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_relogin"));
        let serve = |url: &str| {
            ["serve", "--demo", "--store", store, "--data", "data", "--nats", url].map(str::to_owned).to_vec()
        };
        Self::start(program, serve).await
    }

    async fn start(program: &Path, arguments: impl Fn(&str) -> Vec<String>) -> Self {
        let nats = NatsServer::start(&[]);
        // Not in a temporary folder that may be in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let process = Process::start(program, arguments(&nats.url()), &folder.path().join("log"), |command| {
            command.current_dir(folder.path()).env("RELOGIN_LOG", "warn");
        });
        let process = process.unwrap();
        process.line("that it is ready", |line| line.contains("ready on nats").then_some(())).await.unwrap();
        Self { process, nats, folder }
    }
}

/// Answers each request with what a relogin is answered with.
pub(crate) async fn respond(url: &str) {
    let client = async_nats::connect(url).await.unwrap();
    let mut requests = client.subscribe("auth.session.>").await.unwrap();
    client.flush().await.unwrap();
    println!("ready on nats");
    let result = json!({
        "reloginKey": "k".repeat(75), "generation": 1, "expiresIn": 120_000, "refreshIn": 60_000,
        // What a login and a challenge are answered with, for the same client asks for both.
        "challenge": "c".repeat(60), "token": null,
    });
    let answer = Bytes::from(json!({ "result": result }).to_string());
    while let Some(request) = requests.next().await {
        client.publish(request.reply.unwrap(), answer.clone()).await.unwrap();
    }
}

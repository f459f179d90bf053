//! Who answers: Relogin with one of its stores, or a responder. Each has a nats-server of its own.

use std::{path::Path, time::Duration};

use relogin_test_support::nats_server::NatsServer;
use relogin_tests::process::{Process, processor_time};
use rustix::process::{Pid, getpid};
use tempfile::TempDir;

use crate::responder::RESPONDER;

pub(crate) struct Contender {
    pub(crate) process: Process,
    pub(crate) nats: NatsServer,
    pub(crate) folder: TempDir,
}

impl Contender {
    /// A responder that does this part of a relogin, and nothing else.
    pub(crate) async fn responder(part: &str) -> Self {
        let here = std::env::current_exe().unwrap();
        Self::start(&here, |url| vec![RESPONDER.to_owned(), part.to_owned(), url.to_owned()]).await
    }

    pub(crate) async fn relogin(store: &str) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_relogin"));
        let serve = |url: &str| {
            ["serve", "--demo", "--store", store, "--data", "data", "--nats", url].map(str::to_owned).to_vec()
        };
        Self::start(program, serve).await
    }

    /// The processor time that answering has cost so far: here, in the nats-server, and in this
    /// program, which asks.
    pub(crate) fn processor_times(&self) -> [Duration; 3] {
        let nats = Pid::from_child(&self.nats.child);
        [self.process.pid().unwrap(), nats, getpid()].map(|pid| processor_time(pid).unwrap())
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

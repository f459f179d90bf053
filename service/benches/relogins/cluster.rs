//! Three nats-servers on loopback that are one cluster with JetStream, and have nothing between
//! them: what passes bytes on in tests, to be cut, would share the processors with what is
//! measured.

use std::time::{Duration, Instant};

use async_nats::{ServerAddr, jetstream};
use relogin_test_support::nats_server::NatsServer;
use relogin_tests::net::Address;
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::time::sleep;

/// How long the servers may take to agree.
const DEADLINE: Duration = Duration::from_secs(90);

/// The servers.
#[derive(Debug)]
pub(crate) struct Cluster {
    servers: Vec<NatsServer>,
    _folder: TempDir,
    _routes: Vec<Address>,
}

impl Cluster {
    /// Starts them, and waits until they keep streams on all of them.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let routes: Vec<_> = (0..3).map(|_| Address::reserve().unwrap()).collect();
        let urls: Vec<_> = routes.iter().map(|route| format!("nats://{}", route.get())).collect();
        let servers = urls.iter().enumerate().map(|(n, url)| {
            let (name, store) = (format!("n{n}"), folder.path().join(n.to_string()));
            NatsServer::start(&[
                "--jetstream",
                "--store_dir",
                store.to_str().unwrap(),
                "--name",
                &name,
                "--cluster_name",
                "cluster",
                "--cluster",
                url,
                "--routes",
                &urls.join(","),
            ])
        });
        let cluster = Self { servers: servers.collect(), _folder: folder, _routes: routes };
        let context = jetstream::new(async_nats::connect(cluster.addresses()).await.unwrap());
        let deadline = Instant::now() + DEADLINE;
        let config = || jetstream::kv::Config { bucket: "probe".into(), num_replicas: 3, ..Default::default() };
        while let Err(error) = context.create_key_value(config()).await {
            assert!(Instant::now() < deadline, "the servers do not find each other: {error}");
            // There is no event for that.
            sleep(Duration::from_millis(50)).await;
        }
        cluster
    }

    /// Their processes.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        self.servers.iter().map(|server| Pid::from_child(&server.child)).collect()
    }

    /// Where clients reach them, separated by commas.
    pub(crate) fn url(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The same, as a list.
    pub(crate) fn addresses(&self) -> Vec<ServerAddr> {
        self.servers.iter().map(|server| server.url().parse().unwrap()).collect()
    }
}

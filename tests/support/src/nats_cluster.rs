//! Three nats-servers on loopback that are one cluster with JetStream. Clients and the servers
//! themselves reach each other over wires, so a server is found where it was when it is started
//! again, and can be cut off.

use std::time::Duration;

use async_nats::{Client, ServerAddr, jetstream};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::nats_server::{NatsServer, Wire};

/// How long the cluster may take to agree; only a test that fails waits so long.
const DEADLINE: Duration = Duration::from_secs(90);

/// The servers.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    folder: TempDir,
    /// None while it is killed.
    server: Option<NatsServer>,
    clients: Wire,
    /// What the servers reach it by, each over its own; nobody uses its own one.
    routes: Vec<Wire>,
}

/// Where a server says that others reach it. Nobody does: they know each other by their wires, and
/// a way past those could not be cut.
const NOWHERE: &str = "127.0.0.1:1";

impl Cluster {
    /// Starts three, and waits until they keep streams on all of them.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for n in 0..3 {
            let clients = Wire::to_nowhere().await;
            let routes = vec![Wire::to_nowhere().await, Wire::to_nowhere().await, Wire::to_nowhere().await];
            let folder = tempfile::tempdir().unwrap();
            nodes.push(Node { name: format!("n{n}"), folder, server: None, clients, routes });
        }
        let mut cluster = Self { nodes };
        for n in 0..3 {
            cluster.restart(n);
        }
        let made = async {
            loop {
                let Ok(client) = async_nats::connect(cluster.addresses()).await else { continue };
                let config = jetstream::kv::Config { bucket: "probe".into(), num_replicas: 3, ..Default::default() };
                match jetstream::new(client).create_key_value(config).await {
                    Ok(_) => break,
                    Err(_) => sleep(Duration::from_millis(50)).await,
                }
            }
        };
        timeout(DEADLINE, made).await.expect("the servers find each other");
        cluster
    }

    /// Where clients reach them, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(|node| node.clients.url()).collect::<Vec<_>>().join(",")
    }

    /// The same, as a list.
    #[must_use]
    pub fn addresses(&self) -> Vec<ServerAddr> {
        self.nodes.iter().map(|node| node.clients.url().parse().unwrap()).collect()
    }

    /// A client that does not know the server `n`.
    pub async fn client_without(&self, n: usize) -> Client {
        let mut addresses = self.addresses();
        addresses.remove(n);
        async_nats::connect(addresses).await.unwrap()
    }

    /// Ends a server as `kill -9` does.
    pub fn kill(&mut self, n: usize) {
        // Dropped, it is killed.
        self.nodes[n].server = None;
    }

    /// Starts a server that was killed, on what it has on its disk.
    pub fn restart(&mut self, n: usize) {
        let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != n);
        let routes: Vec<_> = others.map(|(_, other)| other.routes[n].url()).collect();
        let node = &mut self.nodes[n];
        let server = NatsServer::start(&[
            "--jetstream",
            "--store_dir",
            node.folder.path().to_str().unwrap(),
            "--name",
            &node.name,
            "--cluster_name",
            "cluster",
            "--cluster",
            "nats://127.0.0.1:-1",
            "--cluster_advertise",
            NOWHERE,
            "--routes",
            &routes.join(","),
            "--no_advertise",
        ]);
        node.clients.lead_to(&server.address);
        for route in &node.routes {
            route.lead_to(server.routes.as_ref().unwrap());
        }
        node.server = Some(server);
    }

    /// Sends a signal to a server.
    pub fn signal(&self, n: usize, signal: Signal) {
        self.nodes[n].server.as_ref().unwrap().signal(signal);
    }

    /// Cuts a server off from the others. Its clients still reach it.
    pub fn isolate(&self, n: usize) {
        self.routes_of(n).for_each(Wire::cut);
    }

    /// Undoes [`Cluster::isolate`].
    pub fn rejoin(&self, n: usize) {
        self.routes_of(n).for_each(Wire::mend);
    }

    /// Cuts a server off from its clients.
    pub fn cut_clients(&self, n: usize) {
        self.nodes[n].clients.cut();
    }

    /// Undoes [`Cluster::cut_clients`].
    pub fn mend_clients(&self, n: usize) {
        self.nodes[n].clients.mend();
    }

    /// The wires that lead to a server from the others, and from it to them.
    fn routes_of(&self, n: usize) -> impl Iterator<Item = &Wire> {
        self.nodes[n].routes.iter().chain(self.nodes.iter().map(move |node| &node.routes[n]))
    }

    /// Waits until all of the stream's servers have all of it, and gives the number of its leader.
    pub async fn leader(&self, stream: &str) -> usize {
        let agreed = async {
            loop {
                if let Some(leader) = self.agreed(stream).await {
                    break leader;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, agreed).await.expect("the servers agree")
    }

    async fn agreed(&self, stream: &str) -> Option<usize> {
        let client = async_nats::connect(self.addresses()).await.ok()?;
        let mut stream = jetstream::new(client).get_stream(stream).await.ok()?;
        let cluster = stream.info().await.ok()?.cluster.clone()?;
        let leader = cluster.leader?;
        let is_whole = cluster.replicas.len() == 2 && cluster.replicas.iter().all(|peer| peer.current && !peer.offline);
        is_whole.then(|| self.nodes.iter().position(|node| node.name == leader)).flatten()
    }
}

//! A nats-server of the test's own, and a wire to it that can be cut.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A running nats-server on a free port; ended when dropped.
#[derive(Debug)]
pub struct NatsServer {
    /// Its process.
    pub child: Child,
    /// Where it listens, as `ip:port`.
    pub address: String,
    /// Where it listens for other servers of its cluster; none without `--cluster`.
    pub routes: Option<String>,
}

impl NatsServer {
    /// Starts one with further arguments. Returns once it is ready.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        // Cargo's own runs know only what is on the path; `cargo xtask test` names the one that it
        // has set up.
        let program = env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut child = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", "-1"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server must be installed: `cargo xtask setup` does it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut address, mut routes, mut is_ready) = (None, None, false);
        while !is_ready || routes.is_some() != arguments.contains(&"--cluster") {
            let line = lines.next().expect("nats-server ended before it was ready").unwrap();
            if let Some((_, text)) = line.split_once("Listening for client connections on ") {
                address = Some(text.trim().to_owned());
            }
            if let Some((_, text)) = line.split_once("Listening for route connections on ") {
                routes = Some(text.trim().to_owned());
            }
            is_ready |= line.contains("Server is ready");
        }
        // Its log must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("nats-server says where it listens"), routes }
    }

    /// Its address as NATS clients take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// One that keeps JetStream in `folder`, on `port` (-1: a free one).
    #[must_use]
    pub fn with_jetstream(folder: &Path, port: &str) -> Self {
        Self::start(&["--jetstream", "--store_dir", folder.to_str().unwrap(), "--port", port])
    }

    /// Ends it without a warning. Returns the port that it had.
    #[must_use]
    pub fn kill(self) -> String {
        self.address.rsplit(':').next().unwrap().to_owned()
    }

    /// Sends a signal. After SIGSTOP, returns only once every thread stands still: until then, the
    /// server may still answer.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
            assert!(status.stopped(), "nats-server ended: {status:?}");
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Copies a folder, for one that is to come back as it was.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A wire to a server. Cut, it ends all connections and takes no new ones.
#[derive(Debug)]
pub struct Wire {
    /// Where clients connect instead of to the server.
    pub address: SocketAddr,
    is_whole: Arc<watch::Sender<bool>>,
    leads_to: Arc<Mutex<Option<String>>>,
}

impl Wire {
    /// A whole wire to a server.
    pub async fn to(server: &NatsServer) -> Self {
        let wire = Self::to_nowhere().await;
        wire.lead_to(&server.address);
        wire
    }

    /// A wire that leads nowhere yet: it ends the connections that it takes.
    pub async fn to_nowhere() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_whole, leads_to) = (Arc::new(watch::Sender::new(true)), Arc::<Mutex<Option<String>>>::default());
        let (whole, target) = (Arc::clone(&is_whole), Arc::clone(&leads_to));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, mut whole) = (target.lock().unwrap().clone(), whole.subscribe());
                tokio::spawn(async move {
                    let Some(server) = target.filter(|_| *whole.borrow()) else { return };
                    // The server may be gone.
                    let Ok(mut far) = TcpStream::connect(server).await else { return };
                    // A wire adds no delay: what is at its ends does not wait for acknowledgements
                    // either.
                    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
                        return;
                    }
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { address, is_whole, leads_to }
    }

    /// Leads new connections to the server at `address`.
    pub fn lead_to(&self, address: &str) {
        *self.leads_to.lock().unwrap() = Some(address.to_owned());
    }

    /// Ends all connections, and takes no new ones.
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }

    /// Its address as NATS clients take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

//! A nats-server of the test's own, and a wire to it that can be cut.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
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
}

impl NatsServer {
    /// Starts one with further arguments. Returns once it is ready.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        // Cargo's own runs know only what is on the path; `cargo xtask test` names the one that it has set up.
        let program = env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut child = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", "-1"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("nats-server must be installed: `cargo xtask setup` does it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        loop {
            let line = lines.next().expect("nats-server ended before it was ready").unwrap();
            if let Some((_, text)) = line.split_once("Listening for client connections on ") {
                address = Some(text.trim().to_owned());
            }
            if line.contains("Server is ready") {
                break;
            }
        }
        // Its log must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("nats-server says where it listens") }
    }

    /// Its address as NATS clients take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Sends a signal. After SIGSTOP, returns only once every thread stands still: until then, the server may still answer.
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

/// A wire to a server. Cut, it ends all connections and takes no new ones.
#[derive(Debug)]
pub struct Wire {
    /// Where clients connect instead of to the server.
    pub address: SocketAddr,
    is_whole: Arc<watch::Sender<bool>>,
}

impl Wire {
    /// A whole wire.
    pub async fn to(server: &NatsServer) -> Self {
        let server = server.address.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_whole = Arc::new(watch::Sender::new(true));
        let whole = Arc::clone(&is_whole);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut whole) = (server.clone(), whole.subscribe());
                tokio::spawn(async move {
                    if !*whole.borrow() {
                        return;
                    }
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { address, is_whole }
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

//! Uses a binary that came out of a package, with its files where the package has them.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use relogin_tests::{process::Process, res::Res};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

/// Of all users that are added here.
pub(crate) const PASSWORD: &str = "Uhu, Knarz und Quitte";

/// An installed service.
pub(crate) struct Installed {
    pub(crate) binary: PathBuf,
    pub(crate) config: PathBuf,
    /// The state folder.
    pub(crate) state: PathBuf,
}

/// A running service.
pub(crate) struct Running {
    process: Process,
    url: String,
}

impl Installed {
    fn users(&self) -> PathBuf {
        self.state.join("users.toml")
    }

    /// Adds a user.
    pub(crate) fn add_user(&self, name: &str) {
        let mut command = Command::new(&self.binary);
        command.arg("user").arg("--config").arg(&self.config).arg("--users").arg(self.users());
        command.args(["add", name, "--password-stdin"]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Starts the service as its unit does, but on a free port and with its state where it is.
    pub(crate) async fn start(&self, log: &Path) -> Running {
        let [config, data, users] =
            [&self.config, &self.state, &self.users()].map(|path| path.to_str().unwrap().to_owned());
        let args = ["serve", "--config", &config, "--data", &data, "--users", &users, "--listen", "127.0.0.1:0"];
        let process = Process::start(&self.binary, args, log, |command| {
            command.env_clear();
        });
        Running::is_ready(process.unwrap()).await
    }
}

impl Running {
    /// Waits until a service that was started is ready.
    pub(crate) async fn is_ready(process: Process) -> Self {
        let ready =
            |line: &str| line.strip_prefix("relogin: ready on http://").map(|address| format!("ws://{address}/"));
        let url = process.line("that it is ready", ready).await.unwrap();
        Self { process, url }
    }

    /// Logs in, and returns the relogin key.
    pub(crate) async fn log_in(&self, name: &str, password: &str) -> Value {
        log_in(&self.url, name, password).await
    }

    /// Uses a relogin key, and returns its successor.
    pub(crate) async fn relogin(&self, key: &Value) -> Value {
        relogin(&self.url, key).await
    }

    pub(crate) async fn kill(self) {
        self.process.kill().await.unwrap();
    }

    pub(crate) async fn stop(self) {
        kill_process(self.process.pid().unwrap(), Signal::TERM).unwrap();
        assert_eq!(self.process.ended().await.unwrap().code(), Some(0));
    }
}

/// Logs in at this address, and returns the relogin key.
pub(crate) async fn log_in(url: &str, name: &str, password: &str) -> Value {
    let mut res = Res::connect(url).await.unwrap();
    let key = res.log_in(name, password).await.unwrap()["reloginKey"].take();
    assert!(key.is_string(), "{key}");
    key
}

/// Uses a relogin key at this address, and returns its successor.
pub(crate) async fn relogin(url: &str, key: &Value) -> Value {
    let mut res = Res::connect(url).await.unwrap();
    let key = res.relogin(key, None).await.unwrap().payload().unwrap()["reloginKey"].take();
    assert!(key.is_string(), "{key}");
    key
}

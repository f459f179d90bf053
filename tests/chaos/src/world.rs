//! The programs: three nats-servers, three instances of the service, of which the first has a
//! gateway in it, and two Resgates. Carries out the plan's faults.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use relogin_test_support::nats_cluster::Cluster;
use relogin_tests::{
    net::Address,
    parts::{Part, target},
    process::Process,
};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    sync::Mutex,
    task::{JoinSet, block_in_place},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    plan::{COUNTS, Fault, Step, Target},
    program::{Program, Spec},
};

/// The stream of the bucket.
const STREAM: &str = "KV_relogin-session";
/// The password of all users.
pub const PASSWORD: &str = "tell nobody";
const COST: &str = "m=8,t=1,p=1";

/// Everything that runs.
#[derive(Debug)]
pub struct World {
    cluster: Mutex<Cluster>,
    instances: Vec<Program>,
    resgates: Vec<Program>,
    addresses: Vec<Address>,
    _folder: TempDir,
}

impl World {
    /// Starts all, with this many users: `user0`, `user1`, …
    ///
    /// # Errors
    /// If a program does not get ready.
    pub async fn start(users: usize) -> Result<Self> {
        let logs = target().join("e2e").join("chaos");
        if logs.exists() {
            fs::remove_dir_all(&logs).context("clearing old logs")?;
        }
        fs::create_dir_all(&logs).context("making a folder for the logs")?;
        let folder = tempfile::tempdir().context("making a folder")?;
        add_users(folder.path(), &logs, users).await?;

        let cluster = Cluster::start().await;
        let addresses = (0..=COUNTS[2]).map(|_| Address::reserve()).collect::<Result<Vec<_>>>()?;
        let listen = addresses[0].get().to_string();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut instances = Vec::new();
        for number in 0..COUNTS[1] {
            let mut args = format!(
                "serve --nats {} --store jetstream --replicas 3 --secret-file {} --users {} --password-cost {COST} --throttle off --refresh 2s",
                cluster.url(),
                path("secret"),
                path("users.toml"),
            );
            args += &if number == 0 {
                format!(" --gateway embedded --listen {listen}")
            } else {
                " --gateway none".to_owned()
            };
            instances.push(run(Part::Relogin, &format!("relogin-{number}"), &args, folder.path(), &logs).await?);
        }
        let mut resgates = Vec::new();
        for (number, address) in addresses[1..].iter().enumerate() {
            let args = format!("--addr 127.0.0.1 --port {} --nats {}", address.port(), cluster.url());
            resgates.push(run(Part::Resgate, &format!("resgate-{number}"), &args, folder.path(), &logs).await?);
        }
        Ok(Self { cluster: Mutex::new(cluster), instances, resgates, addresses, _folder: folder })
    }

    /// The WebSocket addresses of the gateways.
    #[must_use]
    pub fn gateways(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("ws://{}/", address.get())).collect()
    }

    /// Carries out the plan. Returns when its last fault is over.
    ///
    /// # Errors
    /// If a fault panics.
    pub async fn disturb(self: &Arc<Self>, steps: Vec<Step>) -> Result<()> {
        let start = Instant::now();
        let mut faults = JoinSet::new();
        for step in steps {
            let world = Arc::clone(self);
            faults.spawn(async move {
                sleep_until(start + step.at).await;
                world.befall(step).await;
            });
        }
        while let Some(fault) = faults.join_next().await {
            fault.context("a fault")?;
        }
        Ok(())
    }

    /// Waits until all servers have all of the sessions.
    pub async fn agrees(&self) {
        self.cluster.lock().await.leader(STREAM).await;
    }

    /// Stops all that may say that it ends well; how often programs have ended by themselves.
    ///
    /// # Errors
    /// If one does not end well.
    pub async fn stop(self) -> Result<u32> {
        let mut ends = 0;
        for program in self.resgates.into_iter().chain(self.instances) {
            ends += program.stop().await?.by_itself;
        }
        Ok(ends)
    }

    async fn befall(&self, Step { target, fault, lasts, .. }: Step) {
        let program = match target {
            Target::Server(which) => return self.befall_server(which, fault, lasts).await,
            Target::Instance(which) => &self.instances[which],
            Target::Gateway(which) => &self.resgates[which],
        };
        match fault {
            Fault::Kill => program.kill(lasts).await,
            _ => program.freeze(lasts).await,
        }
    }

    async fn befall_server(&self, which: usize, fault: Fault, lasts: Duration) {
        let begin = |cluster: &mut Cluster| match fault {
            Fault::Kill => cluster.kill(which),
            Fault::Freeze => cluster.signal(which, Signal::STOP),
            Fault::Isolate => cluster.isolate(which),
            Fault::Unplug => cluster.cut_clients(which),
        };
        let end = |cluster: &mut Cluster| match fault {
            Fault::Kill => cluster.restart(which),
            Fault::Freeze => cluster.signal(which, Signal::CONT),
            Fault::Isolate => cluster.rejoin(which),
            Fault::Unplug => cluster.mend_clients(which),
        };
        // Processes are started and waited for on this thread.
        let mut cluster = self.cluster.lock().await;
        block_in_place(|| begin(&mut cluster));
        drop(cluster);
        sleep(lasts).await;
        let mut cluster = self.cluster.lock().await;
        block_in_place(|| end(&mut cluster));
    }
}

async fn run(part: Part, label: &str, args: &str, folder: &Path, logs: &Path) -> Result<Program> {
    let ready = if part == Part::Relogin { "relogin: ready" } else { "Server ready" };
    let spec = Spec {
        label: label.to_owned(),
        path: part.path()?,
        args: args.split(' ').map(Into::into).collect(),
        folder: folder.to_owned(),
        log: logs.join(format!("{label}.log")),
        ready,
    };
    Program::start(spec).await
}

async fn add_users(folder: &Path, logs: &Path, count: usize) -> Result<()> {
    let users = folder.join("users.toml").display().to_string();
    let args = ["user", "--users", &users, "--password-cost", COST, "add", "--password-stdin", "user0"];
    let mut process = Process::start(&Part::Relogin.path()?, args, &logs.join("user.log"), |command| {
        command.current_dir(folder).stdin(std::process::Stdio::piped());
    })?;
    let mut stdin = process.stdin().context("its input was piped")?;
    stdin.write_all(format!("{PASSWORD}\n").as_bytes()).await.context("writing its input")?;
    drop(stdin);
    process.succeeds().await?;
    // All have the same password, so one hash serves for all.
    let file = fs::read_to_string(&users)?;
    let entry = file.find("[[").map(|at| &file[at..]).context("a users file with one entry")?;
    let more: String = (1..count)
        .map(|n| entry.replace("user0", &format!("user{n}")).replace("id = 1", &format!("id = {}", n + 1)))
        .collect();
    Ok(fs::write(&users, file.clone() + &more)?)
}

//! The two gateways, started once for each configuration that scripts ask for: Resgate and ours,
//! with the same configuration file, on one NATS server. Must not depend on scripts.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use relogin_tests::{
    net::Address,
    parts::{Part, target},
    process::Process,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Resgate,
    Ours,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Resgate, Kind::Ours];

impl Kind {
    /// What scripts call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Resgate => "resgate",
            Self::Ours => "ours",
        }
    }
}

/// The name under which all scripts of a configuration with a header method have their resources:
/// the method is one for all.
pub(crate) const HEADS: &str = "heads";

/// The configuration with compressed messages.
pub(crate) const COMPRESSED: &str = "compressed";

/// What scripts can ask for, and what is in the configuration file then, beside addresses. A long
/// timeout is the default: on a busy machine a script's service may take its time.
fn options(name: &str) -> Option<Value> {
    let mut options = json!({ "requestTimeout": 60_000 });
    let more = match name {
        "plain" => json!({}),
        "short-timeout" => json!({ "requestTimeout": 1_000 }),
        "flat" => json!({ "apiEncoding": "jsonflat" }),
        "paths" => json!({ "wsPath": "/socket", "apiPath": "/rest/v1" }),
        "methods" => json!({ "putMethod": "put", "patchMethod": "patch", "deleteMethod": "remove" }),
        "one-origin" => json!({ "allowOrigin": "https://one.example;https://two.example" }),
        "heads" => {
            json!({ "allowOrigin": "https://one.example", "headerAuth": "heads.connect", "wsHeaderAuth": "heads.connect" })
        }
        COMPRESSED => json!({ "wsCompression": true }),
        "throttled" => json!({ "resetThrottle": 2, "referenceThrottle": 2 }),
        "metrics" => json!({}),
        _ => return None,
    };
    options.as_object_mut()?.extend(more.as_object()?.clone());
    Some(options)
}

/// A running NATS server, and the gateways that were asked for.
pub(crate) struct Gateways {
    nats: Address,
    folder: TempDir,
    logs: PathBuf,
    _server: Process,
    pairs: Mutex<BTreeMap<String, Arc<OnceCell<Pair>>>>,
}

/// Resgate and ours with one configuration.
pub(crate) struct Pair {
    gateways: [Gateway; 2],
    /// Held by a script that must be the only one.
    pub(crate) turn: Mutex<()>,
}

pub(crate) struct Gateway {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    process: Process,
    _reserved: [Address; 2],
}

impl Gateways {
    pub(crate) async fn start(run: &str) -> Result<Self> {
        let nats = Address::reserve()?;
        let logs = target().join("e2e").join(format!("differential-{run}"));
        if logs.exists() {
            fs::remove_dir_all(&logs).context("clearing old logs")?;
        }
        fs::create_dir_all(&logs).context("making a folder for logs")?;
        let port = nats.port().to_string();
        let args = ["-a", "127.0.0.1", "-p", &port];
        let server = Process::start(&Part::NatsServer.path()?, args, &logs.join("nats.log"), |_| {})?;
        server.line("that it is ready", |line| line.contains("Server is ready").then_some(())).await?;
        let folder = tempfile::tempdir().context("making a folder")?;
        Ok(Self { nats, folder, logs, _server: server, pairs: Mutex::default() })
    }

    /// The folder of the logs.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }

    pub(crate) fn nats_url(&self) -> String {
        format!("nats://{}", self.nats.get())
    }

    /// The gateways of a configuration, which are started if they do not run yet.
    pub(crate) async fn pair(&self, name: &str) -> Result<Arc<OnceCell<Pair>>> {
        let cell = self.pairs.lock().await.entry(name.to_owned()).or_default().clone();
        let start = async {
            let options = options(name).with_context(|| format!("there is no configuration `{name}`"))?;
            let gateways = tokio::try_join!(
                self.gateway(Kind::Resgate, name, options.clone()),
                self.gateway(Kind::Ours, name, options)
            )?;
            Ok::<_, anyhow::Error>(Pair { gateways: gateways.into(), turn: Mutex::default() })
        };
        cell.get_or_try_init(|| start).await?;
        Ok(cell)
    }

    async fn gateway(&self, kind: Kind, name: &str, mut options: Value) -> Result<Gateway> {
        let (clients, metrics) = (Address::reserve()?, Address::reserve()?);
        options["natsUrl"] = self.nats_url().into();
        options["addr"] = "127.0.0.1".into();
        options["port"] = clients.port().into();
        let with_metrics = name == "metrics";
        if with_metrics {
            options["metricsPort"] = metrics.port().into();
        }
        let label = format!("{}-{name}", kind.name());
        let file = self.folder.path().join(format!("{label}.json"));
        fs::write(&file, options.to_string()).context("writing a configuration file")?;
        let process = start(kind, &file, &self.logs.join(format!("{label}.log")))?;
        let ready = match kind {
            Kind::Resgate => "Server ready",
            Kind::Ours => "relogin: ready on ",
        };
        process.line("that it is ready", |line| line.contains(ready).then_some(())).await?;
        // Resgate says so before it listens.
        clients.listens().await?;
        if with_metrics {
            metrics.listens().await?;
        }
        Ok(Gateway {
            kind,
            addr: clients.get(),
            metrics: with_metrics.then(|| metrics.get()),
            process,
            _reserved: [clients, metrics],
        })
    }

    /// Ends all gateways; none may have ended, or panicked, before.
    pub(crate) async fn stop(self) -> Result<()> {
        for (name, cell) in std::mem::take(&mut *self.pairs.lock().await) {
            let pair = Arc::into_inner(cell).and_then(OnceCell::into_inner);
            let pair = pair.with_context(|| format!("the gateways of `{name}` are in use"))?;
            for gateway in pair.gateways {
                let label = format!("{} with `{name}`", gateway.kind.name());
                gateway.process.pid().with_context(|| label.clone())?;
                let (_, lines) = gateway.process.stop_saying().await.with_context(|| label.clone())?;
                let panic = lines.iter().find(|line| line.contains("panicked at"));
                ensure!(panic.is_none(), "{label}: {panic:?}");
            }
        }
        Ok(())
    }
}

impl Pair {
    pub(crate) fn of(&self, kind: Kind) -> &Gateway {
        &self.gateways[kind as usize]
    }
}

fn start(kind: Kind, file: &Path, log: &Path) -> Result<Process> {
    let path = file.display().to_string();
    let (part, args) = match kind {
        Kind::Resgate => (Part::Resgate, vec!["--config".to_owned(), path]),
        Kind::Ours => (Part::Relogin, vec!["gateway".to_owned(), "--resgate-config".to_owned(), path]),
    };
    Process::start(&part.path()?, args, log, |command| {
        // Options in the environment of the tests must not apply.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELOGIN_")) {
            command.env_remove(name);
        }
        if let Some(folder) = file.parent() {
            command.current_dir(folder);
        }
    })
}

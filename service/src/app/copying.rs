//! `relogin store copy`: opens the two stores, and sees to it that no service uses them meanwhile.

use std::{io::Write, path::PathBuf, sync::Arc};

use anyhow::Context;
use relogin_bus::nats::{NatsBus, NatsConfig};
use relogin_store::{
    SessionStore,
    copy::{Copied, copy},
    jetstream::{BucketConfig, JetStreamStore, Replicas},
};
use tokio_util::sync::CancellationToken;

use super::{
    config::{BusKind, StoreKind},
    open::{connect, make_folder, open_store},
};
use crate::instance::{Claim, Peers};

/// Where sessions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a data folder.
    Sled(PathBuf),
    /// In a bucket.
    JetStream(String),
}

/// What is to be copied.
#[derive(Clone, Debug)]
pub struct Copying {
    /// The store with the sessions.
    pub from: Place,
    /// The store that is to have them.
    pub to: Place,
    /// NATS servers.
    pub nats: Option<NatsConfig>,
    /// The resource name of the services that use the bucket.
    pub name: String,
    /// How a bucket is made that does not exist.
    pub replicas: Replicas,
}

impl Copying {
    /// Copies, and reports to `out`.
    ///
    /// # Errors
    /// Why the sessions were not all copied.
    pub async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let nats = match &self.nats {
            Some(nats) => {
                let (bus, nats) = connect(BusKind::Nats(nats.clone())).await?;
                // A running service is found, and none starts until this is done.
                let (claim, watcher) = Claim::ask(bus, &self.name, None, Peers::default()).await?;
                let watching = tokio::spawn(watcher.run(CancellationToken::new()));
                claim.settle().await?;
                claim.ready()?;
                nats.map(|nats| (nats, watching))
            }
            None => None,
        };
        let bus = nats.as_ref().map(|(nats, _)| nats);
        let from = open_source(&self.from, self.replicas, bus).await?;
        if let Place::Sled(data) = &self.to {
            make_folder(data)?;
        }
        let to = open(&self.to, self.replicas, bus).await?;
        let mut failed = None;
        let mut report = |line: String| {
            if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
                failed.get_or_insert(error);
            }
        };
        let Copied { sessions, were_there } =
            copy(from.as_ref(), to.as_ref(), |done, of| report(format!("{done} of {of} sessions copied"))).await?;
        report(format!("all sessions are copied and compared: {sessions}, of which were there already: {were_there}"));
        from.close().await.context("cannot close the source")?;
        to.close().await.context("cannot close the copy")?;
        failed.map_or(Ok(()), Err).context("cannot write the report")
    }
}

/// What is copied must be there: a store that was made just now would be an empty one under a
/// mistyped name.
async fn open_source(
    place: &Place,
    replicas: Replicas,
    nats: Option<&Arc<NatsBus>>,
) -> anyhow::Result<Arc<dyn SessionStore>> {
    match (place, nats) {
        (Place::Sled(data), _) => {
            anyhow::ensure!(data.join("sessions").is_dir(), "there is no session store in {}", data.display());
        }
        (Place::JetStream(name), Some(nats)) => {
            let bucket = BucketConfig { name: name.clone(), replicas };
            return Ok(Arc::new(JetStreamStore::open_existing(nats.client(), &bucket).await?));
        }
        (Place::JetStream(_), None) => {}
    }
    open(place, replicas, nats).await
}

async fn open(place: &Place, replicas: Replicas, nats: Option<&Arc<NatsBus>>) -> anyhow::Result<Arc<dyn SessionStore>> {
    let (kind, data) = match place {
        Place::Sled(data) => (StoreKind::Sled, data.clone()),
        Place::JetStream(name) => (StoreKind::JetStream(BucketConfig { name: name.clone(), replicas }), PathBuf::new()),
    };
    open_store(&kind, &data, nats.map(AsRef::as_ref)).await
}

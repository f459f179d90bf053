//! `relogin store copy`: opens the two stores, and sees to it that no service uses them meanwhile.

use std::{io::Write, sync::Arc};

use anyhow::Context;
use relogin_bus::{Bus, nats::NatsConfig};
use relogin_store::{
    copy::{Copied, Copy, StoreSource},
    jetstream::Replicas,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    config::BusKind,
    open::{connect, make_folder},
    retry_deadline::RetryDeadline,
    store::StorePlace,
    unfinished,
};
use crate::instance::{Claim, ClaimError, Peers};

/// What is to be copied.
#[derive(Clone, Debug)]
pub struct Copying {
    /// The store with the sessions.
    pub from: StorePlace,
    /// The store that is to have them.
    pub to: StorePlace,
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
                let watching = claim(bus, &self.name).await.map_err(|error| in_use(error, &self.name))?;
                nats.map(|nats| (nats, watching))
            }
            None => None,
        };
        let bus = nats.as_ref().map(|(nats, _)| nats);
        let bus = bus.map(AsRef::as_ref);
        let deadline = RetryDeadline::for_command();
        let from = deadline.retry(bus, || self.from.open_existing(bus)).await?;
        self.to.folder().map_or(Ok(()), make_folder)?;
        let to = deadline.retry(bus, || self.to.open(self.replicas, bus)).await?;
        let mut failed = None;
        let mut report = |line: String| {
            if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
                failed.get_or_insert(error);
            }
        };
        let source = StoreSource::of(from.as_ref()).await?;
        let copy = Copy::check(&source, to.as_ref()).await?;
        self.to.mark_unfinished(Some(unfinished::COPY), bus).await?;
        let Copied { sessions, were_there } =
            copy.run(|done, of| report(format!("{done} of {of} sessions copied"))).await?;
        let seen = self.from.last_seen(bus).await.context("cannot read the last seen users of the source")?;
        self.to.keep_last_seen(seen, bus).await.context("cannot copy the last seen users")?;
        self.to.mark_unfinished(None, bus).await?;
        report(format!("all sessions are copied and compared: {sessions}, of which were there already: {were_there}"));
        from.close().await.context("cannot close the source")?;
        to.close().await.context("cannot close the copy")?;
        failed.map_or(Ok(()), Err).context("cannot write the report")
    }
}

/// Claims the name: a running service is found, and none starts until the process ends.
pub(super) async fn claim(bus: Arc<dyn Bus>, name: &str) -> Result<JoinHandle<()>, ClaimError> {
    let (claim, watcher) = Claim::ask(bus, name, None, Peers::default()).await?;
    let watching = tokio::spawn(watcher.run(CancellationToken::new()));
    claim.settle().await?;
    claim.ready()?;
    Ok(watching)
}

/// The same in words for who copies.
pub(super) fn in_use(error: ClaimError, name: &str) -> anyhow::Error {
    match error {
        ClaimError::Taken { .. } | ClaimError::Differs { .. } => anyhow::anyhow!(
            "a service named {name:?}, or another copy, runs on this NATS and would change sessions meanwhile; stop all \
             instances, then run the command again"
        ),
        ClaimError::Bus(_) => error.into(),
    }
}

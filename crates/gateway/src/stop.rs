//! Tells the gateway's tasks to stop.

use tokio::sync::watch;

/// Returns once the gateway is to stop.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // Fails when nobody is left who could say so.
    stopping.wait_for(|stopping| *stopping).await.ok();
}

//! Tells the other instances how password checks have ended, so that each counts the failures of
//! all. Must not decide what they mean: that is the throttle's.
//!
//! Sent before the answer, on the connection to NATS that the answer takes: whoever guesses one
//! password after the other finds each instance informed. Lost ones are not repeated.

use relogin_bus::Bus;
use relogin_host::errors::Chain;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::debug;

use super::throttle::{LoginPlace, Throttle};

/// Where the instances of one name inform each other.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) subject: String,
    instance: String,
}

/// How a password check has ended. No password is in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    instance: String,
    username: String,
    connection: String,
    remote_addr: Option<String>,
    cookie: Option<[u8; 32]>,
    is_right: bool,
}

/// The subject on which instances of `name` inform each other how logins have ended.
pub(crate) fn subject(name: &str) -> String {
    format!("relogin.{name}.logins")
}

impl Outcomes {
    pub(super) fn new(name: &str, instance: &str) -> Self {
        Self { subject: subject(name), instance: instance.to_owned() }
    }

    /// Tells the others.
    pub(super) async fn announce(&self, bus: &dyn Bus, username: &str, place: LoginPlace<'_>, is_right: bool) {
        let LoginPlace { remote_addr, cookie, connection } = place;
        let outcome = Outcome {
            instance: self.instance.clone(),
            username: username.to_owned(),
            connection: connection.to_owned(),
            remote_addr: remote_addr.map(str::to_owned),
            cookie,
            is_right,
        };
        let payload = serde_json::to_vec(&outcome).expect("texts and numbers are written without fail");
        if let Err(error) = bus.publish(&self.subject, payload.into()).await {
            debug!("cannot inform other instances how a login has ended: {}", Chain(&error));
        }
    }

    /// Counts an outcome of another instance.
    pub(super) fn apply(&self, payload: &[u8], throttle: &Throttle) {
        let Ok(outcome) = relogin_res::read::object::<Outcome>(payload) else { return };
        if outcome.instance != self.instance {
            let Outcome { username, connection, remote_addr, cookie, is_right, .. } = outcome;
            let place = LoginPlace { remote_addr: remote_addr.as_deref(), cookie, connection: &connection };
            throttle.count(&username, place, is_right, Instant::now());
        }
    }
}

//! Reloads users, secrets and issuers of a running service. If something cannot be used, the old
//! state stays. Must not depend on signals.

use std::{path::PathBuf, sync::Arc, time::Duration};

use relogin_host::{complaint::Complaint, errors::Chain};
use relogin_session::{Keyring, key::jwt::Tokens};
use relogin_users::follow::LookRequest;
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::spawn_blocking,
    time::Instant,
};
use tracing::{debug, info, warn};

use crate::{
    http::Tls,
    instance::Claim,
    issuers::Issuers,
    secret::{self, SecretBucket},
    sessions::Sessions,
    signing::{self, KeyTokens},
};

/// What can be reloaded.
#[derive(Debug, Default)]
pub struct Reloads {
    /// The task that follows the users file; none: users come from elsewhere.
    pub users: Option<mpsc::Sender<LookRequest>>,
    /// None: the secret lives as long as the process.
    pub secrets: Option<Secrets>,
    /// None: there are no issuers.
    pub issuers: Option<Arc<Issuers>>,
    /// None: clients connect without TLS.
    pub tls: Option<Arc<Tls>>,
    /// One reload at a time.
    pub turn: Mutex<()>,
}

/// How often the bucket with the secrets is looked at.
pub const LOOK_AT_SECRETS: Duration = Duration::from_secs(2);

/// Where secrets are read again.
#[derive(Clone, Debug)]
pub enum SecretPlace {
    /// In a file.
    File(PathBuf),
    /// In a bucket.
    Bucket(Arc<SecretBucket>),
}

/// The secrets, and who uses them.
#[derive(Debug)]
pub struct Secrets {
    /// Where they are.
    pub place: SecretPlace,
    /// How keys are written.
    pub keys: KeyTokens,
    /// Creates and verifies keys.
    pub sessions: Arc<Sessions>,
    /// The public keys with which others verify them.
    pub jwks: watch::Sender<Option<String>>,
    /// What other instances learn of them.
    pub claim: Option<Claim>,
}

impl Reloads {
    /// Reloads everything, and logs the result in one line.
    pub async fn run(&self) {
        let _turn = self.turn.lock().await;
        let (mut read, mut kept) = (Vec::new(), Vec::new());
        let mut note = |what: &str, result: Result<usize, String>| match result {
            Ok(count) => read.push(format!("{count} {what}{}", if count == 1 { "" } else { "s" })),
            Err(reason) => kept.push(format!("the {what}s are unchanged: {reason}")),
        };
        if let Some(users) = &self.users {
            note("user", ask(users).await);
        }
        if let Some(secrets) = &self.secrets {
            note("secret", secrets.reload().await);
        }
        if let Some(issuers) = &self.issuers {
            let issuers = Arc::clone(issuers);
            let reloaded = spawn_blocking(move || issuers.reload().map_err(|error| Chain(&error).to_string()));
            note("issuer", reloaded.await.unwrap_or_else(|panic| Err(panic.to_string())));
        }
        if let Some(tls) = &self.tls {
            let tls = Arc::clone(tls);
            let reloaded = spawn_blocking(move || tls.reload().map_err(|error| Chain(&error).to_string()));
            note("certificate", reloaded.await.unwrap_or_else(|panic| Err(panic.to_string())));
        }
        let read = if read.is_empty() { "nothing".to_owned() } else { read.join(", ") };
        match kept.as_slice() {
            [] => info!("reloaded: {read}"),
            kept => warn!("reloaded: {read}; {}", kept.join("; ")),
        }
    }
}

impl Reloads {
    /// Takes up what changes in the bucket with the secrets.
    pub async fn follow_secrets(&self) {
        let Some(secrets) = &self.secrets else { return };
        let SecretPlace::Bucket(bucket) = &secrets.place else { return };
        let mut complaint = Complaint::default();
        loop {
            tokio::time::sleep(LOOK_AT_SECRETS).await;
            match bucket.is_changed().await {
                Ok(false) => complaint.settle(),
                Ok(true) => {
                    let _turn = self.turn.lock().await;
                    match secrets.reload().await {
                        Ok(secrets) => {
                            complaint.settle();
                            info!(secrets, "the secrets in the bucket have changed");
                        }
                        Err(reason) if complaint.is_due(&reason, Instant::now()) => {
                            warn!("the secrets are unchanged: {reason}");
                        }
                        Err(reason) => debug!("the secrets are still unchanged: {reason}"),
                    }
                }
                Err(error) => debug!("cannot look at the secrets: {}", Chain(&error)),
            }
        }
    }
}

async fn ask(follower: &mpsc::Sender<LookRequest>) -> Result<usize, String> {
    let (request, answer) = oneshot::channel();
    let gone = || "nobody follows the users file any more".to_owned();
    follower.send(request).await.map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

impl Secrets {
    async fn reload(&self) -> Result<usize, String> {
        let rules = self.sessions.rules();
        let keyring = match self.place.clone() {
            SecretPlace::Bucket(bucket) => {
                bucket.again(&rules.keyring).await.map_err(|error| Chain(&error).to_string())?
            }
            SecretPlace::File(path) => {
                let read = spawn_blocking(move || secret::again(&path, &rules.keyring));
                let read = read.await.map_err(|panic| panic.to_string())?;
                read.map_err(|error| Chain(&error).to_string())?
            }
        };
        let count = keyring.count();
        if let Some(claim) = &self.claim {
            claim.exchange_secrets(keyring.fingerprints());
        }
        let keyring = self.keys.sign_with(keyring);
        // Verifiers first: they must know the key of the first token that is signed with it.
        self.jwks.send_replace(jwks(&keyring));
        self.sessions.exchange_keyring(keyring);
        Ok(count)
    }
}

/// The public keys of a keyring's tokens, as they are served; none if it writes no tokens.
#[must_use]
pub fn jwks(keyring: &Keyring) -> Option<String> {
    keyring.tokens().and_then(Tokens::jwks)
}

impl KeyTokens {
    /// The same secrets, with keys written in this format.
    #[must_use]
    pub fn sign_with(&self, keyring: Keyring) -> Keyring {
        signing::with_tokens(keyring, self.format, self.issuer.clone(), self.audience.clone())
    }
}

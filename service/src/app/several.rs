//! What instances that share a store must have in common. Must not depend on how they find each
//! other.

use relogin_session::Keyring;

use super::config::Config;
use crate::{instance::Shared, secret::SecretSource};

/// What this instance has; none if its store is its own.
pub(super) fn shared(config: &Config, keyring: &Keyring) -> Option<Shared> {
    let store = config.store.shared_identity()?;
    let (policy, keys) = (config.policy, &config.keys);
    let seconds = |milliseconds: u64| format!("{} s", milliseconds / 1000);
    let options = [
        ("--key-lifetime", seconds(policy.key_lifetime)),
        ("--session-lifetime", seconds(policy.session_lifetime)),
        ("--refresh", seconds(policy.refresh)),
        ("--revoke-within", policy.revoke_within.map_or_else(|| "off".to_owned(), seconds)),
        ("--sessions-per-user", config.sessions_per_user.to_string()),
        ("--key-format", format!("{:?}", keys.format).to_lowercase()),
        ("--key-issuer", keys.issuer.clone()),
        ("--key-audience", keys.audience.clone()),
        ("--cookie", format!("{:?}", config.cookie).to_lowercase()),
        ("--cookie-session", config.cookie_session.to_string()),
        ("--dbsc", config.dbsc.to_string()),
    ];
    Some(Shared {
        store,
        options: options.into_iter().map(|(option, value)| (option.to_owned(), value)).collect(),
        secrets: keyring.fingerprints(),
        has_file: matches!(config.secret, SecretSource::File(_)),
    })
}

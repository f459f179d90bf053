//! Connects to NATS: addresses, credentials, and the errors of both. Must not know messages.

use std::{error::Error as _, fmt, io, path::PathBuf, time::Duration};

use async_nats::{ConnectErrorKind, ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::{BusError, Permission};

/// Where NATS is, and how to log in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NatsConfig {
    /// `nats://host:4222` or `tls://host`, or several of one cluster separated by commas.
    /// `user:password@` or `token@` may precede the host.
    pub url: String,
    /// A credentials file, as `nsc` creates it.
    pub credentials: Option<PathBuf>,
    /// A file with the certificates (PEM) of the authorities that vouch for the servers, beside
    /// those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Files with a certificate and its key (PEM), by which servers recognise this client.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.url.split(',').map(without_login).collect();
        f.debug_struct("NatsConfig")
            .field("url", &servers.join(","))
            .field("credentials", &self.credentials)
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .finish()
    }
}

/// Why there was no first connection. Shows no password.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is invalid.
    #[error("{url:?} is not a NATS address; write nats://host:4222")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The credentials file cannot be used.
    #[error("cannot read the NATS credentials in {}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// A certificate or its key cannot be used.
    #[error("cannot read the certificate or key for NATS in {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The server rejects the login.
    #[error("the NATS server at {servers} rejects the login; check user, password, token or credentials")]
    Refused {
        /// The server's address.
        servers: String,
        /// What the server said.
        #[source]
        source: async_nats::ConnectError,
    },
    /// No server answers.
    #[error("no NATS server answers at {servers}; is it running, and is the address right?")]
    Unreachable {
        /// The addresses that were tried.
        servers: String,
        /// Why the last one could not be reached.
        #[source]
        source: async_nats::ConnectError,
    },
    /// Connected, but without the permissions that every bus needs.
    #[error(
        "the NATS server at {servers} does not permit this user an inbox; let this user subscribe and publish to \"_INBOX.>\""
    )]
    Inbox {
        /// The server's address.
        servers: String,
        /// What went wrong.
        #[source]
        source: BusError,
    },
    /// Connected, but without the permissions that the service needs.
    #[error(
        "the NATS server at {servers} does not permit this user to {}; add it to the user's permissions",
        list(denied)
    )]
    Denied {
        /// The server's address.
        servers: String,
        /// The missing permission.
        denied: Vec<Permission>,
    },
    /// Connected, but the permissions could not be determined.
    #[error("the NATS server at {servers} does not report its permissions")]
    Unchecked {
        /// The server's address.
        servers: String,
        /// What went wrong; none if it took too long.
        #[source]
        source: Option<async_nats::Error>,
    },
}

impl ConnectError {
    /// True if there was no server, or none yet. False if waiting for it changes nothing: it was
    /// there, and something else is wrong.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let Self::Unreachable { source, .. } = self else { return false };
        // A server whose certificate nobody vouches for.
        let io = source.source().and_then(|source| source.downcast_ref::<io::Error>());
        let is_invalid = io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
        let kind = source.kind();
        !is_invalid && matches!(kind, ConnectErrorKind::Io | ConnectErrorKind::Dns | ConnectErrorKind::TimedOut)
    }
}

fn list(permissions: &[Permission]) -> String {
    permissions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// How many messages may wait to be written.
const QUEUE: usize = 4096;

/// How many messages of one subscription may wait to be read. JetStream sends up to 32 MiB ahead of
/// its reader (65,536 sessions, which is async-nats's own limit, are less), and what is dropped of
/// that has to be read again from the first message on. What waits for the bus has a limit in
/// bytes.
const UNREAD: usize = 1 << 20;

/// Silence after which the server is pinged; after the third in a row the connection is given up.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The addresses without their credentials, and the options with them.
pub(super) async fn prepare(config: &NatsConfig) -> Result<(Vec<ServerAddr>, ConnectOptions), ConnectError> {
    let mut options = ConnectOptions::new()
        .name("relogin")
        .client_capacity(QUEUE)
        .subscription_capacity(UNREAD)
        .ping_interval(PING_INTERVAL)
        // This is the same check, and also limits the length.
        .skip_subject_validation(true);
    if let Some(path) = &config.credentials {
        let error = |source| ConnectError::Credentials { path: path.clone(), source };
        options = options.credentials_file(path).await.map_err(error)?;
    }
    // Read here, so that the error names the file.
    let files = config.ca.iter().chain(config.certificate.iter().flat_map(|(certificate, key)| [certificate, key]));
    for path in files {
        let error = |source| ConnectError::Certificate { path: path.clone(), source };
        tokio::fs::read(path).await.map_err(error)?;
    }
    if let Some(ca) = &config.ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &config.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    let mut servers = Vec::new();
    for url in config.url.split(',').map(str::trim) {
        let error = |source| ConnectError::Url { url: without_login(url), source };
        let (server, login) = parse(url).map_err(error)?;
        servers.push(server);
        options = match login {
            Some(Login::User(user, password)) => options.user_and_password(user, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
    }
    Ok((servers, options))
}

pub(super) fn names(servers: &[ServerAddr]) -> String {
    servers.iter().map(ServerAddr::as_url_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn refused_or_unreachable(servers: String, source: async_nats::ConnectError) -> ConnectError {
    match source.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            ConnectError::Refused { servers, source }
        }
        _ => ConnectError::Unreachable { servers, source },
    }
}

/// The credentials before the host in a server address.
#[cfg_attr(test, derive(Debug, PartialEq))]
enum Login {
    User(String, String),
    Token(String),
}

/// Takes the credentials out of an address, because async-nats logs addresses and does not log in
/// with what is in them.
fn parse(url: &str) -> io::Result<(ServerAddr, Option<Login>)> {
    let address: ServerAddr = url.parse()?;
    if address.host().is_empty() || address.is_websocket() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let login = match (address.username(), address.password()) {
        (Some(user), Some(password)) => Some(Login::User(decode(user)?, decode(password)?)),
        (Some(token), None) => Some(Login::Token(decode(token)?)),
        (None, _) => None,
    };
    let mut url = address.into_inner();
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| io::ErrorKind::InvalidInput)?;
    Ok((ServerAddr::from_url(url)?, login))
}

fn decode(text: &str) -> io::Result<String> {
    let text =
        percent_decode_str(text).decode_utf8().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    Ok(text.into_owned())
}

/// The address without everything before its host, for addresses that may not even be valid.
fn without_login(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://{}", &url[..scheme], &url[at + 1..]),
        (None, Some(at)) => url[at + 1..].to_owned(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, Option<Login>) {
        let (address, login) = parse(url).unwrap();
        (address.as_url_str().to_owned(), login)
    }

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        assert_eq!(parsed("nats://h:1"), ("nats://h:1".into(), None));
        assert_eq!(parsed("h"), ("nats://h".into(), None));
        assert_eq!(parsed("tls://[::1]:4222"), ("tls://[::1]:4222".into(), None));
        assert_eq!(parsed("nats://t0ken@h"), ("nats://h".into(), Some(Login::Token("t0ken".into()))));
        let jane = Login::User("jane".into(), "p@ss/w".into());
        assert_eq!(parsed("nats://jane:p%40ss%2Fw@h:1"), ("nats://h:1".into(), Some(jane)));
    }

    #[tokio::test]
    async fn a_bad_address_is_refused_without_showing_its_password() {
        for url in ["", "http://jane:secret@h", "nats://", "nats://jane:secret@", "nats://jane:secret@h:port", "ws://h"]
        {
            let config = NatsConfig { url: url.into(), ..NatsConfig::default() };
            let error = prepare(&config).await.err().unwrap();
            assert!(matches!(error, ConnectError::Url { .. }), "{url}: {error}");
            assert!(!format!("{error} {error:?} {config:?}").contains("secret"), "{url}: {error:?}");
        }
    }

    #[tokio::test]
    async fn several_addresses() {
        let config = NatsConfig { url: "nats://a:1, b:2".into(), ..NatsConfig::default() };
        let (servers, _) = prepare(&config).await.unwrap();
        assert_eq!(names(&servers), "nats://a:1, nats://b:2");
    }
}

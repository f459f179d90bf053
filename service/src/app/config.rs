//! The checked configuration of the service. Must not know how options are written: that is for
//! `config`.

use std::{path::PathBuf, time::Duration};

use relogin_bus::nats::NatsConfig;
use relogin_session::Policy;
use relogin_users::{cost::Cost, password_rules::PasswordRules};

use super::store::StoreKind;
use crate::{
    audit::AuditTarget,
    auth::{CookieKind, ThrottleKind},
    client_address::TrustedProxies,
    control::SocketPlace,
    http::TlsFiles,
    origins::AllowOrigin,
    secret::SecretSource,
    signing::KeyTokens,
};

/// Everything that `relogin serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of page, WebSocket and health check, as `host:port`; none: not served.
    pub listen: Option<String>,
    /// Certificate and key by which clients connect; none: without TLS.
    pub tls: Option<TlsFiles>,
    /// Address of the metrics, likewise.
    pub metrics_listen: Option<String>,
    /// The socket of operators.
    pub control: SocketPlace,
    /// Whether operators are answered on NATS.
    pub control_nats: bool,
    /// The message bus.
    pub bus: BusKind,
    /// Whether this process is also a gateway.
    pub gateway: GatewayKind,
    /// What the gateway does beside that: what is not given here depends on the other options.
    pub gateway_options: relogin_gateway::Options,
    /// The paths of WebSockets.
    pub ws_paths: Vec<String>,
    /// The folder for everything that must last.
    pub data: PathBuf,
    /// The session store.
    pub store: StoreKind,
    /// The resource name, one part.
    pub name: String,
    /// The user source.
    pub users: UsersSource,
    /// The cost of password hashes.
    pub password_cost: Cost,
    /// What is asked of new passwords.
    pub password_rules: PasswordRules,
    /// Whose failed logins delay the next ones.
    pub throttle: ThrottleKind,
    /// How many sessions a user may have at a time.
    pub sessions_per_user: usize,
    /// Whether sessions are bound to the cookies of browsers.
    pub cookie: CookieKind,
    /// The issuers file.
    pub issuers: Option<PathBuf>,
    /// Whether relogin keys travel in a cookie of the browser.
    pub cookie_session: bool,
    /// Whether browsers may bind such a session to a key of their device.
    pub dbsc: bool,
    /// What relogin keys are made from.
    pub secret: SecretSource,
    /// How relogin keys are written.
    pub keys: KeyTokens,
    /// Lifetimes.
    pub policy: Policy,
    /// The server's public origins; empty: not known.
    pub public_url: Vec<url::Origin>,
    /// Which pages may open a WebSocket.
    pub allow_origin: AllowOrigin,
    /// The proxies that may name their clients.
    pub trusted_proxies: TrustedProxies,
    /// The limit of connections; none: what the limit of open files allows.
    pub max_connections: Option<usize>,
    /// The limit of connections from one address; none: the default of
    /// [`crate::http::ConnectionLimits`].
    pub max_connections_per_address: Option<usize>,
    /// How long a stop may take to close the gateway's connections.
    pub drain: Duration,
    /// Where the audit trail is written.
    pub audit: Option<AuditTarget>,
    /// The NATS subject on which the audit trail is published.
    pub audit_subject: Option<String>,
    /// Whether the demo's ticker runs.
    pub demo: bool,
    /// The log filter, as in `RUST_LOG`; none: `RUST_LOG` decides.
    pub log: Option<String>,
    /// Where traces are sent; none: nowhere.
    pub otlp: Option<url::Url>,
}

/// Where a process listens.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    /// Address of clients, as `host:port`; none: nobody is served.
    pub listen: Option<String>,
    /// Certificate and key by which they connect; none: without TLS.
    pub tls: Option<TlsFiles>,
    /// Address of the metrics.
    pub metrics: Option<String>,
    /// Whether the server knows its own names.
    pub has_public_url: bool,
}

/// Everything that `relogin gateway` needs to know.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where it listens.
    pub listening: Listening,
    /// The message bus.
    pub nats: NatsConfig,
    /// What the gateway does.
    pub options: relogin_gateway::Options,
    /// The paths of WebSockets.
    pub ws_paths: Vec<String>,
    /// Which pages may connect.
    pub allow_origin: AllowOrigin,
    /// The proxies that may name their clients.
    pub trusted_proxies: TrustedProxies,
    /// The limit of connections, as that of [`Config`].
    pub max_connections: Option<usize>,
    /// The limit of connections from one address, likewise.
    pub max_connections_per_address: Option<usize>,
    /// How long a stop may take to close connections.
    pub drain: Duration,
    /// The log filter; none: `RUST_LOG` decides.
    pub log: Option<String>,
}

impl Config {
    /// Where it listens.
    #[must_use]
    pub fn listening(&self) -> Listening {
        Listening {
            listen: self.listen.clone(),
            tls: self.tls.clone(),
            metrics: self.metrics_listen.clone(),
            has_public_url: !self.public_url.is_empty(),
        }
    }

    /// What the gateway does: without a header authentication that was asked for, the service's own
    /// is called where that has something to do.
    #[must_use]
    pub fn gateway(&self) -> relogin_gateway::Options {
        let mut options = self.gateway_options.clone();
        let connect = || format!("{}.connect", self.name);
        if self.cookie != CookieKind::Off || self.issuers.is_some() {
            options.ws_header_auth.get_or_insert_with(connect);
        }
        if self.cookie_session {
            options.header_auth.get_or_insert_with(connect);
        }
        options
    }
}

/// The message bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusKind {
    /// Within this process.
    Local,
    /// NATS.
    Nats(NatsConfig),
}

/// Whether this process is a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayKind {
    /// It is.
    Embedded,
    /// Other gateways are on the bus.
    None,
}

/// The user source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsersSource {
    /// The demo's four users.
    Demo,
    /// A file. One that was configured must exist; the default one may be created later.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether it is the default one.
        is_default: bool,
    },
    /// A service on NATS that answers on this subject.
    Nats(String),
    /// A program, started for each request: its name or path, and its arguments.
    Exec(String, Vec<String>),
}

//! The options of `relogin serve` as the user writes them. docs/options.md is generated from this
//! file by a test in `cli/reference.rs`, and what `relogin config` prints has a value for each in
//! `cli/config_file.rs`. Must not interpret the values: see `values.rs`.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Deserializer};

use crate::app::store::StoreName;

/// The options of `relogin serve`, as text, from the command line or the file.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Address for the page, the WebSocket and /healthz [default: 127.0.0.1:8080, with --gateway
    /// none: nothing is served]
    ///
    /// Port 0 picks a free port; the line `relogin: ready on …` on standard output names it.
    #[arg(long, env = "RELOGIN_LISTEN", value_name = "HOST:PORT", help_heading = "Addresses and bus")]
    pub listen: Option<String>,
    /// Certificate of this server and its intermediate certificates, in PEM; needs --tls-key
    /// [default: none, clients connect without TLS]
    ///
    /// Then --listen is for https and wss, cookies are `Secure`, and only https pages are the
    /// server's own. The files are read again when they change, and on SIGHUP; open connections
    /// stay. Files that cannot be used change nothing.
    #[arg(long, env = "RELOGIN_TLS_CERT", value_name = "FILE", help_heading = "Addresses and bus")]
    pub tls_cert: Option<PathBuf>,
    /// Key of --tls-cert, in PEM
    #[arg(long, env = "RELOGIN_TLS_KEY", value_name = "FILE", help_heading = "Addresses and bus")]
    pub tls_key: Option<PathBuf>,
    /// Address for the metrics of this process, at /metrics, in the OpenMetrics format [default:
    /// not served]
    ///
    /// They reveal no secrets, but they show how busy the server is: choose an address that only
    /// your monitoring can reach. The metrics are listed in docs/metrics.md.
    #[arg(long, env = "RELOGIN_METRICS_LISTEN", value_name = "HOST:PORT", help_heading = "Addresses and bus")]
    pub metrics_listen: Option<String>,
    /// Socket on which the service answers `relogin status`, or off [default: control.sock in the
    /// data folder, if the service has one]
    ///
    /// Only the user who runs the service may connect to it. The commands look for it in the data
    /// folder, too; otherwise they have the same option.
    #[arg(long, env = "RELOGIN_CONTROL_SOCKET", value_name = "PATH|off", help_heading = "Addresses and bus")]
    pub control_socket: Option<PathBuf>,
    /// Answer `relogin status` and `relogin session` on NATS, too, at relogin.NAME.control
    ///
    /// Whoever may publish to that subject can list and end sessions: permit it to operators alone
    /// (docs/security.md).
    #[arg(long, env = "RELOGIN_CONTROL_NATS", value_name = "true|false", help_heading = "Addresses and bus", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub control_nats: Option<String>,
    /// NATS servers through which gateways and services are reached [default: everything runs in
    /// this process]
    ///
    /// For example nats://localhost:4222; separate several addresses by commas.
    #[arg(long, env = "RELOGIN_NATS", value_name = "URL", help_heading = "Addresses and bus", hide_env_values = true)]
    pub nats: Option<String>,
    /// Credentials file for NATS
    #[arg(long, env = "RELOGIN_NATS_CREDS", value_name = "FILE", help_heading = "Addresses and bus")]
    pub nats_creds: Option<PathBuf>,
    /// Certificates of the authorities that vouch for the NATS servers, in PEM [default: those that
    /// the system trusts]
    #[arg(long, env = "RELOGIN_NATS_CA", value_name = "FILE", help_heading = "Addresses and bus")]
    pub nats_ca: Option<PathBuf>,
    /// Certificate by which NATS servers recognise this one, in PEM; needs --nats-key
    #[arg(long, env = "RELOGIN_NATS_CERT", value_name = "FILE", help_heading = "Addresses and bus")]
    pub nats_cert: Option<PathBuf>,
    /// Key of --nats-cert, in PEM
    #[arg(long, env = "RELOGIN_NATS_KEY", value_name = "FILE", help_heading = "Addresses and bus")]
    pub nats_key: Option<PathBuf>,
    /// Run the embedded gateway, or leave that to Resgate [default: embedded, with --nats: none]
    #[arg(long, env = "RELOGIN_GATEWAY", value_name = "embedded|none", help_heading = "Addresses and bus")]
    pub gateway: Option<String>,
    /// Resource name: auth.NAME.login, NAME.user.{cid} [default: session]
    #[arg(long, env = "RELOGIN_NAME", value_name = "NAME", help_heading = "Addresses and bus")]
    pub name: Option<String>,
    /// URL by which browsers reach this server, such as `https://example.org` [default: the host of
    /// each request; on a loopback address, loopback hosts only]
    ///
    /// Separate several URLs by commas. Only these are then the server's own origins, requests for
    /// other hosts are refused, and cookies are `Secure` if the URL is https. Set this behind a
    /// proxy.
    #[arg(long, env = "RELOGIN_PUBLIC_URL", value_name = "URL", help_heading = "Addresses and bus")]
    #[serde(deserialize_with = "one_or_many")]
    pub public_url: Option<Vec<String>>,
    /// Other origins whose pages may connect, as scheme://host [default: only the server's own; on
    /// loopback, every loopback origin]
    ///
    /// Separate several origins by semicolons. `null` stands for pages without an origin, `*` for
    /// every page.
    #[arg(long, env = "RELOGIN_ALLOW_ORIGIN", value_name = "ORIGINS", help_heading = "Addresses and bus")]
    #[serde(deserialize_with = "one_or_many")]
    pub allow_origin: Option<Vec<String>>,
    /// Proxies whose X-Forwarded-For or PROXY protocol (version 2) is believed [default: none]
    ///
    /// Addresses or networks separated by commas, or `loopback`. Failed logins, the audit trail and
    /// `remoteAddr` then use the clients' addresses, behind Resgate too.
    #[arg(long, env = "RELOGIN_TRUSTED_PROXY", value_name = "ADDRESS[/BITS]", help_heading = "Addresses and bus")]
    #[serde(deserialize_with = "one_or_many")]
    pub trusted_proxy: Option<Vec<String>>,
    /// Path of WebSockets on the embedded gateway [default: / and /ws]
    #[arg(long, env = "RELOGIN_WS_PATH", value_name = "PATH", help_heading = "Gateway")]
    pub ws_path: Option<String>,
    /// Method that the embedded gateway calls before a WebSocket opens, as RESOURCE.METHOD
    /// [default: NAME.connect, if there are cookies or issuers]
    #[arg(long, env = "RELOGIN_WS_HEADER_AUTH", value_name = "METHOD", help_heading = "Gateway")]
    pub ws_header_auth: Option<String>,
    /// Compress messages between the embedded gateway and clients that support it, as browsers do
    ///
    /// By permessage-deflate (RFC 7692): messages of 1 KiB and more, each by itself, except for
    /// answers to auth requests. docs/gateway.md says what it costs, and what an observer learns.
    #[arg(long, env = "RELOGIN_WS_COMPRESSION", value_name = "true|false", help_heading = "Gateway", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub ws_compression: Option<String>,
    /// Path below which the embedded gateway serves resources and methods over HTTP [default:
    /// /api/]
    ///
    /// Described in docs/gateway.md.
    #[arg(long, env = "RELOGIN_API_PATH", value_name = "PATH", help_heading = "Gateway")]
    pub api_path: Option<String>,
    /// Write references in HTTP responses with their paths, or their content alone [default: json]
    #[arg(long, env = "RELOGIN_API_ENCODING", value_name = "json|jsonflat", help_heading = "Gateway")]
    pub api_encoding: Option<String>,
    /// Method that the embedded gateway calls before each HTTP request, as RESOURCE.METHOD
    /// [default: none, with --cookie-session: NAME.connect]
    #[arg(long, env = "RELOGIN_HEADER_AUTH", value_name = "METHOD", help_heading = "Gateway")]
    pub header_auth: Option<String>,
    /// Method of resources that PUT calls [default: none, PUT is not allowed]
    #[arg(long, env = "RELOGIN_PUT_METHOD", value_name = "METHOD", help_heading = "Gateway")]
    pub put_method: Option<String>,
    /// Method of resources that PATCH calls [default: none, PATCH is not allowed]
    #[arg(long, env = "RELOGIN_PATCH_METHOD", value_name = "METHOD", help_heading = "Gateway")]
    pub patch_method: Option<String>,
    /// Method of resources that DELETE calls [default: none, DELETE is not allowed]
    #[arg(long, env = "RELOGIN_DELETE_METHOD", value_name = "METHOD", help_heading = "Gateway")]
    pub delete_method: Option<String>,
    /// How long services may take for an answer to the embedded gateway, unless they ask for more
    /// [default: 3s]
    #[arg(long, env = "RELOGIN_REQUEST_TIMEOUT", value_name = "TIME", help_heading = "Gateway")]
    pub request_timeout: Option<String>,
    /// Requests that the embedded gateway sends at a time because of a system reset: so many for
    /// resources, and so many for access [default: 64 for resources, no limit for access]
    ///
    /// Of one connection there are never more than 32 for access.
    #[arg(long, env = "RELOGIN_RESET_THROTTLE", value_name = "N", help_heading = "Gateway")]
    #[serde(deserialize_with = "number_as_text")]
    pub reset_throttle: Option<String>,
    /// Resources referred to by others that the embedded gateway loads at a time for one
    /// connection. Those that are cached do not count [default: 64]
    #[arg(long, env = "RELOGIN_REFERENCE_THROTTLE", value_name = "N", help_heading = "Gateway")]
    #[serde(deserialize_with = "number_as_text")]
    pub reference_throttle: Option<String>,
    /// Folder for the sessions and the secret [default: relogin-data]
    #[arg(long, env = "RELOGIN_DATA", value_name = "DIR", help_heading = "Sessions and keys")]
    pub data: Option<PathBuf>,
    /// Where sessions are kept.
    #[arg(long, env = "RELOGIN_STORE", value_name = StoreName::VALUES)]
    #[arg(help = StoreName::HELP, long_help = StoreName::LONG_HELP, help_heading = "Sessions and keys")]
    pub store: Option<String>,
    /// Key-value bucket in JetStream for the sessions; created if it does not exist [default:
    /// relogin-NAME]
    #[arg(long, env = "RELOGIN_BUCKET", value_name = "BUCKET", help_heading = "Sessions and keys")]
    pub bucket: Option<String>,
    /// Number of NATS servers that keep each session in JetStream [default: 1]
    #[arg(long, env = "RELOGIN_REPLICAS", value_name = "1|3|5", help_heading = "Sessions and keys")]
    #[serde(deserialize_with = "number_as_text")]
    pub replicas: Option<String>,
    /// A session ends if it was not used for this long [default: 24h]
    #[arg(long, env = "RELOGIN_KEY_LIFETIME", value_name = "TIME", help_heading = "Sessions and keys")]
    pub key_lifetime: Option<String>,
    /// A session ends this long after its login, used or not [default: 30d]
    #[arg(long, env = "RELOGIN_SESSION_LIFETIME", value_name = "TIME", help_heading = "Sessions and keys")]
    pub session_lifetime: Option<String>,
    /// How often clients get a new key [default: 10m, with --demo: 1m]
    #[arg(long, env = "RELOGIN_REFRESH", value_name = "TIME", help_heading = "Sessions and keys")]
    pub refresh: Option<String>,
    /// Sessions that one user may have at a time [default: 100]
    ///
    /// A login beyond that ends the session that was unused for longest.
    #[arg(long, env = "RELOGIN_SESSIONS_PER_USER", value_name = "N", help_heading = "Sessions and keys")]
    #[serde(deserialize_with = "number_as_text")]
    pub sessions_per_user: Option<String>,
    /// How long after a login its user may end other sessions from their list [default: off]
    ///
    /// Later they have to log in again first. With `off`, never.
    #[arg(long, env = "RELOGIN_REVOKE_WITHIN", value_name = "TIME|off", help_heading = "Sessions and keys")]
    pub revoke_within: Option<String>,
    /// Secrets from which keys are made, one per line [default: DATA/secret, created at first
    /// start]
    ///
    /// The first secret signs, all of them verify.
    #[arg(long, env = "RELOGIN_SECRET_FILE", value_name = "FILE", help_heading = "Sessions and keys")]
    pub secret_file: Option<PathBuf>,
    /// Keep the secrets in NATS, encrypted under the passphrase in the first line of this file,
    /// instead of in a secret file [default: none]
    ///
    /// Needs --store jetstream. All instances take them from the bucket BUCKET-secrets, which the
    /// first one makes. `relogin secret rotate` replaces them while the instances run.
    #[arg(long, env = "RELOGIN_SECRET_PASSPHRASE", value_name = "FILE", help_heading = "Sessions and keys")]
    pub secret_passphrase: Option<PathBuf>,
    /// Write relogin keys as opaque bytes or as JSON Web Tokens [default: opaque]
    ///
    /// Other services can verify tokens with /.well-known/jwks.json. Both formats are always read.
    #[arg(long, env = "RELOGIN_KEY_FORMAT", value_name = "opaque|jwt", help_heading = "Sessions and keys")]
    pub key_format: Option<String>,
    /// Claim `iss` of keys that are tokens [default: relogin]
    ///
    /// Changing it ends the sessions that have such a key.
    #[arg(long, env = "RELOGIN_KEY_ISSUER", value_name = "TEXT", help_heading = "Sessions and keys")]
    pub key_issuer: Option<String>,
    /// Claim `aud` of keys that are tokens [default: NAME]
    ///
    /// Changing it ends the sessions that have such a key.
    #[arg(long, env = "RELOGIN_KEY_AUDIENCE", value_name = "TEXT", help_heading = "Sessions and keys")]
    pub key_audience: Option<String>,
    /// Bind sessions to a browser cookie that no script can read [default: use]
    ///
    /// A stolen key is useless without the cookie. `require` refuses logins without the cookie,
    /// `use` binds when there is one, `off` neither sets nor reads it. With Resgate, also set
    /// `"wsHeaderAuth": "session.connect"` there (docs/protocol.md, section 5).
    #[arg(long, env = "RELOGIN_COOKIE", value_name = "require|use|off", help_heading = "Sessions and keys")]
    pub cookie: Option<String>,
    /// Keep relogin keys in a cookie that no script can read, not in the browser's storage
    ///
    /// With Resgate, also set `"headerAuth": "session.connect"` there. What this protects from is
    /// in docs/protocol.md, section 5.
    #[arg(long, env = "RELOGIN_COOKIE_SESSION", value_name = "true|false", help_heading = "Sessions and keys", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub cookie_session: Option<String>,
    /// Have browsers that can bind a session of --cookie-session to a key of their device [default:
    /// true]
    ///
    /// By Device Bound Session Credentials, as in Chrome, over https: a copy of the cookies opens
    /// nothing then. Other browsers do without. `false` stops asking for it, also of sessions that
    /// are bound.
    #[arg(long, env = "RELOGIN_DBSC", value_name = "true|false", help_heading = "Sessions and keys", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub dbsc: Option<String>,
    /// The users file (see `relogin user`), a users service on NATS, or a program [default:
    /// users.toml, with --demo: the demo's users]
    ///
    /// Changes to the file take effect within a second or two; a truncated file ends no session.
    /// The other two are described in docs/users.md.
    #[arg(
        long,
        env = "RELOGIN_USERS",
        value_name = "FILE|nats:SUBJECT|exec:PROGRAM",
        help_heading = "Users and logins"
    )]
    pub users: Option<PathBuf>,
    /// Cost of password hashes: Argon2id's KiB of memory, passes and lanes [default:
    /// m=19456,t=2,p=1]
    ///
    /// The default is what OWASP recommends. Hashes of another cost are renewed at the next login.
    #[arg(long, env = "RELOGIN_PASSWORD_COST", value_name = "COST", help_heading = "Users and logins")]
    pub password_cost: Option<String>,
    /// Characters that a new password must have, 8 to 64 [default: 8]
    ///
    /// For users who change their passwords and for `relogin user`; the commonest passwords are
    /// refused, too. Passwords that exist stay valid.
    #[arg(long, env = "RELOGIN_PASSWORD_MIN_LENGTH", value_name = "N", help_heading = "Users and logins")]
    #[serde(deserialize_with = "number_as_text")]
    pub password_min_length: Option<String>,
    /// Whose failed logins delay the next ones: user and remote address, only the user, or nobody
    /// [default: all]
    ///
    /// Behind a proxy, also set --trusted-proxy.
    #[arg(long, env = "RELOGIN_THROTTLE", value_name = "all|user|off", help_heading = "Users and logins")]
    pub throttle: Option<String>,
    /// File with the issuers whose JSON Web Tokens log users in, from cookies and Authorization
    /// headers [default: none]
    ///
    /// Described in docs/header-login.md.
    #[arg(long, env = "RELOGIN_JWT_ISSUERS", value_name = "FILE", help_heading = "Users and logins")]
    pub jwt_issuers: Option<PathBuf>,
    /// Connections that are accepted at a time; more are answered 503 [default: what the limit of
    /// open files allows]
    ///
    /// At start the soft limit of open files is raised to the hard limit, and an eighth of it (32
    /// to 1,024) is reserved for store, log and bus.
    #[arg(long, env = "RELOGIN_MAX_CONNECTIONS", value_name = "COUNT", help_heading = "Limits and logs")]
    #[serde(deserialize_with = "number_as_text")]
    pub max_connections: Option<String>,
    /// Connections accepted from one address, or one IPv6 /64 network [default: half of
    /// --max-connections; no limit for loopback addresses]
    ///
    /// Connections from a --trusted-proxy count for its clients.
    #[arg(long, env = "RELOGIN_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", help_heading = "Limits and logs")]
    #[serde(deserialize_with = "number_as_text")]
    pub max_connections_per_address: Option<String>,
    /// How long a stop may take to close the connections of the embedded gateway, one after the
    /// other [default: 5s]
    ///
    /// A few are closed at once. Each client is told within which time to come back, so that many
    /// do not come at once.
    #[arg(long, env = "RELOGIN_DRAIN", value_name = "TIME", help_heading = "Limits and logs")]
    pub drain: Option<String>,
    /// Write the audit trail here, one line of JSON per event; - is standard output [default: not
    /// written]
    ///
    /// The events are described in docs/audit.md.
    #[arg(long, env = "RELOGIN_AUDIT", value_name = "FILE|-", help_heading = "Limits and logs")]
    pub audit: Option<PathBuf>,
    /// Publish the audit trail to this NATS subject [default: not published]
    #[arg(long, env = "RELOGIN_AUDIT_SUBJECT", value_name = "SUBJECT", help_heading = "Limits and logs")]
    pub audit_subject: Option<String>,
    /// What to log to standard error: error, warn, info, debug, trace, or a filter as in RUST_LOG
    /// [default: RUST_LOG, or info]
    #[arg(long, env = "RELOGIN_LOG", value_name = "FILTER", help_heading = "Limits and logs")]
    pub log: Option<String>,
    /// Send traces to this OpenTelemetry collector, by OTLP in protobuf over HTTP [default: not
    /// sent]
    ///
    /// For example http://localhost:4318, to which `/v1/traces` is added if it has no path. gRPC,
    /// on port 4317 of most collectors, is not supported. Requests and what they wait for, without
    /// anything that clients send (docs/operations.md). The standard variables such as
    /// OTEL_TRACES_SAMPLER and OTEL_BSP_SCHEDULE_DELAY count.
    #[arg(long, env = "RELOGIN_OTLP", value_name = "URL", help_heading = "Limits and logs")]
    pub otlp: Option<String>,
    /// Add the users admin, guest, jane and john (password: the name) and the counter ticker.model
    ///
    /// Try `--demo --key-lifetime 2m` to see a session expire.
    #[arg(long, env = "RELOGIN_DEMO", value_name = "true|false", help_heading = "Limits and logs", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub demo: Option<String>,
}

/// The options that `relogin gateway` has, too.
pub const OF_THE_GATEWAY_ALONE: &[&str] = &[
    "listen",
    "tls_cert",
    "tls_key",
    "metrics_listen",
    "nats",
    "nats_creds",
    "nats_ca",
    "nats_cert",
    "nats_key",
    "allow_origin",
    "trusted_proxy",
    "ws_path",
    "ws_header_auth",
    "ws_compression",
    "api_path",
    "api_encoding",
    "header_auth",
    "put_method",
    "patch_method",
    "delete_method",
    "request_timeout",
    "reset_throttle",
    "reference_throttle",
    "max_connections",
    "max_connections_per_address",
    "drain",
    "log",
];

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    }))
}

fn number_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    /// Text as well: it is what some of these options took.
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number")]
    enum Number {
        Number(u32),
        Text(String),
    }
    Ok(Some(match Number::deserialize(deserializer)? {
        Number::Number(number) => number.to_string(),
        Number::Text(text) => text,
    }))
}

fn bool_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    bool::deserialize(deserializer).map(|demo| Some(demo.to_string()))
}

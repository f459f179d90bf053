//! The layers of options: command line, environment, file. Says for each option where it was given. Knows no defaults.

use std::{
    collections::HashSet,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::{
    AllowOrigin, AuditTarget, CookieKind, GatewayKind, KeyFormat, NatsUrl, StoreKind, ThrottleKind, UsersSource,
    values::{self, Problem, Value},
};
use crate::{client_address::TrustedProxies, users::cost::Cost};

/// The options of `relogin serve` as they are written down, on the command line or in the file.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Serve page, WebSocket and /healthz here; port 0 takes a free one [default: 127.0.0.1:8080, with --gateway none: nowhere]
    #[arg(long, env = "RELOGIN_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Reach gateways and services over NATS, nats://HOST:4222 [default: all in this process]
    #[arg(long, env = "RELOGIN_NATS", value_name = "URL", hide_env_values = true)]
    pub nats: Option<String>,
    /// Credentials file for NATS
    #[arg(long, env = "RELOGIN_NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// Be a gateway, too, or leave that to Resgate [default: embedded, with --nats: none]
    #[arg(long, env = "RELOGIN_GATEWAY", value_name = "embedded|none")]
    pub gateway: Option<String>,
    /// Folder for sessions and secret [default: relogin-data]
    #[arg(long, env = "RELOGIN_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Keep sessions in the data folder, or in memory only [default: sled]
    #[arg(long, env = "RELOGIN_STORE", value_name = "sled|memory")]
    pub store: Option<String>,
    /// Resource name: auth.NAME.login, NAME.user.{cid} [default: session]
    #[arg(long, env = "RELOGIN_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The users file, see `relogin user`; or nats:SUBJECT, a service of yours that knows them; or exec:PROGRAM, a program of
    /// yours that does, with its arguments [default: users.toml, with --demo: the demo's users]
    #[arg(long, env = "RELOGIN_USERS", value_name = "FILE|nats:SUBJECT|exec:PROGRAM")]
    pub users: Option<PathBuf>,
    /// What hashing a password costs: Argon2id's KiB of memory, passes and lanes; hashes of another cost are renewed at the next
    /// login [default: m=19456,t=2,p=1]
    #[arg(long, env = "RELOGIN_PASSWORD_COST", value_name = "COST")]
    pub password_cost: Option<String>,
    /// Failed logins make the next ones wait: those of the user and those of the address, those of the user only, or none
    /// [default: all]
    #[arg(long, env = "RELOGIN_THROTTLE", value_name = "all|user|off")]
    pub throttle: Option<String>,
    /// How many sessions a user may have at a time; a login that makes one too many ends the one that was not used for longest
    /// [default: 100]
    #[arg(long, env = "RELOGIN_SESSIONS_PER_USER", value_name = "N")]
    pub sessions_per_user: Option<String>,
    /// Bind sessions to a cookie of the browser that no script reads: refuse logins without it, bind when it is there, or ignore it
    /// [default: use]
    #[arg(long, env = "RELOGIN_COOKIE", value_name = "require|use|off")]
    pub cookie: Option<String>,
    /// Let relogin keys travel in a cookie that no script reads, in place of the browser's storage
    #[arg(long, env = "RELOGIN_COOKIE_SESSION", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub cookie_session: Option<String>,
    /// Secrets that keys are signed with, one a line: the first signs, all verify [default: DATA/secret, made at first start]
    #[arg(long, env = "RELOGIN_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Let the tokens (JWT) of the issuers that this file names log in, from cookies and Authorization headers [default: none]
    #[arg(long, env = "RELOGIN_JWT_ISSUERS", value_name = "FILE")]
    pub jwt_issuers: Option<PathBuf>,
    /// Write relogin keys as bytes, or as JSON Web Tokens that others can verify by /.well-known/jwks.json; both are read always
    /// [default: opaque]
    #[arg(long, env = "RELOGIN_KEY_FORMAT", value_name = "opaque|jwt")]
    pub key_format: Option<String>,
    /// What such tokens say in the claim iss [default: relogin]
    #[arg(long, env = "RELOGIN_KEY_ISSUER", value_name = "TEXT")]
    pub key_issuer: Option<String>,
    /// What such tokens say in the claim aud [default: NAME]
    #[arg(long, env = "RELOGIN_KEY_AUDIENCE", value_name = "TEXT")]
    pub key_audience: Option<String>,
    /// A session ends when it was not used for so long [default: 24h]
    #[arg(long, env = "RELOGIN_KEY_LIFETIME", value_name = "TIME")]
    pub key_lifetime: Option<String>,
    /// A session ends so long after its login, used or not [default: 30d]
    #[arg(long, env = "RELOGIN_SESSION_LIFETIME", value_name = "TIME")]
    pub session_lifetime: Option<String>,
    /// Clients get a new key so often [default: 10m, with --demo: 1m]
    #[arg(long, env = "RELOGIN_REFRESH", value_name = "TIME")]
    pub refresh: Option<String>,
    /// What this server is reached by in browsers, as scheme://host or scheme://host:port, several with commas between: only that is
    /// then its own origin, requests for other hosts are refused, and cookies are `Secure` if it is https [default: the host of
    /// each request, on a loopback address loopback hosts only]
    #[arg(long, env = "RELOGIN_PUBLIC_URL", value_name = "URL")]
    #[serde(deserialize_with = "one_or_many")]
    pub public_url: Option<Vec<String>>,
    /// Other origins whose pages may connect, as scheme://host, several with semicolons between, null for pages without one, or *
    /// for all [default: none but the server's own]
    #[arg(long, env = "RELOGIN_ALLOW_ORIGIN", value_name = "ORIGINS")]
    #[serde(deserialize_with = "one_or_many")]
    pub allow_origin: Option<Vec<String>>,
    /// Proxies that may say who their clients are, by X-Forwarded-For or the PROXY protocol, version 2: addresses or networks, with
    /// commas between, or `loopback` [default: none]
    #[arg(long, env = "RELOGIN_TRUSTED_PROXY", value_name = "ADDRESS[/BITS]")]
    #[serde(deserialize_with = "one_or_many")]
    pub trusted_proxy: Option<Vec<String>>,
    /// How many connections there may be; more are answered 503 [default: what the limit of open files leaves, less what the service
    /// needs itself]
    #[arg(long, env = "RELOGIN_MAX_CONNECTIONS", value_name = "COUNT")]
    #[serde(deserialize_with = "number_as_text")]
    pub max_connections: Option<String>,
    /// How many of them may be from one address, or one IPv6 network of 64 bits [default: half; for loopback addresses, all]
    #[arg(long, env = "RELOGIN_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    #[serde(deserialize_with = "number_as_text")]
    pub max_connections_per_address: Option<String>,
    /// Write the audit trail here, one line of JSON an event; - is standard output [default: nowhere]
    #[arg(long, env = "RELOGIN_AUDIT", value_name = "FILE|-")]
    pub audit: Option<PathBuf>,
    /// Publish the audit trail to this subject of NATS [default: nowhere]
    #[arg(long, env = "RELOGIN_AUDIT_SUBJECT", value_name = "SUBJECT")]
    pub audit_subject: Option<String>,
    /// Four users whose passwords are their names, a counting resource, short lifetimes
    #[arg(long, env = "RELOGIN_DEMO", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(deserialize_with = "bool_as_text")]
    pub demo: Option<String>,
    /// What to log: error, warn, info, debug, trace, or finer as in RUST_LOG [default: RUST_LOG, or info]
    #[arg(long, env = "RELOGIN_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// What was given, the file not read yet.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// From the command line or the environment.
    pub given: Options,
    /// The names, as fields, of those given by the environment.
    pub from_env: HashSet<String>,
    /// The file that was asked for.
    pub config: Option<PathBuf>,
}

/// Where an option was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(&'static str),
    /// In the environment.
    Environment(&'static str),
    /// In the file.
    File(PathBuf, &'static str),
}

/// Options that the service cannot run with.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The configuration file is no TOML, or has an option that is none.
    #[error("{}, line {line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser found, in its words.
        message: String,
    },
    /// An option's value will not do.
    #[error("{origin} {problem}")]
    Value {
        /// Where it was given.
        origin: Origin,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// The configuration file that is used where none is named, if it is there.
const DEFAULT_FILE: &str = "relogin.toml";

/// All layers, asked option by option.
pub(super) struct Given {
    above: Options,
    from_env: HashSet<String>,
    file: Options,
    path: PathBuf,
}

impl Layers {
    /// Reads the file.
    pub(super) fn read(self) -> Result<Given, ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match fs::read_to_string(&path) {
            Ok(text) => parse_file(&path, &text)?,
            Err(error) if self.config.is_none() && error.kind() == io::ErrorKind::NotFound => Options::default(),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        Ok(Given { above: self.given, from_env: self.from_env, file, path })
    }
}

/// Each option: its field, what it is called in each layer, and how its text is read.
macro_rules! options {
    ($($field:ident: $flag:literal $env:literal $read:path => $to:ty;)*) => {
        impl Given {
            $(
                pub(super) fn $field(&self) -> Result<Option<Value<$to>>, ConfigError> {
                    self.value(|options| options.$field.clone(), stringify!($field), [concat!("--", $flag), $env, $flag], $read)
                }
            )*
        }
    };
}

options! {
    listen: "listen" "RELOGIN_LISTEN" values::listen => String;
    nats: "nats" "RELOGIN_NATS" values::nats => NatsUrl;
    nats_creds: "nats-creds" "RELOGIN_NATS_CREDS" values::path => PathBuf;
    gateway: "gateway" "RELOGIN_GATEWAY" values::gateway => GatewayKind;
    data: "data" "RELOGIN_DATA" values::path => PathBuf;
    store: "store" "RELOGIN_STORE" values::store => StoreKind;
    name: "name" "RELOGIN_NAME" values::name => String;
    users: "users" "RELOGIN_USERS" values::users => UsersSource;
    password_cost: "password-cost" "RELOGIN_PASSWORD_COST" values::password_cost => Cost;
    throttle: "throttle" "RELOGIN_THROTTLE" values::throttle => ThrottleKind;
    sessions_per_user: "sessions-per-user" "RELOGIN_SESSIONS_PER_USER" values::count => usize;
    cookie: "cookie" "RELOGIN_COOKIE" values::cookie => CookieKind;
    cookie_session: "cookie-session" "RELOGIN_COOKIE_SESSION" values::yes_or_no => bool;
    secret_file: "secret-file" "RELOGIN_SECRET_FILE" values::path => PathBuf;
    jwt_issuers: "jwt-issuers" "RELOGIN_JWT_ISSUERS" values::path => PathBuf;
    key_format: "key-format" "RELOGIN_KEY_FORMAT" values::key_format => KeyFormat;
    key_issuer: "key-issuer" "RELOGIN_KEY_ISSUER" values::claim => String;
    key_audience: "key-audience" "RELOGIN_KEY_AUDIENCE" values::claim => String;
    key_lifetime: "key-lifetime" "RELOGIN_KEY_LIFETIME" values::lifetime => u64;
    session_lifetime: "session-lifetime" "RELOGIN_SESSION_LIFETIME" values::lifetime => u64;
    refresh: "refresh" "RELOGIN_REFRESH" values::lifetime => u64;
    public_url: "public-url" "RELOGIN_PUBLIC_URL" values::public_url => Vec<url::Origin>;
    allow_origin: "allow-origin" "RELOGIN_ALLOW_ORIGIN" values::allow_origin => AllowOrigin;
    trusted_proxy: "trusted-proxy" "RELOGIN_TRUSTED_PROXY" values::trusted_proxies => TrustedProxies;
    max_connections: "max-connections" "RELOGIN_MAX_CONNECTIONS" values::count => usize;
    max_connections_per_address: "max-connections-per-address" "RELOGIN_MAX_CONNECTIONS_PER_ADDRESS" values::count => usize;
    audit: "audit" "RELOGIN_AUDIT" values::audit => AuditTarget;
    audit_subject: "audit-subject" "RELOGIN_AUDIT_SUBJECT" values::subject => String;
    demo: "demo" "RELOGIN_DEMO" values::yes_or_no => bool;
    log: "log" "RELOGIN_LOG" values::log => String;
}

impl Given {
    /// The value of the uppermost layer that has one.
    fn value<T, U>(
        &self,
        of: impl Fn(&Options) -> Option<T>,
        field: &str,
        [flag, env, key]: [&'static str; 3],
        read: impl Fn(T) -> Result<U, Problem>,
    ) -> Result<Option<Value<U>>, ConfigError> {
        let (text, origin) = match (of(&self.above), of(&self.file)) {
            (Some(text), _) if self.from_env.contains(field) => (text, Origin::Environment(env)),
            (Some(text), _) => (text, Origin::Flag(flag)),
            (None, Some(text)) => (text, Origin::File(self.path.clone(), key)),
            (None, None) => return Ok(None),
        };
        match read(text) {
            Ok(value) => Ok(Some(Value { value, origin })),
            Err(problem) => Err(ConfigError::Value { origin, problem }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) => f.write_str(name),
            Self::File(path, key) => write!(f, "{}: {key}", path.display()),
        }
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Options, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        // Not the parser's own error as a source: that quotes the text, and there may be a password in an address.
        let message = error.message().to_owned();
        ConfigError::File { path: path.to_owned(), line: before.matches('\n').count() + 1, message }
    })
}

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
    u32::deserialize(deserializer).map(|number| Some(number.to_string()))
}

fn bool_as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    bool::deserialize(deserializer).map(|demo| Some(demo.to_string()))
}

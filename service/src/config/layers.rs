//! Merges the layers of options (command line, environment, file) and remembers where each value
//! was given. Must not know any defaults.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use relogin_gateway::Encoding;
use relogin_host::toml_place::{TomlPlace, lines_of_keys};
use relogin_store::jetstream::Replicas;
use relogin_users::{cost::Cost, password_rules::PasswordRules};
use url::Url;

use super::{
    Options, gateway, log_filter,
    origin::{ConfigError, Origin, Value},
    traces,
    values::{self, Problem},
};
use crate::{
    app::{
        config::{GatewayKind, UsersSource},
        store::StoreName,
    },
    audit::AuditTarget,
    auth::{CookieKind, ThrottleKind},
    client_address::TrustedProxies,
    origins::AllowOrigin,
    signing::KeyFormat,
};

/// The given options, before the file is read.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// From the command line or the environment.
    pub given: Options,
    /// The field names of those given by the environment.
    pub from_env: HashSet<String>,
    /// The configured file.
    pub config: Option<PathBuf>,
}

/// The default configuration file, which need not exist.
const DEFAULT_FILE: &str = "relogin.toml";

/// All layers, queried option by option.
pub(super) struct Given {
    above: Options,
    from_env: HashSet<String>,
    file: Options,
    path: PathBuf,
    /// On which lines of the file its options are.
    lines: HashMap<String, usize>,
}

impl Layers {
    /// What is given without any file.
    pub(super) fn without_file(self) -> Given {
        let (file, path, lines) = (Options::default(), PathBuf::new(), HashMap::new());
        Given { above: self.given, from_env: self.from_env, file, path, lines }
    }

    /// Reads the file.
    pub(super) fn read(self) -> Result<Given, ConfigError> {
        let path = self.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if self.config.is_none() && error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        let file = parse_file(&path, &text)?;
        let lines = lines_of_keys(&text).into_iter().collect();
        Ok(Given { above: self.given, from_env: self.from_env, file, path, lines })
    }
}

/// Each option: its field, its name in each layer, and how its text is parsed.
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
    tls_cert: "tls-cert" "RELOGIN_TLS_CERT" values::path => PathBuf;
    tls_key: "tls-key" "RELOGIN_TLS_KEY" values::path => PathBuf;
    metrics_listen: "metrics-listen" "RELOGIN_METRICS_LISTEN" values::listen => String;
    control_socket: "control-socket" "RELOGIN_CONTROL_SOCKET" values::control_socket => Option<PathBuf>;
    control_nats: "control-nats" "RELOGIN_CONTROL_NATS" values::yes_or_no => bool;
    nats: "nats" "RELOGIN_NATS" values::nats => String;
    nats_creds: "nats-creds" "RELOGIN_NATS_CREDS" values::path => PathBuf;
    nats_ca: "nats-ca" "RELOGIN_NATS_CA" values::path => PathBuf;
    nats_cert: "nats-cert" "RELOGIN_NATS_CERT" values::path => PathBuf;
    nats_key: "nats-key" "RELOGIN_NATS_KEY" values::path => PathBuf;
    gateway: "gateway" "RELOGIN_GATEWAY" gateway::gateway => GatewayKind;
    ws_path: "ws-path" "RELOGIN_WS_PATH" gateway::url_path => String;
    ws_header_auth: "ws-header-auth" "RELOGIN_WS_HEADER_AUTH" gateway::method => String;
    ws_compression: "ws-compression" "RELOGIN_WS_COMPRESSION" values::yes_or_no => bool;
    api_path: "api-path" "RELOGIN_API_PATH" gateway::url_folder => String;
    api_encoding: "api-encoding" "RELOGIN_API_ENCODING" gateway::encoding => Encoding;
    header_auth: "header-auth" "RELOGIN_HEADER_AUTH" gateway::method => String;
    put_method: "put-method" "RELOGIN_PUT_METHOD" gateway::method_part => String;
    patch_method: "patch-method" "RELOGIN_PATCH_METHOD" gateway::method_part => String;
    delete_method: "delete-method" "RELOGIN_DELETE_METHOD" gateway::method_part => String;
    request_timeout: "request-timeout" "RELOGIN_REQUEST_TIMEOUT" values::lifetime => u64;
    reset_throttle: "reset-throttle" "RELOGIN_RESET_THROTTLE" values::count => usize;
    reference_throttle: "reference-throttle" "RELOGIN_REFERENCE_THROTTLE" values::count => usize;
    data: "data" "RELOGIN_DATA" values::path => PathBuf;
    store: "store" "RELOGIN_STORE" values::store => StoreName;
    bucket: "bucket" "RELOGIN_BUCKET" values::bucket => String;
    replicas: "replicas" "RELOGIN_REPLICAS" values::replicas => Replicas;
    name: "name" "RELOGIN_NAME" values::name => String;
    users: "users" "RELOGIN_USERS" values::users => UsersSource;
    password_cost: "password-cost" "RELOGIN_PASSWORD_COST" values::password_cost => Cost;
    password_min_length: "password-min-length" "RELOGIN_PASSWORD_MIN_LENGTH" values::password_rules => PasswordRules;
    throttle: "throttle" "RELOGIN_THROTTLE" values::throttle => ThrottleKind;
    sessions_per_user: "sessions-per-user" "RELOGIN_SESSIONS_PER_USER" values::count => usize;
    cookie: "cookie" "RELOGIN_COOKIE" values::cookie => CookieKind;
    cookie_session: "cookie-session" "RELOGIN_COOKIE_SESSION" values::yes_or_no => bool;
    dbsc: "dbsc" "RELOGIN_DBSC" values::yes_or_no => bool;
    secret_file: "secret-file" "RELOGIN_SECRET_FILE" values::path => PathBuf;
    secret_passphrase: "secret-passphrase" "RELOGIN_SECRET_PASSPHRASE" values::path => PathBuf;
    jwt_issuers: "jwt-issuers" "RELOGIN_JWT_ISSUERS" values::path => PathBuf;
    key_format: "key-format" "RELOGIN_KEY_FORMAT" values::key_format => KeyFormat;
    key_issuer: "key-issuer" "RELOGIN_KEY_ISSUER" values::claim => String;
    key_audience: "key-audience" "RELOGIN_KEY_AUDIENCE" values::claim => String;
    key_lifetime: "key-lifetime" "RELOGIN_KEY_LIFETIME" values::lifetime => u64;
    session_lifetime: "session-lifetime" "RELOGIN_SESSION_LIFETIME" values::lifetime => u64;
    refresh: "refresh" "RELOGIN_REFRESH" values::lifetime => u64;
    revoke_within: "revoke-within" "RELOGIN_REVOKE_WITHIN" values::revoke_within => Option<u64>;
    public_url: "public-url" "RELOGIN_PUBLIC_URL" values::public_url => Vec<url::Origin>;
    allow_origin: "allow-origin" "RELOGIN_ALLOW_ORIGIN" values::allow_origin => AllowOrigin;
    trusted_proxy: "trusted-proxy" "RELOGIN_TRUSTED_PROXY" values::trusted_proxies => TrustedProxies;
    max_connections: "max-connections" "RELOGIN_MAX_CONNECTIONS" values::count => usize;
    max_connections_per_address: "max-connections-per-address" "RELOGIN_MAX_CONNECTIONS_PER_ADDRESS" values::count => usize;
    drain: "drain" "RELOGIN_DRAIN" values::wait => Duration;
    audit: "audit" "RELOGIN_AUDIT" values::audit => AuditTarget;
    audit_subject: "audit-subject" "RELOGIN_AUDIT_SUBJECT" values::subject => String;
    otlp: "otlp" "RELOGIN_OTLP" traces::collector => Url;
    demo: "demo" "RELOGIN_DEMO" values::yes_or_no => bool;
    log: "log" "RELOGIN_LOG" log_filter::log => String;
}

impl Given {
    /// The value of the topmost layer that has one.
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
            (None, Some(text)) => (text, self.in_file(key)),
            (None, None) => return Ok(None),
        };
        match read(text) {
            Ok(value) => Ok(Some(Value { value, origin })),
            Err(problem) => Err(ConfigError::Value { origin, problem }),
        }
    }

    fn in_file(&self, key: &'static str) -> Origin {
        Origin::File(self.path.clone(), self.lines.get(key).copied().unwrap_or(1), key)
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Options, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let TomlPlace { line, key } = TomlPlace::of(text, error.span().map(|span| span.start));
        // Not the parser's own error as a source, because that quotes the text, and an address may
        // contain a password.
        let message = key.iter().fold(error.message().to_owned(), |message, key| format!("{key}: {message}"));
        ConfigError::File { path: path.to_owned(), line, message }
    })
}

//! Resolves and checks the options of `relogin serve`. Must not start anything.

mod gateway;
mod gateway_alone;
mod layers;
mod log_filter;
mod options;
mod origin;
mod resgate;
mod stores;
mod traces;
mod values;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use relogin_bus::nats::NatsConfig;
use relogin_gateway::{HttpApi, Methods};
use relogin_session::Policy;

pub use gateway_alone::gateway_alone;
pub use layers::Layers;
pub use options::{OF_THE_GATEWAY_ALONE, Options};
use origin::Value;
pub use origin::{ConfigError, Origin};
use relogin_users::{cost::Cost, password_rules::PasswordRules};
use resgate::resgate;
pub use values::{Problem, listen, replicas};

use crate::{
    app::{
        config::{BusKind, Config, GatewayKind, UsersSource},
        operators::OperatorPlace,
        store::{StoreKind, StorePlace},
    },
    auth::{CookieKind, ThrottleKind},
    client_address::TrustedProxies,
    control::SocketPlace,
    demo::DEMO_NAME,
    http::TlsFiles,
    origins::AllowOrigin,
    secret::{self, SecretSource},
    signing::{KeyFormat, KeyTokens},
};

/// The default users file.
pub const DEFAULT_USERS: &str = "users.toml";

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// That of Resgate, and that of our clients for browsers.
const DEFAULT_WS_PATHS: [&str; 2] = ["/", "/ws"];
const DEFAULT_DATA: &str = "relogin-data";
/// In the data folder.
const CONTROL_SOCKET: &str = "control.sock";
const DEFAULT_NAME: &str = "session";
const DEFAULT_ISSUER: &str = "relogin";
const DEFAULT_SESSIONS_PER_USER: usize = 100;
const DEFAULT_DRAIN: Duration = Duration::from_secs(5);

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

const DEFAULTS: Policy =
    Policy { key_lifetime: 24 * HOUR, session_lifetime: 30 * DAY, refresh: 10 * MINUTE, revoke_within: None };
/// A key lasts as long as the page promises, and is refreshed often enough to be seen.
const DEMO_DEFAULTS: Policy = Policy { refresh: MINUTE, ..DEFAULTS };

/// Resolves the options of `relogin serve`.
///
/// # Errors
/// [`ConfigError`] if one of them is invalid, or they contradict each other.
pub fn resolve(layers: Layers) -> Result<Config, ConfigError> {
    let options = layers.read()?;
    let demo = options.demo()?.is_some_and(|demo| demo.value);
    let nats = options.nats()?;
    let gateway = options.gateway()?;
    let listen = options.listen()?;

    let (kind, default_listen) = match (&gateway, &nats) {
        (Some(Value { value: GatewayKind::Embedded, .. }), _) | (None, None) => {
            (GatewayKind::Embedded, Some(DEFAULT_LISTEN.to_owned()))
        }
        (Some(gateway), None) => return Err(gateway.is_wrong(Problem::NobodyCouldReachIt)),
        (_, Some(_)) => (GatewayKind::None, None),
    };
    let bus = match nats {
        None => BusKind::Local,
        Some(url) => BusKind::Nats(NatsConfig {
            url: url.value,
            credentials: options.nats_creds()?.map(|path| path.value),
            ca: options.nats_ca()?.map(|path| path.value),
            certificate: certificate_for_nats(&options)?,
        }),
    };

    let data = data(&options)?;
    let name = match options.name()? {
        Some(name) if demo && name.value == DEMO_NAME => return Err(name.is_wrong(Problem::NameOfTheDemo)),
        Some(name) => name.value,
        None => DEFAULT_NAME.to_owned(),
    };
    let store = stores::store(&options, &bus, &name)?;
    let secret = secret_source(&options, &store, &data)?;
    let users = match options.users()? {
        Some(users) if matches!(users.value, UsersSource::Nats(_)) && bus == BusKind::Local => {
            return Err(users.is_wrong(Problem::NeedsNats));
        }
        Some(users) => users.value,
        None if demo => UsersSource::Demo,
        None => UsersSource::File { path: DEFAULT_USERS.into(), is_default: true },
    };
    let cookie = options.cookie()?.map_or_else(CookieKind::default, |cookie| cookie.value);
    let cookie_session = match options.cookie_session()? {
        Some(it) if it.value && cookie == CookieKind::Off => return Err(it.is_wrong(Problem::NeedsCookies)),
        it => it,
    };
    let audit_subject = match options.audit_subject()? {
        Some(subject) if bus == BusKind::Local => return Err(subject.is_wrong(Problem::NeedsNats)),
        subject => subject.map(|subject| subject.value),
    };
    let keys = KeyTokens {
        format: options.key_format()?.map_or_else(KeyFormat::default, |format| format.value),
        issuer: options.key_issuer()?.map_or_else(|| DEFAULT_ISSUER.to_owned(), |issuer| issuer.value),
        audience: options.key_audience()?.map_or_else(|| name.clone(), |audience| audience.value),
    };
    Ok(Config {
        listen: listen.map(|listen| listen.value).or(default_listen),
        tls: tls_files(&options)?,
        metrics_listen: options.metrics_listen()?.map(|listen| listen.value),
        control: match options.control_socket()?.map(|socket| socket.value) {
            Some(Some(path)) => SocketPlace::At(path),
            Some(None) => SocketPlace::Off,
            None => SocketPlace::InData(data.join(CONTROL_SOCKET)),
        },
        control_nats: match options.control_nats()? {
            Some(it) if it.value && bus == BusKind::Local => return Err(it.is_wrong(Problem::NeedsNats)),
            it => it.is_some_and(|it| it.value),
        },
        bus,
        gateway: kind,
        gateway_options: gateway_options(&options, relogin_gateway::Options::default())?,
        ws_paths: options
            .ws_path()?
            .map_or_else(|| DEFAULT_WS_PATHS.map(str::to_owned).into(), |path| vec![path.value]),
        data,
        store,
        name,
        users,
        password_cost: password_cost(&options)?,
        password_rules: password_rules(&options)?,
        cookie,
        cookie_session: cookie_session.is_some_and(|it| it.value),
        dbsc: options.dbsc()?.is_none_or(|it| it.value),
        throttle: options.throttle()?.map_or_else(ThrottleKind::default, |throttle| throttle.value),
        sessions_per_user: options.sessions_per_user()?.map_or(DEFAULT_SESSIONS_PER_USER, |most| most.value),
        issuers: options.jwt_issuers()?.map(|path| path.value),
        secret,
        keys,
        policy: Policy {
            revoke_within: options.revoke_within()?.and_then(|within| within.value),
            ..policy(
                options.key_lifetime()?.as_ref(),
                options.session_lifetime()?.as_ref(),
                options.refresh()?.as_ref(),
                if demo { DEMO_DEFAULTS } else { DEFAULTS },
            )?
        },
        public_url: options.public_url()?.map_or_else(Vec::new, |urls| urls.value),
        allow_origin: options.allow_origin()?.map_or_else(AllowOrigin::default, |origins| origins.value),
        trusted_proxies: options.trusted_proxy()?.map_or_else(TrustedProxies::default, |proxies| proxies.value),
        max_connections: options.max_connections()?.map(|count| count.value),
        max_connections_per_address: options.max_connections_per_address()?.map(|count| count.value),
        drain: options.drain()?.map_or(DEFAULT_DRAIN, |time| time.value),
        audit: options.audit()?.map(|audit| audit.value),
        audit_subject,
        demo,
        log: options.log()?.map(|log| log.value),
        otlp: options.otlp()?.map(|url| url.value),
    })
}

/// The users file of `relogin user`, the cost of its password hashes, and what is asked of
/// passwords.
///
/// # Errors
/// [`ConfigError`] if the configuration file or an option is unusable.
pub fn users_file(layers: Layers) -> Result<(PathBuf, Cost, PasswordRules), ConfigError> {
    let options = layers.read()?;
    let path = match options.users()? {
        None => DEFAULT_USERS.into(),
        Some(Value { value: UsersSource::File { path, .. }, .. }) => path,
        Some(users) => return Err(users.is_wrong(Problem::UsersAreNoFile)),
    };
    Ok((path, password_cost(&options)?, password_rules(&options)?))
}

/// The folder for everything that must last.
///
/// # Errors
/// [`ConfigError`] if an option is invalid.
pub fn data_folder(layers: Layers) -> Result<PathBuf, ConfigError> {
    data(&layers.read()?)
}

/// Where a service has what belongs to its sessions.
#[derive(Clone, Debug)]
pub struct DataPlaces {
    /// The store with them.
    pub store: StorePlace,
    /// The socket where it answers operators if it has them in a data folder; none: nowhere.
    pub control: Option<PathBuf>,
    /// The file with its secret; none: not known.
    pub secret_file: Option<PathBuf>,
}

/// Where the service has what belongs to its sessions, which are in `store`, or in its data folder.
///
/// # Errors
/// [`ConfigError`] if an option is invalid.
pub fn data_places(layers: Layers, store: Option<StorePlace>) -> Result<DataPlaces, ConfigError> {
    let options = layers.read()?;
    let store = match store {
        Some(store) => store,
        None => StorePlace::Sled(data(&options)?),
    };
    let folder = store.folder().map(Path::to_owned);
    let control = match options.control_socket()?.map(|socket| socket.value) {
        Some(path) => path,
        None => folder.as_ref().map(|data| data.join(CONTROL_SOCKET)),
    };
    let default_secret = folder.as_ref().map(|data| data.join("secret"));
    Ok(DataPlaces {
        control: control.filter(|_| folder.is_some()),
        secret_file: options.secret_file()?.map(|path| path.value).or(default_secret),
        store,
    })
}

/// Where a running service answers operators: at this socket, or on NATS under this name.
///
/// # Errors
/// [`ConfigError`] if an option is invalid, or says that there is no such place.
pub fn control_place(layers: Layers, nats: Option<NatsConfig>) -> Result<OperatorPlace, ConfigError> {
    let options = layers.read()?;
    if let Some(nats) = nats {
        return Ok(OperatorPlace::Nats(
            nats,
            options.name()?.map_or_else(|| DEFAULT_NAME.to_owned(), |name| name.value),
        ));
    }
    Ok(OperatorPlace::Socket(match options.control_socket()? {
        Some(Value { value: Some(path), .. }) => path,
        Some(off) => return Err(off.is_wrong(Problem::NoControlSocket)),
        None => data(&options)?.join(CONTROL_SOCKET),
    }))
}

fn data(options: &layers::Given) -> Result<PathBuf, ConfigError> {
    Ok(options.data()?.map_or_else(|| PathBuf::from(DEFAULT_DATA), |data| data.value))
}

/// The options of the gateway that are given, and what `below` says of the others.
fn gateway_options(
    options: &layers::Given,
    below: relogin_gateway::Options,
) -> Result<relogin_gateway::Options, ConfigError> {
    let HttpApi { path, encoding, methods: Methods { put, patch, delete } } = below.api;
    Ok(relogin_gateway::Options {
        ws_header_auth: options.ws_header_auth()?.map(|method| method.value).or(below.ws_header_auth),
        ws_compression: options.ws_compression()?.map_or(below.ws_compression, |it| it.value),
        header_auth: options.header_auth()?.map(|method| method.value).or(below.header_auth),
        api: HttpApi {
            path: options.api_path()?.map_or(path, |path| path.value),
            encoding: options.api_encoding()?.map_or(encoding, |encoding| encoding.value),
            methods: Methods {
                put: options.put_method()?.map(|method| method.value).or(put),
                patch: options.patch_method()?.map(|method| method.value).or(patch),
                delete: options.delete_method()?.map(|method| method.value).or(delete),
            },
        },
        request_timeout: options
            .request_timeout()?
            .map(|time| Duration::from_millis(time.value))
            .or(below.request_timeout),
        reset_throttle: options.reset_throttle()?.map(|count| count.value).or(below.reset_throttle),
        reference_throttle: options.reference_throttle()?.map(|count| count.value).or(below.reference_throttle),
    })
}

/// Certificate and key by which NATS servers recognise this one.
fn certificate_for_nats(options: &layers::Given) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    Ok(match (options.nats_cert()?, options.nats_key()?) {
        (Some(certificate), Some(key)) => Some((certificate.value, key.value)),
        (Some(certificate), None) => return Err(certificate.is_wrong(Problem::NeedsOther("--nats-key"))),
        (None, Some(key)) => return Err(key.is_wrong(Problem::NeedsOther("--nats-cert"))),
        (None, None) => None,
    })
}

fn tls_files(options: &layers::Given) -> Result<Option<TlsFiles>, ConfigError> {
    Ok(match (options.tls_cert()?, options.tls_key()?) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.value, key: key.value }),
        (Some(certificate), None) => return Err(certificate.is_wrong(Problem::NeedsOther("--tls-key"))),
        (None, Some(key)) => return Err(key.is_wrong(Problem::NeedsOther("--tls-cert"))),
        (None, None) => None,
    })
}

fn password_cost(options: &layers::Given) -> Result<Cost, ConfigError> {
    Ok(options.password_cost()?.map_or(Cost::OWASP, |cost| cost.value))
}

fn password_rules(options: &layers::Given) -> Result<PasswordRules, ConfigError> {
    Ok(options.password_min_length()?.map_or_else(PasswordRules::default, |rules| rules.value))
}

/// Lifetimes that fit together. Defaults adapt to the ones that were given.
fn policy(
    key_lifetime: Option<&Value<u64>>,
    session_lifetime: Option<&Value<u64>>,
    refresh: Option<&Value<u64>>,
    defaults: Policy,
) -> Result<Policy, ConfigError> {
    let longest = session_lifetime.map_or(u64::MAX, |given| given.value);
    let key = match key_lifetime {
        Some(given) if given.value > longest => return Err(given.is_wrong(Problem::LongerThanTheSession(longest))),
        Some(given) => given.value,
        None => match refresh {
            // Room for the configured refresh, if the default leaves none.
            Some(refresh) => defaults.key_lifetime.max(refresh.value.saturating_mul(2)).min(longest),
            None => defaults.key_lifetime.min(longest),
        },
    };
    let refresh = match refresh {
        Some(given) if given.value >= key => return Err(given.is_wrong(Problem::NoShorterThanTheKey(key))),
        Some(given) => given.value,
        None => defaults.refresh.min((key / 2).max(1)),
    };
    let session = session_lifetime.map_or(defaults.session_lifetime.max(key), |given| given.value);
    Ok(Policy { key_lifetime: key, session_lifetime: session, refresh, ..defaults })
}

/// What relogin keys are made from.
fn secret_source(options: &layers::Given, store: &StoreKind, data: &Path) -> Result<SecretSource, ConfigError> {
    let (file, passphrase) = (options.secret_file()?, options.secret_passphrase()?);
    Ok(match (file, passphrase, store.bucket()) {
        (Some(_), Some(passphrase), _) => return Err(passphrase.is_wrong(Problem::TwoSecrets)),
        (None, Some(passphrase), Some(bucket)) => SecretSource::Bucket {
            name: secret::bucket_name(&bucket.name),
            replicas: bucket.replicas.number(),
            passphrase: passphrase.value,
        },
        (None, Some(passphrase), None) => return Err(passphrase.is_wrong(Problem::NeedsJetStream)),
        (Some(path), None, _) => SecretSource::File(path.value),
        (None, None, _) => store.default_secret(data),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use relogin_store::jetstream::{BucketConfig, Replicas};

    use super::*;
    use crate::{
        audit::AuditTarget,
        cli::{Invocation, parse},
    };

    /// Resolves a command line, with `file` as the configuration file.
    fn resolve(args: &str, file: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relogin.toml");
        fs::write(&path, file).unwrap();
        let args = format!("relogin serve --config {} {args}", path.display());
        let layers = match parse(args.split(' ').filter(|arg| !arg.is_empty()).map(Into::into)) {
            Ok(Invocation::Serve(layers)) => layers,
            other => panic!("{other:?}"),
        };
        super::resolve(layers)
            .map_err(|error| relogin_host::errors::Chain(&error).to_string().replace(path.to_str().unwrap(), "FILE"))
    }

    fn ok(args: &str, file: &str) -> Config {
        resolve(args, file).unwrap_or_else(|error| panic!("{args}: {error}"))
    }

    #[test]
    fn defaults_are_those_of_the_options_page() {
        let config = ok("", "");
        assert_eq!(config.listen.as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(
            (config.bus, config.gateway, config.store),
            (BusKind::Local, GatewayKind::Embedded, StoreKind::Sled)
        );
        assert_eq!((config.data.as_path(), config.name.as_str()), (Path::new("relogin-data"), "session"));
        assert_eq!(config.users, UsersSource::File { path: "users.toml".into(), is_default: true });
        assert_eq!(config.secret, SecretSource::File("relogin-data/secret".into()));
        assert_eq!(config.allow_origin, AllowOrigin::List(Vec::new()));
        let keys = |format, issuer: &str, audience: &str| KeyTokens {
            format,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        };
        assert_eq!(config.keys, keys(KeyFormat::Opaque, "relogin", "session"));
        assert_eq!(ok("--key-format jwt --name login", "").keys, keys(KeyFormat::Jwt, "relogin", "login"));
        let named = "key-format = \"jwt\"\nkey-issuer = \"https://a\"\nkey-audience = \"b c\"";
        assert_eq!(ok("", named).keys, keys(KeyFormat::Jwt, "https://a", "b c"));
        assert_eq!(
            config.policy,
            Policy { key_lifetime: 86_400_000, session_lifetime: 2_592_000_000, refresh: 600_000, revoke_within: None }
        );
        assert!(!config.demo);

        let demo = ok("--demo", "");
        assert_eq!(
            demo.policy,
            Policy { key_lifetime: 86_400_000, session_lifetime: 2_592_000_000, refresh: 60_000, revoke_within: None }
        );
        let short = ok("--demo --key-lifetime 2m", "");
        assert_eq!(
            short.policy,
            Policy { key_lifetime: 120_000, session_lifetime: 2_592_000_000, refresh: 60_000, revoke_within: None }
        );
        assert_eq!((demo.demo, demo.users), (true, UsersSource::Demo));
        assert_eq!(ok("--demo --users u", "").users, UsersSource::File { path: "u".into(), is_default: false });
        assert_eq!((demo.audit, demo.audit_subject), (None, None));
        assert_eq!((demo.drain, ok("--drain 0s", "").drain), (Duration::from_secs(5), Duration::ZERO));
        assert_eq!(ok("", "drain = \"1m\"").drain, Duration::from_secs(60));
        let audited = ok("--nats nats://a --audit - --audit-subject my.audit", "");
        assert_eq!((audited.audit, audited.audit_subject.as_deref()), (Some(AuditTarget::Stdout), Some("my.audit")));
        assert_eq!(ok("--audit=a", "").audit, Some(AuditTarget::File("a".into())));
        let source = |users: &str| ok(&format!("--nats nats://a --users={users}"), "").users;
        assert_eq!(source("nats:my.users"), UsersSource::Nats("my.users".into()));
        assert_eq!(source("exec:./users"), UsersSource::Exec("./users".into(), vec![]));
        let file = r#"users = "exec:python3 -m 'my users' --db=\"a b\" $HOME""#;
        let arguments = ["-m", "my users", "--db=a b", "$HOME"].map(str::to_owned).into();
        assert_eq!(ok("", file).users, UsersSource::Exec("python3".into(), arguments));
        assert_eq!(ok("--store memory", "").secret, SecretSource::Memory);
        let in_bucket =
            ok("--store jetstream --nats nats://a --bucket b --replicas 3 --secret-passphrase p", "").secret;
        let (name, passphrase) = ("b-secrets".to_owned(), "p".into());
        assert_eq!(in_bucket, SecretSource::Bucket { name, replicas: 3, passphrase });
        let jetstream = |args: &str| ok(&format!("--store jetstream --nats nats://a --secret-file s {args}"), "").store;
        let bucket = |name: &str, replicas| StoreKind::JetStream(BucketConfig { name: name.to_owned(), replicas });
        assert_eq!(jetstream(""), bucket("relogin-session", Replicas::One));
        assert_eq!(jetstream("--name login --replicas 5"), bucket("relogin-login", Replicas::Five));
        assert_eq!(jetstream("--bucket b --replicas 3"), bucket("b", Replicas::Three));
        assert_eq!(ok("--store memory --secret-file s", "").secret, SecretSource::File("s".into()));
        assert_eq!(ok("--data d", "").secret, SecretSource::File("d/secret".into()));
    }

    #[test]
    fn the_gateway_depends_on_nats_and_http_on_the_gateway() {
        let what = |args: &str| {
            let Config { listen, gateway, bus, .. } = ok(args, "");
            (gateway, listen.unwrap_or_default(), bus != BusKind::Local)
        };
        use GatewayKind::{Embedded, None};
        assert_eq!(what("--nats nats://a"), (None, String::new(), true));
        assert_eq!(what("--nats nats://a --listen [::1]:7"), (None, "[::1]:7".into(), true));
        assert_eq!(what("--nats nats://a --gateway embedded"), (Embedded, "127.0.0.1:8080".into(), true));
        assert_eq!(what("--gateway embedded --listen localhost:0"), (Embedded, "localhost:0".into(), false));
        let error = resolve("--gateway none", "").unwrap_err();
        assert!(error.starts_with("--gateway needs --nats"), "{error}");
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let file =
            "listen = \"127.0.0.1:1\"\nname = \"login\"\ndemo = true\nallow-origin = [\"https://a\", \"http://B:1\"]\n";
        let config = ok("--listen 127.0.0.1:2 --demo=false", file);
        assert_eq!(
            (config.listen.as_deref(), config.name.as_str(), config.demo),
            (Some("127.0.0.1:2"), "login", false)
        );
        let origins = AllowOrigin::List(vec!["https://a".into(), "http://b:1".into()]);
        assert_eq!(config.allow_origin, origins);
        assert_eq!(ok("--allow-origin https://a;http://b:1", "").allow_origin, origins);
        assert_eq!(ok("--allow-origin https://a;*", file).allow_origin, AllowOrigin::Any);
        assert_eq!(ok("--allow-origin NULL", "").allow_origin, AllowOrigin::List(vec!["null".into()]));
    }

    #[test]
    fn public_urls_are_origins_however_they_are_written() {
        let urls = |args: &str, file: &str| {
            ok(args, file).public_url.iter().map(url::Origin::ascii_serialization).collect::<Vec<_>>()
        };
        assert!(urls("", "").is_empty());
        assert_eq!(urls("--public-url HTTPS://Example.org:443/", ""), ["https://example.org"]);
        let several = ["https://xn--bcher-kva.example", "http://10.0.0.1:8080", "http://[2001:db8::1]"];
        let given = "https://bücher.example,http://10.0.0.1:8080 --public-url http://[2001:DB8:0::1]:80";
        assert_eq!(urls(&format!("--public-url {given}"), ""), several);
        assert_eq!(urls("", &format!("public-url = {several:?}")), several);
    }

    #[test]
    fn proxies_are_addresses_networks_and_this_machine() {
        let trusts = |args: &str, file: &str, ip: &str| ok(args, file).trusted_proxies.contain(ip.parse().unwrap());
        assert!(!trusts("", "", "127.0.0.1"));
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(trusts("--trusted-proxy loopback", "", ip), "{ip}");
        }
        let list = "trusted-proxy = [\"10.0.0.1\", \"fd00::/8,192.168.0.0/16\"]";
        for (ip, is_trusted) in
            [("10.0.0.1", true), ("10.0.0.2", false), ("fd12::1", true), ("192.168.9.1", true), ("127.0.0.1", false)]
        {
            assert_eq!(trusts("", list, ip), is_trusted, "{ip}");
            assert_eq!(trusts("--trusted-proxy 10.0.0.1;fd00::/8 --trusted-proxy 192.168.0.0/16", "", ip), is_trusted);
        }
        assert!(trusts("--trusted-proxy ::ffff:10.0.0.1", "", "10.0.0.1"));
    }

    #[test]
    fn default_lifetimes_adapt_to_those_given() {
        let times = |args: &str| {
            let Policy { key_lifetime, session_lifetime, refresh, .. } = ok(args, "").policy;
            (key_lifetime / 1000, session_lifetime / 1000, refresh as f64 / 1000.0)
        };
        const DAYS: u64 = 30 * 86_400;
        assert_eq!(times("--key-lifetime 3s"), (3, DAYS, 1.5));
        assert_eq!(times("--demo --key-lifetime 3s --refresh 2s"), (3, DAYS, 2.0));
        assert_eq!(times("--refresh 36h"), (72 * 3600, DAYS, 129_600.0));
        assert_eq!(times("--session-lifetime 1h"), (3600, 3600, 600.0));
        assert_eq!(times("--key-lifetime 60d"), (60 * 86_400, 60 * 86_400, 600.0));
        assert_eq!(times("--session-lifetime 5m"), (300, 300, 150.0));
    }

    #[test]
    fn invalid_options_are_refused_by_name_with_what_to_do() {
        for (args, file, expected) in [
            ("--refresh 5x", "", "--refresh \"5x\" is not a duration; write it like 90s, 10m, 24h or 30d"),
            ("", "refresh = \"5x\"", "FILE, line 1: refresh \"5x\" is not a duration"),
            ("--drain 5", "", "--drain \"5\" is not a duration; write it like 90s, 10m, 24h or 30d"),
            ("--refresh 0s", "", "--refresh \"0s\" is out of range"),
            ("--refresh 24h --key-lifetime 24h", "", "--refresh is not shorter than the key lifetime of 1day"),
            ("--key-lifetime 2h --session-lifetime 1h", "", "--key-lifetime is longer than the session lifetime of 1h"),
            ("--session-lifetime 1h", "key-lifetime = \"2h\"", "FILE, line 1: key-lifetime is longer"),
            ("--name a.b", "", "--name \"a.b\" is not one part of a resource name"),
            ("--name {cid}", "", "--name \"{cid}\" is not one part"),
            ("--name ticker --demo", "", "--name is the name of the counter of --demo"),
            ("--listen 8080", "", "--listen \"8080\" is not an address"),
            ("--listen localhost:99999", "", "--listen \"localhost:99999\" is not an address"),
            ("--store none", "", "--store \"none\" is not a valid value; expected sled, jetstream or memory"),
            ("--store jetstream --secret-file s", "", "--store needs --nats"),
            ("--secret-passphrase p", "", "--secret-passphrase needs --store jetstream"),
            (
                "--store jetstream --nats nats://a --secret-file s --secret-passphrase p",
                "",
                "--secret-passphrase does not go with --secret-file",
            ),
            (
                "--store jetstream --nats nats://a",
                "",
                "--store needs --secret-file or --secret-passphrase: sessions that outlive this machine",
            ),
            (
                "--store jetstream --nats nats://a --secret-file s --replicas 2",
                "",
                "--replicas \"2\" is not a valid value",
            ),
            (
                "--store jetstream --nats nats://a --secret-file s --bucket a.b",
                "",
                "--bucket \"a.b\" is not the name of a",
            ),
            (
                "--store jetstream --nats nats://a --secret-file s --name a+b",
                "",
                "--store \"relogin-a+b\" is not the name",
            ),
            ("--bucket b", "", "--bucket needs --store jetstream"),
            ("--store memory --replicas 3", "", "--replicas needs --store jetstream"),
            ("--gateway maybe", "", "--gateway \"maybe\" is not a valid value"),
            ("--allow-origin example.org", "", "--allow-origin \"example.org\" is not an origin"),
            ("--public-url example.org", "", "--public-url \"example.org\" is not the URL of a site"),
            ("--public-url https://a/chat", "", "--public-url \"https://a/chat\" is not the URL of a site"),
            ("--public-url https://a?b", "", "--public-url \"https://a?b\" is not the URL of a site"),
            ("--public-url https://a@b", "", "--public-url \"https://a@b\" is not the URL of a site"),
            ("--public-url wss://a", "", "--public-url \"wss://a\" is not the URL of a site"),
            ("--public-url https://a,", "", "--public-url \"\" is not the URL of a site"),
            ("--trusted-proxy 10.0.0.0/33", "", "--trusted-proxy \"10.0.0.0/33\" is not an address"),
            ("", "trusted-proxy = [\"loopback\", \"\"]", "FILE, line 1: trusted-proxy \"\" is not an address"),
            ("", "data = \"\"", "FILE, line 1: data is empty"),
            ("--demo=perhaps", "", "--demo \"perhaps\" is not a valid value"),
            ("--users nats:my.users", "", "--users needs --nats"),
            ("--audit-subject my.audit", "", "--audit-subject needs --nats"),
            ("--nats nats://a --audit-subject my.>", "", "--audit-subject \"my.>\" is not a subject"),
            ("--nats nats://a --users nats:my.>", "", "--users \"nats:my.>\" names no subject"),
            ("--users exec:", "", "--users \"exec:\" names no program"),
            ("", "users = \"exec:a 'b\"", "FILE, line 1: users \"exec:a 'b\" names no program"),
            ("--nats nats://a --nats-cert a.pem", "", "--nats-cert is of no use without --nats-key; give both"),
            ("--nats nats://a --nats-key a.key", "", "--nats-key is of no use without --nats-cert; give both"),
            ("--api-path api", "", "--api-path \"api\" is not the path of a URL; write it like /api/"),
            ("--ws-path /a?b", "", "--ws-path \"/a?b\" is not the path of a URL; write it like /api/"),
            ("--header-auth connect", "", "--header-auth \"connect\" is not a resource and a method; write"),
            ("--put-method a.b", "", "--put-method \"a.b\" is not a method; write it like set"),
            ("--api-encoding xml", "", "--api-encoding \"xml\" is not a valid value; expected json or jsonflat"),
            ("--key-format pem", "", "--key-format \"pem\" is not a valid value; expected opaque or jwt"),
            ("", "key-issuer = \"\"", "FILE, line 1: key-issuer must have 1 to 256 characters"),
            ("--throttle maybe", "", "--throttle \"maybe\" is not a valid value; expected all, user or off"),
            ("--cookie off --cookie-session", "", "--cookie-session needs --cookie use or require"),
            ("--cookie maybe", "", "--cookie \"maybe\" is not a valid value; expected require, use or off"),
            ("--password-cost 3", "", "--password-cost \"3\" is not of the form m=19456,t=2,p=1"),
            (
                "",
                "password-cost = \"m=1,t=1,p=1\"",
                "FILE, line 1: password-cost \"m=1,t=1,p=1\" is below Argon2's minimum",
            ),
            (
                "--password-min-length 7",
                "",
                "--password-min-length \"7\" is not a length for passwords; write a number",
            ),
            ("", "password-min-length = 65", "FILE, line 1: password-min-length \"65\" is not a length"),
            ("--log inof", "", "--log \"inof\" is not a log filter, because \"inof\" is neither a level nor a part"),
            ("--log relogin=loud", "", "--log \"relogin=loud\" is not a log filter"),
            ("", "refresh-in = \"5m\"", "FILE, line 1: unknown field `refresh-in`, expected one of"),
            ("", "name = \"a\"\nrefresh = 5", "FILE, line 2: refresh: invalid type: integer `5`, expected a string"),
            ("", "name = ", "FILE, line 1: "),
            ("", "demo = \"yes\"", "FILE, line 1: demo: invalid type: string \"yes\", expected a boolean"),
        ] {
            let error = resolve(args, file).unwrap_err();
            assert!(error.starts_with(expected), "{args} {file}\n  says {error}\n  and not {expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_not_shown() {
        let error = resolve("--nats http://joe:hunter2@", "").unwrap_err();
        assert!(error.starts_with("--nats is not a NATS address"), "{error}");
        let config = ok("--nats nats://joe:hunter2@host", "");
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = resolve("", "nats = [\"nats://joe:hunter2@host\"]").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

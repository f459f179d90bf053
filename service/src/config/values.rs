//! Parses the values of options, and says what is wrong with invalid ones. Must not know where they
//! were given.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::Duration,
};

use humantime::format_duration;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use relogin_bus::check_subject;
use relogin_res::rid::is_part;
use relogin_store::jetstream::Replicas;
use relogin_users::{
    cost::{Cost, CostError},
    password_rules::PasswordRules,
};

use crate::{
    app::{config::UsersSource, store::StoreName},
    audit::AuditTarget,
    auth::{CookieKind, ThrottleKind},
    client_address::TrustedProxies,
    origins::{AllowOrigin, parse_public_url},
    signing::KeyFormat,
};

/// What is wrong with an option's value, and what to write instead: the rest of a sentence that
/// starts with the option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not a duration.
    Lifetime(String),
    /// Zero, or too large.
    LifetimeOutOfRange(String),
    /// A key would outlive its session.
    LongerThanTheSession(u64),
    /// A key would expire before its refresh.
    NoShorterThanTheKey(u64),
    /// Not an address to listen on.
    Listen(String),
    /// Not a path.
    EmptyPath,
    /// Not one of the valid values.
    Choice(String, &'static str),
    /// Not one part of a resource name.
    Name(String),
    /// Not the path of a URL.
    UrlPath(String),
    /// Not a resource and a method.
    Method(String),
    /// Not a method.
    MethodPart(String),
    /// The name of the demo's own resource.
    NameOfTheDemo,
    /// Not the origin of a page.
    Origin(String),
    /// Not a URL that a browser could open.
    PublicUrl(String),
    /// Not an address or a network of proxies.
    TrustedProxy(String),
    /// Not a positive number.
    Count(String),
    /// Not a NATS address. Not shown, because it may contain a password.
    Nats,
    /// Not a collector of traces. Not shown, because it may contain a password.
    Collector,
    /// Neither a gateway nor NATS.
    NobodyCouldReachIt,
    /// A certificate without its key, or the other way around: what is missing.
    NeedsOther(&'static str),
    /// Needs NATS.
    NeedsNats,
    /// A bucket of JetStream, without `--store jetstream`.
    NeedsJetStream,
    /// Sessions in JetStream, but no secret that outlives the machine.
    NeedsSecretFile,
    /// Secrets in a file, and in a bucket.
    TwoSecrets,
    /// Not the name of a bucket.
    Bucket(String),
    /// There is no socket by which to ask the service.
    NoControlSocket,
    /// Keys in cookies, but cookies are off.
    NeedsCookies,
    /// Not a subject.
    Subject(String),
    /// Not a subject of a users service.
    UsersSubject(PathBuf),
    /// Not a users program.
    UsersProgram(PathBuf),
    /// Not a file, so it cannot be edited here.
    UsersAreNoFile,
    /// Not a cost of password hashes.
    Cost(String, CostError),
    /// Not a number of characters that can be asked for.
    PasswordLength(String),
    /// Empty, or too long for each key to carry.
    Claim,
    /// Not a filter for logs.
    Log(String),
    /// A filter with a part of the program that does not exist.
    LogPart(String, String),
}

/// An address to listen on.
///
/// # Errors
/// [`Problem::Listen`] if it is none.
pub fn listen(text: String) -> Result<String, Problem> {
    let is_address = text.rsplit_once(':').is_some_and(|(host, port)| {
        // An IPv6 address needs its brackets; otherwise its last part would be taken for the port.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        !host.is_empty() && port.parse::<u16>().is_ok()
    });
    if is_address { Ok(text) } else { Err(Problem::Listen(text)) }
}

pub(super) fn nats(text: String) -> Result<String, Problem> {
    let is_url = |url: &str| url.trim().parse::<async_nats::ServerAddr>().is_ok_and(|url| !url.host().is_empty());
    if text.split(',').all(is_url) { Ok(text) } else { Err(Problem::Nats) }
}

pub(super) fn count(text: String) -> Result<usize, Problem> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(Problem::Count(text)),
    }
}

pub(super) fn path(path: PathBuf) -> Result<PathBuf, Problem> {
    if path.as_os_str().is_empty() { Err(Problem::EmptyPath) } else { Ok(path) }
}

/// A path; none for `off`.
pub(super) fn control_socket(text: PathBuf) -> Result<Option<PathBuf>, Problem> {
    if text.as_os_str() == "off" { Ok(None) } else { path(text).map(Some) }
}

pub(super) fn store(text: String) -> Result<StoreName, Problem> {
    StoreName::parse(&text).ok_or(Problem::Choice(text, StoreName::CHOICES))
}

pub(super) fn bucket(text: String) -> Result<String, Problem> {
    let is_valid = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if is_valid { Ok(text) } else { Err(Problem::Bucket(text)) }
}

/// On how many servers a bucket is kept.
///
/// # Errors
/// [`Problem::Choice`] if it is another number.
pub fn replicas(text: String) -> Result<Replicas, Problem> {
    match text.as_str() {
        "1" => Ok(Replicas::One),
        "3" => Ok(Replicas::Three),
        "5" => Ok(Replicas::Five),
        _ => Err(Problem::Choice(text, "1, 3 or 5")),
    }
}

pub(super) fn name(text: String) -> Result<String, Problem> {
    // Braces belong to the {cid} tag: a name with them would mean a different resource on every
    // connection.
    if is_part(&text) && !text.contains(['{', '}']) { Ok(text) } else { Err(Problem::Name(text)) }
}

pub(super) fn lifetime(text: String) -> Result<u64, Problem> {
    let Ok(duration) = humantime::parse_duration(&text) else { return Err(Problem::Lifetime(text)) };
    match u64::try_from(duration.as_millis()) {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => Err(Problem::LifetimeOutOfRange(text)),
    }
}

/// A time; none for `off`.
pub(super) fn revoke_within(text: String) -> Result<Option<u64>, Problem> {
    if text == "off" { Ok(None) } else { lifetime(text).map(Some) }
}

/// A time that may be zero.
pub(super) fn wait(text: String) -> Result<Duration, Problem> {
    humantime::parse_duration(&text).map_err(|_| Problem::Lifetime(text))
}

pub(super) fn users(text: PathBuf) -> Result<UsersSource, Problem> {
    let form = text.to_str().unwrap_or_default();
    if let Some(subject) = form.strip_prefix("nats:") {
        let is_subject = check_subject(subject).is_ok();
        return if is_subject { Ok(UsersSource::Nats(subject.to_owned())) } else { Err(Problem::UsersSubject(text)) };
    }
    if let Some(command) = form.strip_prefix("exec:") {
        let mut words = shlex::split(command).unwrap_or_default().into_iter();
        return match words.next().filter(|program| !program.is_empty()) {
            Some(program) => Ok(UsersSource::Exec(program, words.collect())),
            None => Err(Problem::UsersProgram(text)),
        };
    }
    Ok(UsersSource::File { path: path(text)?, is_default: false })
}

pub(super) fn audit(text: PathBuf) -> Result<AuditTarget, Problem> {
    if text.as_os_str() == "-" { Ok(AuditTarget::Stdout) } else { path(text).map(AuditTarget::File) }
}

pub(super) fn subject(text: String) -> Result<String, Problem> {
    if check_subject(&text).is_ok() { Ok(text) } else { Err(Problem::Subject(text)) }
}

pub(super) fn password_cost(text: String) -> Result<Cost, Problem> {
    text.parse().map_err(|error| Problem::Cost(text, error))
}

pub(super) fn password_rules(text: String) -> Result<PasswordRules, Problem> {
    text.parse().ok().and_then(PasswordRules::new).ok_or(Problem::PasswordLength(text))
}

pub(super) fn throttle(text: String) -> Result<ThrottleKind, Problem> {
    match text.as_str() {
        "all" => Ok(ThrottleKind::All),
        "user" => Ok(ThrottleKind::User),
        "off" => Ok(ThrottleKind::Off),
        _ => Err(Problem::Choice(text, "all, user or off")),
    }
}

pub(super) fn key_format(text: String) -> Result<KeyFormat, Problem> {
    match text.as_str() {
        "opaque" => Ok(KeyFormat::Opaque),
        "jwt" => Ok(KeyFormat::Jwt),
        _ => Err(Problem::Choice(text, "opaque or jwt")),
    }
}

/// A claim that each key carries.
pub(super) fn claim(text: String) -> Result<String, Problem> {
    if (1..=MAX_CLAIM).contains(&text.chars().count()) { Ok(text) } else { Err(Problem::Claim) }
}

/// The longest text that each key may carry, in characters.
const MAX_CLAIM: usize = 256;

pub(super) fn cookie(text: String) -> Result<CookieKind, Problem> {
    match text.as_str() {
        "require" => Ok(CookieKind::Require),
        "use" => Ok(CookieKind::Use),
        "off" => Ok(CookieKind::Off),
        _ => Err(Problem::Choice(text, "require, use or off")),
    }
}

pub(super) fn allow_origin(lists: Vec<String>) -> Result<AllowOrigin, Problem> {
    let mut origins = Vec::new();
    for list in lists {
        for text in list.split(';').map(str::trim) {
            if text == "*" {
                return Ok(AllowOrigin::Any);
            }
            let is_origin = text.eq_ignore_ascii_case("null")
                || text.split_once("://").is_some_and(|(scheme, host)| {
                    !scheme.is_empty() && !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace())
                });
            if !is_origin {
                return Err(Problem::Origin(text.to_owned()));
            }
            origins.push(text.to_ascii_lowercase());
        }
    }
    Ok(AllowOrigin::List(origins))
}

pub(super) fn public_url(lists: Vec<String>) -> Result<Vec<url::Origin>, Problem> {
    let mut urls = Vec::new();
    for list in lists {
        for text in list.split([',', ';']).map(str::trim) {
            urls.push(parse_public_url(text).ok_or_else(|| Problem::PublicUrl(text.to_owned()))?);
        }
    }
    Ok(urls)
}

/// Networks, single addresses, and `loopback`.
pub(super) fn trusted_proxies(lists: Vec<String>) -> Result<TrustedProxies, Problem> {
    let mut networks = Vec::new();
    for list in lists {
        for text in list.split([',', ';']).map(str::trim) {
            let address = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
            match text.parse::<IpNet>().ok().or_else(|| address().ok()) {
                Some(network) => networks.push(network),
                None if text.eq_ignore_ascii_case("loopback") => networks.extend(LOOPBACK),
                None => return Err(Problem::TrustedProxy(text.to_owned())),
            }
        }
    }
    Ok(TrustedProxies::new(networks))
}

const LOOPBACK: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
];

pub(super) fn yes_or_no(text: String) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Problem::Choice(text, "true or false")),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: &u64| format_duration(Duration::from_millis(*ms));
        match self {
            Self::Lifetime(text) => write!(f, "{text:?} is not a duration; write it like 90s, 10m, 24h or 30d"),
            Self::LifetimeOutOfRange(text) => {
                write!(f, "{text:?} is out of range; it must be at least a millisecond and less than 500 million years")
            }
            Self::Count(text) => write!(f, "{text:?} is not a positive number; write it like 10000"),
            Self::LongerThanTheSession(session) => {
                write!(
                    f,
                    "is longer than the session lifetime of {}; make it shorter, or the session's longer",
                    time(session)
                )
            }
            Self::NoShorterThanTheKey(key) => {
                write!(f, "is not shorter than the key lifetime of {}; make it shorter, or the key's longer", time(key))
            }
            Self::Listen(text) => write!(f, "{text:?} is not an address to listen on; write it like 127.0.0.1:8080"),
            Self::UrlPath(text) => write!(f, "{text:?} is not the path of a URL; write it like /api/"),
            Self::Method(text) => {
                write!(f, "{text:?} is not a resource and a method; write them like session.connect")
            }
            Self::MethodPart(text) => write!(f, "{text:?} is not a method; write it like set"),
            Self::NeedsOther(other) => write!(f, "is of no use without {other}; give both"),
            Self::EmptyPath => f.write_str("is empty; write a path, or leave the option out"),
            Self::Choice(text, choices) => write!(f, "{text:?} is not a valid value; expected {choices}"),
            Self::Name(text) => write!(
                f,
                "{text:?} is not one part of a resource name; use letters, digits, - and _ without dots or spaces"
            ),
            Self::NameOfTheDemo => f.write_str("is the name of the counter of --demo; choose another name"),
            Self::Origin(text) => {
                write!(f, "{text:?} is not an origin; write it like https://example.org, or * for all")
            }
            Self::PublicUrl(text) => write!(
                f,
                "{text:?} is not the URL of a site; write it like https://example.org or http://10.0.0.1:8080, without a path"
            ),
            Self::TrustedProxy(text) => {
                write!(f, "{text:?} is not an address; write it like 10.0.0.1, 10.0.0.0/8, fd00::/8 or loopback")
            }
            Self::Nats => f.write_str("is not a NATS address; write it like nats://127.0.0.1:4222"),
            Self::Collector => f.write_str("is not a collector reached by http; write it like http://127.0.0.1:4318"),
            Self::NobodyCouldReachIt => {
                f.write_str("needs --nats: without a gateway and without NATS the service cannot be reached")
            }
            Self::NeedsNats => f.write_str("needs --nats"),
            Self::NeedsJetStream => f.write_str("needs --store jetstream"),
            Self::NeedsSecretFile => f.write_str(
                "needs --secret-file or --secret-passphrase: sessions that outlive this machine need a secret that \
                     does, too",
            ),
            Self::TwoSecrets => f.write_str("does not go with --secret-file; use one of them"),
            Self::Bucket(text) => {
                write!(
                    f,
                    "{text:?} is not the name of a bucket: use letters, digits, - and _, or choose another with --bucket"
                )
            }
            Self::NoControlSocket => f.write_str("is off: the service cannot be asked"),
            Self::NeedsCookies => f.write_str("needs --cookie use or require"),
            Self::Subject(text) => write!(f, "{text:?} is not a subject; write it like my.audit"),
            Self::UsersSubject(text) => write!(f, "{text:?} names no subject; write it like nats:my.users"),
            Self::UsersProgram(text) => {
                write!(
                    f,
                    "{text:?} names no program; write it like exec:/usr/local/bin/users --some option, with quotes where a shell needs them"
                )
            }
            Self::UsersAreNoFile => f.write_str("does not name a file; edit these users where they are kept"),
            Self::Cost(text, error) => write!(f, "{text:?} {error}"),
            Self::PasswordLength(text) => write!(
                f,
                "{text:?} is not a length for passwords; write a number from {} to {}",
                PasswordRules::LEAST,
                PasswordRules::MOST
            ),
            Self::Claim => write!(f, "must have 1 to {MAX_CLAIM} characters"),
            Self::LogPart(text, part) => write!(
                f,
                "{text:?} is not a log filter, because {part:?} is neither a level nor a part of the program; write error, warn, info, debug or trace, or PART=LEVEL as in relogin_gateway=debug"
            ),
            Self::Log(text) => write!(f, "{text:?} is not a log filter; write error, warn, info, debug or trace"),
        }
    }
}

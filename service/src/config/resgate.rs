//! Reads the configuration file of Resgate 1.8 for `relogin gateway`: each of its options is taken
//! over, or refused with the reason. Must not start anything.

use std::{fs, path::Path, time::Duration};

use relogin_bus::nats::NatsConfig;
use relogin_gateway::{Encoding, HttpApi, Methods};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    ConfigError, DEFAULT_DRAIN, gateway,
    values::{self, Problem},
};
use crate::{
    app::config::{GatewayConfig, Listening},
    client_address::TrustedProxies,
    http::TlsFiles,
    origins::AllowOrigin,
};

/// The options of Resgate: those of its own `Config` and of its program's. Their names are read in
/// upper and lower case, as Resgate does.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Resgate {
    natsurl: Option<String>,
    natscreds: Option<String>,
    natscert: Option<String>,
    natskey: Option<String>,
    natsrootcas: Option<Vec<String>>,
    requesttimeout: Option<u64>,
    buffersize: Option<u64>,
    debug: Option<bool>,
    trace: Option<bool>,
    addr: Option<String>,
    port: Option<u16>,
    wspath: Option<String>,
    apipath: Option<String>,
    metricsport: Option<u16>,
    apiencoding: Option<String>,
    headerauth: Option<String>,
    wsheaderauth: Option<String>,
    alloworigin: Option<String>,
    putmethod: Option<String>,
    deletemethod: Option<String>,
    patchmethod: Option<String>,
    tls: Option<bool>,
    certfile: Option<String>,
    keyfile: Option<String>,
    wscompression: Option<bool>,
    resetthrottle: Option<usize>,
    referencethrottle: Option<usize>,
}

/// Resgate's own defaults.
const NATS: &str = "nats://127.0.0.1:4222";
const ADDR: &str = "0.0.0.0";
const PORT: u16 = 8080;
const WS_PATH: &str = "/";
const BUFFER_SIZE: u64 = 8192;
const REQUEST_TIMEOUT: u64 = 3000;

/// Up to here, a time is taken for seconds, as Resgate does for the sake of old files.
const SECONDS: u64 = 10;

/// What a gateway does according to Resgate's configuration file.
///
/// # Errors
/// [`ConfigError`] if the file cannot be read, or an option cannot be taken over.
pub(super) fn resgate(path: &Path) -> Result<GatewayConfig, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let options = parse(&text).map_err(|(line, message)| ConfigError::File { path: path.to_owned(), line, message })?;
    options.resolve().map_err(|(option, reason)| ConfigError::Resgate { path: path.to_owned(), option, reason })
}

/// Or the line and what is wrong there.
fn parse(text: &str) -> Result<Resgate, (usize, String)> {
    // The parser's own words, without the place that it adds to them, and without the text, which
    // may contain a password.
    let words = |error: &serde_json::Error| {
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or_default().to_owned()
    };
    let members: Map<String, Value> = serde_json::from_str(text).map_err(|error| (error.line(), words(&error)))?;
    let mut lower = Map::new();
    for (name, value) in members {
        let line = text.find(&format!("\"{name}\"")).map_or(1, |at| text[..at].matches('\n').count() + 1);
        let one = Map::from_iter([(name.to_ascii_lowercase(), value.clone())]);
        if let Err(error) = serde_json::from_value::<Resgate>(one.into()) {
            let unknown = error.to_string().starts_with("unknown field");
            let reason = if unknown { "Resgate has no such option".to_owned() } else { words(&error) };
            return Err((line, format!("{name}: {reason}")));
        }
        lower.insert(name.to_ascii_lowercase(), value);
    }
    serde_json::from_value(lower.into()).map_err(|error| (1, words(&error)))
}

/// Or an option that cannot be taken over, and the rest of a sentence that begins with it.
type Resolved<T> = Result<T, (&'static str, String)>;

/// A value that is read like one of our options. An empty text counts as not given.
fn read<T>(
    name: &'static str,
    text: Option<String>,
    read: impl Fn(String) -> Result<T, Problem>,
) -> Resolved<Option<T>> {
    let text = text.filter(|text| !text.is_empty());
    text.map(read).transpose().map_err(|problem| (name, problem.to_string()))
}

impl Resgate {
    fn resolve(self) -> Resolved<GatewayConfig> {
        let nothing = |name, why: &str| Err((name, why.to_owned()));
        if self.buffersize.is_some_and(|size| size != 0 && size != BUFFER_SIZE) {
            return nothing(
                "bufferSize",
                "counts messages, and here what waits for the gateway is bounded in bytes (64 MiB): leave it out",
            );
        }
        let mut cas = self.natsrootcas.unwrap_or_default();
        if cas.len() > 1 {
            return nothing("natsRootCAs", "names several files, and one is read here: put all certificates into it");
        }
        let certificate = match (read("natsCert", self.natscert, path)?, read("natsKey", self.natskey, path)?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return nothing("natsCert", "is of no use without natsKey: give both"),
            (None, Some(_)) => return nothing("natsKey", "is of no use without natsCert: give both"),
        };
        let nats = NatsConfig {
            url: read("natsUrl", self.natsurl, values::nats)?.unwrap_or_else(|| NATS.to_owned()),
            credentials: read("natsCreds", self.natscreds, path)?,
            ca: read("natsRootCAs", cas.pop(), path)?,
            certificate,
        };
        let host = match self.addr.as_deref() {
            None => ADDR.to_owned(),
            // All addresses of the machine.
            Some("") => "[::]".to_owned(),
            Some(text) => match text.parse() {
                Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
                Ok(std::net::IpAddr::V4(ip)) => ip.to_string(),
                Err(_) => return nothing("addr", "is not an IP address: write it like 127.0.0.1 or ::1"),
            },
        };
        let port = self.port.filter(|port| *port != 0).unwrap_or(PORT);
        let metrics = self.metricsport.filter(|port| *port != 0);
        if metrics == Some(port) {
            return nothing("metricsPort", "is the port of the clients: choose another");
        }
        let files = (read("certFile", self.certfile, path)?, read("keyFile", self.keyfile, path)?);
        let tls = match (self.tls.unwrap_or_default(), files) {
            (false, _) => None,
            (true, (Some(certificate), Some(key))) => Some(TlsFiles { certificate, key }),
            (true, _) => return nothing("tls", "needs certFile and keyFile"),
        };
        let listening = Listening {
            listen: Some(format!("{host}:{port}")),
            tls,
            metrics: metrics.map(|port| format!("{host}:{port}")),
            // All hosts are its own, as with Resgate.
            has_public_url: true,
        };
        let api = HttpApi {
            path: read("apiPath", self.apipath, gateway::url_folder)?.unwrap_or_else(|| HttpApi::default().path),
            encoding: read("apiEncoding", self.apiencoding, gateway::encoding)?.unwrap_or(Encoding::Json),
            methods: Methods {
                put: read("putMethod", self.putmethod, gateway::method_part)?,
                patch: read("patchMethod", self.patchmethod, gateway::method_part)?,
                delete: read("deleteMethod", self.deletemethod, gateway::method_part)?,
            },
        };
        let timeout = self.requesttimeout.filter(|timeout| *timeout != 0).unwrap_or(REQUEST_TIMEOUT);
        let timeout = if timeout <= SECONDS { timeout * 1000 } else { timeout };
        let throttle = |count: Option<usize>| count.filter(|count| *count > 0);
        let options = relogin_gateway::Options {
            ws_header_auth: read("wsHeaderAuth", self.wsheaderauth, gateway::method)?,
            ws_compression: self.wscompression.unwrap_or_default(),
            header_auth: read("headerAuth", self.headerauth, gateway::method)?,
            api,
            request_timeout: Some(Duration::from_millis(timeout)),
            reset_throttle: throttle(self.resetthrottle),
            reference_throttle: throttle(self.referencethrottle),
        };
        let allow_origin = read("allowOrigin", self.alloworigin, |text| values::allow_origin(vec![text]))?;
        let level = match (self.debug.unwrap_or_default(), self.trace.unwrap_or_default()) {
            (_, true) => Some("trace"),
            (true, false) => Some("debug"),
            (false, false) => None,
        };
        Ok(GatewayConfig {
            listening,
            nats,
            options,
            ws_paths: vec![read("wsPath", self.wspath, gateway::url_path)?.unwrap_or_else(|| WS_PATH.to_owned())],
            allow_origin: allow_origin.unwrap_or(AllowOrigin::Any),
            trusted_proxies: TrustedProxies::default(),
            max_connections: None,
            // Whoever replaces Resgate has as many connections from one address as before.
            max_connections_per_address: Some(usize::MAX),
            drain: DEFAULT_DRAIN,
            log: level.map(str::to_owned),
        })
    }
}

fn path(text: String) -> Result<std::path::PathBuf, Problem> {
    values::path(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Resgate 1.8 writes when there is no file.
    const DEFAULT: &str = r#"{
	"natsUrl": "nats://127.0.0.1:4222",
	"natsCreds": "",
	"natsCert": "",
	"natsKey": "",
	"natsRootCAs": [],
	"requestTimeout": 3000,
	"bufferSize": 8192,
	"debug": false,
	"trace": false,
	"addr": "0.0.0.0",
	"port": 8080,
	"wsPath": "/",
	"apiPath": "/api",
	"metricsPort": 0,
	"apiEncoding": "json",
	"headerAuth": null,
	"wsHeaderAuth": null,
	"allowOrigin": "*",
	"putMethod": null,
	"deleteMethod": null,
	"patchMethod": null,
	"tls": false,
	"certFile": "",
	"keyFile": "",
	"wsCompression": false,
	"resetThrottle": 0,
	"referenceThrottle": 0
}"#;

    fn resolve(text: &str) -> Result<GatewayConfig, String> {
        let options = parse(text).map_err(|(line, message)| format!("line {line}: {message}"))?;
        options.resolve().map_err(|(option, problem)| format!("{option} {problem}"))
    }

    fn shown(text: &str) -> String {
        format!("{:?}", resolve(text).unwrap())
    }

    #[test]
    fn without_options_it_is_as_in_the_file_that_resgate_writes() {
        assert_eq!(shown("{}"), shown(DEFAULT));
        let config = resolve("{}").unwrap();
        assert_eq!(config.listening.listen.as_deref(), Some("0.0.0.0:8080"));
        assert_eq!((config.allow_origin, config.ws_paths), (AllowOrigin::Any, vec!["/".to_owned()]));
        assert_eq!(config.nats.url, "nats://127.0.0.1:4222");
        assert_eq!((config.options.api.path.as_str(), config.log), ("/api/", None));
        assert_eq!(config.options.request_timeout, Some(Duration::from_secs(3)));
    }

    #[test]
    fn each_option_is_taken_over() {
        let default = shown("{}");
        for (option, expected) in [
            (r#""natsUrl": "nats://a:1""#, "nats://a:1"),
            (r#""natsCreds": "a.creds""#, "credentials: Some(\"a.creds\")"),
            (r#""natsCert": "a.pem", "natsKey": "b.pem""#, "certificate: Some((\"a.pem\", \"b.pem\"))"),
            (r#""natsRootCAs": ["ca.pem"]"#, "ca: Some(\"ca.pem\")"),
            (r#""requestTimeout": 1500"#, "request_timeout: Some(1.5s)"),
            // In seconds, by old files.
            (r#""requestTimeout": 5"#, "request_timeout: Some(5s)"),
            (r#""debug": true"#, "log: Some(\"debug\")"),
            (r#""trace": true"#, "log: Some(\"trace\")"),
            (r#""addr": "127.0.0.1""#, "listen: Some(\"127.0.0.1:8080\")"),
            (r#""addr": "::1""#, "listen: Some(\"[::1]:8080\")"),
            (r#""addr": """#, "listen: Some(\"[::]:8080\")"),
            (r#""port": 81"#, "listen: Some(\"0.0.0.0:81\")"),
            // Resgate reads names in any case.
            (r#""PORT": 82"#, "listen: Some(\"0.0.0.0:82\")"),
            (r#""wsPath": "/socket""#, "ws_paths: [\"/socket\"]"),
            (r#""apiPath": "/rest""#, "path: \"/rest/\""),
            (r#""metricsPort": 8090"#, "metrics: Some(\"0.0.0.0:8090\")"),
            (r#""apiEncoding": "jsonFlat""#, "encoding: JsonFlat"),
            (r#""headerAuth": "a.b.login""#, " header_auth: Some(\"a.b.login\")"),
            (r#""wsHeaderAuth": "a.login""#, "ws_header_auth: Some(\"a.login\")"),
            (r#""allowOrigin": "https://a;https://b""#, "allow_origin: List([\"https://a\", \"https://b\"])"),
            (r#""putMethod": "set""#, "put: Some(\"set\")"),
            (r#""deleteMethod": "remove""#, "delete: Some(\"remove\")"),
            (r#""patchMethod": "update""#, "patch: Some(\"update\")"),
            (
                r#""tls": true, "certFile": "a.pem", "keyFile": "b.pem""#,
                "TlsFiles { certificate: \"a.pem\", key: \"b.pem\" }",
            ),
            (r#""wsCompression": true"#, "ws_compression: true"),
            (r#""resetThrottle": 8"#, "reset_throttle: Some(8)"),
            (r#""referenceThrottle": 9"#, "reference_throttle: Some(9)"),
        ] {
            let config = shown(&format!("{{{option}}}"));
            assert!(config.contains(expected) && !default.contains(expected), "{option}: {config}");
        }
    }

    #[test]
    fn what_cannot_be_taken_over_is_refused_with_the_reason() {
        for (text, expected) in [
            (r#"{"bufferSize": 1}"#, "bufferSize counts messages, and here"),
            (r#"{"natsRootCAs": ["a", "b"]}"#, "natsRootCAs names several files, and one is read here"),
            (r#"{"natsCert": "a"}"#, "natsCert is of no use without natsKey: give both"),
            (r#"{"natsKey": "a"}"#, "natsKey is of no use without natsCert: give both"),
            (
                r#"{"natsUrl": "nats://joe:hunter2@"}"#,
                "natsUrl is not a NATS address; write it like nats://127.0.0.1:4222",
            ),
            (r#"{"addr": "localhost"}"#, "addr is not an IP address: write it like 127.0.0.1 or ::1"),
            (r#"{"metricsPort": 8080}"#, "metricsPort is the port of the clients: choose another"),
            (r#"{"tls": true, "certFile": "a"}"#, "tls needs certFile and keyFile"),
            (r#"{"wsPath": "a"}"#, "wsPath \"a\" is not the path of a URL; write it like /api/"),
            (r#"{"headerAuth": "login"}"#, "headerAuth \"login\" is not a resource and a method"),
            (r#"{"putMethod": "a.b"}"#, "putMethod \"a.b\" is not a method; write it like set"),
            (r#"{"apiEncoding": "xml"}"#, "apiEncoding \"xml\" is not a valid value; expected json or jsonflat"),
            (r#"{"allowOrigin": "a"}"#, "allowOrigin \"a\" is not an origin"),
            ("{\n\"port\": 1,\n\"prot\": 2}", "line 3: prot: Resgate has no such option"),
            ("{\n\"port\": \"80\"}", "line 2: port: invalid type: string \"80\", expected u16"),
            ("{\"port\": 1", "line 1: EOF while parsing an object"),
        ] {
            let error = resolve(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

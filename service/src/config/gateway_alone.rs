//! The options of `relogin gateway`: those on the command line and in the environment, and below
//! them Resgate's configuration file or relogin.toml. Must not start anything.

use std::path::Path;

use relogin_bus::nats::NatsConfig;

use super::{
    ConfigError, DEFAULT_DRAIN, DEFAULT_LISTEN, DEFAULT_WS_PATHS, Layers, certificate_for_nats, gateway_options,
    layers::Given, origin::Value, resgate, tls_files,
};
use crate::{
    app::config::{GatewayConfig, Listening},
    client_address::TrustedProxies,
    origins::AllowOrigin,
};

/// Resolves the options of `relogin gateway`. With a configuration file of Resgate, its defaults
/// hold, and relogin.toml is not read.
///
/// # Errors
/// [`ConfigError`] if a file cannot be used, an option is invalid, or there is no NATS.
pub fn gateway_alone(layers: Layers, resgate_file: Option<&Path>) -> Result<GatewayConfig, ConfigError> {
    match resgate_file {
        Some(file) => over(&layers.without_file(), resgate(file)?),
        None => {
            let options = layers.read()?;
            let url = options.nats()?.ok_or(ConfigError::NoNats)?.value;
            over(&options, defaults(url))
        }
    }
}

fn defaults(url: String) -> GatewayConfig {
    GatewayConfig {
        // It may be reached by any name.
        listening: Listening { listen: Some(DEFAULT_LISTEN.to_owned()), has_public_url: true, ..Listening::default() },
        nats: NatsConfig { url, credentials: None, ca: None, certificate: None },
        options: relogin_gateway::Options::default(),
        ws_paths: DEFAULT_WS_PATHS.map(str::to_owned).into(),
        allow_origin: AllowOrigin::default(),
        trusted_proxies: TrustedProxies::default(),
        max_connections: None,
        max_connections_per_address: None,
        drain: DEFAULT_DRAIN,
        log: None,
    }
}

/// The options that are given, and what `below` says of the others.
fn over(options: &Given, below: GatewayConfig) -> Result<GatewayConfig, ConfigError> {
    let GatewayConfig { listening, nats, .. } = below;
    Ok(GatewayConfig {
        listening: Listening {
            listen: value(options.listen()?).or(listening.listen),
            tls: tls_files(options)?.or(listening.tls),
            metrics: value(options.metrics_listen()?).or(listening.metrics),
            has_public_url: listening.has_public_url,
        },
        nats: NatsConfig {
            url: value(options.nats()?).unwrap_or(nats.url),
            credentials: value(options.nats_creds()?).or(nats.credentials),
            ca: value(options.nats_ca()?).or(nats.ca),
            certificate: certificate_for_nats(options)?.or(nats.certificate),
        },
        options: gateway_options(options, below.options)?,
        ws_paths: value(options.ws_path()?).map_or(below.ws_paths, |path| vec![path]),
        allow_origin: value(options.allow_origin()?).unwrap_or(below.allow_origin),
        trusted_proxies: value(options.trusted_proxy()?).unwrap_or(below.trusted_proxies),
        max_connections: value(options.max_connections()?).or(below.max_connections),
        max_connections_per_address: value(options.max_connections_per_address()?)
            .or(below.max_connections_per_address),
        drain: value(options.drain()?).unwrap_or(below.drain),
        log: value(options.log()?).or(below.log),
    })
}

fn value<T>(given: Option<Value<T>>) -> Option<T> {
    given.map(|given| given.value)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Options;

    const RESGATE: &str = r#"{"natsUrl": "nats://file:1", "natsCert": "file.pem", "natsKey": "file.key", "port": 81,
        "metricsPort": 82, "tls": true, "certFile": "file.pem", "keyFile": "file.key", "wsPath": "/file",
        "apiPath": "/file", "apiEncoding": "jsonflat", "headerAuth": "file.a", "wsHeaderAuth": "file.b",
        "putMethod": "file", "patchMethod": "file", "deleteMethod": "file", "requestTimeout": 1000,
        "resetThrottle": 3, "referenceThrottle": 4, "debug": true, "allowOrigin": "https://file.example"}"#;

    fn resolve(options: Options, resgate: Option<&str>) -> Result<GatewayConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resgate.json");
        fs::write(&file, resgate.unwrap_or_default()).unwrap();
        let config = folder.path().join("relogin.toml");
        fs::write(&config, "nats = \"nats://toml:1\"\nname = \"other\"\ndrain = \"7s\"").unwrap();
        let layers = Layers { given: options, config: Some(config), ..Layers::default() };
        gateway_alone(layers, resgate.map(|_| file.as_path()))
    }

    /// Each of its options on the command line.
    fn all() -> Options {
        let text = |text: &str| Some(text.to_owned());
        Options {
            listen: text("127.0.0.1:0"),
            tls_cert: Some("given.pem".into()),
            tls_key: Some("given.key".into()),
            metrics_listen: text("127.0.0.1:1"),
            nats: text("nats://given:1"),
            nats_creds: Some("given.creds".into()),
            nats_ca: Some("given.ca".into()),
            nats_cert: Some("given.pem".into()),
            nats_key: Some("given.key".into()),
            allow_origin: Some(vec!["https://given.example".into()]),
            trusted_proxy: Some(vec!["10.0.0.0/8".into()]),
            ws_path: text("/given"),
            ws_header_auth: text("given.b"),
            ws_compression: text("true"),
            api_path: text("/given"),
            api_encoding: text("json"),
            header_auth: text("given.a"),
            put_method: text("given"),
            patch_method: text("given"),
            delete_method: text("given"),
            request_timeout: text("9s"),
            reset_throttle: text("5"),
            reference_throttle: text("6"),
            max_connections: text("11"),
            max_connections_per_address: text("12"),
            drain: text("13s"),
            log: text("warn"),
            ..Options::default()
        }
    }

    #[test]
    fn each_option_goes_before_the_files() {
        let alone = format!("{:?}", resolve(all(), None).unwrap());
        assert_eq!(alone, format!("{:?}", resolve(all(), Some(RESGATE)).unwrap()));
        assert!(!alone.contains("file") && !alone.contains("toml"), "{alone}");
        for part in [
            "127.0.0.1:0",
            "127.0.0.1:1",
            "nats://given:1",
            "given.creds",
            "given.ca",
            "https://given.example",
            "10.0.0.0",
            "ws_header_auth: Some(\"given.b\")",
            " header_auth: Some(\"given.a\")",
            "ws_compression: true",
            "path: \"/given/\"",
            "encoding: Json",
            "put: Some(\"given\"), patch: Some(\"given\"), delete: Some(\"given\")",
            "request_timeout: Some(9s)",
            "reset_throttle: Some(5), reference_throttle: Some(6)",
            "max_connections: Some(11), max_connections_per_address: Some(12)",
            "drain: 13s",
            "log: Some(\"warn\")",
        ] {
            assert!(alone.contains(part), "{part} is not in {alone}");
        }
    }

    #[test]
    fn without_options_the_files_and_their_defaults_hold() {
        let config = resolve(Options::default(), Some(RESGATE)).unwrap();
        assert_eq!(config.listening.listen.as_deref(), Some("0.0.0.0:81"));
        assert_eq!((config.nats.url.as_str(), config.drain), ("nats://file:1", DEFAULT_DRAIN));
        assert_eq!(config.max_connections_per_address, Some(usize::MAX));
        let config = resolve(Options::default(), None).unwrap();
        assert_eq!(config.listening.listen.as_deref(), Some("127.0.0.1:8080"));
        assert_eq!((config.nats.url.as_str(), config.drain.as_secs()), ("nats://toml:1", 7));
        assert_eq!((config.allow_origin, config.ws_paths.len()), (AllowOrigin::default(), 2));
        assert_eq!(config.max_connections_per_address, None);
    }

    #[test]
    fn there_must_be_nats_and_both_halves_of_a_certificate() {
        let refused =
            |options| gateway_alone(Layers { given: options, ..Layers::default() }, None).unwrap_err().to_string();
        let line = refused(Options::default());
        assert!(line.starts_with("--nats is missing: ") && line.contains("--resgate-config"), "{line}");
        let options = Options { tls_key: None, ..all() };
        assert!(refused(options).starts_with("--tls-cert "));
        let options = Options { nats_cert: None, ..all() };
        assert!(refused(options).starts_with("--nats-key "));
    }
}

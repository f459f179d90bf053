//! `relogin config`: a configuration file with every option as a comment, made from what clap knows
//! of them. Must not read or check any configuration.

use std::fmt::Write as _;

use clap::Command;

use super::serve_option::{self, ServeOption, wrap};

const WIDTH: usize = 100;

const INTRODUCTION: &str = "\
# Configuration of `relogin serve`, with every option as a comment: remove the # before a key to set
# it. What stands there is the default or, if there is none, an example. The command line and
# environment variables go before this file. Times are written like 90s, 10m, 24h or 30d.
# Passwords and keys belong in files that only the service can read.
";

/// A value for each option: its default, if that is one value, or else an example.
const VALUES: &[(&str, &str)] = &[
    ("listen", r#""127.0.0.1:8080""#),
    ("tls-cert", r#""/etc/relogin/tls.pem""#),
    ("tls-key", r#""/etc/relogin/tls.key""#),
    ("metrics-listen", r#""127.0.0.1:9090""#),
    ("control-socket", r#""/run/relogin/control.sock""#),
    ("control-nats", "false"),
    ("nats", r#""nats://localhost:4222""#),
    ("nats-creds", r#""/etc/relogin/nats.creds""#),
    ("nats-ca", r#""/etc/relogin/nats-ca.pem""#),
    ("nats-cert", r#""/etc/relogin/nats.pem""#),
    ("nats-key", r#""/etc/relogin/nats.key""#),
    ("gateway", r#""embedded""#),
    ("name", r#""session""#),
    ("public-url", r#"["https://example.org"]"#),
    ("allow-origin", r#"["https://pages.example.org"]"#),
    ("trusted-proxy", r#"["loopback", "10.0.0.0/8"]"#),
    ("ws-path", r#""/ws""#),
    ("ws-header-auth", r#""session.connect""#),
    ("ws-compression", "false"),
    ("api-path", r#""/api/""#),
    ("api-encoding", r#""json""#),
    ("header-auth", r#""session.connect""#),
    ("put-method", r#""set""#),
    ("patch-method", r#""change""#),
    ("delete-method", r#""delete""#),
    ("request-timeout", r#""3s""#),
    ("reset-throttle", "64"),
    ("reference-throttle", "64"),
    ("data", r#""relogin-data""#),
    ("store", r#""sled""#),
    ("bucket", r#""relogin-session""#),
    ("replicas", "1"),
    ("key-lifetime", r#""24h""#),
    ("session-lifetime", r#""30d""#),
    ("refresh", r#""10m""#),
    ("sessions-per-user", "100"),
    ("revoke-within", r#""off""#),
    ("secret-file", r#""relogin-data/secret""#),
    ("secret-passphrase", r#""/etc/relogin/passphrase""#),
    ("key-format", r#""opaque""#),
    ("key-issuer", r#""relogin""#),
    ("key-audience", r#""session""#),
    ("cookie", r#""use""#),
    ("cookie-session", "false"),
    ("dbsc", "true"),
    ("users", r#""users.toml""#),
    ("password-cost", r#""m=19456,t=2,p=1""#),
    ("password-min-length", "8"),
    ("throttle", r#""all""#),
    ("jwt-issuers", r#""/etc/relogin/issuers.toml""#),
    ("max-connections", "10000"),
    ("max-connections-per-address", "1000"),
    ("drain", r#""5s""#),
    ("audit", r#""/var/log/relogin/audit""#),
    ("audit-subject", r#""audit.relogin""#),
    ("log", r#""info""#),
    ("otlp", r#""http://localhost:4318""#),
    ("demo", "false"),
];

/// The file, from the options of the subcommand `serve`.
pub(super) fn text(serve: &Command) -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut heading = String::new();
    for option in serve_option::all(serve) {
        if heading != option.heading {
            write!(text, "\n## {}\n", option.heading).expect("strings can be written to");
            heading.clone_from(&option.heading);
        }
        text.push('\n');
        section(&mut text, &option);
    }
    text
}

fn section(text: &mut String, option: &ServeOption) {
    wrap(text, "# ", &option.summary, WIDTH);
    let values = option.value.as_deref().unwrap_or("true|false");
    let default = option.default.as_deref().unwrap_or("none");
    wrap(text, "# ", &format!("{values}. Default: {default}. Environment: {}.", option.variable), WIDTH);
    for paragraph in &option.details {
        text.push_str("#\n");
        wrap(text, "# ", paragraph, WIDTH);
    }
    let value = VALUES.iter().find(|(name, _)| *name == option.name).map(|(_, value)| *value);
    // Without a value the test below fails.
    writeln!(text, "#{} = {}", option.name, value.unwrap_or_default()).expect("strings can be written to");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        cli::{Invocation, command, parse},
        config,
    };

    fn text() -> String {
        super::text(command().find_subcommand("serve").unwrap())
    }

    /// The text with the comment signs of keys removed, but for those of `without`.
    fn uncommented(without: &[&str]) -> String {
        let is_key = |line: &str| line.strip_prefix('#').is_some_and(|key| key.starts_with(char::is_alphabetic));
        let is_left_out = |line: &str| without.iter().any(|name| line.starts_with(&format!("#{name} =")));
        text()
            .lines()
            .map(|line| if is_key(line) && !is_left_out(line) { &line[1..] } else { line })
            .fold(String::new(), |text, line| text + line + "\n")
    }

    fn resolved(file: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relogin.toml");
        std::fs::write(&path, file).unwrap();
        let args = ["relogin", "serve", "--config", path.to_str().unwrap()].map(Into::into);
        let Ok(Invocation::Serve(layers)) = parse(args) else { panic!("`serve` is a command") };
        config::resolve(layers).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_has_a_value_and_every_value_is_an_options() {
        let command = command();
        let options = serve_option::all(command.find_subcommand("serve").unwrap());
        let options: BTreeSet<String> = options.map(|option| option.name).collect();
        let values: BTreeSet<String> = VALUES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(options, values);
        assert_eq!(values.len(), VALUES.len(), "an option has two values");
    }

    #[test]
    fn the_file_sets_nothing() {
        assert_eq!(text().lines().find(|line| !line.is_empty() && !line.starts_with('#')), None);
        let long = text().lines().find(|line| line.chars().count() > WIDTH).map(str::to_owned);
        assert_eq!(long, None);
    }

    #[test]
    fn every_line_can_be_uncommented() {
        let jetstream = ["store", "secret-passphrase"];
        let on_disk = ["bucket", "replicas", "secret-passphrase"];
        assert_eq!(resolved(&uncommented(&on_disk)), Ok(()));
        let with_bucket = uncommented(&jetstream) + "store = \"jetstream\"\n";
        assert_eq!(resolved(&with_bucket), Ok(()));
        let with_passphrase = uncommented(&["store", "secret-file"]) + "store = \"jetstream\"\n";
        assert_eq!(resolved(&with_passphrase), Ok(()));
    }

    #[test]
    fn numbers_need_no_quotes_and_may_have_them() {
        let is_number = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
        let quoted: Vec<&str> = VALUES
            .iter()
            .filter(|(_, value)| is_number(value.trim_matches('"')) && !is_number(value))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(quoted, [""; 0]);
        for (name, value) in VALUES.iter().filter(|(name, value)| is_number(value) && *name != "replicas") {
            for text in [format!("{name} = {value}\n"), format!("{name} = \"{value}\"\n")] {
                assert_eq!(resolved(&text), Ok(()), "{text}");
            }
        }
        let wrong = resolved("sessions-per-user = true\n").unwrap_err();
        assert!(wrong.contains("expected a number"), "{wrong}");
    }

    /// A default that is one word is what the file shows.
    #[test]
    fn values_are_the_defaults() {
        let command = command();
        for option in serve_option::all(command.find_subcommand("serve").unwrap()) {
            let (_, shown) = VALUES.iter().find(|(name, _)| *name == option.name).unwrap();
            let default = option.default.as_deref().and_then(|default| default.split(", ").next()).unwrap_or_default();
            let is_value = !default.is_empty() && !default.contains(' ') && !["none", "off"].contains(&default);
            // Those that depend on another option are written with its name in capitals.
            if is_value && !default.contains(|letter: char| letter.is_ascii_uppercase()) {
                assert_eq!(shown.trim_matches('"'), default, "--{}", option.name);
            }
        }
    }
}

//! Checks the filter of `--log`. Its parser takes every word that is no level for the name of a
//! part of the program, so that `--log inof` would log nothing at all. Must not set up the log.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::values::Problem;

/// What writes log lines: the crates of this project, then those of others.
const PARTS: [&str; 17] = [
    "relogin",
    "relogin_bus",
    "relogin_gateway",
    "relogin_gateway_proto",
    "relogin_host",
    "relogin_res",
    "relogin_session",
    "relogin_store",
    "relogin_users",
    "async_nats",
    "hyper",
    "hyper_util",
    "mio",
    "rustls",
    "sled",
    "tokio_tungstenite",
    "tungstenite",
];

/// A filter whose levels and parts exist.
pub(super) fn log(text: String) -> Result<String, Problem> {
    if text.parse::<EnvFilter>().is_err() {
        return Err(Problem::Log(text));
    }
    // Spans have forms of their own; whoever writes them knows what a filter is.
    let mut directives = text.split(',').map(str::trim).filter(|_| !text.contains(['[', '{']));
    match directives.find_map(unknown).map(str::to_owned) {
        Some(part) => Err(Problem::LogPart(text, part)),
        None => Ok(text),
    }
}

/// The part that a directive names, if there is none of that name.
fn unknown(directive: &str) -> Option<&str> {
    let part = match directive.split_once('=') {
        Some((part, _)) => part,
        None if directive.is_empty() || directive.parse::<LevelFilter>().is_ok() => return None,
        None => directive,
    };
    let first = part.split("::").next().unwrap_or_default();
    (!PARTS.contains(&first)).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_parts_that_exist_are_taken() {
        for text in ["info", "WARN", "off", "", "relogin=debug", "warn,relogin_store::sled=trace", "info,sled=error,"] {
            assert_eq!(log(text.to_owned()), Ok(text.to_owned()));
        }
        assert!(log("relogin[request{id=1}]=debug".to_owned()).is_ok());
    }

    #[test]
    fn those_that_do_not_are_refused_by_name() {
        for (text, part) in [("inof", "inof"), ("info,relogn=debug", "relogn"), ("relogin,loud", "loud")] {
            assert_eq!(log(text.to_owned()), Err(Problem::LogPart(text.to_owned(), part.to_owned())));
        }
        assert_eq!(log("relogin=loud".to_owned()), Err(Problem::Log("relogin=loud".to_owned())));
    }

    #[test]
    fn all_parts_are_crates_that_the_binary_has() {
        let (manifest, lock) = (include_str!("../../Cargo.toml"), include_str!("../../../Cargo.lock"));
        for part in PARTS {
            assert!(lock.contains(&format!("\nname = \"{}\"\n", part.replace('_', "-"))), "{part}");
        }
        let of_ours = manifest.split("[dev-dependencies]").next().unwrap().lines();
        for name in of_ours.filter_map(|line| line.strip_suffix(".workspace = true")?.strip_prefix("relogin-")) {
            assert!(PARTS.contains(&format!("relogin_{}", name.replace('-', "_")).as_str()), "{name}");
        }
    }
}

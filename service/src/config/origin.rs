//! Where an option was given, and the errors that say so. Must not parse values.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use super::values::Problem;

/// Where an option was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(&'static str),
    /// In the environment.
    Environment(&'static str),
    /// In the file, on this line.
    File(PathBuf, usize, &'static str),
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
    /// The configuration file is not TOML, or has an unknown option.
    #[error("{}, line {line}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The option, unless the parser's message says it, and that message.
        message: String,
    },
    /// An option of Resgate cannot be taken over.
    #[error("{}: {option} {reason}", path.display())]
    Resgate {
        /// The file.
        path: PathBuf,
        /// The option.
        option: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// A gateway between clients and nothing.
    #[error("--nats is missing: name the NATS servers, or a configuration file of Resgate (--resgate-config)")]
    NoNats,
    /// An option's value is invalid.
    #[error("{origin} {problem}")]
    Value {
        /// Where it was given.
        origin: Origin,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// A value, and where it was given.
pub(super) struct Value<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Value<T> {
    pub(super) fn is_wrong(&self, problem: Problem) -> ConfigError {
        ConfigError::Value { origin: self.origin.clone(), problem }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Environment(name) => f.write_str(name),
            Self::File(path, line, key) => write!(f, "{}, line {line}: {key}", path.display()),
        }
    }
}

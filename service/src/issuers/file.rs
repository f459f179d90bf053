//! The issuers file: TOML, one `[[issuer]]` each (docs/header-login.md).

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use super::{
    Issuer, Source,
    keys::{Algorithm, KeyError, KeyFile},
    token::{ClaimNames, Rules},
};

/// Issuers that cannot be used.
#[derive(Debug, Error)]
pub enum IssuersError {
    /// The file cannot be read.
    #[error("cannot read the issuers file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file is invalid.
    #[error("{}: {message}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The keys of an issuer cannot be used.
    #[error("the keys of the issuer {name} cannot be used")]
    Keys {
        /// The issuer's name.
        name: String,
        /// The reason.
        #[source]
        source: KeyError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    issuer: Vec<IssuerForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct IssuerForm {
    name: String,
    issuer: String,
    audience: String,
    algorithms: Vec<String>,
    keys: PathBuf,
    cookie: Option<String>,
    #[serde(default)]
    authorization: bool,
    leeway: Option<String>,
    r#type: Option<String>,
    user_id: Option<String>,
    user_name: Option<String>,
    role: Option<String>,
    default_role: Option<String>,
    #[serde(default)]
    id_prefix: String,
    #[serde(default)]
    end_with_token: bool,
}

/// How far clocks may differ, in seconds: by default, and at most.
const LEEWAY: u64 = 30;
const MAX_LEEWAY: u64 = 300;

/// Reads the issuers file, and the key files that it names.
///
/// # Errors
/// [`IssuersError`] if one of them is unusable.
pub(super) fn read(path: &Path) -> Result<Vec<Issuer>, IssuersError> {
    let text = fs::read_to_string(path).map_err(|source| IssuersError::Unreadable { path: path.to_owned(), source })?;
    let wrong = |message: String| IssuersError::Form { path: path.to_owned(), message };
    let FileForm { issuer: forms } = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let mut names = HashSet::new();
    let mut issuers = Vec::new();
    for form in forms {
        let name = form.name.clone();
        if !names.insert(name.clone()) {
            return Err(wrong(format!("two issuers are named {name:?}")));
        }
        issuers.push(issuer(path, form).map_err(|problem| match problem {
            IssuerProblem::Form(message) => wrong(format!("issuer {name:?}: {message}")),
            IssuerProblem::Keys(source) => IssuersError::Keys { name, source },
        })?);
    }
    Ok(issuers)
}

enum IssuerProblem {
    Form(String),
    Keys(KeyError),
}

fn issuer(path: &Path, form: IssuerForm) -> Result<Issuer, IssuerProblem> {
    let wrong = |message: &str| Err(IssuerProblem::Form(message.to_owned()));
    for (what, text) in [("name", &form.name), ("issuer", &form.issuer), ("audience", &form.audience)] {
        if !(1..=256).contains(&text.len()) {
            return wrong(&format!("{what} must have 1 to 256 characters"));
        }
    }
    let mut algorithms = Vec::new();
    for text in &form.algorithms {
        match Algorithm::parse(text) {
            Some(algorithm) => algorithms.push(algorithm),
            None => return wrong(&format!("unknown algorithm {text:?}: expected HS256, RS256, ES256 or EdDSA")),
        }
    }
    if algorithms.is_empty() {
        return wrong("algorithms is empty");
    }
    if form.cookie.is_none() && !form.authorization {
        return wrong("names no source of tokens; write cookie = \"…\", or authorization = true");
    }
    let leeway = match form.leeway.as_deref().map(humantime::parse_duration) {
        None => LEEWAY,
        Some(Ok(leeway)) if leeway.as_secs() <= MAX_LEEWAY => leeway.as_secs(),
        Some(_) => return wrong("leeway is not a duration of at most 5 minutes"),
    };
    let names = ClaimNames {
        id: form.user_id.unwrap_or_else(|| "sub".to_owned()),
        name: form.user_name.unwrap_or_else(|| "name".to_owned()),
        role: form.role.unwrap_or_else(|| "role".to_owned()),
    };
    // Relative to the file, wherever the service was started.
    let keys = path.parent().map_or_else(|| form.keys.clone(), |folder| folder.join(&form.keys));
    let keys = KeyFile::open(keys, algorithms.clone()).map_err(IssuerProblem::Keys)?;
    Ok(Issuer {
        name: form.name,
        rules: Rules {
            issuer: form.issuer,
            audience: form.audience,
            algorithms,
            kind: form.r#type,
            leeway,
            names,
            default_role: form.default_role,
            id_prefix: form.id_prefix,
        },
        source: Source { cookie: form.cookie, authorization: form.authorization },
        keys,
        ends_session: form.end_with_token,
    })
}

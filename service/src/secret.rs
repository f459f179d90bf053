//! The server's secrets, from which relogin keys are made: in a file, or in a bucket of NATS
//! (`secret/bucket.rs`). Must not depend on keys.
//!
//! The file has one secret per line, in base64 (either alphabet, padded or not) or in hexadecimal
//! digits. Empty lines and lines that begin with `#` are skipped. The first secret signs, all
//! verify. To rotate, add a new line at the top, and remove the old ones once the longest session
//! is over.

mod bucket;
mod sealed;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use rand::{TryRng, rngs::SysRng};
use relogin_host::disk;
use relogin_session::Keyring;
use relogin_store::jetstream::{OpenError, may_pass};
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::bucket::{Entry, SecretBucket, Seen, passphrase_in};

/// What relogin keys are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, created if it does not exist.
    File(PathBuf),
    /// A bucket of NATS, made if it does not exist, on so many servers; and the file with the
    /// passphrase.
    Bucket {
        /// The bucket's name.
        name: String,
        /// On how many servers it is kept.
        replicas: usize,
        /// The file.
        passphrase: PathBuf,
    },
    /// Random bits in memory, lost with the sessions.
    Memory,
}

/// Unusable secrets. Never shows one.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// There is no file, and it cannot be created.
    #[error("cannot create the secret file {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Others can read or change the file.
    #[error("the secret file {} has mode {mode:03o}, too open for a secret; run: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line is not a secret.
    #[error("line {line} of the secret file {} is neither base64 nor hexadecimal; create a secret with: openssl rand -base64 32", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A secret is too short.
    #[error(
        "the secret in line {line} of {} has {len} bytes and needs {min} or more; make one with: openssl rand -base64 32",
        path.display(), min = Self::MIN_LEN
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// How many bytes it has.
        len: usize,
    },
    /// There is no secret in the file.
    #[error("there is no secret in {}; remove the file to have one created, or add one with: openssl rand -base64 32", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// None of the secrets in use is in the file any more.
    #[error(
        "{} has none of the secrets in use: all keys would be refused. Put the new secret on top of the old one; to end all sessions, restart the service",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// There are no secrets.
    #[error(
        "there are no secrets in the bucket {bucket} yet; the first service makes one, in the bucket that its --name or \
         --bucket says"
    )]
    Missing {
        /// The bucket where they should be.
        bucket: String,
    },
    /// The bucket with the secrets has another number of replicas than the options say.
    #[error(
        "the JetStream bucket {bucket:?} with the secrets has {found} replicas and not {wanted}; change that by `nats \
         stream edit KV_{bucket} --replicas {wanted}`, or --replicas"
    )]
    Replicas {
        /// Its name.
        bucket: String,
        /// What it has.
        found: usize,
        /// What it should have.
        wanted: usize,
    },
    /// The bucket with the secrets cannot be used.
    #[error("cannot use the JetStream bucket {bucket:?} for secrets")]
    Bucket {
        /// Its name.
        bucket: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// JetStream cannot be used.
    #[error(transparent)]
    JetStream(#[from] OpenError),
    /// The passphrase is another one.
    #[error(
        "the passphrase does not open the secrets in the bucket {bucket:?}; give the one that they were stored with"
    )]
    Passphrase {
        /// The bucket.
        bucket: String,
    },
    /// The passphrase is too short.
    #[error(
        "the passphrase in {} has {len} bytes and needs {min} or more; make one with: openssl rand -base64 24",
        path.display()
    )]
    ShortPassphrase {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        len: usize,
        /// How many it needs.
        min: usize,
    },
    /// The system returned no randomness.
    #[error("the system returned no random bits")]
    Random(#[source] rand::rngs::SysError),
}

impl SecretError {
    /// The shortest accepted secret, in bytes.
    pub const MIN_LEN: usize = 32;

    /// True if it may be otherwise in a moment, as while the servers of the bucket start.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Bucket { source, .. } => may_pass(source.as_ref()),
            Self::JetStream(error) => error.may_pass(),
            _ => false,
        }
    }

    fn bucket(bucket: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Bucket { bucket: bucket.to_owned(), source: source.into() }
    }
}

/// Keys from a file.
#[derive(Debug)]
pub struct FromFile {
    /// What signs and verifies.
    pub keyring: Keyring,
    /// Whether the file was just created.
    pub is_new: bool,
}

/// Accepts either alphabet's digits after [`to_standard`], and does not require padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads the secret file. If there is none, creates one with mode 0600, which is on disk, with its
/// folder, when this returns.
///
/// # Errors
/// [`SecretError`] if it cannot be read or created, or its content is invalid.
pub fn from_file(path: &Path) -> Result<FromFile, SecretError> {
    let is_new = match fs::exists(path) {
        Ok(true) => false,
        Ok(false) => make(path)?,
        Err(source) => return Err(SecretError::Unreadable { path: path.to_owned(), source }),
    };
    Ok(FromFile { keyring: read(path)?, is_new })
}

/// Reads the secret file again, for a service that uses the secrets `in_use`.
///
/// # Errors
/// [`SecretError`] if it cannot be read, its content is invalid, or none of the secrets in use is
/// in it.
pub fn again(path: &Path, in_use: &Keyring) -> Result<Keyring, SecretError> {
    let keyring = read(path)?;
    if keyring.has_secret_of(in_use) { Ok(keyring) } else { Err(SecretError::Foreign { path: path.to_owned() }) }
}

/// A secret that lives as long as the process.
///
/// # Errors
/// [`SecretError::Random`] if the system returns no randomness.
pub fn in_memory() -> Result<Keyring, SecretError> {
    Ok(Keyring::new(vec![random()?.to_vec()]).expect("one secret of 32 bytes makes a keyring"))
}

/// A new secret, as a line of the file.
///
/// # Errors
/// [`SecretError::Random`] if the system returns no randomness.
pub fn fresh_line() -> Result<Zeroizing<String>, SecretError> {
    Ok(Zeroizing::new(STANDARD.encode(*random()?) + "\n"))
}

/// The text of a secret file.
///
/// # Errors
/// [`SecretError`] if it cannot be read.
pub fn text_of(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    read_private(path)
}

/// Writes the text of a secret file to a new file with mode 0600, which is on disk when this
/// returns.
///
/// # Errors
/// [`SecretError::Unwritable`] if it cannot be written, also because it exists.
pub fn write_new(path: &Path, text: &str) -> Result<(), SecretError> {
    disk::create(path, text.as_bytes()).map_err(|source| SecretError::Unwritable { path: path.to_owned(), source })
}

/// Encrypts a text under a passphrase.
///
/// # Errors
/// [`SecretError::Random`] if the system returns no randomness.
pub fn seal(passphrase: &[u8], text: &[u8]) -> Result<Vec<u8>, SecretError> {
    sealed::seal(passphrase, text).map_err(SecretError::Random)
}

/// Decrypts what [`seal`] made; none with another passphrase, or if it was changed.
#[must_use]
pub fn open(passphrase: &[u8], sealed: &[u8]) -> Option<Zeroizing<String>> {
    sealed::open(passphrase, sealed)
}

/// The bucket for the secrets of the services that have their sessions in `sessions`.
#[must_use]
pub fn bucket_name(sessions: &str) -> String {
    format!("{sessions}-secrets")
}

/// Creates the file. False if somebody else has created it in the meantime.
fn make(path: &Path) -> Result<bool, SecretError> {
    let line = fresh_line()?;
    match disk::create(path, line.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(SecretError::Unwritable { path: path.to_owned(), source }),
    }
}

fn read(path: &Path) -> Result<Keyring, SecretError> {
    parse(&read_private(path)?, path)
}

/// The text of a file that is not for others.
fn read_private(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    // A group may read, because orchestrators hand secrets to a service's user that way. Nobody
    // else may, and nobody else may write.
    if mode & 0o027 != 0 {
        return Err(SecretError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?))
}

/// The secrets in the text of the file `path`.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Keyring, SecretError> {
    let mut secrets = Vec::new();
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let secret = decode(text).ok_or_else(|| SecretError::Form { path: path.to_owned(), line })?;
        if secret.len() < SecretError::MIN_LEN {
            return Err(SecretError::TooShort { path: path.to_owned(), line, len: secret.len() });
        }
        secrets.push(secret);
    }
    Keyring::new(secrets).ok_or_else(|| SecretError::Empty { path: path.to_owned() })
}

/// The bytes of a line in base64 or hexadecimal. A line of nothing but hexadecimal digits could be
/// base64 as well, but no random secret looks like that.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    if text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        return text.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    }
    LENIENT.decode(Zeroizing::new(to_standard(text)).as_bytes()).ok()
}

fn to_standard(text: &str) -> String {
    text.replace('-', "+").replace('_', "/")
}

fn random() -> Result<Zeroizing<[u8; 32]>, SecretError> {
    let mut secret = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(secret.as_mut_slice()).map_err(SecretError::Random)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use relogin_session::SessionId;

    use super::*;

    const SID: SessionId = SessionId([7; 16]);

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// What the keyring signs shows which secret it signs with.
    fn sign(keyring: &Keyring) -> String {
        keyring.mint(SID, &[0; 16], 1).expose().to_owned()
    }

    #[test]
    fn a_missing_file_is_made_once_and_read_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let made = from_file(&path).unwrap();
        assert!(made.is_new);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = from_file(&path).unwrap();
        assert!(!read.is_new);
        assert_eq!(sign(&made.keyring), sign(&read.keyring));
        let other = from_file(&folder.path().join("other")).unwrap();
        assert_ne!(sign(&made.keyring), sign(&other.keyring), "secrets are random");
        assert_ne!(sign(&in_memory().unwrap()), sign(&in_memory().unwrap()));
    }

    #[test]
    fn all_usual_ways_to_write_a_secret_mean_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret: Vec<u8> = (0..33).map(|n| n * 7 + 3).chain([0xfb, 0xff]).collect();
        let expected = sign(&Keyring::new(vec![secret.clone()]).unwrap());
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let padded = STANDARD.encode(&secret);
        assert!(padded.contains(['+', '/']) && padded.ends_with('='));
        let bare = padded.trim_end_matches('=').replace('+', "-").replace('/', "_");
        for text in [hex.to_uppercase(), hex, bare, format!("\n# signs\n  {padded}\r\n# old\n{}\n", "A".repeat(43))] {
            write(&path, &text);
            assert_eq!(sign(&from_file(&path).unwrap().keyring), expected, "{text}");
        }
    }

    #[test]
    fn the_first_signs_and_all_verify() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let old = from_file(&path).unwrap().keyring;
        let key = old.mint(SID, &[0; 16], 1);
        let text = fs::read_to_string(&path).unwrap();
        write(&path, &format!("{}\n{text}", STANDARD.encode([9; 32])));
        let new = from_file(&path).unwrap().keyring;
        assert_ne!(sign(&new), sign(&old));
        assert!(new.verify(&key.parse().unwrap(), &[0; 16]));
        write(&path, &STANDARD.encode([9; 32]));
        assert!(!from_file(&path).unwrap().keyring.verify(&key.parse().unwrap(), &[0; 16]));
    }

    #[test]
    fn a_file_without_a_secret_in_use_or_that_is_gone_is_not_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let in_use = from_file(&path).unwrap().keyring;
        let old = fs::read_to_string(&path).unwrap();
        write(&path, &format!("{}\n{old}", STANDARD.encode([9; 32])));
        assert_eq!(again(&path, &in_use).unwrap().count(), 2);
        write(&path, &STANDARD.encode([9; 32]));
        assert!(matches!(again(&path, &in_use), Err(SecretError::Foreign { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(again(&path, &in_use), Err(SecretError::Unreadable { .. })));
        assert!(!path.exists(), "a service that runs makes none");
    }

    #[test]
    fn unusable_secrets_are_refused_without_showing_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let good = STANDARD.encode([1; 32]);
        for (text, expected) in [
            (String::new(), "there is no secret in"),
            ("# nothing yet\n".to_owned(), "there is no secret in"),
            (format!("{good}\nhunter2!\n"), "line 2 of the secret file"),
            (format!("{good}\nc2hvcnQ=\n"), "the secret in line 2"),
            ("ab".repeat(31), "the secret in line 1"),
        ] {
            write(&path, &text);
            let error = from_file(&path).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("c2hvcnQ") && !error.contains("abab"), "{error}");
        }
        write(&path, &good);
        for (mode, fits) in [(0o644, false), (0o660, false), (0o601, false), (0o640, true), (0o400, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(from_file(&path).is_ok(), fits, "{mode:o}");
        }
        let nowhere = folder.path().join("no/such/folder");
        assert!(matches!(from_file(&nowhere), Err(SecretError::Unwritable { .. })));
        assert!(matches!(from_file(folder.path()), Err(SecretError::TooOpen { .. } | SecretError::Unreadable { .. })));
    }
}

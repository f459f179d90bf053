//! The server's secret in a backup: read from its file, encrypted under a passphrase, and compared
//! with that of a service. Must not know the rest of the backup.

use std::path::Path;

use zeroize::Zeroizing;

use crate::secret::{self, SecretError};

/// The fingerprints of the secrets in a file, the one that signs first; none if there is no such
/// file.
///
/// # Errors
/// [`SecretError`] if it cannot be read, or has none.
pub fn fingerprints(file: &Path) -> Result<Option<Vec<String>>, SecretError> {
    if !file.exists() {
        return Ok(None);
    }
    Ok(Some(secret::parse(&secret::text_of(file)?, file)?.fingerprints()))
}

/// The text of the secret file, encrypted under the passphrase in another file.
///
/// # Errors
/// [`SecretError`] if one of the two cannot be read.
pub fn seal(file: &Path, passphrase: &Path) -> Result<Vec<u8>, SecretError> {
    let text = secret::text_of(file)?;
    secret::seal(&secret::passphrase_in(passphrase)?, text.as_bytes())
}

/// The text of the secret file; none if the passphrase in this file is another one.
///
/// # Errors
/// [`SecretError`] if that file cannot be read.
pub fn open(sealed: &[u8], passphrase: &Path) -> Result<Option<Zeroizing<String>>, SecretError> {
    Ok(secret::open(&secret::passphrase_in(passphrase)?, sealed))
}

//! The keys of an issuer: a file of public keys (PEM, or a JWK Set) or of secrets, read again when
//! it changes. Each key is valid for one algorithm, whatever a token says.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use relogin_host::{complaint::Complaint, disk::Seen, errors::Chain};
use relogin_res::read;
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use thiserror::Error;
use tokio::time::Instant;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::secret;

/// A signature algorithm of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC over SHA-256, with a secret that both sides have.
    Hs256,
    /// RSA, PKCS #1 v1.5, over SHA-256; keys of 2,048 bits or more.
    Rs256,
    /// ECDSA on P-256 over SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// A key that tokens are verified with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id in tokens; a key without an id is tried for each token.
    pub kid: Option<String>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Secret(Zeroizing<Vec<u8>>),
    /// As PKCS #1 writes it.
    RsaDer(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Unusable keys. Never shows one.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It has none of these.
    #[error("{} has no key for the configured algorithms; expected PEM, a JWK Set, or secrets in base64", path.display())]
    None {
        /// The file.
        path: PathBuf,
    },
    /// It contains a private key.
    #[error("{} contains a private key; replace it with the public key", path.display())]
    Private {
        /// The file.
        path: PathBuf,
    },
    /// A secret that anybody can read.
    #[error("{} holds a secret and has mode {mode:03o}; run: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// A key file, and what it contained when it was last read.
pub struct KeyFile {
    path: PathBuf,
    algorithms: Vec<Algorithm>,
    state: Mutex<KeysState>,
}

struct KeysState {
    /// What tokens are verified with.
    keys: Arc<[Key]>,
    /// The keys when the file was last known to be complete.
    sure: Content,
    /// The keys since then, as long as keys are missing from it.
    unsure: Option<(Content, Instant)>,
    seen: Option<Seen>,
    complaint: Complaint,
}

/// The contents of a file.
struct Content {
    keys: Arc<[Key]>,
    digest: [u8; 32],
    seen: Seen,
}

/// How long a key must be missing from a file that does not change to count as removed: the file
/// may still be arriving.
pub const AGREEMENT: Duration = Duration::from_secs(5);

/// Longer than any key file.
const MAX_FILE: u64 = 1 << 20;

impl Algorithm {
    /// Parses the name that tokens use for it; case matters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl Key {
    /// The one algorithm that it is valid for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::RsaDer(_) | Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// True if this key, or its other half, has signed.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            // Takes the same time wherever the signature is wrong.
            Material::Secret(secret) => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature),
            Material::RsaDer(der) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(message, signature)
            }
            Material::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Material::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        verified.is_ok()
    }
}

impl KeyFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyError`] if it contains no key for one of the algorithms.
    pub fn open(path: PathBuf, algorithms: Vec<Algorithm>) -> Result<Self, KeyError> {
        let sure = read(&path, &algorithms)?;
        let keys = Arc::clone(&sure.keys);
        let state = KeysState { keys, seen: Some(sure.seen), sure, unsure: None, complaint: Complaint::default() };
        Ok(Self { path, algorithms, state: Mutex::new(state) })
    }

    /// The keys as they were last read.
    #[must_use]
    pub fn current(&self) -> Arc<[Key]> {
        Arc::clone(&self.lock().keys)
    }

    /// Reads the file again if it has changed; `name` is the issuer's name in logs. New keys count
    /// at once. Missing keys keep counting until they have been missing for [`AGREEMENT`].
    pub fn look(&self, name: &str, now: Instant) {
        let is_as_it_was = fs::metadata(&self.path).is_ok_and(|metadata| {
            let seen = Seen::of(&metadata, SystemTime::now());
            let state = self.lock();
            state.unsure.is_none() && state.seen.as_ref().is_some_and(|before| *before == seen && !seen.is_fresh())
        });
        if is_as_it_was {
            return;
        }
        match read(&self.path, &self.algorithms) {
            Ok(new) => {
                let mut state = self.lock();
                state.complaint.settle();
                if state.take(new, now) {
                    info!(issuer = name, keys = state.keys.len(), "the issuer's keys have changed");
                }
            }
            Err(error) => {
                let complaint = Chain(&error).to_string();
                let mut state = self.lock();
                // It is not known whether they are missing.
                state.unsure = None;
                if state.complaint.is_due(&complaint, now) {
                    warn!(issuer = name, "the issuer's keys are unchanged: {complaint}");
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, KeysState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeysState {
    /// Applies the current contents of the file. True if other keys count from now on.
    fn take(&mut self, new: Content, now: Instant) -> bool {
        self.seen = Some(new.seen);
        let missing: Vec<_> = self.sure.keys.iter().filter(|key| !new.keys.contains(key)).cloned().collect();
        let since = match &self.unsure {
            Some((before, since)) if before.digest == new.digest => *since,
            _ => now,
        };
        let keys: Arc<[Key]> = if missing.is_empty() || now.duration_since(since) >= AGREEMENT {
            (self.sure, self.unsure) = (new, None);
            Arc::clone(&self.sure.keys)
        } else {
            let keys = new.keys.iter().cloned().chain(missing).collect();
            self.unsure = Some((new, since));
            keys
        };
        let has_changed = self.keys != keys;
        self.keys = keys;
        has_changed
    }
}

fn read(path: &Path, algorithms: &[Algorithm]) -> Result<Content, KeyError> {
    let owned = || path.to_owned();
    let unreadable = |source| KeyError::Unreadable { path: owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > MAX_FILE {
        return Err(KeyError::None { path: owned() });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private { path: owned() });
    }
    let mut keys = keys_in(&text).ok_or_else(|| KeyError::None { path: owned() })?;
    keys.retain(|key| algorithms.contains(&key.algorithm()));
    if keys.is_empty() {
        return Err(KeyError::None { path: owned() });
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 != 0 && keys.iter().any(|key| key.algorithm() == Algorithm::Hs256) {
        return Err(KeyError::TooOpen { path: owned(), mode });
    }
    let (seen, digest) = (Seen::of(&metadata, SystemTime::now()), Sha256::digest(text.as_bytes()).into());
    Ok(Content { keys: keys.into(), digest, seen })
}

/// The keys in a file of any form. Keys of unknown kinds are left out.
#[must_use]
pub fn keys_in(text: &str) -> Option<Vec<Key>> {
    if text.trim_start().starts_with('{') {
        jwks(text)
    } else if text.contains("-----BEGIN") {
        SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes())
            .map(|der| spki(der.ok()?.as_ref()).map(|material| Key { kid: None, material }))
            .collect()
    } else {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| secret::decode(line).and_then(shared).map(|material| Key { kid: None, material })).collect()
    }
}

/// A secret shorter than the hash is not accepted (RFC 7518, section 3.2).
fn shared(secret: Vec<u8>) -> Option<Material> {
    let secret = Zeroizing::new(secret);
    (secret.len() >= 32).then_some(Material::Secret(secret))
}

fn spki(der: &[u8]) -> Option<Material> {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    let key = SubjectPublicKeyInfoRef::try_from(der).ok()?;
    let bits = key.subject_public_key.as_bytes()?.to_vec();
    match key.algorithm.oid {
        RSA => Some(Material::RsaDer(bits)),
        EC if key.algorithm.parameters_oid() == Ok(P256) && bits.len() == 65 => Some(Material::P256(bits)),
        ED25519 if bits.len() == 32 => Some(Material::Ed25519(bits)),
        _ => None,
    }
}

/// A JSON Web Key, as far as it matters here.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
}

fn jwks(text: &str) -> Option<Vec<Key>> {
    #[derive(Deserialize)]
    struct Set<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    let keys = match read::object::<Set<'_>>(text.as_bytes()) {
        Ok(Set { keys }) => keys,
        Err(_) => vec![serde_json::from_str(text).ok()?],
    };
    Some(keys.into_iter().filter_map(|key| read::object(key.get().as_bytes()).ok()).filter_map(jwk).collect())
}

fn jwk(jwk: Jwk) -> Option<Key> {
    let bytes = |text: Option<&str>| URL_SAFE_NO_PAD.decode(text?).ok();
    let coordinate = |text: Option<&String>| bytes(text.map(String::as_str)).filter(|bytes| bytes.len() == 32);
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Material::Rsa { n: bytes(jwk.n.as_deref())?, e: bytes(jwk.e.as_deref())? },
        ("EC", Some("P-256")) => {
            Material::P256([vec![4], coordinate(jwk.x.as_ref())?, coordinate(jwk.y.as_ref())?].concat())
        }
        ("OKP", Some("Ed25519")) => Material::Ed25519(coordinate(jwk.x.as_ref())?),
        ("oct", _) => shared(bytes(jwk.k.map(Zeroizing::new).as_ref().map(|k| k.as_str()))?)?,
        _ => return None,
    };
    let key = Key { kid: jwk.kid, material };
    // A key for another purpose or another algorithm is ignored.
    let is_for_us = jwk.usage.is_none_or(|usage| usage == "sig")
        && jwk.alg.is_none_or(|alg| {
            Algorithm::parse(&alg).or_else(|| (alg == "Ed25519").then_some(Algorithm::EdDsa)) == Some(key.algorithm())
        });
    is_for_us.then_some(key)
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).field("keys", &self.lock().keys).finish_non_exhaustive()
    }
}

//! TLS for clients: certificate and key, read again when they change, and handshakes, bounded in
//! time and number. Must not depend on HTTP.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use relogin_host::{complaint::Complaint, errors::Chain};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{info, warn};
use zeroize::Zeroizing;

/// How long a handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How many may be under way: the oldest is given up for the newest, so that clients who never
/// finish theirs keep nobody out.
const HANDSHAKES: usize = 1024;

/// How many bytes may wait in TLS for a client to take them, beside the record at hand.
const BUFFER: usize = 16 << 10;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// TLS on a listening socket.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    /// What is in use.
    texts: Mutex<Texts>,
    handshakes: Handshakes,
}

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the server and of those who vouch for it, in this order, in PEM.
    pub certificate: PathBuf,
    /// The key of the first one, in PEM.
    pub key: PathBuf,
}

/// Why certificate and key cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// One of the files cannot be read.
    #[error("cannot read {}", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// One of them is not what it should be.
    #[error("{} has no {} in PEM", .0.display(), .1)]
    NotPem(PathBuf, &'static str, #[source] pem::Error),
    /// They do not go together, or not with TLS.
    #[error("cannot use the certificate in {} with the key in {}", .0.certificate.display(), .0.key.display())]
    Unusable(TlsFiles, #[source] rustls::Error),
}

/// What is in both files.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// Handshakes under way.
#[derive(Debug)]
struct Handshakes {
    most: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    /// Dropped to give one up.
    by_number: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A handshake's entry among them.
struct PendingHandshake<'a> {
    handshakes: &'a Handshakes,
    number: u64,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] if they cannot be used.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let texts = files.read()?;
        let (config, _) = files.config(&texts)?;
        let handshakes = Handshakes { most: HANDSHAKES, entries: Mutex::default() };
        Ok(Self { config: ArcSwap::new(config), texts: Mutex::new(texts), files, handshakes })
    }

    /// Reads the files again. Connections that are open stay as they are; if the files cannot be
    /// used, so do those to come. Returns the number of certificates.
    ///
    /// # Errors
    /// [`TlsError`] if they cannot be used.
    pub fn reload(&self) -> Result<usize, TlsError> {
        let texts = self.files.read()?;
        let (config, count) = self.files.config(&texts)?;
        *self.texts() = texts;
        self.config.store(config);
        Ok(count)
    }

    /// Looks at the files again and again, and takes up what changes.
    pub async fn follow(self: Arc<Self>) {
        let mut complaint = Complaint::default();
        loop {
            sleep(LOOK).await;
            let this = Arc::clone(&self);
            let Ok(looked) = spawn_blocking(move || this.look()).await else { continue };
            match looked {
                Ok(is_new) => {
                    complaint.settle();
                    if is_new {
                        info!("new TLS connections get another certificate: the files have changed");
                    }
                }
                // One of two files may be new already, and the other one not yet.
                Err(error) => {
                    let reason = Chain(&error).to_string();
                    if complaint.is_due(&reason, Instant::now()) {
                        warn!("the certificate is unchanged: {reason}");
                    }
                }
            }
        }
    }

    /// True if there was something new, which is used from now on.
    fn look(&self) -> Result<bool, TlsError> {
        if self.files.read()? == *self.texts() {
            return Ok(false);
        }
        self.reload().map(|_| true)
    }

    /// The handshake of a client.
    ///
    /// # Errors
    /// If it fails, takes too long, or makes room for others.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (_entry, given_up) = self.handshakes.enter();
        let handshake = TlsAcceptor::from(self.config.load_full()).accept(stream);
        let mut stream = tokio::select! {
            done = timeout(HANDSHAKE_DEADLINE, handshake) => done??,
            _ = given_up => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        stream.get_mut().1.set_buffer_limit(Some(BUFFER));
        Ok(stream)
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        // Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Texts, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError::Unreadable(path.to_owned(), error));
        Ok(Texts { certificate: read(&self.certificate)?, key: read(&self.key)?.into() })
    }

    /// What is to be done with them, and how many certificates there are.
    fn config(&self, texts: &Texts) -> Result<(Arc<ServerConfig>, usize), TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&texts.certificate).collect();
        let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(|error| TlsError::NotPem(self.certificate.clone(), "certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(&texts.key);
        let key = key.map_err(|error| TlsError::NotPem(self.key.clone(), "key", error))?;
        let count = chain.len();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| TlsError::Unusable(self.clone(), error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((Arc::new(config), count))
    }
}

impl Handshakes {
    /// An entry, and what ends when it is to be given up.
    fn enter(&self) -> (PendingHandshake<'_>, oneshot::Receiver<()>) {
        let (keep, given_up) = oneshot::channel();
        let mut entries = self.entries();
        entries.last += 1;
        let number = entries.last;
        entries.by_number.insert(number, keep);
        if entries.by_number.len() > self.most {
            entries.by_number.pop_first();
        }
        drop(entries);
        (PendingHandshake { handshakes: self, number }, given_up)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing under the lock panics halfway, so the state behind a poisoned lock is intact.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingHandshake<'_> {
    fn drop(&mut self) {
        self.handshakes.entries().by_number.remove(&self.number);
    }
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::duplex;

    use super::*;

    fn write(folder: &Path) -> TlsFiles {
        let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_is_not_finished_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls::open(write(folder.path())).unwrap();
        let (stream, _client) = duplex(1024);
        let begin = Instant::now();
        let error = tls.accept(stream).await.err().unwrap();
        assert_eq!((error.kind(), begin.elapsed()), (io::ErrorKind::TimedOut, HANDSHAKE_DEADLINE));
        assert!(tls.handshakes.entries().by_number.is_empty());
    }

    #[tokio::test]
    async fn of_too_many_handshakes_the_oldest_is_given_up_for_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let mut tls = Tls::open(write(folder.path())).unwrap();
        tls.handshakes.most = 2;
        let streams: Vec<_> = (0..4).map(|_| duplex(1024)).collect();
        let (near, _far): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
        let mut handshakes: Vec<_> = near.into_iter().map(|stream| Box::pin(tls.accept(stream))).collect();
        let mut over = |number: usize| (&mut handshakes[number]).now_or_never().map(|done| done.err().unwrap().kind());
        assert_eq!((over(0), over(1)), (None, None));
        assert_eq!((over(2), over(0)), (None, Some(io::ErrorKind::ConnectionAborted)));
        // Its place is not counted twice.
        assert_eq!(over(1), None);
        assert_eq!((over(3), over(1), over(2)), (None, Some(io::ErrorKind::ConnectionAborted), None));
        drop(handshakes);
        assert!(tls.handshakes.entries().by_number.is_empty());
    }

    #[test]
    fn what_cannot_be_used_changes_nothing_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path());
        let tls = Tls::open(files.clone()).unwrap();
        let used = || Arc::as_ptr(&tls.config.load_full());
        let first = used();
        assert!(!tls.look().unwrap());

        // The certificate of another key, as while both are being replaced.
        let key = fs::read(&files.key).unwrap();
        let other = write(folder.path());
        let new_key = fs::read(&other.key).unwrap();
        fs::write(&files.key, &key).unwrap();
        assert!(matches!(tls.look(), Err(TlsError::Unusable(..))));
        for (text, complaint) in [("", "key.pem has no key in PEM"), ("no PEM at all", "key.pem has no key in PEM")] {
            fs::write(&files.key, text).unwrap();
            let error = tls.look().unwrap_err();
            assert!(error.to_string().ends_with(complaint), "{error}");
        }
        fs::remove_file(&files.key).unwrap();
        assert!(matches!(tls.look(), Err(TlsError::Unreadable(..))));
        assert_eq!(used(), first);

        fs::write(&files.key, new_key).unwrap();
        assert!(tls.look().unwrap());
        assert_ne!(used(), first);
        assert!(!tls.look().unwrap());
        assert_eq!(tls.reload().unwrap(), 1);
        fs::write(&files.certificate, "").unwrap();
        let error = tls.reload().unwrap_err();
        assert!(error.to_string().ends_with("cert.pem has no certificate in PEM"), "{error}");
    }
}

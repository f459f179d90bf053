//! NATS over TLS: servers with certificates of a private authority, which ask clients for theirs.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use relogin_bus::nats::{ConnectError, NatsBus, NatsConfig};
use relogin_test_support::{nats_server::NatsServer, soon};

/// Writes the certificates of an authority, a server and a client.
fn write_certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let path = |name: &str| folder.path().join(name);
    let [ca, certificate, key] =
        ["ca.pem", "server.pem", "server.key"].map(|name| path(name).to_str().unwrap().to_owned());
    let server = NatsServer::start(&["--tlsverify", "--tlscacert", &ca, "--tlscert", &certificate, "--tlskey", &key]);
    let client = || Some((path("client.pem"), path("client.key")));
    let connect = async |ca, certificate| {
        let config = NatsConfig { url: server.url(), ca, certificate, ..NatsConfig::default() };
        soon(NatsBus::connect(&config)).await
    };
    connect(Some(path("ca.pem")), client()).await.unwrap();
    // Nobody vouches for the server, or for the client.
    let error = connect(None, client()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }) && !error.may_pass(), "{error:?}");
    assert!(connect(Some(path("ca.pem")), None).await.is_err());
    // The error names the file that cannot be read.
    let error = connect(Some(path("nothing.pem")), client()).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Certificate { .. }), "{error:?}");
    assert!(error.to_string().contains("nothing.pem"), "{error}");
}

//! A self-signed certificate for loopback, made anew for each test by the openssl command.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

/// Certificate and key, in files.
pub(crate) struct Certificate {
    pub(crate) chain_file: PathBuf,
    pub(crate) key_file: PathBuf,
    _directory: TempDir,
}

impl Certificate {
    /// A certificate for 127.0.0.1 and localhost; `None`, with a word why, without openssl.
    pub(crate) fn make() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let file = |name: &str| directory.path().join(name);
        let request = "[req]\ndistinguished_name=name\nx509_extensions=extensions\nprompt=no\n\
            [name]\nCN=localhost\n[extensions]\nbasicConstraints=critical,CA:FALSE\n\
            subjectAltName=DNS:localhost,IP:127.0.0.1\n";
        std::fs::write(file("request.cnf"), request).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config"])
            .arg(file("request.cnf"))
            .arg("-keyout")
            .arg(file("key.pem"))
            .arg("-out")
            .arg(file("certificate.pem"))
            .output();
        let Ok(made) = made else {
            crate::left_out::say("left out: TLS needs the openssl command to make a certificate");
            return None;
        };
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        Some(Self {
            chain_file: file("certificate.pem"),
            key_file: file("key.pem"),
            _directory: directory,
        })
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.chain_file).unwrap()
    }

    /// A server with this certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(&self.key_file).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()], key);
        Arc::new(config.unwrap())
    }

    /// A client that trusts only this certificate and offers this protocol.
    pub(crate) fn client(&self, protocol: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

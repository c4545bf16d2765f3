//! The data listener's certificate.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::proxy::TlsSettings;

/// Serves HTTP/2 and HTTP/1.1, as the client chooses.
pub(super) fn acceptor(settings: &TlsSettings) -> anyhow::Result<TlsAcceptor> {
    let file = &settings.certificate_file;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("read listener.tls.certificate_file {}", file.display()))?
        .collect();
    let certificates = certificates.with_context(|| format!("read {}", file.display()))?;
    let file = &settings.key_file;
    let key = PrivateKeyDer::from_pem_file(file)
        .with_context(|| format!("read listener.tls.key_file {}", file.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("use the listener's certificate and key")?;
    // The state of a session goes with the client as an encrypted ticket. Without a ticketer rustls
    // keeps it here, behind one lock for all workers, of the last 256 sessions only: at two per
    // connection, the 129th other client would cost the first one a full handshake.
    // The ticketer changes its keys every six hours; a reload begins with new ones.
    config.ticketer = Ticketer::new()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

//! The data listener's certificate, and what it asks of its clients'.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::proxy::{ClientCertificates, TlsClientSettings, TlsSettings};

/// Serves HTTP/2 and HTTP/1.1, as the client chooses.
pub(super) fn acceptor(settings: &TlsSettings) -> anyhow::Result<TlsAcceptor> {
    let chain = certificates(&settings.certificate_file, "certificate_file")?;
    let file = &settings.key_file;
    let key = PrivateKeyDer::from_pem_file(file)
        .with_context(|| format!("read listener.tls.key_file {}", file.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = client_verifier(&settings.clients, &provider)?;
    let asks_clients = settings.clients.certificates != ClientCertificates::Off;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("use the listener's certificate and key")?;
    if asks_clients {
        // Resumed, a session would vouch for a certificate that was verified hours ago and may
        // have expired since. These clients pay for a full handshake at each connection.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // The state of a session goes with the client as an encrypted ticket. Without a ticketer rustls
        // keeps it here, behind one lock for all workers, of the last 256 sessions only: at two per
        // connection, the 129th other client would cost the first one a full handshake.
        // The ticketer changes its keys every six hours; a reload begins with new ones.
        config.ticketer = Ticketer::new()?;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whether clients are asked for a certificate, and which ones are genuine.
fn client_verifier(
    settings: &TlsClientSettings,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    if settings.certificates == ClientCertificates::Off {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let file = settings.ca_file.as_deref();
    let file = file.context("listener.tls.client_ca_file is missing")?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(file, "client_ca_file")? {
        let added = roots.add(authority);
        added.with_context(|| format!("use listener.tls.client_ca_file {}", file.display()))?;
    }
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if settings.certificates == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build();
    verifier.with_context(|| format!("use listener.tls.client_ca_file {}", file.display()))
}

/// The certificates of a PEM file.
fn certificates(file: &Path, key: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("read listener.tls.{key} {}", file.display()))?
        .collect();
    certificates.with_context(|| format!("read {}", file.display()))
}

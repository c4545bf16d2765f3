//! Reaches the store: TCP, TLS by the same library as everywhere, or a socket file.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo,
};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::error::StoreError;
use super::settings::Settings;

/// A connection and the task that drives it.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: JoinHandle<()>,
}

/// Whether a URL can be read.
pub fn is_url(url: &str) -> bool {
    parse(url).is_ok()
}

pub(super) async fn open(settings: &Settings) -> Result<Opened, StoreError> {
    let url = settings.redis_url.as_ref().ok_or(StoreError::InvalidUrl)?;
    let (info, is_tls) = parse(url.as_str())?;
    if let ConnectionAddr::Unix(path) = info.addr() {
        let stream = UnixStream::connect(path).await?;
        return set_up(info.redis_settings(), stream).await;
    }
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Err(StoreError::InvalidUrl);
    };
    let stream = TcpStream::connect((host.as_str(), *port)).await?;
    stream.set_nodelay(true)?;
    if !is_tls {
        return set_up(info.redis_settings(), stream).await;
    }
    let name = ServerName::try_from(host.clone());
    let name = name.map_err(|_not_a_name| StoreError::InvalidUrl)?;
    let connector = TlsConnector::from(trust(settings)?);
    let stream = connector.connect(name, stream).await?;
    set_up(info.redis_settings(), stream).await
}

/// The crate would take TLS only with its own connector.
fn parse(url: &str) -> Result<(ConnectionInfo, bool), StoreError> {
    let clear = url.strip_prefix("rediss://");
    let plain = clear.map(|rest| format!("redis://{rest}"));
    let info = plain.as_deref().unwrap_or(url).into_connection_info();
    let info = info.map_err(|_reason| StoreError::InvalidUrl)?;
    Ok((info, clear.is_some()))
}

async fn set_up<S>(info: &RedisConnectionInfo, stream: S) -> Result<Opened, StoreError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_pipeline_buffer_size(REQUESTS_MAX);
    let made = MultiplexedConnection::new_with_config(info, stream, config).await?;
    let (connection, driver) = made;
    Ok(Opened {
        connection,
        driver: tokio::spawn(driver),
    })
}

fn trust(settings: &Settings) -> Result<Arc<rustls::ClientConfig>, StoreError> {
    let wrong = |error: &dyn std::fmt::Display| StoreError::Trust(error.to_string());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &settings.ca_file {
        let read = rustls::pki_types::CertificateDer::pem_file_iter(file);
        for certificate in read.map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Requests that wait to be written; past them, calls wait for their timeout.
const REQUESTS_MAX: usize = 4_096;

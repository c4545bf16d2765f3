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
use super::names::Names;
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

/// Whether what it says and is told is encrypted.
pub fn is_encrypted(url: &str) -> bool {
    parse(url).is_ok_and(|(_, is_tls)| is_tls)
}

/// Connects to the node that has the keys of this deployment: in a cluster the one of the URL may
/// name another.
pub(super) async fn open(settings: &Settings) -> Result<Opened, StoreError> {
    let url = settings.redis_url.as_ref().ok_or(StoreError::InvalidUrl)?;
    let (info, is_tls) = parse(url.as_str())?;
    let mut node = info.addr().clone();
    for _hop in 0..HOPS_MAX {
        let mut opened = reach(settings, info.redis_settings(), &node, is_tls).await?;
        let Some(other) = elsewhere(settings, &mut opened.connection, &node).await? else {
            return Ok(opened);
        };
        opened.driver.abort();
        node = other;
    }
    Err(StoreError::Wandering(node.to_string()))
}

/// The node that has the keys, where this one has them not.
async fn elsewhere(
    settings: &Settings,
    connection: &mut MultiplexedConnection,
    asked: &ConnectionAddr,
) -> Result<Option<ConnectionAddr>, StoreError> {
    let names = Names::new(&settings.deployment, String::new(), String::new());
    let mut command = redis::cmd("HEXISTS");
    command.arg(names.epoch()).arg("id");
    let Err(error) = command.query_async::<bool>(connection).await else {
        return Ok(None);
    };
    match error.redirect_node() {
        Some((node, _slot)) => named(node, asked).map(Some),
        None => Err(error.into()),
    }
}

/// A node as a cluster names it: without a host it is at the one that was asked.
fn named(node: &str, asked: &ConnectionAddr) -> Result<ConnectionAddr, StoreError> {
    let unknown = || StoreError::Wandering(node.to_owned());
    let (host, port) = node.rsplit_once(':').ok_or_else(unknown)?;
    let port = port.parse().map_err(|_no_number| unknown())?;
    match (host, asked) {
        ("" | "?", ConnectionAddr::Tcp(host, _)) => Ok(ConnectionAddr::Tcp(host.clone(), port)),
        ("" | "?", _) => Err(unknown()),
        (host, _) => Ok(ConnectionAddr::Tcp(host.to_owned(), port)),
    }
}

async fn reach(
    settings: &Settings,
    user: &RedisConnectionInfo,
    node: &ConnectionAddr,
    is_tls: bool,
) -> Result<Opened, StoreError> {
    if let ConnectionAddr::Unix(path) = node {
        let stream = UnixStream::connect(path).await?;
        return set_up(user, stream).await;
    }
    let ConnectionAddr::Tcp(host, port) = node else {
        return Err(StoreError::InvalidUrl);
    };
    let stream = TcpStream::connect((host.as_str(), *port)).await?;
    stream.set_nodelay(true)?;
    if !is_tls {
        return set_up(user, stream).await;
    }
    let name = ServerName::try_from(host.clone());
    let name = name.map_err(|_not_a_name| StoreError::InvalidUrl)?;
    let connector = TlsConnector::from(trust(settings)?);
    let stream = connector.connect(name, stream).await?;
    set_up(user, stream).await
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
    // Nobody asks for the name of a library, and least rights do not hold it.
    let info = &info.clone().set_skip_set_lib_name();
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
        let before = roots.len();
        let read = rustls::pki_types::CertificateDer::pem_file_iter(file);
        for certificate in read.map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
        if roots.len() == before {
            return Err(wrong(&"budget_store.ca_file has no certificate"));
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
/// From node to node: one is enough where the cluster is not about to change.
const HOPS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_a_cluster_names_it() {
        let tcp = |host: &str, port| ConnectionAddr::Tcp(host.to_owned(), port);
        let asked = tcp("one.example", 6379);
        assert_eq!(
            named("10.0.0.2:7001", &asked).unwrap(),
            tcp("10.0.0.2", 7001)
        );
        assert_eq!(named("::1:7001", &asked).unwrap(), tcp("::1", 7001));
        for unnamed in [":7001", "?:7001"] {
            assert_eq!(named(unnamed, &asked).unwrap(), tcp("one.example", 7001));
        }
        let socket = ConnectionAddr::Unix("/run/redis.sock".into());
        for (node, asked) in [("", &asked), ("host:no", &asked), (":7001", &socket)] {
            assert!(
                matches!(named(node, asked), Err(StoreError::Wandering(_))),
                "{node}"
            );
        }
    }

    #[test]
    fn only_rediss_is_encrypted() {
        assert!(is_encrypted("rediss://redis.example"));
        for clear in [
            "redis://redis.example",
            "unix:///run/redis.sock",
            "rediss://",
        ] {
            assert!(!is_encrypted(clear), "{clear}");
        }
    }
}

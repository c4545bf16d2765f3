//! Opens connections to Bedrock: TCP or a tunnel through an HTTP proxy, then TLS, then HTTP/1.1.
//!
//! HTTP/1.1 and not 2: one call per connection has no flow-control window to share, and frames
//! need no second framing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsConnector;

use super::settings::{HttpProxy, Settings};
use super::{InvalidTarget, RequestBody, Target, UpstreamError};

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One HTTP/1.1 connection. Whoever holds it drives it: there is no task behind it.
pub(super) struct Link {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) connection: http1::Connection<TokioIo<Box<dyn Stream>>, RequestBody>,
    /// Wakes whoever waits for an answer, to look at the time. It stays with the connection: calls
    /// that are answered in time neither make a timer nor move one.
    pub(super) alarm: Pin<Box<Sleep>>,
}

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: Arc<ClientConfig>,
    proxy: Option<Tunnel>,
    timeout: Duration,
}

/// The trust that was asked for cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `upstream.ca_file` cannot be read or holds no certificate.
    #[error("upstream.ca_file {path}: {why}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up at all.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// `upstream.proxy` is not a URL.
    #[error("upstream.proxy {0}")]
    Proxy(#[from] InvalidTarget),
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Result<Self, TrustError> {
        let proxy = settings.proxy.as_ref().map(Tunnel::new).transpose()?;
        let tls = Arc::new(client_config(settings)?);
        Ok(Self {
            tls,
            proxy,
            timeout: settings.connect_timeout,
        })
    }

    /// A fresh connection to the target.
    pub(super) async fn connect(&self, target: &Target) -> Result<Link, UpstreamError> {
        let host = target.address();
        match tokio::time::timeout(self.timeout, self.open(target)).await {
            Ok(link) => link,
            Err(_elapsed) => Err(UpstreamError::ConnectTimeout { host }),
        }
    }

    async fn open(&self, target: &Target) -> Result<Link, UpstreamError> {
        let failed = |source| UpstreamError::Connect {
            host: target.address(),
            source,
        };
        let mut stream = self.open_tcp(target).await?;
        if let Some(server) = &target.tls {
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            let secured = connector
                .connect(server.clone(), stream)
                .await
                .map_err(failed)?;
            stream = Box::new(secured);
        }
        let io = TokioIo::new(stream);
        let handshake = http1::Builder::new().handshake(io).await;
        let (sender, connection) = handshake.map_err(UpstreamError::NotSent)?;
        Ok(Link {
            sender,
            connection,
            alarm: Box::pin(tokio::time::sleep(self.timeout)),
        })
    }

    async fn open_tcp(&self, target: &Target) -> Result<Box<dyn Stream>, UpstreamError> {
        // As `HTTPS_PROXY` says: only calls that are secured end to end go through it.
        let tunnel = self.proxy.as_ref().filter(|_| target.tls.is_some());
        let hop = tunnel.map_or(target, |tunnel| &tunnel.hop);
        let failed = |source| UpstreamError::Connect {
            host: hop.address(),
            source,
        };
        let (name, port) = &hop.address;
        let tcp = TcpStream::connect((name.as_str(), *port))
            .await
            .map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let Some(tunnel) = tunnel else {
            return Ok(Box::new(tcp));
        };
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if let Some(server) = &hop.tls {
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            stream = Box::new(
                connector
                    .connect(server.clone(), stream)
                    .await
                    .map_err(failed)?,
            );
        }
        tunnel.open(&mut stream, &target.address()).await?;
        Ok(stream)
    }
}

/// An HTTP proxy on the way.
#[derive(Clone)]
struct Tunnel {
    hop: Target,
    authorization: String,
}

impl Tunnel {
    fn new(proxy: &HttpProxy) -> Result<Self, InvalidTarget> {
        let authorization = proxy
            .user_info
            .as_ref()
            .map_or_else(String::new, |user_info| {
                let decoded = percent_encoding::percent_decode_str(user_info.as_str());
                let encoded = BASE64_STANDARD.encode(decoded.collect::<Vec<u8>>());
                format!("proxy-authorization: Basic {encoded}\r\n")
            });
        Ok(Self {
            hop: Target::new(&proxy.url)?,
            authorization,
        })
    }

    /// Asks the proxy for a tunnel (RFC 9110 section 9.3.6).
    async fn open(&self, stream: &mut Box<dyn Stream>, host: &str) -> Result<(), UpstreamError> {
        let failed = |source| UpstreamError::Connect {
            host: host.to_owned(),
            source,
        };
        let authorization = &self.authorization;
        let request = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > TUNNEL_HEAD_BYTES_MAX {
                let too_long = io::Error::other("the proxy's answer is too long");
                return Err(failed(too_long));
            }
            head.push(stream.read_u8().await.map_err(failed)?);
        }
        let answer = String::from_utf8_lossy(&head);
        let line = answer.lines().next().unwrap_or_default().to_owned();
        if line
            .split(' ')
            .nth(1)
            .is_some_and(|status| status.starts_with('2'))
        {
            Ok(())
        } else {
            Err(UpstreamError::TunnelRefused {
                host: host.to_owned(),
                answer: line,
            })
        }
    }
}

const TUNNEL_HEAD_BYTES_MAX: usize = 16_384;

/// TLS with the system's roots, and the operator's own where there are any.
fn client_config(settings: &Settings) -> Result<ClientConfig, TrustError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &settings.ca_file {
        for certificate in read_certificates(path)? {
            roots.add(certificate)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config?.with_root_certificates(roots).with_no_client_auth())
}

fn read_certificates(
    path: &std::path::Path,
) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, TrustError> {
    use rustls::pki_types::pem::PemObject as _;
    let refuse = |why: String| TrustError::CaFile {
        path: path.display().to_string(),
        why,
    };
    let read = rustls::pki_types::CertificateDer::pem_file_iter(path);
    let certificates: Result<Vec<_>, _> = read.map_err(|e| refuse(e.to_string()))?.collect();
    let certificates = certificates.map_err(|e| refuse(e.to_string()))?;
    if certificates.is_empty() {
        return Err(refuse("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

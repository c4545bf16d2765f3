//! One client connection: finds out what it speaks, then serves it until it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::prefixed::Prefixed;
use super::stall::StallGuard;
use super::takers::Takers;
use crate::identity::{ClientCertificate, Peer, ProxyHeader, parse_proxy_v2};
use crate::proxy::ListenerSettings;

/// How connections are served; shared by all workers.
pub(super) struct ConnectionSettings {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) proxy_protocol: bool,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) preface_timeout: Duration,
    pub(super) header_timeout: Duration,
    pub(super) header_bytes_max: usize,
    pub(super) stall_timeout: Duration,
}

impl ConnectionSettings {
    pub(super) fn new(settings: &ListenerSettings, tls: Option<TlsAcceptor>) -> Self {
        Self {
            tls,
            proxy_protocol: settings.proxy_protocol,
            trusted_proxies: settings.trusted_proxies.clone(),
            preface_timeout: settings.preface_timeout,
            header_timeout: settings.header_timeout,
            header_bytes_max: settings.header_bytes_max,
            stall_timeout: settings.stall_timeout,
        }
    }

    pub(super) fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&peer))
    }
}

type Socket = StallGuard<TcpStream>;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A connection that said what it is: its stream, who is at its other end, its protocol.
enum Opened {
    Clear(Prefixed<Socket>, Peer, Protocol),
    Secured(
        Box<tokio_rustls::server::TlsStream<Prefixed<Socket>>>,
        Peer,
        Protocol,
    ),
}

/// Serves a connection until it ends, or until `stop` and the calls on it have ended.
pub(super) async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    settings: Arc<ConnectionSettings>,
    door: Arc<Door>,
    stop: CancellationToken,
) {
    // Boxed: what a handshake needs must not stay with the connection for all its life.
    let opened = Box::pin(open(stream, peer, &settings));
    let opened = tokio::time::timeout(settings.preface_timeout, opened);
    let opened = tokio::select! {
        opened = opened => opened,
        () = stopped_for_a_while(&stop) => return,
    };
    match opened {
        Ok(Ok(Opened::Clear(stream, client, protocol))) => {
            serve_http(stream, client, protocol, &settings, door, stop).await;
        }
        Ok(Ok(Opened::Secured(stream, client, protocol))) => {
            serve_http(stream, client, protocol, &settings, door, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "connection not opened"),
        Err(_elapsed) => tracing::debug!(%peer, "connection silent past the preface timeout"),
    }
}

/// A connection that says nothing must not delay the stop; one whose first bytes are on their way
/// still gets its answer.
async fn stopped_for_a_while(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(PREFACE_TIMEOUT_AT_STOP).await;
}

async fn open(
    mut stream: TcpStream,
    peer: IpAddr,
    settings: &ConnectionSettings,
) -> io::Result<Opened> {
    let mut read = BytesMut::with_capacity(FIRST_READ_BYTES);
    let mut client = peer;
    if settings.proxy_protocol && settings.is_trusted_proxy(peer) {
        client = read_proxy_header(&mut stream, &mut read)
            .await?
            .unwrap_or(peer);
    }
    let Some(tls) = &settings.tls else {
        let protocol = read_preface(&mut stream, &mut read).await?;
        return Ok(Opened::Clear(
            Prefixed::new(
                read.freeze(),
                StallGuard::new(stream, settings.stall_timeout),
            ),
            client.into(),
            protocol,
        ));
    };
    let stream = tls
        .accept(Prefixed::new(
            read.freeze(),
            StallGuard::new(stream, settings.stall_timeout),
        ))
        .await?;
    let (_socket, session) = stream.get_ref();
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    // Verified in the handshake; the first one is the client's own.
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let peer = Peer {
        address: client,
        certificate: shown.map(|certificate| ClientCertificate::read(certificate)),
    };
    Ok(Opened::Secured(Box::new(stream), peer, protocol))
}

/// Reads and takes off the PROXY protocol header.
async fn read_proxy_header(
    stream: &mut TcpStream,
    read: &mut BytesMut,
) -> io::Result<Option<IpAddr>> {
    loop {
        match parse_proxy_v2(read) {
            ProxyHeader::Incomplete => read_more(stream, read).await?,
            ProxyHeader::Invalid => {
                return Err(io::Error::other("a trusted proxy sent no PROXY v2 header"));
            }
            ProxyHeader::Complete { source, consumed } => {
                drop(read.split_to(consumed));
                return Ok(source.map(|source| source.ip()));
            }
        }
    }
}

/// Reads until it is clear whether the HTTP/2 preface comes (RFC 9113 section 3.4).
async fn read_preface(stream: &mut TcpStream, read: &mut BytesMut) -> io::Result<Protocol> {
    loop {
        if read.starts_with(HTTP2_PREFACE) {
            return Ok(Protocol::Http2);
        }
        if !HTTP2_PREFACE.starts_with(read) {
            return Ok(Protocol::Http1);
        }
        read_more(stream, read).await?;
    }
}

async fn read_more(stream: &mut TcpStream, read: &mut BytesMut) -> io::Result<()> {
    match stream.read_buf(read).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn serve_http<S>(
    stream: S,
    peer: Peer,
    protocol: Protocol,
    settings: &ConnectionSettings,
    door: Arc<Door>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let client = peer.address;
    let peer = Arc::new(peer);
    let ended = match protocol {
        Protocol::Http1 => {
            let answer = service_fn(move |request| {
                let (door, peer) = (Arc::clone(&door), Arc::clone(&peer));
                async move { Ok::<_, Infallible>(door.answer(&peer, request).await) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(settings.header_timeout);
            builder.max_buf_size(settings.header_bytes_max.max(HTTP1_BUFFER_BYTES_MIN));
            let mut connection = pin!(builder.serve_connection(io, answer));
            if let Some(ended) = until_stop(connection.as_mut(), &stop).await {
                ended
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
        Protocol::Http2 => {
            let takers = Arc::new(Takers::new(settings.stall_timeout));
            let watched = Arc::clone(&takers);
            let answer = service_fn(move |request| {
                let (door, takers) = (Arc::clone(&door), Arc::clone(&watched));
                let peer = Arc::clone(&peer);
                async move {
                    let answer = door.answer(&peer, request).await;
                    Ok::<_, Infallible>(answer.map(|body| takers.watch(body)))
                }
            });
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(HTTP2_PING_INTERVAL);
            builder.max_concurrent_streams(HTTP2_STREAMS_MAX);
            builder.initial_stream_window_size(HTTP2_STREAM_WINDOW);
            builder.initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
            let header_bytes_max = u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX);
            builder.max_header_list_size(header_bytes_max);
            // Boxed: most connections are of HTTP/1.1 and need a tenth of the room.
            let mut connection = Box::pin(builder.serve_connection(io, answer));
            let mut sweep = Box::pin(takers.sweep());
            let served = until_stop(connection.as_mut(), &stop);
            let ended = tokio::select! {
                ended = served => ended,
                never = sweep.as_mut() => match never {},
            };
            if let Some(ended) = ended {
                ended
            } else {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    never = sweep => match never {},
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%client, %error, "connection ended");
    }
}

/// What the future ends with; `None` when the stop comes first.
async fn until_stop<F: Future>(future: F, stop: &CancellationToken) -> Option<F::Output> {
    tokio::select! {
        ended = future => Some(ended),
        () = stop.cancelled() => None,
    }
}

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_TIMEOUT_AT_STOP: Duration = Duration::from_millis(500);
/// Enough for the head of a usual request.
const FIRST_READ_BYTES: usize = 2048;
/// The least that hyper accepts.
const HTTP1_BUFFER_BYTES_MIN: usize = 8192;
const HTTP2_STREAMS_MAX: u32 = 256;
/// Room for a prompt of a megabyte without waiting for a window update.
const HTTP2_STREAM_WINDOW: u32 = 1 << 20;
const HTTP2_CONNECTION_WINDOW: u32 = 4 << 20;
/// Keeps connections through NAT alive and finds dead ones.
const HTTP2_PING_INTERVAL: Option<Duration> = Some(Duration::from_secs(30));

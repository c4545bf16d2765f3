//! The baseline: what hyper costs when it only passes bytes on. One current-thread runtime,
//! `TCP_NODELAY`, kept-alive upstream connections, the last used first; no tracing, no metering.
//! It must stay as fast as hyper can be made without touching its inside: the run compares it with
//! nginx and fails when it is slow.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;

use crate::client::Stream;
use crate::protocol::{LocalExecutor, Protocol, tls_acceptor, tls_connector};

/// Where the baseline listens and what it passes calls to.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// The address calls are passed to.
    #[arg(long)]
    upstream: SocketAddr,
    /// What clients speak.
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// Speak TLS to the upstream too.
    #[arg(long)]
    upstream_tls: bool,
    /// Folder with certificate.pem and key.pem, for TLS on either side.
    #[arg(long)]
    certificates: Option<PathBuf>,
}

/// Listens on loopback, says where on stdout, and serves until it is killed.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let folder = options.certificates.as_deref();
    let tls = folder.map(tls_acceptor).transpose()?;
    let upstream_tls = folder.filter(|_| options.upstream_tls);
    let upstream_tls = upstream_tls.map(tls_connector).transpose()?;
    println!("listening http://{}", listener.local_addr()?);
    let pool = Rc::new(Pool::new(options.upstream, upstream_tls)?);
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (pool, tls) = (Rc::clone(&pool), tls.clone());
        spawn_local(async move {
            match (options.protocol, tls) {
                (Protocol::Tls, Some(tls)) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        http1(stream, pool).await;
                    }
                }
                (Protocol::H2c, _) => http2(stream, pool).await,
                (Protocol::Http1 | Protocol::Tls, _) => http1(stream, pool).await,
            }
        });
    }
}

async fn http1(stream: impl Stream, pool: Rc<Pool>) {
    let service = service_fn(move |request| forward(Rc::clone(&pool), request));
    let server = hyper::server::conn::http1::Builder::new();
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

async fn http2(stream: TcpStream, pool: Rc<Pool>) {
    let service = service_fn(move |request| forward(Rc::clone(&pool), request));
    let server = hyper::server::conn::http2::Builder::new(LocalExecutor);
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

async fn forward(
    pool: Rc<Pool>,
    mut request: Request<Incoming>,
) -> anyhow::Result<Response<PooledBody>> {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().insert(HOST, pool.host.clone());
    let mut connection = pool.checkout().await?;
    let response = connection.send_request(request).await?;
    Ok(response.map(|body| PooledBody {
        body,
        connection: Some(connection),
        pool,
    }))
}

/// Upstream connections that wait for their next call.
struct Pool {
    upstream: SocketAddr,
    tls: Option<TlsConnector>,
    host: HeaderValue,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    fn new(upstream: SocketAddr, tls: Option<TlsConnector>) -> anyhow::Result<Self> {
        let host = HeaderValue::from_str(&upstream.to_string())?;
        Ok(Self {
            upstream,
            tls,
            host,
            idle: RefCell::default(),
        })
    }

    async fn checkout(&self) -> anyhow::Result<SendRequest<Incoming>> {
        while let Some(mut connection) = self.last_used() {
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => {
                let server = ServerName::from(self.upstream.ip());
                open(tls.connect(server, stream).await?).await
            }
            None => open(stream).await,
        }
    }

    fn last_used(&self) -> Option<SendRequest<Incoming>> {
        self.idle.borrow_mut().pop()
    }
}

async fn open(stream: impl Stream + 'static) -> anyhow::Result<SendRequest<Incoming>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    Ok(sender)
}

/// A response body that gives its connection back when it is done with. One that was cut short
/// comes back too; `checkout` finds it closed.
struct PooledBody {
    body: Incoming,
    connection: Option<SendRequest<Incoming>>,
    pool: Rc<Pool>,
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        self.pool.idle.borrow_mut().extend(self.connection.take());
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! A client that speaks HTTP/2, over TLS or in clear text.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// A call over a connection of its own; dropping it leaves.
pub(crate) struct Http2Call {
    answer: Response<Incoming>,
    runtime: Runtime,
}

impl Http2Call {
    /// Makes the call and waits for the head.
    pub(crate) fn begin(address: SocketAddr, tls: Option<Arc<ClientConfig>>, path: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(async {
            let socket = TcpStream::connect(address).await.unwrap();
            match tls {
                None => ask(socket, path).await,
                Some(config) => {
                    let name = "localhost".try_into().unwrap();
                    let secured = TlsConnector::from(config).connect(name, socket).await;
                    let secured = secured.unwrap();
                    assert_eq!(secured.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
                    ask(secured, path).await
                }
            }
        });
        Self { answer, runtime }
    }

    pub(crate) fn status(&self) -> u16 {
        self.answer.status().as_u16()
    }

    /// Gives up the stream and keeps the connection, which sends a reset.
    pub(crate) fn reset(self) -> Runtime {
        drop(self.answer);
        self.runtime
    }

    /// The body, and whether it ended well.
    pub(crate) fn body(mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        let whole = self.runtime.block_on(async {
            loop {
                match self.answer.body_mut().frame().await {
                    None => return true,
                    Some(Err(_broken)) => return false,
                    Some(Ok(frame)) => body.extend_from_slice(frame.data_ref().unwrap()),
                }
            }
        });
        (body, whole)
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> Response<Incoming> {
    let io = TokioIo::new(stream);
    let handshake = http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.unwrap();
    // It ends with the runtime.
    drop(tokio::spawn(connection));
    let request = http::Request::post(format!("http://bedrock{path}"))
        .body(Full::new(Bytes::from_static(br#"{"messages":[]}"#)))
        .unwrap();
    sender.send_request(request).await.unwrap()
}

//! A client that speaks HTTP/2, over TLS or in clear text.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Makes one call; its status and its body.
pub(crate) fn call_http2(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await.unwrap();
        match tls {
            None => call(socket).await,
            Some(config) => {
                let name = "localhost".try_into().unwrap();
                let secured = TlsConnector::from(config).connect(name, socket).await;
                let secured = secured.unwrap();
                assert_eq!(secured.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
                call(secured).await
            }
        }
    })
}

async fn call(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> (u16, Vec<u8>) {
    let io = TokioIo::new(stream);
    let handshake = http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::post("http://bedrock/model/amazon.nova-lite-v1:0/converse")
        .body(Full::new(Bytes::from_static(br#"{"messages":[]}"#)))
        .unwrap();
    let mut answer = sender.send_request(request).await.unwrap();
    let mut body = Vec::new();
    while let Some(frame) = answer.body_mut().frame().await {
        body.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    driver.abort();
    (answer.status().as_u16(), body)
}

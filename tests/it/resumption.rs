//! TLS sessions are resumed on both sides: a full handshake costs more than a small call.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection, StreamOwned};

use crate::support::{Certificate, Client, Proxy, Request, Stream, Upstream, body_of, endpoint};

const USAGE: &str = r#"{"usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;

/// An answer that says that its connection ends with it: the next call needs another.
fn good() -> Vec<u8> {
    let headers = "content-type: application/json\r\nconnection: close\r\n";
    body_of("200 OK", headers, USAGE)
}

/// Opens a connection and says how its session began.
fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> (HandshakeKind, impl Stream + 'static) {
    let mut socket = TcpStream::connect(address).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    session.complete_io(&mut socket).unwrap();
    let kind = session.handshake_kind().unwrap();
    (kind, StreamOwned::new(session, socket))
}

/// More than a server without tickets keeps sessions of: 256 in rustls, two for each connection.
const OTHER_CLIENTS: usize = 150;

#[test]
fn a_client_resumes_its_session_with_the_listener_however_many_came_in_between() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let upstream = Upstream::answering(good());
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.tls = Some(certificate.tls());
    });
    let config = certificate.client("http/1.1");
    let call = || {
        let (kind, stream) = open(proxy.address, &config);
        let answer = Client::through(stream).call(&Request::of("converse"));
        assert_eq!(answer.status, 200);
        kind
    };
    assert_eq!(call(), HandshakeKind::Full);
    assert_eq!(call(), HandshakeKind::Resumed);
    for _ in 0..OTHER_CLIENTS {
        let (kind, _stream) = open(proxy.address, &certificate.client("http/1.1"));
        assert_eq!(kind, HandshakeKind::Full);
    }
    assert_eq!(call(), HandshakeKind::Resumed);
}

#[test]
fn the_second_connection_to_bedrock_resumes_the_session_of_the_first() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let (kinds, seen) = sync_channel(2);
    let config = certificate.server();
    let wrap = move |mut socket| -> Box<dyn Stream> {
        let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
        session.complete_io(&mut socket).unwrap();
        kinds.send(session.handshake_kind().unwrap()).unwrap();
        Box::new(StreamOwned::new(session, socket))
    };
    // One call for each connection.
    let upstream = Upstream::behind(wrap, |mut connection| {
        connection.request();
        connection.write(&good());
    });
    let proxy = Proxy::start(upstream.address, |settings| {
        let url = format!("https://localhost:{}", upstream.address.port());
        settings.upstream.endpoints = endpoint(&url);
        settings.upstream.ca_file = Some(certificate.chain_file.clone());
    });
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
        assert_eq!(seen.recv().unwrap(), kind);
    }
}

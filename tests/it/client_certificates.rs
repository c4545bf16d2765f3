//! Certificates of clients: who comes through the handshake.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bedrock_meter::proxy::{ClientCertificates, TlsSettings};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::support::{Authority, Certificate, Client, Proxy, Request, Upstream, body_of};

const USAGE: &str = r#"{"usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;
const ID: &str = "URI:spiffe://corp.example/ns/search/sa/api";

fn upstream() -> Upstream {
    Upstream::answering(body_of(
        "200 OK",
        "content-type: application/json\r\n",
        USAGE,
    ))
}

/// A listener that asks this of its clients.
fn asking(
    certificate: &Certificate,
    authority: &Authority,
    certificates: ClientCertificates,
) -> TlsSettings {
    TlsSettings {
        clients: authority.clients(certificates),
        ..certificate.tls()
    }
}

/// Opens a connection; `None` when the handshake fails.
fn open(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> Option<StreamOwned<ClientConnection, TcpStream>> {
    let mut socket = TcpStream::connect(address).unwrap();
    let name = "localhost".try_into().unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    session.complete_io(&mut socket).ok()?;
    Some(StreamOwned::new(session, socket))
}

/// Whether a client comes through. In TLS 1.3 the server's refusal comes after the client's part of
/// the handshake, with the first byte of an answer.
fn is_admitted(address: SocketAddr, config: &Arc<ClientConfig>) -> bool {
    let Some(mut stream) = open(address, config) else {
        return false;
    };
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut first = [0; 12];
    let answered = stream.write_all(request).is_ok() && stream.read_exact(&mut first).is_ok();
    answered && &first == b"HTTP/1.1 200"
}

#[test]
fn a_listener_that_requires_certificates_admits_those_of_its_authority_alone() {
    let (Some(certificate), Some(authority), Some(other)) =
        (Certificate::make(), Authority::make(), Authority::make())
    else {
        return;
    };
    let upstream = upstream();
    let proxy = Proxy::start(upstream.address, |settings| {
        let tls = asking(&certificate, &authority, ClientCertificates::Required);
        settings.listener.tls = Some(tls);
    });
    let admitted = |config: &Arc<ClientConfig>| is_admitted(proxy.address, config);
    let [own, foreign] = [&authority, &other].map(|authority| authority.sign(ID));
    assert!(!admitted(&certificate.client("http/1.1")));
    assert!(!admitted(&certificate.client_with("http/1.1", &foreign)));
    assert!(admitted(&certificate.client_with("http/1.1", &own)));
    let stream = open(proxy.address, &certificate.client_with("http/1.1", &own)).unwrap();
    let answer = Client::through(stream).call(&Request::of("converse"));
    assert_eq!(answer.status, 200);
}

#[test]
fn a_listener_that_offers_certificates_admits_clients_without_and_none_with_a_false_one() {
    let (Some(certificate), Some(authority), Some(other)) =
        (Certificate::make(), Authority::make(), Authority::make())
    else {
        return;
    };
    let upstream = upstream();
    let proxy = Proxy::start(upstream.address, |settings| {
        let tls = asking(&certificate, &authority, ClientCertificates::Optional);
        settings.listener.tls = Some(tls);
    });
    let admitted = |config: &Arc<ClientConfig>| is_admitted(proxy.address, config);
    let [own, foreign] = [&authority, &other].map(|authority| authority.sign("DNS:api.search.svc"));
    assert!(admitted(&certificate.client("http/1.1")));
    assert!(admitted(&certificate.client_with("http/1.1", &own)));
    assert!(!admitted(&certificate.client_with("http/1.1", &foreign)));
}

#[test]
fn a_certificate_is_verified_at_every_connection() {
    let (Some(certificate), Some(authority)) = (Certificate::make(), Authority::make()) else {
        return;
    };
    let upstream = upstream();
    let proxy = Proxy::start(upstream.address, |settings| {
        let tls = asking(&certificate, &authority, ClientCertificates::Required);
        settings.listener.tls = Some(tls);
    });
    let config = certificate.client_with("http/1.1", &authority.sign(ID));
    for _ in 0..3 {
        let stream = open(proxy.address, &config).unwrap();
        assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
        let answer = Client::through(stream).call(&Request::of("converse"));
        assert_eq!(answer.status, 200);
    }
}

#[test]
fn a_reload_changes_the_authority_for_new_connections() {
    let (Some(certificate), Some(old), Some(new)) =
        (Certificate::make(), Authority::make(), Authority::make())
    else {
        return;
    };
    let upstream = upstream();
    let require = |authority| asking(&certificate, authority, ClientCertificates::Required);
    let proxy = Proxy::start(upstream.address, |s| s.listener.tls = Some(require(&old)));
    let [before, after] = [&old, &new].map(|authority| {
        let own = authority.sign(ID);
        certificate.client_with("http/1.1", &own)
    });
    let both = || [&before, &after].map(|config| is_admitted(proxy.address, config));
    assert_eq!(both(), [true, false]);
    assert!(proxy.reload(|s| s.listener.tls = Some(require(&new))));
    assert_eq!(both(), [false, true]);
}

//! Clients that take their time, or all the places: each limit of time and number closes what is
//! theirs, and an honest caller is served meanwhile.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{
    Certificate, Client, Honest, Proxy, Request, Upstream, Witness, chunked, ok_stream, wait_for,
};

const SHORT: Duration = Duration::from_secs(1);
const MANY: usize = 200;

fn impatient(witness: &Witness) -> Proxy {
    Proxy::start(witness.address(), |settings| {
        settings.listener.preface_timeout = SHORT;
        settings.listener.header_timeout = SHORT;
        settings.listener.body_timeout = SHORT;
    })
}

#[test]
fn heads_that_come_byte_by_byte_are_cut_off_at_the_limit() {
    let witness = Witness::start();
    let proxy = impatient(&witness);
    // The honest one must call more often than the limit that is set here for a head.
    let honest = Honest::begin(&proxy);
    let mut slow: Vec<TcpStream> = (0..MANY)
        .map(|_| TcpStream::connect(proxy.address).unwrap())
        .collect();
    let head = b"POST /model/a/converse HTTP/1.1\r\nhost: a\r\nx-a: ".iter();
    let mut bytes = head.chain(std::iter::repeat(&b'x'));
    wait_for("all to be closed", || {
        let byte = [*bytes.next().unwrap()];
        slow.retain_mut(|socket| socket.write_all(&byte).is_ok());
        slow.is_empty().then_some(())
    });
    honest.end();
    assert_eq!(witness.take(), [""; 0]);
}

#[test]
fn bodies_that_come_byte_by_byte_are_refused_at_the_limit() {
    let witness = Witness::start();
    let proxy = impatient(&witness);
    let honest = Honest::begin(&proxy);
    let request = Request::at("/model/a/converse".to_owned()).body(vec![b' '; 900]);
    let mut slow: Vec<TcpStream> = (0..MANY)
        .map(|_| {
            let mut socket = TcpStream::connect(proxy.address).unwrap();
            socket.write_all(&request.head()).unwrap();
            socket
        })
        .collect();
    wait_for("all to be closed", || {
        slow.retain_mut(|socket| socket.write_all(b" ").is_ok());
        slow.is_empty().then_some(())
    });
    honest.end();
    assert_eq!(witness.take(), [""; 0]);
    assert!(proxy.metric("bedrock_meter_refused_total") >= 1.0);
}

#[test]
fn a_reader_who_takes_next_to_nothing_is_let_go_and_the_call_settles() {
    const ANSWER: usize = 20_000_000;
    let upstream = Upstream::start(|mut connection| {
        while connection.request().is_some() {
            connection.write(&ok_stream());
            connection.write(&chunked(&vec![b'x'; ANSWER], 1 << 20));
        }
    });
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.stall_timeout = Duration::from_millis(300);
    });
    let mut slow: Vec<TcpStream> = (0..5)
        .map(|_| {
            let mut socket = TcpStream::connect(proxy.address).unwrap();
            socket
                .write_all(&Request::of("converse-stream").bytes())
                .unwrap();
            socket
        })
        .collect();
    let mut byte = [0];
    let entries = wait_for("the calls to settle", || {
        for socket in &mut slow {
            socket.read_exact(&mut byte).unwrap();
        }
        (proxy.metric("bedrock_meter_in_flight_requests") < 0.5).then(|| proxy.entries(5))
    });
    let whole = ANSWER.to_string();
    for entry in &entries {
        assert_eq!(entry.get("outcome"), "client_left");
        assert_eq!(entry.get("response_bytes"), whole, "read on to its end");
    }
}

#[test]
fn half_open_handshakes_are_closed_at_the_limit() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let witness = Witness::start();
    let proxy = Proxy::start(witness.address(), |settings| {
        settings.listener.preface_timeout = SHORT;
        settings.listener.tls = Some(bedrock_meter::proxy::TlsSettings {
            certificate_file: certificate.chain_file.clone(),
            key_file: certificate.key_file.clone(),
            clients: bedrock_meter::proxy::TlsClientSettings::default(),
        });
    });
    // Nothing at all; the head of a record that promises more; what is no TLS.
    let begun: [&[u8]; 3] = [
        b"",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    let mut open: Vec<Client> = Vec::new();
    for bytes in begun.iter().cycle().take(MANY) {
        let mut client = proxy.client();
        client.send(bytes);
        open.push(client);
    }
    for client in &mut open {
        // At most an alert of TLS.
        while client.is_answered() {}
    }
    assert_eq!(witness.take(), [""; 0]);
    let tls = certificate.client("h2");
    let path = "/model/a/converse";
    let call = crate::support::Http2Call::begin(proxy.address, Some(tls), path);
    assert_eq!(call.status(), 200);
}

#[test]
fn a_flood_of_connections_leaves_the_listener_and_others_alone() {
    const LIMIT: usize = 50;
    let witness = Witness::start();
    let proxy = Proxy::start(witness.address(), |settings| {
        settings.listener.connections_per_peer_max = LIMIT;
    });
    let honest_connection = &mut proxy.client();
    assert_eq!(honest_connection.call(&Request::of("converse")).status, 200);
    let mut flood: Vec<Client> = (0..10 * LIMIT).map(|_| proxy.client()).collect();
    assert_eq!(honest_connection.call(&Request::of("converse")).status, 200);
    let mut refused = flood.iter_mut().skip(LIMIT);
    assert!(refused.all(Client::is_closed_silently));
    drop(flood);
    // All are gone now, and their places with them.
    wait_for("a place", || {
        let mut client = proxy.client();
        client.send(&Request::of("converse").bytes());
        client.is_answered().then_some(())
    });
}

#[test]
fn connections_past_the_limit_in_all_are_closed() {
    let witness = Witness::start();
    let proxy = Proxy::start(witness.address(), |settings| {
        settings.listener.connections_max = 2;
    });
    let mut held = [proxy.client(), proxy.client()];
    for client in &mut held {
        assert_eq!(client.call(&Request::of("converse")).status, 200);
    }
    assert!(proxy.client().is_closed_silently(), "the third");
}

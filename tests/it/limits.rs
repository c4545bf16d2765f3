//! Limits at the door: what is too much is refused in words, and what is allowed passes.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ipnet::IpNet;

use crate::support::{Proxy, Request, Upstream, body_of};

const USAGE: &str = r#"{"output":{},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;

fn answering() -> Upstream {
    Upstream::answering(body_of("200 OK", "", USAGE))
}

/// An upstream that answers each request when the test says so.
fn answering_when_told() -> (Upstream, Receiver<()>, SyncSender<()>) {
    let (reached, waiting) = sync_channel(16);
    let (go, going) = sync_channel::<()>(16);
    let going = Mutex::new(going);
    let upstream = Upstream::start(move |mut connection| {
        while connection.request().is_some() {
            if reached.send(()).is_err() || going.lock().unwrap().recv().is_err() {
                return;
            }
            connection.write(&body_of("200 OK", "", USAGE));
        }
    });
    (upstream, waiting, go)
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_body_of_the_limit_passes_and_one_byte_more_does_not() {
    const LIMIT: usize = 25_000_000;
    let upstream = answering();
    let proxy = Proxy::before(upstream.address);
    let whole = Request::of("converse").body(vec![b' '; LIMIT]);
    let longer = Request::of("converse").body(vec![b' '; LIMIT + 1]);
    let mut client = proxy.client();
    for bytes in [whole.bytes(), whole.chunked(1 << 20)] {
        client.send(&bytes);
        assert_eq!(client.answer().status, 200);
    }
    for bytes in [longer.bytes(), longer.chunked(1 << 20)] {
        let mut client = proxy.client();
        client.send(&bytes);
        let answer = client.answer();
        assert_eq!(
            (answer.status, answer.refusal()),
            (400, Some("body_too_long"))
        );
        assert_eq!(
            answer.header("x-amzn-errortype"),
            Some("validationexception")
        );
    }
    let entries = proxy.stop();
    assert_eq!(entries.len(), 2);
    assert!(
        entries
            .iter()
            .all(|entry| entry.get("request_bytes") == "25000000")
    );
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn a_head_of_a_usual_size_passes_and_one_past_the_limit_does_not() {
    let upstream = answering();
    let proxy = Proxy::before(upstream.address);
    let with = |bytes: usize| Request::of("converse").header("x-much", &"x".repeat(bytes));
    assert_eq!(proxy.client().call(&with(40_000)).status, 200);
    let mut client = proxy.client();
    client.send(&with(100_000).bytes());
    // The head is not read to its end, so the reset that follows may overtake the answer.
    let words = client.last_words();
    let refused = words.is_empty() || words.starts_with("HTTP/1.1 431 ");
    assert!(refused, "{words}");
    assert_eq!(
        proxy.client().call(&with(0)).status,
        200,
        "the next call works"
    );
    assert_eq!(proxy.stop().len(), 2);
}

#[test]
fn garbage_and_unknown_paths_are_answered_and_reach_nobody() {
    let upstream = answering();
    let proxy = Proxy::before(upstream.address);
    let check = |bytes: &[u8], status: u16, refusal: Option<&str>| {
        let mut client = proxy.client();
        client.send(bytes);
        let answer = client.answer();
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(
            (answer.status, answer.refusal()),
            (status, refusal),
            "{shown}"
        );
    };
    check(b"what is this\r\n\r\n", 400, None);
    check(
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        404,
        Some("unknown_operation"),
    );
    check(
        b"POST /model/a/talk HTTP/1.1\r\nhost: a\r\n\r\n",
        404,
        Some("unknown_operation"),
    );
    check(
        b"POST /model/%zz/converse HTTP/1.1\r\nhost: a\r\n\r\n",
        400,
        Some("malformed_path"),
    );
    check(
        b"POST /region/mars-1/model/a/converse HTTP/1.1\r\nhost: a\r\n\r\n",
        403,
        Some("region_not_served"),
    );
    check(
        b"POST /model/a/invoke-with-bidirectional-stream HTTP/1.1\r\nhost: a\r\n\r\n",
        400,
        Some("bidirectional_not_served"),
    );
    assert!(proxy.metric("bedrock_meter_refused_total") > 4.5);
    assert!(proxy.stop().is_empty());
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_body_that_is_cut_short_reaches_nobody() {
    let upstream = answering();
    let proxy = Proxy::before(upstream.address);
    let mut client = proxy.client();
    client.send(&Request::of("converse").body(vec![b' '; 1000]).head());
    client.send(b"{\"messages\":");
    client.half_close();
    assert!(client.is_closed_silently() || upstream.requests() == 0);
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
    assert_eq!(proxy.stop().len(), 1);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_silent_connection_is_closed() {
    let upstream = answering();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.preface_timeout = Duration::from_millis(50);
        settings.listener.header_timeout = Duration::from_millis(50);
    });
    assert!(proxy.client().is_closed_silently());
    let mut undecided = proxy.client();
    undecided.send(b"PRI * HT");
    assert!(undecided.is_closed_silently(), "half a preface");
    let mut slow = proxy.client();
    slow.send(b"POST /model/a/converse HTTP/1.1\r\nhos");
    slow.last_words();
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
}

#[test]
fn one_peer_has_only_so_many_connections() {
    let upstream = answering();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.connections_per_peer_max = 2;
    });
    let mut held = [proxy.client(), proxy.client()];
    for client in &mut held {
        assert_eq!(client.call(&Request::of("converse")).status, 200);
    }
    assert!(proxy.client().is_closed_silently(), "the third");
    let [first, _second] = held;
    drop(first);
    crate::support::wait_for("a place", || {
        let mut client = proxy.client();
        client.send(&Request::of("converse").bytes());
        client.is_answered().then_some(())
    });
}

#[test]
fn calls_past_the_limit_in_flight_are_refused_for_now() {
    let (upstream, waiting, go) = answering_when_told();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.calls_in_flight_max = 1;
    });
    let mut first = proxy.client();
    first.send(&Request::of("converse").bytes());
    waiting.recv().unwrap();
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!(
        (answer.status, answer.refusal()),
        (503, Some("too_many_calls"))
    );
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    go.send(()).unwrap();
    assert_eq!(first.answer().status, 200);
    go.send(()).unwrap();
    assert_eq!(
        first.call(&Request::of("converse")).status,
        200,
        "there is a place again"
    );
    assert_eq!(proxy.stop().len(), 2);
}

#[test]
fn bodies_share_their_room_and_give_it_back() {
    let upstream = answering();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.gathered_bytes_max = 1000;
    });
    let request = Request::of("converse").body(vec![b' '; 800]);
    let mut slow = proxy.client();
    slow.send(&request.head());
    crate::support::wait_for("the room to be taken", || {
        let mut probe = proxy.client();
        probe.send(&Request::of("converse").body(vec![b' '; 300]).head());
        probe.send(&[b' '; 300]);
        // While there is room the probe is served.
        (probe.answer().refusal() == Some("too_many_bodies")).then_some(())
    });
    slow.send(&[b' '; 800]);
    assert_eq!(slow.answer().status, 200);
    assert_eq!(
        proxy.client().call(&request).status,
        200,
        "the room is free again"
    );
}

#[test]
fn the_client_behind_a_trusted_proxy_is_who_counts() {
    let upstream = answering();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.trusted_proxies = networks(&["127.0.0.0/8"]);
        settings.identity.trusted_networks = networks(&["10.1.0.0/16"]);
    });
    let check = |forwarded: &str, refusal: Option<&str>| {
        let request = Request::of("converse")
            .header("x-bedrock-meter-tenant", "research")
            .header("x-forwarded-for", forwarded);
        let answer = proxy.client().call(&request);
        assert_eq!(answer.refusal(), refusal, "{forwarded}");
    };
    check("10.1.2.3", None);
    check("203.0.113.9, 10.1.2.3", None);
    check("10.1.2.3, 203.0.113.9", Some("untrusted_caller"));
    check("203.0.113.9", Some("untrusted_caller"));
    let entries = proxy.stop();
    assert_eq!(entries.len(), 2);
    assert!(
        entries
            .iter()
            .all(|entry| entry.get("tenant") == "research")
    );
    assert_eq!(upstream.requests(), 2);
}

/// The header of version 2 of the PROXY protocol (section 2.2) for TCP over IPv4.
fn proxy_header(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x21, 0x11, 0, 12]);
    header.extend(source);
    header.extend([127, 0, 0, 1]);
    header.extend(40_000_u16.to_be_bytes());
    header.extend(8080_u16.to_be_bytes());
    header
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let upstream = answering();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.proxy_protocol = true;
        settings.listener.trusted_proxies = networks(&["127.0.0.0/8"]);
        settings.identity.trusted_networks = networks(&["10.1.0.0/16"]);
    });
    let request = Request::of("converse").header("x-bedrock-meter-tenant", "research");
    let call = |source: IpAddr| {
        let IpAddr::V4(source) = source else {
            panic!("IPv4 only")
        };
        let mut client = proxy.client();
        let header = proxy_header(source.octets());
        let (begin, rest) = header.split_at(5);
        client.send(begin);
        client.send(rest);
        client.call(&request)
    };
    assert_eq!(call([10, 1, 2, 3].into()).status, 200);
    assert_eq!(
        call([203, 0, 113, 9].into()).refusal(),
        Some("untrusted_caller")
    );
    let mut without = proxy.client();
    without.send(&request.bytes());
    assert!(without.is_closed_silently(), "a trusted proxy must send it");
    assert_eq!(proxy.stop().len(), 1);
}

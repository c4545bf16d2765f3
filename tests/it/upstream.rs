//! An upstream that misbehaves: the client gets its bytes or a typed refusal, the entry says what
//! happened, and the next call works.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bedrock_meter::domain::Secret;
use bedrock_meter::upstream::HttpProxy;
use jiff::Timestamp;
use rustls::{ServerConnection, StreamOwned};

use crate::support::{
    Certificate, Client, Connection, Http2Call, Proxy, Refusing, Request, Upstream, body_of,
    endpoint, wait_for,
};

const USAGE: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;

fn good() -> Vec<u8> {
    body_of("200 OK", "content-type: application/json\r\n", USAGE)
}

/// What an upstream does with one connection.
type Script = Box<dyn Fn(&mut Connection) + Send>;

/// One way to misbehave, and what must come of it.
struct Case {
    name: &'static str,
    script: Script,
    status: u16,
    refusal: Option<&'static str>,
    body: &'static str,
    verdict: [&'static str; 3],
}

/// Answers with these bytes and closes.
fn answers(bytes: &'static str) -> Script {
    Box::new(move |connection| connection.write(bytes.as_bytes()))
}

/// Answers with these bytes and is silent after that.
fn stalls_after(bytes: &'static str) -> Script {
    Box::new(move |connection| {
        connection.write(bytes.as_bytes());
        connection.wait_for_close();
    })
}

fn lost(name: &'static str, script: Script) -> Case {
    Case {
        name,
        script,
        status: 503,
        refusal: Some("connection_lost"),
        body: "",
        verdict: ["connection_lost", "estimated", "no_answer"],
    }
}

fn cut(name: &'static str, script: Script, body: &'static str, outcome: &'static str) -> Case {
    Case {
        name,
        script,
        status: 200,
        refusal: None,
        body,
        verdict: [outcome, "estimated", "cut_short"],
    }
}

fn cases() -> Vec<Case> {
    const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"output\":";
    vec![
        lost("closes at once", answers("")),
        lost("no HTTP", answers("what you hear is no HTTP\r\n\r\n")),
        lost("half a head", answers("HTTP/1.1 200 OK\r\ncontent-le")),
        lost(
            "no length",
            answers("HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"),
        ),
        lost(
            "two lengths",
            answers("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12"),
        ),
        cut("half a body", answers(CUT), "{\"output\":", "stream_failed"),
        cut(
            "stands still",
            stalls_after(CUT),
            "{\"output\":",
            "timed_out",
        ),
        cut(
            "no chunk",
            answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nxyz\r\n"),
            "{}",
            "stream_failed",
        ),
        Case {
            verdict: ["success", "estimated", "cut_short"],
            ..cut(
                "more than announced",
                answers("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{\"output\":{}}"),
                "{\"ou",
                "success",
            )
        },
        Case {
            name: "silent",
            script: stalls_after(""),
            status: 408,
            refusal: Some("bedrock_timed_out"),
            body: "",
            verdict: ["timed_out", "estimated", "no_answer"],
        },
    ]
}

#[test]
fn a_misbehaving_upstream_costs_one_call_and_the_entry_says_so() {
    let next: Arc<Mutex<VecDeque<Script>>> = Arc::default();
    let scripts = Arc::clone(&next);
    let upstream = Upstream::start(move |mut connection| {
        while connection.request().is_some() {
            let script = scripts.lock().unwrap().pop_front();
            match script {
                Some(script) => return script(&mut connection),
                None => connection.write(&good()),
            }
        }
    });
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.upstream.response_timeout = Duration::from_millis(200);
        settings.upstream.idle_timeout = Duration::from_millis(200);
    });
    let mut calls = 0;
    for case in cases() {
        let name = case.name;
        next.lock().unwrap().push_back(case.script);
        let answer = proxy.client().call(&Request::of("converse"));
        assert_eq!(
            (answer.status, answer.refusal()),
            (case.status, case.refusal),
            "{name}"
        );
        if case.refusal.is_none() {
            assert_eq!(String::from_utf8_lossy(&answer.body), case.body, "{name}");
            assert_eq!(answer.whole, case.verdict[0] == "success", "{name}");
        }
        calls += 1;
        let entry = proxy.entries(calls).pop().unwrap();
        assert_eq!(entry.verdict(), case.verdict, "{name}");

        let answer = proxy.client().call(&Request::of("converse"));
        assert_eq!((answer.status, answer.whole), (200, true), "after {name}");
        calls += 1;
        let entry = proxy.entries(calls).pop().unwrap();
        assert_eq!(entry.verdict(), ["success", "reported", ""], "after {name}");
        assert_eq!(entry.tokens(), ["5", "2"], "after {name}");
    }
    assert_eq!(proxy.stop().len(), calls);
    assert_eq!(upstream.requests(), calls, "each call was sent once");
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced() {
    let (closed, is_closed) = sync_channel(8);
    let upstream = Upstream::start(move |mut connection| {
        connection.request();
        connection.write(&good());
        drop(connection);
        closed.send(()).unwrap();
    });
    let proxy = Proxy::before(upstream.address);
    for _ in 0..3 {
        let answer = proxy.client().call(&Request::of("converse"));
        assert_eq!((answer.status, answer.whole), (200, true));
        is_closed.recv().unwrap();
    }
    let entries = proxy.stop();
    assert_eq!(entries.len(), 3);
    assert!(
        entries
            .iter()
            .all(|entry| entry.get("outcome") == "success")
    );
    assert_eq!(upstream.requests(), 3);
}

#[test]
fn a_call_that_was_written_is_never_sent_again() {
    let upstream = Upstream::start(|mut connection| {
        // Serves the first request of a connection, reads the second and is gone.
        connection.request();
        connection.write(&good());
        connection.request();
    });
    let proxy = Proxy::before(upstream.address);
    let mut client = proxy.client();
    assert_eq!(client.call(&Request::of("converse")).status, 200);
    let answer = client.call(&Request::of("converse"));
    assert_eq!(answer.refusal(), Some("connection_lost"));
    let entries = proxy.stop();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        entries[1].verdict(),
        ["connection_lost", "estimated", "no_answer"]
    );
    assert_eq!(upstream.requests(), 2);
}

/// A refusal for the signature's time, by a clock that many seconds ahead of ours.
fn refusal_of_clock(seconds_ahead: i64) -> Vec<u8> {
    let theirs = Timestamp::now() + jiff::SignedDuration::from_secs(seconds_ahead);
    let date = theirs.strftime("%a, %d %b %Y %H:%M:%S GMT");
    let headers = format!("date: {date}\r\nx-amzn-errortype: InvalidSignatureException\r\n");
    body_of(
        "403 Forbidden",
        &headers,
        r#"{"message":"Signature expired"}"#,
    )
}

/// An upstream that gives these answers in turn, on any connection, and the heads it read.
fn in_turn(answers: Vec<Vec<u8>>) -> (Upstream, Receiver<String>) {
    let (heads, read) = sync_channel(16);
    let answers = Mutex::new(VecDeque::from(answers));
    let upstream = Upstream::start(move |mut connection| {
        while let Some(head) = connection.request() {
            heads.send(head).unwrap();
            let answer = answers.lock().unwrap().pop_front().unwrap();
            connection.write(&answer);
        }
    });
    (upstream, read)
}

fn signed_at(head: &str) -> Timestamp {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("x-amz-date: "));
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", line.unwrap()).unwrap();
    at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

#[test]
fn a_wrong_clock_is_corrected_and_the_call_sent_again_once() {
    let (upstream, heads) = in_turn(vec![refusal_of_clock(900), good(), good()]);
    let proxy = Proxy::before(upstream.address);
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
    assert_eq!(proxy.entry().verdict(), ["success", "reported", ""]);
    let [first, second] =
        [heads.recv().unwrap(), heads.recv().unwrap()].map(|head| signed_at(&head));
    let moved = second.as_second() - first.as_second();
    assert!((840..960).contains(&moved), "moved by {moved} s");
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
    assert_eq!(upstream.requests(), 3, "the next call is right at once");
    assert_eq!(proxy.stop().len(), 2);
}

#[test]
fn a_refusal_that_no_clock_explains_is_passed_on() {
    let (upstream, _heads) = in_turn(vec![refusal_of_clock(900), refusal_of_clock(-900)]);
    let proxy = Proxy::before(upstream.address);
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!((answer.status, answer.refusal()), (403, None));
    assert_eq!(
        proxy.entry().get("error_class"),
        "InvalidSignatureException"
    );
    assert_eq!(proxy.entry().get("outcome"), "client_error");
    assert_eq!(upstream.requests(), 2);
}

#[test]
fn a_bedrock_that_cannot_be_reached_is_a_typed_refusal_with_an_entry() {
    let refusing = Refusing::take();
    let proxy = Proxy::before(refusing.address);
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!(
        (answer.status, answer.refusal()),
        (503, Some("bedrock_unreachable"))
    );
    assert_eq!(
        answer.header("x-amzn-errortype"),
        Some("serviceunavailableexception")
    );
    let entry = proxy.entry();
    assert_eq!(entry.get("outcome"), "unreachable");
    assert_eq!(entry.tokens(), ["", ""], "nothing was used");
}

#[test]
fn a_bedrock_that_vanishes_before_a_call_is_sent_again_leaves_an_entry() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        drop(listener);
        let mut connection = Connection::over(socket);
        connection.request();
        connection.write(&refusal_of_clock(900));
    });
    let proxy = Proxy::before(address);
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!(answer.refusal(), Some("bedrock_unreachable"));
    assert_eq!(proxy.entry().get("outcome"), "unreachable");
    server.join().unwrap();
}

/// An upstream that speaks TLS and answers well.
fn secured(certificate: &Certificate) -> Upstream {
    let config = certificate.server();
    let wrap = move |socket| -> Box<dyn crate::support::Stream> {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        Box::new(StreamOwned::new(session, socket))
    };
    Upstream::behind(wrap, |mut connection| {
        while connection.request().is_some() {
            connection.write(&good());
        }
    })
}

/// An HTTP proxy for one tunnel; gives the head that asked for it.
fn tunnel(answer: &'static str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, read) = sync_channel(1);
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut near = Connection::over(socket.try_clone().unwrap());
        let head = near.head().unwrap();
        let to = head.split(' ').nth(1).unwrap().to_owned();
        heads.send(head).unwrap();
        near.write(answer.as_bytes());
        if answer.contains(" 200 ") {
            let far = TcpStream::connect(to).unwrap();
            join(&socket, &far);
        }
    });
    (port, read)
}

/// Copies both ways until both have ended.
fn join(near: &TcpStream, far: &TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    };
    let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
    let back = thread::spawn(move || copy(back.0, back.1));
    copy(near.try_clone().unwrap(), far.try_clone().unwrap());
    back.join().unwrap();
}

fn through(port: u16) -> HttpProxy {
    HttpProxy {
        url: format!("http://127.0.0.1:{port}").parse().unwrap(),
        user_info: Some(Secret::new("meter:pa%40ss")),
    }
}

#[test]
fn an_http_proxy_is_tunnelled_through_to_a_private_authority() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let upstream = secured(&certificate);
    let (port, asked) = tunnel("HTTP/1.1 200 Connection established\r\n\r\n");
    let proxy = Proxy::start(upstream.address, |settings| {
        let url = format!("https://localhost:{}", upstream.address.port());
        settings.upstream.endpoints = endpoint(&url);
        settings.upstream.ca_file = Some(certificate.chain_file.clone());
        settings.upstream.proxy = Some(through(port));
    });
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!(
        (answer.status, answer.body),
        (200, USAGE.as_bytes().to_vec())
    );
    let head = asked.recv().unwrap();
    let port = upstream.address.port();
    assert!(
        head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")),
        "{head}"
    );
    // Base64 of "meter:pa@ss".
    assert!(
        head.contains("proxy-authorization: Basic bWV0ZXI6cGFAc3M=\r\n"),
        "{head}"
    );
    assert_eq!(proxy.entry().verdict(), ["success", "reported", ""]);
}

#[test]
fn a_tunnel_that_is_refused_and_a_certificate_that_is_not_trusted_send_nothing() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let upstream = secured(&certificate);
    let url = format!("https://localhost:{}", upstream.address.port());
    let (port, _asked) = tunnel("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    for proxy in [Some(through(port)), None] {
        let proxy = Proxy::start(upstream.address, |settings| {
            settings.upstream.endpoints = endpoint(&url);
            settings.upstream.proxy = proxy;
        });
        let answer = proxy.client().call(&Request::of("converse"));
        assert_eq!(answer.refusal(), Some("bedrock_unreachable"));
        assert_eq!(proxy.entry().get("outcome"), "unreachable");
    }
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn the_listener_speaks_tls() {
    let Some(certificate) = Certificate::make() else {
        return;
    };
    let upstream = Upstream::answering(good());
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.tls = Some(certificate.tls());
    });
    let socket = TcpStream::connect(proxy.address).unwrap();
    let name = "localhost".try_into().unwrap();
    let session = rustls::ClientConnection::new(certificate.client("http/1.1"), name).unwrap();
    let mut client = Client::through(StreamOwned::new(session, socket));
    let answer = client.call(&Request::of("converse"));
    assert_eq!(
        (answer.status, answer.body),
        (200, USAGE.as_bytes().to_vec())
    );
    let answer = client.call(&Request::of("converse"));
    assert_eq!(answer.status, 200, "the connection is kept");

    let path = "/model/amazon.nova-lite-v1:0/converse";
    let call = Http2Call::begin(proxy.address, Some(certificate.client("h2")), path);
    assert_eq!(call.status(), 200);
    assert_eq!(call.body(), (USAGE.as_bytes().to_vec(), true));

    let plain = Proxy::before(upstream.address);
    let call = Http2Call::begin(plain.address, None, path);
    assert_eq!(call.body(), (USAGE.as_bytes().to_vec(), true));
    assert_eq!(proxy.stop().len(), 3);
    wait_for("four calls", || (upstream.requests() == 4).then_some(()));
}

//! HTTP/2 that is meant to harm: frames by hand, floods with an end, and an honest caller who is
//! served all the while.

use std::time::Duration;

use crate::support::{
    Frame, Honest, Http2, Proxy, Upstream, Witness, body_of, head, ok_stream, setting,
};

const PATH: &str = "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse";
const BODY: &[u8] = br#"{"messages":[]}"#;
/// The head of a usual call.
const BASE: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "a"),
];
/// Error codes of RFC 9113 section 7.
const MALFORMED: &str = "reset 1";
const BROKEN: &str = "goaway 1";
const CALM: &str = "goaway 11";

/// The usual head with more headers, or another value of one.
fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    BASE.into_iter().chain(more.iter().copied()).collect()
}

fn instead<'a>(name: &str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let replaced = |(found, old): (&'static str, &'a str)| {
        let value = if found == name { value } else { Some(old) };
        value.map(|value| (found, value))
    };
    BASE.into_iter().filter_map(replaced).collect()
}

fn call(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    let head = Frame::headers(stream, false, &head(headers.iter().copied()));
    [head, Frame::data(stream, true, BODY)].concat()
}

/// Makes calls with doubtful heads, each over a connection of its own, while an honest caller is
/// served.
struct Held {
    witness: Witness,
    proxy: Proxy,
    honest: Honest,
}

impl Held {
    fn new() -> Self {
        let witness = Witness::start();
        let proxy = Proxy::before(witness.address());
        let honest = Honest::begin(&proxy);
        Self {
            witness,
            proxy,
            honest,
        }
    }

    fn check(&self, name: &str, headers: &[(&str, &str)], expected: &str) {
        let mut client = Http2::connect(self.proxy.address, &[]);
        client.send(&call(1, headers));
        assert_eq!(client.verdict(1), expected, "{name}");
        let heads = self.witness.take();
        assert_eq!(heads.len(), usize::from(expected == "200"), "{name}");
        for head in heads {
            let clean = !head.contains("evil") && !head.contains("\r\nte:");
            assert!(clean, "{name}: {head}");
        }
    }

    fn end(self) {
        self.honest.end();
        drop(self.proxy.stop());
        assert_eq!(self.witness.take(), [""; 0], "nothing came later");
    }
}

#[test]
fn heads_that_can_be_read_in_two_ways_reach_nobody() {
    let held = Held::new();
    let check =
        |name: &str, headers: &[(&str, &str)], expected| held.check(name, headers, expected);
    check("usual", &BASE, "200");
    check(
        "host alone",
        &[&instead(":authority", None)[..], &[("host", "a")]].concat(),
        "200",
    );
    check("neither", &instead(":authority", None), "200");
    check("host and authority agree", &with(&[("host", "a")]), "200");
    check(
        "host and authority differ",
        &with(&[("host", "evil")]),
        "400",
    );
    check(
        "two hosts",
        &with(&[("host", "a"), ("host", "evil")]),
        "400",
    );
    check(
        "a user in the authority",
        &instead(":authority", Some("u:p@evil")),
        "400",
    );
    check(
        "no authority at all",
        &instead(":authority", Some("")),
        MALFORMED,
    );
    check(
        "an authority with a path",
        &instead(":authority", Some("a/b")),
        MALFORMED,
    );

    check("te: trailers", &with(&[("te", "trailers")]), "200");
    check("te: gzip", &with(&[("te", "gzip")]), MALFORMED);
    check(
        "transfer-encoding",
        &with(&[("transfer-encoding", "chunked")]),
        MALFORMED,
    );
    check("connection", &with(&[("connection", "close")]), MALFORMED);
    check("upgrade", &with(&[("upgrade", "h2c")]), MALFORMED);
    check("keep-alive", &with(&[("keep-alive", "1")]), MALFORMED);

    check("capitals", &with(&[("X-A", "b")]), BROKEN);
    check(
        "two paths",
        &with(&[(":path", "/model/evil/converse")]),
        MALFORMED,
    );
    check("two methods", &with(&[(":method", "GET")]), MALFORMED);
    check(
        "two authorities",
        &with(&[(":authority", "evil")]),
        MALFORMED,
    );
    check(
        "a header before",
        &[&[("x-a", "b")], &BASE[..]].concat(),
        MALFORMED,
    );
    check("of an answer", &with(&[(":status", "200")]), MALFORMED);
    check("unknown", &with(&[(":evil", "1")]), BROKEN);
    check(
        "a protocol",
        &with(&[(":protocol", "websocket")]),
        MALFORMED,
    );
    check("no path", &instead(":path", None), MALFORMED);
    check("an empty path", &instead(":path", Some("")), MALFORMED);
    check("no method", &instead(":method", None), MALFORMED);
    check("no scheme", &instead(":scheme", None), MALFORMED);
    let tunnel = [(":method", "CONNECT"), (":authority", "evil:443")];
    check("tunnel", &tunnel, "400");
    held.end();
}

#[test]
fn heads_that_hide_lines_or_lie_of_their_length_reach_nobody() {
    let held = Held::new();
    let check =
        |name: &str, headers: &[(&str, &str)], expected| held.check(name, headers, expected);
    let absolute = format!("http://evil{PATH}");
    check(
        "a path with a host",
        &instead(":path", Some(&absolute)),
        MALFORMED,
    );
    let split = format!("{PATH}\r\nx: evil");
    check(
        "a path of two lines",
        &instead(":path", Some(&split)),
        MALFORMED,
    );
    let spaced = format!("{PATH} HTTP/1.1");
    check(
        "a path of two words",
        &instead(":path", Some(&spaced)),
        MALFORMED,
    );
    check(
        "dots",
        &instead(":path", Some("/model/a/../evil/converse")),
        "400",
    );
    check(
        "a method of two lines",
        &instead(":method", Some("GET / HTTP/1.1\r\nx: y")),
        BROKEN,
    );
    check(
        "a value of two lines",
        &with(&[("x-a", "b\r\nhost: evil")]),
        BROKEN,
    );
    check("NUL", &with(&[("x-a", "b\0")]), BROKEN);
    check("a name with a space", &with(&[("x a", "b")]), BROKEN);
    check("a name with a colon", &with(&[("x:a", "b")]), BROKEN);
    check("no name", &with(&[("", "b")]), BROKEN);

    check(
        "the right length",
        &with(&[("content-length", "15")]),
        "200",
    );
    check(
        "a shorter length",
        &with(&[("content-length", "3")]),
        MALFORMED,
    );
    check(
        "a longer length",
        &with(&[("content-length", "300")]),
        MALFORMED,
    );
    check(
        "two lengths",
        &with(&[("content-length", "15"), ("content-length", "3")]),
        MALFORMED,
    );
    check(
        "a signed length",
        &with(&[("content-length", "+15")]),
        MALFORMED,
    );
    held.end();
}

#[test]
fn trailers_are_no_headers() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    for trailers in [
        [
            ("x-bedrock-meter-tenant", "evil"),
            ("authorization", "evil"),
        ],
        [(":path", "/model/evil/converse"), ("host", "evil")],
    ] {
        let mut client = Http2::connect(proxy.address, &[]);
        client.send(&Frame::headers(1, false, &head(BASE)));
        client.send(&Frame::data(1, false, BODY));
        client.send(&Frame::headers(1, true, &head(trailers)));
        assert_ne!(client.verdict(1), "closed");
        drop(client);
    }
    let entries = proxy.stop();
    let heads = witness.take();
    assert!(heads.iter().all(|head| !head.contains("evil")), "{heads:?}");
    assert!(entries.iter().all(|entry| entry.get("tenant") == "unknown"));
    assert_eq!(heads.len(), entries.len());
}

/// Sends it again and again over one connection, at most so often; what the connection ends with.
fn flood(proxy: &Proxy, first: &[u8], times: u32, piece: impl Fn(u32) -> Vec<u8>) -> String {
    let mut client = Http2::connect(proxy.address, &[]);
    client.send(first);
    for number in 0..times {
        if !client.send(&piece(number)) {
            break;
        }
    }
    client.send(&Frame::ping());
    while let Some(frame) = client.next() {
        if frame.is_ping_answer() {
            return "served".to_owned();
        }
        if frame.kind == 7 {
            return format!("goaway {}", frame.payload[7]);
        }
    }
    // What was still being sent made the reset overtake the words.
    CALM.to_owned()
}

#[test]
fn floods_of_frames_end_their_own_connection() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let honest = Honest::begin(&proxy);
    let id = |number: u32| 2 * number + 1;
    let check = |name: &str, first: &[u8], piece: &dyn Fn(u32) -> Vec<u8>| {
        assert_eq!(flood(&proxy, first, 5_000, piece), CALM, "{name}");
        honest.is_served();
    };
    // CVE-2023-44487.
    check("rapid reset", &[], &|number| {
        [call(id(number), &BASE), Frame::reset(id(number))].concat()
    });
    check("rapid reset of heads", &[], &|number| {
        [
            Frame::headers(id(number), false, &head(BASE)),
            Frame::reset(id(number)),
        ]
        .concat()
    });
    // CVE-2025-8671: the server is made to reset.
    check("resets by the server", &[], &|number| {
        let head = Frame::headers(id(number), false, &head(BASE));
        [head, Frame::window(id(number), 0x7fff_ffff)].concat()
    });
    // CVE-2024-27316.
    let begun = Frame::headers_begun(1, &head(BASE));
    check("CONTINUATION", &begun, &|_| {
        Frame::continuation(1, false, &head([("x", "y")]))
    });
    check("empty CONTINUATION", &begun, &|_| {
        Frame::continuation(1, false, &[])
    });
    // CVE-2019-9518.
    let open = Frame::headers(1, false, &head(BASE));
    check("empty DATA", &open, &|_| {
        Frame::data(1, false, &[]).repeat(100)
    });
    honest.end();
    // A reset call may have been sent: then it is a call, with an entry.
    let reached = witness.take().len();
    assert!(reached < 500, "{reached} calls of a flood");
    let entries = proxy.stop();
    assert!(entries.len() >= reached);
}

#[test]
fn floods_of_frames_that_must_be_answered_cost_their_own_connection_only() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let honest = Honest::begin(&proxy);
    // CVE-2019-9512, CVE-2019-9515: read as they are answered.
    let settings = Frame::settings(&[]).repeat(100);
    let ping = Frame::ping().repeat(100);
    let window = Frame::window(0, 1).repeat(100);
    let unknown = Frame::bytes(99, 0, 0, &[0; 100]).repeat(100);
    for piece in [&settings, &ping, &window, &unknown] {
        assert_eq!(flood(&proxy, &[], 500, |_| piece.clone()), "served");
        honest.is_served();
    }
    // A sender who reads no answer is not read any further, and then let go.
    let stalled = Proxy::start(witness.address(), |settings| {
        settings.listener.stall_timeout = Duration::from_millis(300);
    });
    let mut client = Http2::connect(stalled.address, &[]);
    let sent = (0..100_000).take_while(|_| client.send(&ping)).count();
    assert!(sent < 100_000, "all of {sent} were taken");
    honest.end();
}

#[test]
fn a_head_past_the_limit_is_refused_however_it_is_packed() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let long = "y".repeat(1_000);
    let block = head(
        BASE.into_iter()
            .chain((0..70).map(|_| ("x", long.as_str()))),
    );
    let mut pieces = block.chunks(16_000);
    let mut client = Http2::connect(proxy.address, &[]);
    client.send(&Frame::headers_begun(1, pieces.next().unwrap()));
    let count = pieces.len();
    for (at, piece) in pieces.enumerate() {
        client.send(&Frame::continuation(1, at + 1 == count, piece));
    }
    assert_eq!(client.verdict(1), "431");

    // One entry of the dynamic table, named again and again: 12 kB that stand for 47 MB.
    let mut bomb = head(BASE);
    bomb.extend([0x40, 1, b'x', 0x7f, 0xbd, 0x1d]);
    bomb.extend([b'y'; 3_900]);
    bomb.extend([0xbe; 12_000]);
    let mut client = Http2::connect(proxy.address, &[]);
    client.send(&Frame::headers(1, true, &bomb));
    assert_eq!(client.verdict(1), CALM);
    assert!(proxy.stop().is_empty());
    assert_eq!(witness.take(), [""; 0]);
}

#[test]
fn frames_out_of_order_end_their_own_connection() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let check = |name: &str, bytes: &[u8], expected: &str| {
        let mut client = Http2::connect(proxy.address, &[]);
        client.send(bytes);
        assert_eq!(client.verdict(0), expected, "{name}");
    };
    check("a stream of the server", &call(2, &BASE), BROKEN);
    check(
        "a stream that went by",
        &[call(5, &BASE), call(3, &BASE)].concat(),
        BROKEN,
    );
    check("DATA without a head", &Frame::data(7, true, b"x"), BROKEN);
    check(
        "a frame too large",
        &Frame::data(1, true, &vec![0; 20_000]),
        "goaway 6",
    );
    check("a push", &Frame::bytes(5, 4, 1, &[0, 0, 0, 2]), BROKEN);
    check(
        "a window past 31 bits",
        &Frame::settings(&setting(4, 0x8000_0000)),
        BROKEN,
    );
    let open = Frame::headers(1, false, &head(BASE));
    let padded = [open, Frame::bytes(0, 8, 1, &[255, 0])].concat();
    check("more padding than frame", &padded, BROKEN);
    let torn = [Frame::headers_begun(1, &head(BASE)), Frame::ping()].concat();
    check("PING inside of a head", &torn, BROKEN);
    let entries = proxy.stop();
    assert!(
        entries.len() <= 1,
        "only the one before the stream that went by"
    );
}

#[test]
fn streams_past_the_limit_are_refused_one_by_one() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let mut client = Http2::connect(proxy.address, &[]);
    for number in 0..257 {
        client.send(&Frame::headers(2 * number + 1, false, &head(BASE)));
    }
    assert_eq!(client.verdict(513), "reset 7");
    client.send(&Frame::data(1, true, BODY));
    assert_eq!(client.verdict(1), "200", "the others go on");
}

#[test]
fn an_answer_without_a_window_is_let_go_and_its_call_settles() {
    let upstream = Upstream::start(|mut connection| {
        while let Some(head) = connection.request() {
            if head.contains("converse-stream") {
                connection.write(&ok_stream());
                connection.write(&crate::support::chunked(&vec![b'x'; 100_000], 10_000));
            } else {
                connection.write(&body_of("200 OK", "", "{}"));
            }
        }
    });
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.stall_timeout = Duration::from_millis(200);
        settings.listener.calls_in_flight_max = 20;
    });
    let path = format!("{PATH}-stream");
    // A window of nothing, and one of seven bytes that never grows.
    for (window, settled) in [(0, 20), (7, 41)] {
        let mut client = Http2::connect(proxy.address, &setting(4, window));
        for number in 0..20 {
            client.send(&call(2 * number + 1, &instead(":path", Some(&path))));
        }
        proxy.entries(settled);
        assert_eq!(
            proxy
                .client()
                .call(&crate::support::Request::of("converse"))
                .status,
            200
        );
        // The streams whose answers went end with a reset once there is a window.
        client.send(&Frame::window(0, 1_000_000));
        client.send(&Frame::window(1, 1_000_000));
        client.until(|frame| frame.is_reset_of(1));
    }
    let entries = proxy.stop();
    assert_eq!(entries.len(), 42, "each call has its entry");
}

#[test]
fn an_answer_that_is_taken_slowly_but_steadily_arrives() {
    let answer = vec![b'x'; 50_000];
    let bytes = answer.clone();
    let upstream = Upstream::start(move |mut connection| {
        while connection.request().is_some() {
            connection.write(&ok_stream());
            connection.write(&crate::support::chunked(&bytes, 10_000));
        }
    });
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.listener.stall_timeout = Duration::from_secs(5);
    });
    let path = format!("{PATH}-stream");
    let mut client = Http2::connect(proxy.address, &setting(4, 0));
    client.send(&call(1, &instead(":path", Some(&path))));
    let mut taken = 0;
    while taken < answer.len() {
        client.send(&Frame::window(1, 1_000));
        let frame = client.until(|frame| frame.kind == 0);
        taken += frame.payload.len();
    }
    client.until(|frame| frame.is_end_of(1));
}

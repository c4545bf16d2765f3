//! Heads and framings that are meant to be read in two ways, over HTTP/1: what is refused reaches
//! nobody, and one request never becomes two.

use std::time::Duration;

use crate::support::{Client, Honest, Proxy, Witness};

const PATH: &str = "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse";
const BODY: &str = r#"{"messages":[]}"#;
const CHUNKED: &str = "f\r\n{\"messages\":[]}\r\n0\r\n\r\n";
/// A whole request, to be hidden in something else.
const HIDDEN: &str =
    "POST /model/hidden/converse HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";

/// What must come of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    status: u16,
    /// The kind of the refusal; `None` where hyper refuses what is no HTTP at all.
    refusal: Option<&'static str>,
    /// How many requests reach the upstream.
    upstream: usize,
    /// Whether the connection is closed after the answer.
    closed: bool,
}

/// It is a request of doubtful form and sure meaning, and is served once.
const SERVED: Verdict = verdict(200, None, 1, false);
/// Served once, and the connection serves nothing more.
const SERVED_LAST: Verdict = verdict(200, None, 1, true);
/// No HTTP.
const GARBAGE: Verdict = verdict(400, None, 0, true);
/// Its head can be read in two ways.
const HEAD: Verdict = verdict(400, Some("malformed_head"), 0, true);
/// The framing of its body is wrong.
const CUT: Verdict = verdict(400, Some("body_cut"), 0, true);
const TOO_LARGE: Verdict = verdict(431, None, 0, true);
/// Refused for what it asks; the connection goes on.
const UNKNOWN: Verdict = verdict(404, Some("unknown_operation"), 0, false);
const PATH_REFUSED: Verdict = verdict(400, Some("malformed_path"), 0, false);

const fn verdict(
    status: u16,
    refusal: Option<&'static str>,
    upstream: usize,
    closed: bool,
) -> Verdict {
    Verdict {
        status,
        refusal,
        upstream,
        closed,
    }
}

/// A head with these header lines, after `host`, and a body.
fn post(headers: &[&str], body: &str) -> Vec<u8> {
    line(&format!("POST {PATH} HTTP/1.1"), headers, body)
}

fn line(first: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let lines: String = headers.iter().flat_map(|line| [*line, "\r\n"]).collect();
    format!("{first}\r\nhost: a\r\n{lines}\r\n{body}").into_bytes()
}

/// A request with this transfer-encoding line, its body chunked.
fn coded(line: &str) -> Vec<u8> {
    post(&[line], CHUNKED)
}

/// A request with this content-length line.
fn measured(line: &str) -> Vec<u8> {
    post(&[line], BODY)
}

/// A chunked request with this body.
fn chunks(body: &str) -> Vec<u8> {
    post(&["transfer-encoding: chunked"], body)
}

/// Makes each attack over a connection of its own while an honest caller is served.
fn hold(rows: Vec<(&str, Vec<u8>, Verdict)>) {
    let witness = Witness::start();
    let proxy = Proxy::start(witness.address(), |settings| {
        settings.listener.body_timeout = Duration::from_millis(200);
    });
    let honest = Honest::begin(&proxy);
    let mut served = 0;
    for (name, bytes, expected) in rows {
        let mut client = proxy.client();
        client.send(&bytes);
        if expected == TOO_LARGE {
            // The head is not read to its end, so a reset may overtake the answer.
            let words = client.last_words();
            let refused = words.is_empty() || words.starts_with("HTTP/1.1 431 ");
            assert!(refused, "{name}: {words}");
            assert_eq!(witness.take(), [""; 0], "{name}");
            continue;
        }
        let answer = client.answer();
        let upstream = witness.take();
        let closed = expected.closed && is_closed(client);
        let found = Verdict {
            status: answer.status,
            refusal: expected
                .refusal
                .filter(|kind| answer.refusal() == Some(*kind)),
            upstream: upstream.len(),
            closed,
        };
        assert_eq!(found, expected, "{name}: {}{upstream:?}", answer.head);
        for head in &upstream {
            assert!(!head.contains("hidden"), "{name}: {head}");
            assert!(!head.contains("transfer-encoding"), "{name}: {head}");
            assert!(head.matches("\r\ncontent-length:").count() <= 1, "{name}");
            assert_eq!(head.matches("\r\nhost:").count(), 1, "{name}");
        }
        served += upstream.len();
    }
    honest.end();
    let entries = proxy.stop();
    let hidden = entries.iter().filter(|e| e.get("model_asked") == "hidden");
    assert_eq!(hidden.count(), 0);
    assert!(entries.len() > served);
    assert_eq!(witness.take(), [""; 0], "nothing came later");
}

/// Whether the proxy closes; it may say no second word before.
fn is_closed(mut client: Client) -> bool {
    client.last_words().is_empty()
}

#[test]
fn two_framings_of_one_body_are_never_two_requests() {
    let chunked = "transfer-encoding: chunked";
    let smuggled = format!("0\r\n\r\n{HIDDEN}");
    hold(vec![
        // RFC 9112 section 6.1: transfer-encoding overrides, and the connection is closed.
        (
            "CL+TE",
            post(&["content-length: 15", chunked], CHUNKED),
            SERVED_LAST,
        ),
        (
            "TE+CL",
            post(&[chunked, "content-length: 15"], CHUNKED),
            SERVED_LAST,
        ),
        (
            "CL+TE hiding one",
            post(&["content-length: 100", chunked], &smuggled),
            SERVED_LAST,
        ),
        (
            "TE+CL hiding one",
            post(&[chunked, "content-length: 5"], &smuggled),
            SERVED_LAST,
        ),
        (
            "unknown coding",
            coded("transfer-encoding: xchunked"),
            GARBAGE,
        ),
        (
            "chunked not last",
            coded("transfer-encoding: chunked, identity"),
            GARBAGE,
        ),
        ("identity", coded("transfer-encoding: identity"), GARBAGE),
        ("quoted", coded("transfer-encoding: \"chunked\""), GARBAGE),
        ("empty coding", coded("transfer-encoding: "), GARBAGE),
        (
            "identity first",
            coded("transfer-encoding: identity, chunked"),
            HEAD,
        ),
        (
            "gzip first",
            coded("transfer-encoding: gzip, chunked"),
            HEAD,
        ),
        (
            "chunked twice",
            coded("transfer-encoding: chunked, chunked"),
            HEAD,
        ),
        (
            "two lines",
            coded("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
            HEAD,
        ),
        (
            "identity after",
            coded("transfer-encoding: chunked\r\ntransfer-encoding: identity"),
            GARBAGE,
        ),
        (
            "identity before",
            coded("transfer-encoding: identity\r\ntransfer-encoding: chunked"),
            HEAD,
        ),
        (
            "space before colon",
            coded("transfer-encoding : chunked"),
            GARBAGE,
        ),
        (
            "vertical tab",
            coded("transfer-encoding: \u{b}chunked"),
            GARBAGE,
        ),
        (
            "folded coding",
            coded("transfer-encoding:\r\n chunked"),
            GARBAGE,
        ),
        ("tab", coded("transfer-encoding:\tchunked"), SERVED),
        ("capitals", coded("Transfer-Encoding: CHUNKED"), SERVED),
        (
            "HTTP/1.0",
            line(&format!("POST {PATH} HTTP/1.0"), &[chunked], CHUNKED),
            GARBAGE,
        ),
    ]);
}

#[test]
fn a_length_is_one_plain_number() {
    hold(vec![
        ("once", measured("content-length: 15"), SERVED),
        // RFC 9110 section 8.6: the same number again says nothing else.
        (
            "twice the same",
            measured("content-length: 15\r\ncontent-length: 15"),
            SERVED,
        ),
        (
            "zeros before",
            measured("content-length: 0000000015"),
            SERVED,
        ),
        (
            "two numbers",
            measured("content-length: 15\r\ncontent-length: 3"),
            GARBAGE,
        ),
        ("list", measured("content-length: 15, 15"), GARBAGE),
        ("list of two", measured("content-length: 15, 3"), GARBAGE),
        ("negative", measured("content-length: -1"), GARBAGE),
        ("signed", measured("content-length: +15"), GARBAGE),
        ("hexadecimal", measured("content-length: 0xf"), GARBAGE),
        ("fraction", measured("content-length: 15.0"), GARBAGE),
        ("underscore", measured("content-length: 1_5"), GARBAGE),
        ("space inside", measured("content-length: 1 5"), GARBAGE),
        ("empty", measured("content-length: "), GARBAGE),
        (
            "past 64 bits",
            measured("content-length: 99999999999999999999999"),
            GARBAGE,
        ),
        (
            "the last of 64 bits",
            measured("content-length: 18446744073709551615"),
            TOO_LARGE,
        ),
        (
            "past 63 bits",
            measured("content-length: 9223372036854775808"),
            verdict(400, Some("body_too_long"), 0, true),
        ),
        ("more than comes", measured("content-length: 16"), CUT),
        (
            "header of another name",
            measured("content_length: 3\r\ncontent-length: 15"),
            SERVED,
        ),
    ]);
}

#[test]
fn lines_end_and_headers_are_as_the_standard_says() {
    let length = "content-length: 15";
    let with = |line: &str| post(&[line, length], BODY);
    let every_lf = String::from_utf8(post(&[length], BODY))
        .unwrap()
        .replace("\r\n", "\n");
    let every_cr = every_lf.replace('\n', "\r");
    hold(vec![
        ("folded", with("x-a: b\r\n folded"), GARBAGE),
        ("folded with a tab", with("x-a: b\r\n\tfolded"), GARBAGE),
        (
            "space before the first",
            line(&format!("POST {PATH} HTTP/1.1\r\n x: y"), &[length], BODY),
            GARBAGE,
        ),
        // RFC 9112 section 2.2 lets a server take a line feed alone for the end of a line. What it
        // makes of a value with one in it is a second header line; here the two framings, of
        // which one is wrong.
        ("line feeds alone", every_lf.into_bytes(), SERVED),
        (
            "line feed in a value",
            with("x-a: b\ntransfer-encoding: chunked"),
            CUT,
        ),
        ("carriage returns alone", every_cr.into_bytes(), GARBAGE),
        (
            "carriage return in a value",
            with("x-a: b\rtransfer-encoding: chunked"),
            GARBAGE,
        ),
        ("NUL in a value", with("x-a: b\0c"), GARBAGE),
        ("NUL in a name", with("x\0a: b"), GARBAGE),
        ("control character", with("x-a: b\u{1}c"), GARBAGE),
        ("no colon", with("nocolon"), GARBAGE),
        ("no name", with(": x"), GARBAGE),
        ("space in a name", with("x a: b"), GARBAGE),
        (
            "letters beyond ASCII in a value",
            with("x-a: \u{e9}"),
            SERVED,
        ),
    ]);
}

#[test]
fn a_request_line_has_three_words_and_one_host() {
    let length = "content-length: 15";
    let first = |first: String| line(&first, &[length], BODY);
    let hosts =
        |hosts: &str| format!("POST {PATH} HTTP/1.1\r\n{hosts}{length}\r\n\r\n{BODY}").into_bytes();
    hold(vec![
        (
            "two spaces",
            first(format!("POST  {PATH}  HTTP/1.1")),
            GARBAGE,
        ),
        ("tabs", first(format!("POST\t{PATH}\tHTTP/1.1")), GARBAGE),
        (
            "space at the end",
            first(format!("POST {PATH} HTTP/1.1 ")),
            GARBAGE,
        ),
        (
            "four words",
            first(format!("POST {PATH} x HTTP/1.1")),
            GARBAGE,
        ),
        ("HTTP/0.9", b"GET /healthz\r\n\r\n".to_vec(), GARBAGE),
        ("HTTP/1.2", first(format!("POST {PATH} HTTP/1.2")), GARBAGE),
        (
            "HTTP/2.0 in words",
            first(format!("POST {PATH} HTTP/2.0")),
            GARBAGE,
        ),
        ("HTTP/3", first(format!("POST {PATH} HTTP/3")), GARBAGE),
        (
            "small letters",
            first(format!("POST {PATH} http/1.1")),
            GARBAGE,
        ),
        (
            "HTTP/1.0",
            first(format!("POST {PATH} HTTP/1.0")),
            SERVED_LAST,
        ),
        (
            "HTTP/1.0 hiding one",
            line(&format!("POST {PATH} HTTP/1.0"), &[], HIDDEN),
            SERVED_LAST,
        ),
        // RFC 9112 section 3.2.2: taken, and its host is no way to another upstream.
        (
            "absolute form",
            first(format!("POST http://evil.example{PATH} HTTP/1.1")),
            SERVED,
        ),
        (
            "absolute form, TLS",
            first(format!("POST https://evil.example:444{PATH} HTTP/1.1")),
            SERVED,
        ),
        (
            "absolute form with a user",
            first(format!("POST http://u:p@evil.example{PATH} HTTP/1.1")),
            HEAD,
        ),
        (
            "authority form",
            first("POST evil.example:80 HTTP/1.1".to_owned()),
            PATH_REFUSED,
        ),
        (
            "asterisk form",
            first("OPTIONS * HTTP/1.1".to_owned()),
            PATH_REFUSED,
        ),
        ("no host", hosts(""), HEAD),
        ("two hosts", hosts("host: a\r\nhost: b\r\n"), HEAD),
        ("the same host twice", hosts("host: a\r\nhost: a\r\n"), HEAD),
        ("a host with a path", hosts("host: a/b\r\n"), HEAD),
        ("a host with a user", hosts("host: u@a\r\n"), HEAD),
        ("a host with a space", hosts("host: a b\r\n"), HEAD),
    ]);
}

#[test]
fn chunks_are_counted_as_the_standard_says() {
    let body = |size: &str, rest: &str| chunks(&format!("{size}\r\n{BODY}{rest}"));
    let end = "\r\n0\r\n\r\n";
    let long = format!("f;{}", "x".repeat(20_000));
    let trailers = format!("\r\n0\r\n{}\r\n", "x: y\r\n".repeat(2_000));
    let trailer = format!("\r\n0\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    hold(vec![
        (
            "extensions",
            body("f;a=b;c=\"d\"", "\r\n0;x\r\n\r\n"),
            SERVED,
        ),
        (
            "zeros before the size",
            body("000000000000000f", end),
            SERVED,
        ),
        ("space after the size", body("f ", end), SERVED),
        ("extension without end", body(&long, end), CUT),
        ("line feed in an extension", body("f;a\nb", end), CUT),
        (
            "line feed after the size",
            chunks(&format!("f\n{BODY}{end}")),
            CUT,
        ),
        ("space before the size", body(" f", end), CUT),
        ("signed", body("+f", end), CUT),
        ("negative", body("-f", end), CUT),
        ("0x", body("0xf", end), CUT),
        ("no size", body("", end), CUT),
        ("past 64 bits", body("fffffffffffffffff", end), CUT),
        ("all of 64 bits", body("ffffffffffffffff", ""), CUT),
        ("a size that lies", body("e", end), CUT),
        ("no end of a chunk", body("f", "XX0\r\n\r\n"), CUT),
        ("line feeds at the end", body("f", "\r\n0\n\n"), CUT),
        ("too many trailers", body("f", &trailers), CUT),
        ("too long a trailer", body("f", &trailer), CUT),
        (
            "trailers that would be headers",
            body(
                "f",
                "\r\n0\r\nx-bedrock-meter-tenant: hidden\r\nhost: hidden\r\ncontent-length: 3\r\n\r\n",
            ),
            SERVED,
        ),
    ]);
}

#[test]
fn nothing_hides_in_a_body_and_no_tunnel_or_upgrade_is_made() {
    let length = format!("content-length: {}", HIDDEN.len());
    let upgrade = [
        "content-length: 15",
        "connection: upgrade, http2-settings",
        "upgrade: h2c",
        "http2-settings: AAMAAABkAAQAAP__",
    ];
    let websocket = [
        "content-length: 15",
        "connection: upgrade",
        "upgrade: websocket",
    ];
    let method = |method: &str| {
        line(
            &format!("{method} {PATH} HTTP/1.1"),
            &["content-length: 15"],
            BODY,
        )
    };
    hold(vec![
        ("in a body", post(&[&length], HIDDEN), SERVED),
        (
            "in the body of a GET",
            line("GET /async-invoke HTTP/1.1", &[&length], HIDDEN),
            SERVED,
        ),
        (
            "behind a tunnel",
            line("CONNECT evil.example:443 HTTP/1.1", &[], HIDDEN),
            HEAD,
        ),
        ("tunnel to a path", method("CONNECT"), HEAD),
        ("h2c", post(&upgrade, BODY), SERVED),
        ("websocket", post(&websocket, BODY), SERVED),
        (
            "TRACE",
            line(&format!("TRACE {PATH} HTTP/1.1"), &[], ""),
            UNKNOWN,
        ),
        ("PUT", method("PUT"), UNKNOWN),
        ("DELETE", method("DELETE"), UNKNOWN),
        ("small letters", method("post"), UNKNOWN),
        (
            "another method in a header",
            post(
                &["content-length: 15", "x-http-method-override: DELETE"],
                BODY,
            ),
            SERVED,
        ),
        (
            "headers named by connection",
            post(
                &[
                    "content-length: 15",
                    "connection: close, host, content-length, x-bedrock-meter-tenant",
                ],
                BODY,
            ),
            SERVED_LAST,
        ),
    ]);
}

#[test]
fn oversized_heads_are_refused() {
    let length = "content-length: 15";
    let many = |count: usize| {
        let lines: Vec<String> = (0..count).map(|n| format!("x{n}: y")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.push(length);
        post(&lines, BODY)
    };
    let model = |bytes: usize| {
        let path = format!("POST /model/{}/converse HTTP/1.1", "m".repeat(bytes));
        line(&path, &[length], BODY)
    };
    let query = |bytes: usize| {
        let path = format!("POST {PATH}?{} HTTP/1.1", "q".repeat(bytes));
        line(&path, &[length], BODY)
    };
    hold(vec![
        ("98 headers and two", many(98), SERVED),
        ("101 headers", many(99), TOO_LARGE),
        ("2,000 headers", many(2_000), TOO_LARGE),
        ("a model of 2,048 characters", model(2_048), SERVED),
        ("one more", model(2_049), PATH_REFUSED),
        ("a model of 60,000", model(60_000), PATH_REFUSED),
        ("a path past the head", model(70_000), TOO_LARGE),
        ("a query of 60,000", query(60_000), SERVED),
        ("a query past the head", query(70_000), TOO_LARGE),
    ]);
}

//! Paths that hops read differently: each is refused in words and reaches nobody, or is passed on
//! byte for byte as the one thing that it can mean.

use crate::support::{Honest, Proxy, Request, Witness};

#[test]
fn a_path_that_hops_read_differently_reaches_nobody() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let honest = Honest::begin(&proxy);
    let mut client = proxy.client();
    let mut check = |path: &str, refusal: &str| {
        let answer = client.call(&Request::at(path.to_owned()));
        assert_eq!(answer.refusal(), Some(refusal), "{path}");
        assert_eq!(witness.take(), [""; 0], "{path}");
    };
    for path in [
        "/model/a/../converse",
        "/model/./converse",
        "/model/%2e%2e/converse",
        "/model/%2E%2e/converse",
        "/model/.%2e/converse",
        "/model/a%2f..%2fb/converse",
        "/model/a%2f%2e%2e%2fb/converse",
        "/model/%252e%252e/converse",
        "/model/a%252f..%252fb/converse",
        "/model/..;/a/converse",
        "/model/..;x=y/a/converse",
        "/model/a\\b/converse",
        "/model/..\\a/converse",
        "/model/a%5cb/converse",
        "/model/a%5c..%5cb/converse",
        "/model/%c0%ae%c0%ae/converse",
        "/model/a%c0%afb/converse",
        "/model/a%ff/converse",
        "/model/a%00/converse",
        "/model/a%0d%0ahost:%20b/converse",
        "/model/a%/converse",
        "/model/%u002e%u002e/converse",
        "/model/a|b/converse",
        "/model/a^b/converse",
        "/model/{a}/converse",
        "/model/a\"b/converse",
        "/model/\u{e9}/converse",
        "/model/a/converse/.",
        "/tenant/a/../b/model/a/converse",
        "/tenant/a/%2e%2e/b/model/a/converse",
        "/tenant/../model/a/converse",
        "/tenant//a/model/a/converse",
        "/tenant/a/tenant/b/model/a/converse",
        "/tenant/%2e%2e/model/a/converse",
        "/region/evil.example/model/a/converse",
        "/region/..%2f..%2fevil/model/a/converse",
        "/healthz/../model/a/converse",
    ] {
        check(path, "malformed_path");
    }
    for path in [
        "//model/a/converse",
        "//evil.example/model/a/converse",
        "/%6dodel/a/converse",
        "/model/a/%63onverse",
        "/model/a/converse/",
        "/tenant/a/model%2fa/converse",
        "/%68ealthz",
        "/metrics",
        "/readyz",
        "/api/v1/report",
        "/model",
    ] {
        check(path, "unknown_operation");
    }
    honest.end();
}

#[test]
fn what_a_path_means_is_passed_on_byte_for_byte() {
    let witness = Witness::start();
    let proxy = Proxy::before(witness.address());
    let mut client = proxy.client();
    let mut check = |path: &str, upstream: &str, model: &str, tenant: &str| {
        assert_eq!(
            client.call(&Request::at(path.to_owned())).status,
            200,
            "{path}"
        );
        let heads = witness.take();
        let line = heads[0].lines().next().unwrap();
        assert_eq!(line, format!("POST {upstream} HTTP/1.1"));
        assert_eq!(heads.len(), 1, "{path}");
        [model.to_owned(), tenant.to_owned()]
    };
    let mut expected = [
        check(
            "/model/a%2fb/converse",
            "/model/a%2fb/converse",
            "a/b",
            "unknown",
        ),
        check(
            "/model/a;b/converse",
            "/model/a;b/converse",
            "a;b",
            "unknown",
        ),
        check(
            "/model/a..b/converse",
            "/model/a..b/converse",
            "a..b",
            "unknown",
        ),
        check(
            "/model/a%252Fb/converse",
            "/model/a%252Fb/converse",
            "a%2Fb",
            "unknown",
        ),
        check(
            "/model/a/converse?/../..",
            "/model/a/converse?/../..",
            "a",
            "unknown",
        ),
        check(
            "/model/model/a/converse",
            "/model/model/a/converse",
            "model/a",
            "unknown",
        ),
        check(
            "/tenant/t%2Fu/model/a/converse",
            "/model/a/converse",
            "a",
            "t/u",
        ),
        check("/tenant/t//model/a/converse", "/model/a/converse", "a", "t"),
        check(
            "/tenant/model/model/a/converse",
            "/model/a/converse",
            "a",
            "model",
        ),
    ];
    let entries = proxy.stop();
    let found = entries
        .iter()
        .map(|entry| [entry.get("model_asked"), entry.get("tenant")].map(str::to_owned));
    let mut found: Vec<_> = found.collect();
    // Calls of one millisecond are in no order.
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

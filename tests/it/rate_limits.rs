//! Limits of rate: who is refused, what the refusal says, and what comes back at the end of a call.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use bedrock_meter::config::Settings;
use bedrock_meter::domain::{Facet, Glob};
use bedrock_meter::limits::{AccountSettings, LimitMode, LimitSettings};
use bedrock_meter::relay::OnClientDisconnect;

use crate::support::{Answer, PATIENCE, Proxy, Request, Upstream, body_of, wait_for};

/// 5 tokens of input and 2 of output, which count five each: 15.
const USAGE: &str = r#"{"output":{},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;

fn answering() -> Upstream {
    Upstream::answering(body_of("200 OK", "", USAGE))
}

fn each_tenant(limit: impl FnOnce(&mut LimitSettings)) -> impl FnOnce(&mut Settings) {
    let mut settings = LimitSettings::named("each");
    settings.scope.facets = vec![(Facet::Tenant, Glob::new("*").unwrap())];
    settings.owner = Some("#platform".to_owned());
    limit(&mut settings);
    move |all| all.limits.limits = vec![settings]
}

fn of(tenant: &str) -> Request {
    Request::of("converse").header("x-bedrock-meter-tenant", tenant)
}

fn call(proxy: &Proxy, tenant: &str) -> Answer {
    proxy.client().call(&of(tenant))
}

fn message(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

#[test]
fn a_call_past_the_limit_is_told_when_it_fits_and_reaches_nobody() {
    let upstream = answering();
    let limit = each_tenant(|limit| limit.requests_per_minute = Some(2));
    let proxy = Proxy::start(upstream.address, limit);
    for tenant in ["search", "search", "sales"] {
        assert_eq!(call(&proxy, tenant).status, 200);
    }
    let refused = call(&proxy, "search");
    assert_eq!(
        (refused.status, refused.refusal()),
        (429, Some("rate_limited"))
    );
    assert_eq!(
        refused.header("x-amzn-errortype"),
        Some("throttlingexception")
    );
    let header = |name: &str| refused.header(name).unwrap().parse::<u64>().unwrap();
    // Two a minute are one in thirty seconds, of which the test has used some.
    let hint = header("x-amz-retry-after");
    assert!((1..=33_050).contains(&hint), "{hint}");
    assert_eq!(header("retry-after-ms"), hint);
    assert_eq!(header("retry-after"), hint.div_ceil(1_000));
    let message = message(&refused);
    for part in [
        r#"{"message":"bedrock-meter: limit each of 2 requests per minute"#,
        "for tenant=search",
        "this call fits in ",
        "ask #platform",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(upstream.requests(), 3);
    assert!((proxy.metric("bedrock_meter_limit_refused_total") - 1.0).abs() < 0.1);
    let outcomes: Vec<String> = proxy
        .stop()
        .iter()
        .map(|entry| entry.get("outcome").to_owned())
        .collect();
    assert_eq!(outcomes.iter().filter(|one| *one == "success").count(), 3);
    assert_eq!(
        outcomes
            .iter()
            .filter(|one| *one == "limit_refused")
            .count(),
        1
    );
}

#[test]
fn reads_and_counts_are_not_limited() {
    let upstream = answering();
    let limit = each_tenant(|limit| limit.requests_per_minute = Some(1));
    let proxy = Proxy::start(upstream.address, limit);
    let count = || Request::of("count-tokens").header("x-bedrock-meter-tenant", "search");
    for _ in 0..3 {
        assert_eq!(proxy.client().call(&count()).status, 200);
    }
    assert_eq!(call(&proxy, "search").status, 200);
    assert_eq!(call(&proxy, "search").status, 429);
}

#[test]
fn unused_tokens_come_back_and_what_never_fits_is_no_throttling() {
    let upstream = answering();
    let limit = each_tenant(|limit| limit.tokens_per_minute = Some(1_000));
    let proxy = Proxy::start(upstream.address, limit);
    let asking = |max: u64| {
        let body = format!(r#"{{"messages":[],"inferenceConfig":{{"maxTokens":{max}}}}}"#);
        of("search").body(body.into_bytes())
    };
    // Each reserves more than 750 of 1,000, and uses 15.
    for _ in 0..4 {
        assert_eq!(proxy.client().call(&asking(150)).status, 200);
        wait_for("the unused to come back", || {
            let used = proxy.metric("bedrock_meter_limit_use_ratio");
            (used < 0.1).then_some(())
        });
    }
    // 1,000 of output alone, and something for the input.
    let never = proxy.client().call(&asking(200));
    assert_eq!(
        (never.status, never.refusal()),
        (400, Some("limit_never_fits"))
    );
    assert_eq!(never.header("x-amz-retry-after"), None);
    assert_eq!(never.header("x-should-retry"), Some("false"));
    // Without a word the model's maximum is reserved: 64,000 of output.
    let silent = call(&proxy, "search");
    assert_eq!(silent.refusal(), Some("limit_never_fits"));
    let message = message(&silent);
    assert!(message.contains("counts 3200"), "{message}");
}

#[test]
fn usage_that_nobody_reports_keeps_its_reservation() {
    let upstream = Upstream::start(|mut connection| {
        connection.request();
    });
    let limit = each_tenant(|limit| limit.tokens_per_minute = Some(10_000));
    let proxy = Proxy::start(upstream.address, limit);
    let body = br#"{"messages":[],"inferenceConfig":{"maxTokens":1000}}"#;
    assert_eq!(
        proxy
            .client()
            .call(&of("search").body(body.to_vec()))
            .status,
        503
    );
    assert_eq!(proxy.entry().get("outcome"), "connection_lost");
    // 5,013 were reserved, of which the minute has paid some.
    let used = proxy.metric("bedrock_meter_limit_use_ratio");
    assert!(used > 0.1, "{used}");
}

/// An upstream that answers each request when the test says so.
fn answering_when_told() -> (Upstream, Receiver<()>, SyncSender<()>) {
    let (reached, waiting) = sync_channel(16);
    let (go, going) = sync_channel::<()>(16);
    let going = Arc::new(Mutex::new(going));
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

#[test]
fn a_place_is_free_again_when_its_call_ends_or_its_client_leaves() {
    let (upstream, reached, go) = answering_when_told();
    let one = each_tenant(|limit| limit.concurrent_calls = Some(1));
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.drain.on_client_disconnect = OnClientDisconnect::Close;
        one(settings);
    });
    let mut first = proxy.client();
    first.send(&of("search").bytes());
    reached.recv_timeout(PATIENCE).unwrap();
    let refused = call(&proxy, "search");
    assert_eq!(refused.refusal(), Some("concurrency_limited"));
    assert_eq!(refused.status, 429);
    assert!(message(&refused).contains("fits when another ends"));
    go.send(()).unwrap();
    assert_eq!(first.answer().status, 200);

    // One that leaves before its answer.
    let open = || proxy.metric("bedrock_meter_limit_use_ratio");
    wait_for("the first place", || (open() < 0.5).then_some(()));
    let mut second = proxy.client();
    second.send(&of("search").bytes());
    reached.recv_timeout(PATIENCE).unwrap();
    assert!(open() > 0.5);
    drop(second);
    wait_for("the second place", || (open() < 0.5).then_some(()));
    go.send(()).unwrap();

    let mut third = proxy.client();
    third.send(&of("search").bytes());
    reached.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    assert_eq!(third.answer().status, 200);
}

#[test]
fn a_call_that_finds_no_way_to_bedrock_gives_everything_back() {
    let nobody = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let limit = each_tenant(|limit| {
        limit.concurrent_calls = Some(1);
        limit.requests_per_minute = Some(1);
        limit.tokens_per_minute = Some(1_000_000);
    });
    let proxy = Proxy::start(address, limit);
    for _ in 0..3 {
        assert_eq!(
            call(&proxy, "search").refusal(),
            Some("bedrock_unreachable")
        );
    }
    assert!(proxy.metric("bedrock_meter_limit_use_ratio") < 0.001);
}

#[test]
fn an_observed_limit_refuses_nobody_and_is_counted() {
    let upstream = answering();
    let limit = each_tenant(|limit| {
        limit.requests_per_minute = Some(1);
        limit.mode = LimitMode::Observe;
    });
    let proxy = Proxy::start(upstream.address, limit);
    for _ in 0..4 {
        assert_eq!(call(&proxy, "search").status, 200);
    }
    assert!((proxy.metric("bedrock_meter_limit_refused_total") - 3.0).abs() < 0.1);
    assert!(proxy.metric("bedrock_meter_refused_total").abs() < 0.1);
}

#[test]
fn a_reload_changes_limits_and_keeps_what_was_taken() {
    let upstream = answering();
    let most = |most| each_tenant(move |limit| limit.requests_per_minute = Some(most));
    let proxy = Proxy::start(upstream.address, most(2));
    for status in [200, 200, 429] {
        assert_eq!(call(&proxy, "search").status, status);
    }
    assert!(proxy.reload(most(3)));
    for status in [200, 429] {
        assert_eq!(call(&proxy, "search").status, status);
    }
    assert!(proxy.reload(|settings| settings.limits.limits.clear()));
    assert_eq!(call(&proxy, "search").status, 200);
}

#[test]
fn a_quota_of_the_account_keeps_room_for_who_has_had_nothing() {
    let upstream = answering();
    let quota = AccountSettings {
        model: Some(Glob::new("anthropic.*").unwrap()),
        requests_per_minute: Some(9),
        ..AccountSettings::named("sonnet")
    };
    let proxy = Proxy::start(upstream.address, |s| s.limits.accounts = vec![quota]);
    let passed = |tenant| {
        (0..9)
            .filter(|_| call(&proxy, tenant).status == 200)
            .count()
    };
    // Alone it may hold half, and what is refilled meanwhile.
    assert!((4..9).contains(&passed("greedy")));
    assert_eq!(call(&proxy, "other").status, 200);
    let refused = call(&proxy, "greedy");
    assert_eq!(
        (refused.status, refused.refusal()),
        (429, Some("account_quota"))
    );
    assert!(message(&refused).contains("the account's quota sonnet of 9 requests per minute"));
}

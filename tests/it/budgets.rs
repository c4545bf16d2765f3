//! Budgets hold: a call that does not fit never reaches Bedrock, calls in flight count, what is
//! unknown stays held, and a restart forgets nothing.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bedrock_meter::budgets::Budget;
use tempfile::TempDir;

use crate::support::{
    Proxy, Request, Upstream, body_of, chunked, converse_stream, ok_stream, wait_for,
};

/// A thousand input tokens: 0.003 dollars in the catalogue below.
const USAGE: &str = r#"{"output":{},"stopReason":"end_turn","usage":{"inputTokens":1000,"outputTokens":0,"totalTokens":1000}}"#;

/// 3 dollars for a million input tokens, 15 for a million output tokens.
const CATALOGUE: &str = "catalogue 1 test\nregions us-east-1\nsource a test 2026\n\
     model anthropic.claude-sonnet-4-5-20250929-v1:0\n  any * standard input_tokens=3/a output_tokens=15/a\n";

fn table(text: &str) -> Vec<Budget> {
    bedrock_meter::config::parse(text, &|_| None)
        .unwrap()
        .budgets
}

/// A proxy with these budgets, and the directory of its catalogue.
fn proxy(upstream: &Upstream, budgets: &str) -> (Proxy, TempDir) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("catalogue.txt");
    std::fs::write(&file, CATALOGUE).unwrap();
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.prices.catalogue_file = Some(file);
        settings.budgets = table(budgets);
    });
    (proxy, directory)
}

/// A call of so many tokens of answer at most. Its body is 102 bytes and the digits.
fn call(max_tokens: u32) -> Request {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"text":"Hello"}}]}}],"inferenceConfig":{{"maxTokens":{max_tokens}}}}}"#
    );
    Request::of("converse")
        .header("x-bedrock-meter-tenant", "search")
        .body(body.into_bytes())
}

/// What the call can cost at most: a token for each byte and 2,048 for the template at 3 dollars a
/// million, the answer at 15, in microdollars.
fn most(request: &Request, max_tokens: u64) -> u64 {
    let bytes = request.bytes();
    let body = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let prompt = (bytes.len() - body) as u64 + 2_048;
    prompt * 3 + max_tokens * 15
}

#[test]
fn a_call_that_does_not_fit_is_refused_with_the_numbers_and_has_an_entry() {
    let upstream = Upstream::answering(body_of("200 OK", "", USAGE));
    let budget = "[budgets.search]\ntenant = \"search\"\nlimit_usd = \"0.05\"\naction = \"block\"\n\
                  owner = \"finops@example.org\"";
    let (proxy, _files) = proxy(&upstream, budget);
    let mut client = proxy.client();
    let answer = client.call(&call(100));
    assert_eq!(answer.status, 200);
    let left = 50_000 - most(&call(100), 100);
    let header = format!("x-bedrock-meter-budget-remaining-usd: 0.0{left}");
    assert!(
        answer.head.contains(header.trim_end_matches('0')),
        "{} {header}",
        answer.head
    );
    proxy.settled(1);
    let refused = client.call(&call(4_000));
    let body = String::from_utf8(refused.body).unwrap();
    assert_eq!(refused.status, 400, "{body}");
    for header in [
        "x-amzn-errortype: ServiceQuotaExceededException",
        "x-bedrock-meter-error: budget_exhausted",
        "x-should-retry: false",
    ] {
        assert!(
            refused.head.to_lowercase().contains(&header.to_lowercase()),
            "{}",
            refused.head
        );
    }
    let most = most(&call(4_000), 4_000);
    assert!(
        body.contains("budget search of tenant=search has no room"),
        "{body}"
    );
    assert!(
        body.contains("limit $0.05 a month, spent $0.003, held for calls in flight $0,"),
        "{body}"
    );
    assert!(
        body.contains(&format!("this call at most $0.0{most}")),
        "{body}"
    );
    assert!(body.contains("ask finops@example.org"), "{body}");
    let entries = proxy.entries(2);
    let columns = [
        "outcome",
        "status",
        "price_status",
        "cost_microusd",
        "usage_source",
    ];
    let of = |n: usize| columns.map(|column| entries[n].get(column).to_owned());
    assert_eq!(of(0), ["success", "200", "priced", "3000", "reported"]);
    assert_eq!(of(1), ["budget_refused", "", "priced", "0", "reported"]);
    assert!(proxy.metric("bedrock_meter_refused_total") > 0.5);
    // Others are not concerned.
    let other = call(4_000).header("x-bedrock-meter-application", "web");
    let other = String::from_utf8(other.bytes())
        .unwrap()
        .replace("tenant: search", "tenant: sales");
    client.send(other.as_bytes());
    assert_eq!(client.answer().status, 200);
}

#[test]
fn calls_in_flight_count_at_their_most() {
    let (reached, waiting) = sync_channel(1);
    let (go, going) = sync_channel::<()>(1);
    let going = Mutex::new(going);
    let upstream = Upstream::start(move |mut connection| {
        while connection.request().is_some() {
            if reached.send(()).is_err() || going.lock().unwrap().recv().is_err() {
                return;
            }
            connection.write(&body_of("200 OK", "", USAGE));
        }
    });
    // Room for one call of 1,000 tokens (0.0215), not for two.
    let budget = "[budgets.all]\nlimit_usd = \"0.03\"\naction = \"block\"";
    let (proxy, _files) = proxy(&upstream, budget);
    let [mut first, mut second] = [proxy.client(), proxy.client()];
    first.send(&call(1_000).bytes());
    waiting.recv().unwrap();
    let refused = second.call(&call(1_000));
    let body = String::from_utf8(refused.body).unwrap();
    let held = most(&call(1_000), 1_000);
    assert_eq!(refused.status, 400, "{body}");
    assert!(
        body.contains(&format!("spent $0, held for calls in flight $0.0{held}")),
        "{body}"
    );
    go.send(()).unwrap();
    assert_eq!(first.answer().status, 200);
    // The hold became 0.003.
    proxy.settled(2);
    second.send(&call(1_000).bytes());
    waiting.recv().unwrap();
    go.send(()).unwrap();
    assert_eq!(second.answer().status, 200);
}

#[test]
fn usage_that_nobody_reports_stays_held_also_after_a_restart() {
    let upstream = Upstream::answering(body_of("200 OK", "", r#"{"output":{}}"#));
    let budget = "[budgets.all]\nlimit_usd = \"0.03\"\naction = \"block\"";
    let (proxy, files) = proxy(&upstream, budget);
    assert_eq!(proxy.client().call(&call(1_000)).status, 200);
    let held = most(&call(1_000), 1_000);
    let entry = proxy.entry();
    assert_eq!(entry.get("reserved_microusd"), held.to_string());
    assert_ne!(entry.get("usage_source"), "reported");
    let says = |proxy: &Proxy| {
        let refused = wait_for("the hold to settle", || {
            let answer = proxy.client().call(&call(1_000));
            let body = String::from_utf8(answer.body).unwrap();
            (answer.status == 400 && body.contains("in flight $0,")).then_some(body)
        });
        let spent = format!("spent $0.0{held}, held");
        assert!(refused.contains(&spent), "{refused} {spent}");
    };
    says(&proxy);
    let ledger = files.path().join("ledger");
    copy(&proxy, &ledger);
    drop(proxy);
    let file = files.path().join("catalogue.txt");
    let again = Proxy::start(upstream.address, |settings| {
        settings.prices.catalogue_file = Some(file);
        settings.budgets = table(budget);
        settings.ledger.directory = ledger;
    });
    says(&again);
}

/// The ledger of a proxy, as it is now, in another directory.
fn copy(proxy: &Proxy, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    let from = rusqlite::Connection::open(proxy.ledger_file()).unwrap();
    let to = bedrock_meter::ledger::ledger_file(to);
    from.execute("VACUUM INTO ?1", [to.to_str().unwrap()])
        .unwrap();
}

#[test]
fn a_reload_changes_limits_and_keeps_what_was_spent() {
    let upstream = Upstream::answering(body_of("200 OK", "", USAGE));
    let budget =
        |limit: &str| format!("[budgets.all]\nlimit_usd = \"{limit}\"\naction = \"block\"");
    let (proxy, _files) = proxy(&upstream, &budget("0.03"));
    let mut client = proxy.client();
    assert_eq!(client.call(&call(1_000)).status, 200);
    proxy.settled(1);
    assert_eq!(client.call(&call(2_000)).status, 400);
    assert!(proxy.reload(|settings| settings.budgets = table(&budget("0.05"))));
    wait_for("the new limit", || {
        (client.call(&call(2_000)).status == 200).then_some(())
    });
    // A budget that is new begins with what the ledger says.
    let news = "[budgets.search]\ntenant = \"search\"\nlimit_usd = \"0.006\"\naction = \"block\"";
    assert!(proxy.reload(|settings| settings.budgets = table(news)));
    // Calls may pass until it is in force; each costs 0.003.
    wait_for("the new budget", || {
        let answer = client.call(&call(1));
        let body = String::from_utf8(answer.body).unwrap();
        let spent = 3 * upstream.requests();
        let said = format!("limit $0.006 a month, spent $0.{spent:03}, held");
        (answer.status == 400 && body.contains(&said)).then_some(())
    });
    assert!(proxy.reload(|settings| settings.budgets.clear()));
    wait_for("no budget", || {
        (client.call(&call(1_000)).status == 200).then_some(())
    });
}

/// An upstream that begins each stream, says so, and goes on when it is told to.
fn slow_streams() -> (Upstream, Receiver<()>, SyncSender<()>) {
    let (reached, waiting) = sync_channel(2);
    let (go, going) = sync_channel::<()>(2);
    let going = Mutex::new(going);
    let upstream = Upstream::start(move |mut connection| {
        connection.request().unwrap();
        let frames = converse_stream();
        connection.write(&ok_stream());
        connection.write(format!("{:x}\r\n", frames[0].len()).as_bytes());
        connection.write(&frames[0]);
        connection.write(b"\r\n");
        if reached.send(()).is_err() || going.lock().unwrap().recv().is_err() {
            return;
        }
        let rest = frames[1..].concat();
        connection.write(&chunked(&rest, rest.len()));
    });
    (upstream, waiting, go)
}

#[test]
fn a_budget_that_a_reload_brings_holds_the_streams_in_flight() {
    let (upstream, waiting, go) = slow_streams();
    let sales = "[budgets.sales]\ntenant = \"sales\"\nlimit_usd = \"9\"\naction = \"block\"\n";
    let (proxy, _files) = proxy(&upstream, sales);
    let stream = |max_tokens| {
        let converse = String::from_utf8(call(max_tokens).bytes()).unwrap();
        converse.replace("/converse ", "/converse-stream ")
    };
    let [mut first, mut second, mut third] = [(); 3].map(|()| proxy.client());
    for client in [&mut first, &mut second] {
        client.send(stream(1_000).as_bytes());
        waiting.recv().unwrap();
    }
    // No budget applies to them. The new one has room for two and a half.
    let held = 2 * most(&call(1_000), 1_000);
    let news = "[budgets.search]\ntenant = \"search\"\nlimit_usd = \"0.054\"\naction = \"block\"";
    let both = [sales, news].concat();
    assert!(proxy.reload(|settings| settings.budgets = table(&both)));
    wait_for("the new budget", || {
        let held = proxy.metric("bedrock_meter_budget_reserved_usd");
        (held > 0.0).then_some(())
    });
    third.send(stream(1_000).as_bytes());
    let refused = third.answer();
    let body = String::from_utf8(refused.body).unwrap();
    assert_eq!(refused.status, 400, "{body}");
    let said = format!("limit $0.054 a month, spent $0, held for calls in flight $0.0{held},");
    assert!(body.contains(&said), "{body} {said}");
    for client in [&mut first, &mut second] {
        go.send(()).unwrap();
        assert_eq!(client.answer().status, 200);
    }
    // Each cost 25 tokens at 3 dollars a million and 12 at 15, and nothing is held any more.
    proxy.settled(3);
    let refused = third.call(&call(4_000));
    let body = String::from_utf8(refused.body).unwrap();
    assert!(
        body.contains("spent $0.00051, held for calls in flight $0,"),
        "{body}"
    );
}

#[test]
fn a_model_without_a_price_does_not_fit_unless_the_dearest_is_held() {
    let upstream = Upstream::answering(body_of("200 OK", "", USAGE));
    let budget = "[budgets.all]\nlimit_usd = \"1\"\naction = \"block\"";
    let (proxy, _files) = proxy(&upstream, budget);
    let unknown = Request::at("/model/some.model/converse".to_owned());
    let unknown = unknown.header("x-bedrock-meter-tenant", "search");
    let mut client = proxy.client();
    let refused = client.call(&unknown);
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .head
            .contains("x-bedrock-meter-error: price_unknown"),
        "{}",
        refused.head
    );
    assert!(proxy.reload(|settings| {
        settings.when.price_unknown = bedrock_meter::proxy::PriceUnknown::ReserveHigh;
    }));
    // 128,000 tokens at the dearest rate are 1.92.
    let refused = client.call(&unknown);
    let body = String::from_utf8(refused.body).unwrap();
    assert!(body.contains("this call at most $1.9263"), "{body}");
}

#[test]
fn a_downgrade_makes_the_call_cheaper_and_says_so() {
    let (saw, seen) = sync_channel(8);
    let upstream = Upstream::start(move |mut connection| {
        while let Some(request) = connection.request() {
            saw.send(request).unwrap();
            connection.write(&body_of("200 OK", "", USAGE));
        }
    });
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("catalogue.txt");
    let haiku = "model anthropic.claude-haiku-4-5-20251001-v1:0\n  any * standard input_tokens=1/a \
                 output_tokens=5/a\n";
    std::fs::write(&file, [CATALOGUE, haiku].concat()).unwrap();
    let budget = "[budgets.all]\nlimit_usd = \"0.02\"\naction = \"downgrade\"\n\
                  downgrade_model = \"anthropic.claude-haiku-4-5-20251001-v1:0\"";
    let proxy = Proxy::start(upstream.address, |settings| {
        settings.prices.catalogue_file = Some(file);
        settings.budgets = table(budget);
    });
    let mut client = proxy.client();
    // 0.0215 does not fit; 0.0072 at a third of the price does.
    let answer = client.call(&call(1_000));
    assert_eq!(answer.status, 200);
    let said = "x-bedrock-meter-downgraded-from: anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert!(answer.head.contains(said), "{}", answer.head);
    let request = seen.recv().unwrap();
    let path = "POST /model/anthropic.claude-haiku-4-5-20251001-v1%3A0/converse ";
    assert!(request.starts_with(path), "{request}");
    let entry = proxy.entry();
    let columns = [
        "model",
        "downgraded_from",
        "cost_microusd",
        "reserved_microusd",
    ];
    let third = most(&call(1_000), 1_000).div_ceil(3).to_string();
    assert_eq!(
        columns.map(|column| entry.get(column)),
        [
            "anthropic.claude-haiku-4-5-20251001-v1:0",
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            "1000",
            &third
        ]
    );
    // What does not fit either is refused.
    assert_eq!(client.call(&call(4_000)).status, 400);
}

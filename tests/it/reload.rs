//! A changed configuration: new calls live by it, calls in flight do not, a bad one changes nothing.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use bedrock_meter::config::{Problem, Problems};
use bedrock_meter::domain::Secret;
use bedrock_meter::upstream::CredentialSettings;
use tempfile::TempDir;

use crate::support::{Certificate, Http2Call, Proxy, Request, Upstream, body_of, wait_for};

/// A thousand input tokens.
const USAGE: &str = r#"{"output":{},"stopReason":"end_turn","usage":{"inputTokens":1000,"outputTokens":0,"totalTokens":1000}}"#;

/// A catalogue in which a million input tokens of the tests' model cost so many dollars.
fn catalogue(directory: &TempDir, dollars: u32) -> PathBuf {
    let text = format!(
        "catalogue 1 test-{dollars}\nregions us-east-1\nsource a test 2026\n\
         model anthropic.claude-sonnet-4-5-20250929-v1:0\n  any * standard input_tokens={dollars}/a\n"
    );
    let file = directory.path().join(format!("{dollars}.txt"));
    std::fs::write(&file, text).unwrap();
    file
}

/// The value of a metric of ours, without its prefix.
fn count(proxy: &Proxy, name: &str) -> String {
    proxy.metric(&format!("bedrock_meter_{name}")).to_string()
}

fn answering() -> Upstream {
    Upstream::answering(body_of("200 OK", "", USAGE))
}

#[test]
fn a_call_admitted_before_a_reload_is_charged_at_the_old_prices() {
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
    let files = TempDir::new().unwrap();
    let (two, five) = (catalogue(&files, 2), catalogue(&files, 5));
    let proxy = Proxy::start(upstream.address, |s| s.prices.catalogue_file = Some(two));

    let mut in_flight = proxy.client();
    let of = |tenant| Request::of("converse").header("x-bedrock-meter-tenant", tenant);
    in_flight.send(&of("before").bytes());
    waiting.recv().unwrap();
    assert!(proxy.reload(|s| s.prices.catalogue_file = Some(five)));
    let mut new = proxy.client();
    new.send(&of("after").bytes());
    waiting.recv().unwrap();
    for client in [&mut in_flight, &mut new] {
        go.send(()).unwrap();
        assert_eq!(client.answer().status, 200);
    }

    // A thousand tokens at 2 and at 5 dollars for a million.
    let costs = proxy.stop().into_iter().map(|entry| {
        ["tenant", "catalogue", "cost_microusd", "cost_femtousd"]
            .map(|column| entry.get(column).to_owned())
    });
    let mut costs: Vec<_> = costs.collect();
    costs.sort();
    let expected = [
        ["after", "test-5", "5000", "0"],
        ["before", "test-2", "2000", "0"],
    ];
    assert_eq!(costs, expected);
}

#[test]
fn a_bad_configuration_is_refused_whole_and_counted() {
    let upstream = answering();
    let files = TempDir::new().unwrap();
    let broken = files.path().join("broken.txt");
    std::fs::write(&broken, "no catalogue").unwrap();
    let proxy = Proxy::before(upstream.address);
    let failed = || count(&proxy, "config_reload_failed");
    let since = proxy.metric("bedrock_meter_config_last_reload_success_timestamp_seconds");
    assert!(failed() == "0" && since > 1.7e9, "{since}");

    let trusts_nobody =
        |s: &mut bedrock_meter::config::Settings| s.identity.trusted_networks.clear();
    // Its tables are good and its catalogue is not: nothing of it is in force.
    assert!(!proxy.reload(|s| {
        trusts_nobody(s);
        s.prices.catalogue_file = Some(broken);
    }));
    let problem = Problem::new("listener.port", "there is no such key", "remove it");
    assert!(!proxy.reload_result(Err(Problems(vec![problem]))));
    assert_eq!(failed(), "1");
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);

    assert!(proxy.reload(trusts_nobody));
    assert_eq!(failed(), "0");
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 403);
    let reloads = ["refused", "applied"].map(|outcome| {
        count(
            &proxy,
            &format!("config_reloads_total{{outcome=\"{outcome}\"}}"),
        )
    });
    assert_eq!(reloads, ["2", "1"]);
}

#[test]
fn keys_that_need_a_restart_are_counted_and_stay() {
    let upstream = answering();
    let proxy = Proxy::before(upstream.address);
    let waiting = || count(&proxy, "config_keys_need_restart");
    let elsewhere = TempDir::new().unwrap();
    assert!(proxy.reload(|s| {
        s.ledger.directory = elsewhere.path().into();
        s.listener.workers = 2;
    }));
    assert_eq!(waiting(), "2", "the directory and the workers");
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
    assert_eq!(proxy.entries(1).len(), 1, "in the old directory");
    let left = std::fs::read_dir(elsewhere.path()).unwrap().count();
    assert_eq!(left, 0, "nothing was written to the new one");
    assert!(proxy.reload(|_settings| {}));
    assert_eq!(waiting(), "0");
}

#[test]
fn a_new_certificate_serves_new_connections_and_keeps_the_old_ones() {
    let (Some(old), Some(new)) = (Certificate::make(), Certificate::make()) else {
        return;
    };
    let upstream = answering();
    let proxy = Proxy::start(upstream.address, |s| s.listener.tls = Some(old.tls()));
    let path = "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse";
    // Each client trusts one certificate, so that an answer tells which one served.
    let before = Http2Call::begin(proxy.address, Some(old.client("h2")), path);
    assert!(proxy.reload(|s| s.listener.tls = Some(new.tls())));
    let after = Http2Call::begin(proxy.address, Some(new.client("h2")), path);
    for call in [before, after] {
        assert_eq!(call.status(), 200);
        let (body, whole) = call.body();
        assert_eq!((body.as_slice(), whole), (USAGE.as_bytes(), true));
    }
}

#[test]
fn new_credentials_sign_new_calls() {
    let (seen, requests) = sync_channel(16);
    let upstream = Upstream::start(move |mut connection| {
        while let Some(request) = connection.request() {
            seen.send(request).unwrap();
            connection.write(&body_of("200 OK", "", USAGE));
        }
    });
    let proxy = Proxy::before(upstream.address);
    assert!(proxy.reload(|s| {
        s.upstream.credentials = CredentialSettings::Static {
            access_key_id: "AKIAOTHER".to_owned(),
            secret_access_key: Secret::new("other"),
            session_token: None,
        };
    }));
    // They are loaded by a task of their own, a moment later.
    wait_for("a call signed with the new key", || {
        assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
        let request = requests.recv().unwrap();
        request.contains("AKIAOTHER").then_some(())
    });
}

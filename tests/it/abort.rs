//! Clients that leave and a proxy that stops: no call that reached Bedrock goes without its entry.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bedrock_meter::relay::OnClientDisconnect;

use crate::support::{
    Connection, Entry, Http2Call, Proxy, Request, Upstream, body_of, chunked, converse_stream,
    ok_stream, wait_for,
};

/// An upstream that stands still in mid-answer until the test lets it go on.
struct Paused {
    upstream: Upstream,
    /// One message for each answer that stands still.
    reached: Receiver<()>,
    go: SyncSender<()>,
}

impl Paused {
    /// Writes `first`, stands still, and goes on with `rest`.
    fn between(first: Vec<u8>, rest: Vec<u8>) -> Self {
        let (stands, reached) = sync_channel(64);
        let (go, going) = sync_channel(64);
        let going: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(going));
        let serve = move |mut connection: Connection| {
            while connection.request().is_some() {
                connection.write(&first);
                // The test may have ended.
                let told = stands.send(()).is_ok() && going.lock().unwrap().recv().is_ok();
                if !told {
                    return;
                }
                connection.write(&rest);
            }
        };
        Self {
            upstream: Upstream::start(serve),
            reached,
            go,
        }
    }

    /// Stands still in the middle of a stream whose usage comes last.
    fn in_mid_stream() -> Self {
        let bytes = chunked(&converse_stream().concat(), 300);
        let (first, rest) = bytes.split_at(700);
        Self::between([ok_stream(), first.to_vec()].concat(), rest.to_vec())
    }

    /// Stands still before the head.
    fn before_head() -> Self {
        let stream = chunked(&converse_stream().concat(), 300);
        Self::between(Vec::new(), [ok_stream(), stream].concat())
    }

    fn wait(&self) {
        self.reached.recv_timeout(crate::support::PATIENCE).unwrap();
    }

    fn go_on(&self) {
        self.go.send(()).unwrap();
    }
}

fn wait_for_drain(proxy: &Proxy) {
    let drains = || proxy.metric("bedrock_meter_open_drains");
    wait_for("a drain", || (drains() > 0.5).then_some(()));
}

fn assert_exact(entry: &Entry, outcome: &str) {
    assert_eq!(entry.verdict(), [outcome, "reported", ""]);
    assert_eq!(entry.tokens(), ["25", "12"]);
    assert_eq!(entry.get("price_status"), "priced");
}

#[test]
fn a_client_that_leaves_before_the_head_has_an_exact_entry() {
    let paused = Paused::before_head();
    let proxy = Proxy::before(paused.upstream.address);
    let mut client = proxy.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    drop(client);
    wait_for_drain(&proxy);
    paused.go_on();
    assert_exact(&proxy.entry(), "client_left");
    assert_eq!(proxy.stop().len(), 1);
}

#[test]
fn a_client_that_leaves_in_mid_stream_has_an_exact_entry() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::before(paused.upstream.address);
    let mut client = proxy.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    client.read_some(600);
    drop(client);
    wait_for_drain(&proxy);
    paused.go_on();
    assert_exact(&proxy.entry(), "client_left");
    assert_eq!(proxy.stop().len(), 1);
}

#[test]
fn an_http2_client_that_resets_its_stream_has_an_exact_entry() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::before(paused.upstream.address);
    let path = "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse-stream";
    let call = Http2Call::begin(proxy.address, None, path);
    paused.wait();
    let connection = call.reset();
    wait_for_drain(&proxy);
    paused.go_on();
    assert_exact(&proxy.entry(), "client_left");
    drop(connection);
    assert_eq!(proxy.stop().len(), 1);
}

#[test]
fn a_client_that_closes_its_half_has_an_exact_entry() {
    for paused in [Paused::before_head(), Paused::in_mid_stream()] {
        let proxy = Proxy::before(paused.upstream.address);
        let mut client = proxy.client();
        client.send(&Request::of("converse-stream").bytes());
        paused.wait();
        client.half_close();
        wait_for_drain(&proxy);
        paused.go_on();
        assert_exact(&proxy.entry(), "client_left");
        assert_eq!(proxy.stop().len(), 1);
    }
}

#[test]
fn a_plain_call_whose_client_gave_up_has_an_exact_entry() {
    let usage = r#"{"output":{},"stopReason":"end_turn","usage":{"inputTokens":25,"outputTokens":12,"totalTokens":37}}"#;
    let paused = Paused::between(Vec::new(), body_of("200 OK", "", usage));
    let proxy = Proxy::before(paused.upstream.address);
    let mut client = proxy.client();
    client.send(&Request::of("converse").bytes());
    paused.wait();
    drop(client);
    paused.go_on();
    let entry = proxy.entry();
    assert_exact(&entry, entry.get("outcome"));
}

#[test]
fn beyond_the_limit_of_drains_usage_is_estimated_and_every_call_has_its_entry() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::start(paused.upstream.address, |settings| {
        settings.drain.calls_max = 2;
        settings.drain.share_per_tenant_percent = 100;
    });
    let clients = || {
        let mut client = proxy.client();
        client.send(&Request::of("converse-stream").bytes());
        paused.wait();
        client
    };
    let clients: Vec<_> = (0..5).map(|_| clients()).collect();
    drop(clients);
    let left = proxy.entries(3);
    for entry in &left {
        assert_eq!(entry.verdict(), ["client_left", "estimated", "not_drained"]);
    }
    // The three others hear nothing more: their connections are closed.
    (0..5).for_each(|_| paused.go_on());
    let entries = proxy.entries(5);
    let exact = entries
        .iter()
        .filter(|entry| entry.get("usage_source") == "reported");
    assert_eq!(
        exact
            .inspect(|entry| assert_exact(entry, "client_left"))
            .count(),
        2
    );
    assert_eq!(proxy.stop().len(), 5);
}

#[test]
fn one_tenant_has_only_its_share_of_the_drains() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::start(paused.upstream.address, |settings| {
        settings.drain.calls_max = 4;
        settings.drain.share_per_tenant_percent = 25;
    });
    let mut clients = Vec::new();
    for tenant in ["greedy", "greedy", "modest"] {
        let mut client = proxy.client();
        let request = Request::of("converse-stream").header("x-bedrock-meter-tenant", tenant);
        client.send(&request.bytes());
        paused.wait();
        clients.push(client);
    }
    drop(clients);
    let estimated = proxy.entries(1);
    assert_eq!(estimated[0].get("tenant"), "greedy");
    assert_eq!(estimated[0].get("usage_reason"), "not_drained");
    (0..3).for_each(|_| paused.go_on());
    let entries = proxy.entries(3);
    let exact = entries
        .iter()
        .filter(|entry| entry.get("usage_source") == "reported");
    let mut tenants: Vec<&str> = exact.map(|entry| entry.get("tenant")).collect();
    tenants.sort_unstable();
    assert_eq!(tenants, ["greedy", "modest"]);
}

#[test]
fn what_is_read_on_is_limited_in_bytes_and_in_time() {
    let bytes = chunked(&converse_stream().concat(), 300);
    let first = [ok_stream(), bytes[..700].to_vec()].concat();
    let paused = Paused::between(first, bytes[700..900].to_vec());
    let by_bytes = Proxy::start(paused.upstream.address, |s| s.drain.bytes_max = 150);
    let mut client = by_bytes.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    client.read_some(600);
    drop(client);
    wait_for_drain(&by_bytes);
    paused.go_on();
    assert_eq!(
        by_bytes.entry().verdict(),
        ["client_left", "estimated", "not_drained"]
    );

    let short = Duration::from_millis(50);
    let by_time = Proxy::start(paused.upstream.address, |s| s.drain.time_max = short);
    let mut client = by_time.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    drop(client);
    assert_eq!(
        by_time.entry().verdict(),
        ["client_left", "estimated", "not_drained"]
    );
}

#[test]
fn where_the_settings_say_close_nothing_is_read_on() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::start(paused.upstream.address, |settings| {
        settings.drain.on_client_disconnect = OnClientDisconnect::Close;
    });
    let mut client = proxy.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    drop(client);
    assert_eq!(
        proxy.entry().verdict(),
        ["client_left", "estimated", "not_drained"]
    );
}

#[test]
fn a_stop_lets_streams_end_whole() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::start(paused.upstream.address, |settings| {
        settings.shutdown.drain_timeout = crate::support::PATIENCE;
        settings.listener.preface_timeout = crate::support::PATIENCE * 3;
    });
    let mut client = proxy.client();
    let mut silent = proxy.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    let ended = proxy.begin_stop();
    assert!(
        silent.is_closed_silently(),
        "who says nothing is not waited for"
    );
    paused.go_on();
    let answer = client.answer();
    assert!(answer.whole);
    assert_eq!(answer.body, converse_stream().concat());
    let entries = ended();
    assert_eq!(entries.len(), 1);
    assert_exact(&entries[0], "success");
}

#[test]
fn a_stop_reads_on_for_clients_that_left() {
    let paused = Paused::in_mid_stream();
    let proxy = Proxy::start(paused.upstream.address, |settings| {
        settings.shutdown.drain_timeout = crate::support::PATIENCE;
    });
    let mut client = proxy.client();
    client.send(&Request::of("converse-stream").bytes());
    paused.wait();
    drop(client);
    wait_for_drain(&proxy);
    let ended = proxy.begin_stop();
    paused.go_on();
    let entries = ended();
    assert_eq!(entries.len(), 1);
    assert_exact(&entries[0], "client_left");
}

#[test]
fn a_stop_that_cannot_wait_settles_what_is_open_as_interrupted() {
    let [streaming, waiting] = [Paused::in_mid_stream(), Paused::before_head()];
    for paused in [streaming, waiting] {
        let proxy = Proxy::before(paused.upstream.address);
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = proxy.client();
            client.send(&Request::of("converse-stream").bytes());
            paused.wait();
            clients.push(client);
        }
        let entries = proxy.stop();
        assert_eq!(entries.len(), 3);
        for entry in entries {
            assert_eq!(entry.get("outcome"), "interrupted");
            assert_eq!(entry.get("usage_source"), "estimated");
        }
    }
}

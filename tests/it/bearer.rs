//! A Bedrock API key in place of signatures: what Bedrock is shown, and what a bad key comes to.

use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;

use bedrock_meter::config::Settings;
use bedrock_meter::domain::Secret;
use bedrock_meter::simulator;
use bedrock_meter::upstream::{BearerKey, CredentialSettings};

use crate::support::{Proxy, Request, Upstream, body_of, wait_for};

const KEY: &str = "ABSKbedrockKEY";
const USAGE: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"}]}},"stopReason":"end_turn","usage":{"inputTokens":5,"outputTokens":2,"totalTokens":7}}"#;

fn with(key: BearerKey) -> impl FnOnce(&mut Settings) {
    |settings| settings.upstream.credentials = CredentialSettings::Bearer(key)
}

fn fixed(key: &str) -> BearerKey {
    BearerKey::Fixed(Secret::new(key))
}

#[test]
fn bedrock_is_shown_the_key_and_no_signature() {
    let (heads, seen) = sync_channel(1);
    let upstream = Upstream::start(move |mut connection| {
        while let Some(head) = connection.request() {
            heads.send(head.to_ascii_lowercase()).unwrap();
            connection.write(&body_of("200 OK", "", USAGE));
        }
    });
    let proxy = Proxy::start(upstream.address, with(fixed(KEY)));
    let signed_by_the_client = Request::of("converse")
        .header("authorization", "Bearer the-clients-own")
        .header("x-amz-date", "20261122T000000Z")
        .header("x-amz-security-token", "token");
    let mut client = proxy.client();
    for request in [Request::of("converse"), signed_by_the_client] {
        assert_eq!(client.call(&request).status, 200);
        let head = seen.recv().unwrap();
        let authorization = head
            .lines()
            .filter(|line| line.starts_with("authorization"));
        let expected = format!("authorization: bearer {}", KEY.to_ascii_lowercase());
        assert_eq!(authorization.collect::<Vec<_>>(), [expected], "{head}");
        assert!(!head.contains("x-amz-"), "{head}");
    }
    assert_eq!(proxy.entries(2)[0].tokens(), ["5", "2"]);
}

#[test]
fn a_key_is_never_sent_again_for_the_clock() {
    let refusal = "x-amzn-errortype: InvalidSignatureException\r\n\
                   date: Wed, 01 Jan 2020 00:00:00 GMT\r\n";
    let body =
        r#"{"message":"Signature expired: 20261122T000000Z is now earlier than 20200101T000000Z"}"#;
    let upstream = Upstream::answering(body_of("403 Forbidden", refusal, body));
    let proxy = Proxy::start(upstream.address, with(fixed(KEY)));
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!((answer.status, answer.refusal()), (403, None));
    assert_eq!(proxy.entry().get("outcome"), "client_error");
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn the_simulator_takes_its_own_key_and_refuses_another() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = simulator::Settings {
        bearer_key: KEY.to_owned(),
        ..simulator::Settings::default()
    };
    let running = runtime.block_on(simulator::start(settings)).unwrap();
    let bedrock: SocketAddr = running.address();

    let proxy = Proxy::start(bedrock, with(fixed(KEY)));
    assert_eq!(proxy.client().call(&Request::of("converse")).status, 200);
    assert_eq!(proxy.entry().get("usage_source"), "reported");

    let proxy = Proxy::start(bedrock, with(fixed("ABSKanother")));
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!((answer.status, answer.refusal()), (403, None));
    let said = String::from_utf8(answer.body).unwrap();
    assert!(said.contains("API Key"), "{said}");
    assert_eq!(proxy.entry().get("outcome"), "client_error");
    runtime.block_on(running.stop());
}

#[test]
fn a_changed_file_is_the_new_key_without_a_restart() {
    let (heads, seen) = sync_channel(64);
    let upstream = Upstream::start(move |mut connection| {
        while let Some(head) = connection.request() {
            heads.send(head).unwrap();
            connection.write(&body_of("200 OK", "", USAGE));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "ABSKfirst\n").unwrap();
    let proxy = Proxy::start(upstream.address, with(BearerKey::File(file.clone())));
    let mut client = proxy.client();
    let mut shown = || {
        assert_eq!(client.call(&Request::of("converse")).status, 200);
        seen.recv().unwrap()
    };
    assert!(shown().contains("Bearer ABSKfirst\r\n"));
    std::fs::write(&file, "ABSKsecond\n").unwrap();
    wait_for("the new key", || {
        shown().contains("Bearer ABSKsecond\r\n").then_some(())
    });
}

#[test]
fn without_a_key_nothing_is_sent() {
    let upstream = Upstream::answering(body_of("200 OK", "", USAGE));
    let proxy = Proxy::start(upstream.address, with(fixed("no key")));
    let answer = proxy.client().call(&Request::of("converse"));
    assert_eq!(
        (answer.status, answer.refusal()),
        (503, Some("no_credentials"))
    );
    assert_eq!(upstream.requests(), 0);
}

//! Streams: the client gets Bedrock's bytes whatever they are, and the entry says what was read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{
    Entry, Http2Call, Proxy, Request, Upstream, chunked, converse_stream, exception, invoke_stream,
    ok_stream,
};

/// A proxy whose upstream writes the pieces that wait, one write each, and then closes.
struct Stage {
    proxy: Proxy,
    waiting: Arc<Mutex<VecDeque<Vec<Vec<u8>>>>>,
    calls: usize,
    _upstream: Upstream,
}

impl Stage {
    fn new() -> Self {
        let waiting: Arc<Mutex<VecDeque<Vec<Vec<u8>>>>> = Arc::default();
        let script = Arc::clone(&waiting);
        let upstream = Upstream::start(move |mut connection| {
            connection.request().unwrap();
            let pieces = script.lock().unwrap().pop_front().unwrap();
            for piece in pieces {
                connection.write(&piece);
                std::thread::yield_now();
            }
        });
        Self {
            proxy: Proxy::before(upstream.address),
            waiting,
            calls: 0,
            _upstream: upstream,
        }
    }

    /// One call whose answer is written in these pieces: the body, whether it ended well, and
    /// the entry.
    fn call(&mut self, operation: &str, pieces: Vec<Vec<u8>>) -> (Vec<u8>, bool, Entry) {
        self.waiting.lock().unwrap().push_back(pieces);
        let answer = self.proxy.client().call(&Request::of(operation));
        assert_eq!(answer.status, 200, "{}", answer.head);
        self.calls += 1;
        let entry = self.proxy.entries(self.calls).pop().unwrap();
        (answer.body, answer.whole, entry)
    }
}

/// The bytes between these places.
fn cut(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = places
        .iter()
        .map(|place| place.index(bytes.len()))
        .collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .collect()
}

#[test]
fn any_cutting_of_a_stream_gives_the_same_bytes_and_the_same_entry() {
    for (operation, frames) in [
        ("converse-stream", converse_stream()),
        ("invoke-with-response-stream", invoke_stream()),
    ] {
        let stream = frames.concat();
        let mut stage = Stage::new();
        let unsplit = [ok_stream(), chunked(&stream, stream.len())].concat();
        let (body, whole, reference) = stage.call(operation, vec![unsplit]);
        assert!(whole && body == stream, "{operation}");
        assert_eq!(reference.verdict(), ["success", "reported", ""]);
        assert_eq!(reference.tokens(), ["25", "12"]);
        assert_eq!(reference.get("price_status"), "priced");

        let places = prop::collection::vec(any::<prop::sample::Index>(), 0..40);
        let cases = (1..stream.len(), places);
        let mut runner = TestRunner::new(Config::with_cases(60));
        let stage = std::cell::RefCell::new(stage);
        let checked = runner.run(&cases, |(chunk, places)| {
            let bytes = [ok_stream(), chunked(&stream, chunk)].concat();
            let pieces = cut(&bytes, &places);
            let (body, whole, entry) = stage.borrow_mut().call(operation, pieces);
            prop_assert!(whole);
            prop_assert_eq!(&body, &stream);
            prop_assert_eq!(entry.essence(), reference.essence());
            Ok(())
        });
        checked.unwrap();
    }
}

/// One damaged stream: what the upstream writes after the head, and what must come of it.
struct Damaged {
    name: &'static str,
    stream: Vec<u8>,
    /// Whether the upstream ends the chunked encoding.
    ended: bool,
    verdict: [&'static str; 3],
}

fn damaged() -> Vec<Damaged> {
    let frames = converse_stream();
    let (metadata, before) = frames.split_last().unwrap();
    let whole = frames.concat();
    let usage_lost = before.concat();

    let mut broken_checksum = metadata.clone();
    *broken_checksum.last_mut().unwrap() ^= 0xff;
    let mut huge = i32::MAX.to_be_bytes().to_vec();
    huge.extend_from_slice(&metadata[4..8]);
    huge.extend(crc32fast::hash(&huge).to_be_bytes());
    huge.extend_from_slice(&metadata[12..]);
    let garbage = b"this is no frame of an event stream, whatever it may be".to_vec();
    let lost = |tail: &[u8]| [usage_lost.as_slice(), tail].concat();
    let unreadable = ["success", "missing", "unreadable"];

    let row = |name, stream, ended, verdict| Damaged {
        name,
        stream,
        ended,
        verdict,
    };
    vec![
        row("garbage from the start", garbage.clone(), true, unreadable),
        row(
            "garbage in place of usage",
            lost(&garbage),
            true,
            unreadable,
        ),
        row("broken checksum", lost(&broken_checksum), true, unreadable),
        row("huge length", lost(&huge), true, unreadable),
        row(
            "garbage after usage",
            [whole.as_slice(), &garbage].concat(),
            true,
            unreadable,
        ),
        row(
            "no usage",
            usage_lost.clone(),
            true,
            ["success", "estimated", "not_in_answer"],
        ),
        row(
            "cut between frames",
            usage_lost.clone(),
            false,
            ["stream_failed", "estimated", "cut_short"],
        ),
        row(
            "cut inside a frame",
            lost(&metadata[..20]),
            false,
            ["stream_failed", "estimated", "cut_short"],
        ),
        row(
            "cut after usage",
            whole,
            false,
            ["stream_failed", "reported", ""],
        ),
        row(
            "exception",
            lost(&exception("throttlingException")),
            true,
            ["stream_failed", "estimated", "cut_short"],
        ),
        row(
            "ended inside a frame",
            lost(&metadata[..20]),
            true,
            ["success", "estimated", "cut_short"],
        ),
    ]
}

#[test]
fn damaged_streams_reach_the_client_unchanged_and_the_entry_says_so() {
    let mut stage = Stage::new();
    for Damaged {
        name,
        stream,
        ended,
        verdict,
    } in damaged()
    {
        let mut encoded = chunked(&stream, 100);
        if !ended {
            encoded.truncate(encoded.len() - 5);
        }
        let (body, whole, entry) = stage.call("converse-stream", vec![ok_stream(), encoded]);
        assert!(body == stream, "{name}: {} of {}", body.len(), stream.len());
        assert_eq!(whole, ended, "{name}");
        assert_eq!(entry.verdict(), verdict, "{name}");
        assert_eq!(
            entry.get("response_bytes"),
            stream.len().to_string(),
            "{name}"
        );
        if entry.get("usage_source") == "missing" {
            assert_eq!(entry.get("price_status"), "unpriced", "{name}");
            assert_eq!(entry.get("cost_microusd"), "", "{name}");
        }
    }
    assert_eq!(stage.proxy.stop().len(), damaged().len());
}

#[test]
fn over_http2_too_a_cut_stream_keeps_the_bytes_before_the_cut() {
    let mut stage = Stage::new();
    let stream = converse_stream().concat();
    let cut = chunked(&stream, 100);
    for rest in [5, 400, cut.len()] {
        let mut bytes = [ok_stream(), cut.clone()].concat();
        bytes.truncate(bytes.len() - rest);
        stage.waiting.lock().unwrap().push_back(vec![bytes]);
        let path = "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse-stream";
        let call = Http2Call::begin(stage.proxy.address, None, path);
        assert_eq!(call.status(), 200);
        let (body, whole) = call.body();
        assert!(!whole, "cut {rest} bytes before the end");
        stage.calls += 1;
        let entry = stage.proxy.entries(stage.calls).pop().unwrap();
        assert_eq!(entry.get("outcome"), "stream_failed");
        assert_eq!(entry.get("response_bytes"), body.len().to_string());
        assert!(stream.starts_with(&body) && body.is_empty() == (rest == cut.len()));
    }
}

//! Whole answers through the meter: streams are encoded by the AWS crate, expectations are
//! written by hand from the service's documented shapes.

use std::sync::Arc;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue as Value};
use proptest::prelude::*;

use super::{End, Meter};
use crate::domain::{
    Capacity, Geography, Latency, ModelRef, Operation, Reading, ServiceTier, UsageReason,
    UsageSource,
};

const CLAUDE: &str = "anthropic.claude-opus-5-5";

fn model(base: &str) -> ModelRef {
    ModelRef {
        asked: Arc::from(base),
        base: Some(Arc::from(base)),
        geography: Geography::InRegion,
        capacity: Capacity::OnDemand,
    }
}

fn header_map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            Value::from_str(value).unwrap(),
        )
    };
    headers.iter().map(pair).collect()
}

/// One answer and how it went.
struct Answer<'a> {
    operation: Operation,
    base: &'a str,
    status: u16,
    headers: &'a [(&'static str, &'a str)],
    end: End,
}

impl Answer<'_> {
    fn of(operation: Operation) -> Self {
        Self {
            operation,
            base: CLAUDE,
            status: 200,
            headers: &[],
            end: End::Complete,
        }
    }

    fn meter(&self) -> Meter {
        let mut meter = Meter::choose(self.operation, Some(&model(self.base)));
        meter.head(self.status, &header_map(self.headers));
        meter
    }

    fn read(&self, body: impl AsRef<[u8]>) -> Reading {
        let mut meter = self.meter();
        meter.frame(body.as_ref());
        meter.finish(self.end)
    }
}

fn quantities(reading: &Reading) -> String {
    let pairs = reading
        .usage
        .iter()
        .map(|(d, n)| format!("{}={n}", d.kind()));
    pairs.collect::<Vec<_>>().join(" ")
}

fn assert_reported(reading: &Reading, read_from: &str, expected: &str) {
    assert_eq!(quantities(reading), expected);
    assert_eq!(
        (reading.source, reading.reason),
        (UsageSource::Reported, None)
    );
    assert_eq!(reading.read_from, read_from, "{expected}");
}

fn assert_missing(reading: &Reading, reason: UsageReason, known: &str) {
    assert_eq!(quantities(reading), known);
    assert_eq!(
        (reading.source, reading.reason),
        (UsageSource::Missing, Some(reason))
    );
}

fn frame(headers: &[(&'static str, &str)], payload: &[u8]) -> Vec<u8> {
    let add = |message: Message, (name, value): &(&'static str, &str)| {
        message.add_header(Header::new(
            *name,
            HeaderValue::String((*value).to_owned().into()),
        ))
    };
    let message = headers.iter().fold(Message::new(payload.to_vec()), add);
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, payload.as_bytes())
}

fn exception(class: &str) -> Vec<u8> {
    let headers = [(":exception-type", class), (":message-type", "exception")];
    frame(&headers, br#"{"message":"slow down"}"#)
}

fn chunk(json: &str) -> Vec<u8> {
    let bytes = STANDARD.encode(json);
    event("chunk", &format!(r#"{{"bytes":"{bytes}","p":"abcdefgh"}}"#))
}

fn converse_frames(metadata: &str) -> Vec<Vec<u8>> {
    let delta = r#"{"contentBlockIndex":0,"delta":{"text":"\"usage\":{\"inputTokens\":9999}"}}"#;
    vec![
        event("messageStart", r#"{"role":"assistant","p":"abc"}"#),
        event("contentBlockDelta", delta),
        event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event("metadata", metadata),
    ]
}

const CLAUDE_START: &str = r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":11,
    "cache_read_input_tokens":500,"cache_creation_input_tokens":60,
    "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":40},
    "output_tokens":1}}}"#;
const CLAUDE_STOP: &str = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{
    "inputTokenCount":11,"outputTokenCount":77,"cacheReadInputTokenCount":500,
    "cacheWriteInputTokenCount":60,"invocationLatency":900,"firstByteLatency":100}}"#;
const CLAUDE_USED: &str = "input=11 output=77 cache_read=500 cache_write_5m=20 cache_write_1h=40";

fn claude_frames() -> Vec<Vec<u8>> {
    let text = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"hello"}}"#;
    let delta = |output: u64, stop: &str| {
        chunk(&format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":{stop}}},"usage":{{"output_tokens":{output}}}}}"#
        ))
    };
    let mut frames = vec![chunk(CLAUDE_START)];
    frames.extend((0..20).map(|_| chunk(text)));
    frames.push(delta(40, "null"));
    frames.push(delta(77, "\"end_turn\""));
    frames.push(chunk(CLAUDE_STOP));
    frames
}

fn token_headers<'a>(input: &'a str, output: &'a str) -> [(&'static str, &'a str); 2] {
    [
        ("x-amzn-bedrock-input-token-count", input),
        ("x-amzn-bedrock-output-token-count", output),
    ]
}

#[test]
fn an_invoke_body_is_read_by_the_shape_it_has() {
    let check = |body: &str, expected: &str| {
        let reading = Answer::of(Operation::InvokeModel).read(body);
        assert_reported(&reading, "body", expected);
        assert!(!reading.disagreement);
    };
    check(
        r#"{"content":[{"text":"\"usage\":{\"input_tokens\":1}"}],"usage":{"input_tokens":8,"output_tokens":9}}"#,
        "input=8 output=9",
    );
    check(
        r#"{"output":{},"usage":{"inputTokens":8,"outputTokens":9,"cacheReadInputTokenCount":3}}"#,
        "input=8 output=9 cache_read=3",
    );
    check(
        r#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":9}}"#,
        "input=8 output=9",
    );
    check(
        r#"{"inputTextTokenCount":8,"results":[{"tokenCount":9,"outputText":"x"}]}"#,
        "input=8 output=9",
    );
    check(r#"{"embedding":[0.5],"inputTextTokenCount":8}"#, "input=8");
    check(
        r#"{"generation":"x","prompt_token_count":8,"generation_token_count":9}"#,
        "input=8 output=9",
    );
}

#[test]
fn headers_are_read_where_the_body_states_nothing() {
    let headers = token_headers("8", "9");
    let answer = Answer {
        headers: &headers,
        ..Answer::of(Operation::InvokeModel)
    };
    assert_reported(
        &answer.read(r#"{"outputs":[]}"#),
        "headers",
        "input=8 output=9",
    );
    let cut = Answer {
        end: End::CutShort,
        ..answer
    };
    assert_reported(&cut.read(r#"{"outp"#), "headers", "input=8 output=9");
}

#[test]
fn an_absent_header_is_unknown_and_never_zero() {
    let headers = [("x-amzn-bedrock-input-token-count", "8")];
    let answer = Answer {
        headers: &headers,
        ..Answer::of(Operation::InvokeModel)
    };
    assert_missing(&answer.read("{}"), UsageReason::NotInAnswer, "input=8");
    let embedding = Answer {
        base: "cohere.embed-english-v3",
        ..answer
    };
    let mut meter = embedding.meter();
    meter.request(&[Bytes::from_static(br#"{"texts":["Good morning"]}"#)]);
    meter.frame(b"{}");
    assert_reported(&meter.finish(embedding.end), "headers", "input=8");
}

#[test]
fn an_embedding_without_a_count_is_estimated_from_the_characters_of_its_request() {
    let check = |request: &'static str, end, reason, expected: &str| {
        let answer = Answer {
            base: "cohere.embed-v4:0",
            end,
            ..Answer::of(Operation::InvokeModel)
        };
        let mut meter = answer.meter();
        meter.request(&[Bytes::from_static(request.as_bytes())]);
        meter.frame(b"{}");
        let reading = meter.finish(end);
        assert_eq!(quantities(&reading), expected, "{request}");
        assert_eq!(reading.source, UsageSource::Estimated, "{request}");
        assert_eq!(
            (reading.reason, reading.read_from),
            (Some(reason), "request")
        );
    };
    let mixed = r#"{"inputs":[{"content":[{"type":"text","text":"Good morning!"},
        {"type":"image_url","image_url":{"url":"data:"}}]}]}"#;
    let complete = (End::Complete, UsageReason::NotInAnswer);
    check(
        r#"{"texts":["Good","morning"]}"#,
        complete.0,
        complete.1,
        "input=3",
    );
    check(mixed, complete.0, complete.1, "input=4 input_image=1");
    let cut = (End::CutShort, UsageReason::CutShort);
    check(r#"{"texts":["Good morning"]}"#, cut.0, cut.1, "input=3");
}

#[test]
fn a_text_that_is_not_in_the_request_is_not_zero() {
    let answer = Answer {
        base: "amazon.nova-2-multimodal-embeddings-v1:0",
        ..Answer::of(Operation::InvokeModel)
    };
    let request =
        br#"{"singleEmbeddingParams":{"text":{"source":{"s3Location":{"uri":"s3://b/k"}}}}}"#;
    let headers = [("x-amzn-bedrock-input-token-count", "8")];
    for headers in [&headers[..], &[]] {
        let mut meter = Answer { headers, ..answer }.meter();
        meter.request(&[Bytes::from_static(request)]);
        meter.frame(b"{}");
        let reading = meter.finish(End::Complete);
        if headers.is_empty() {
            assert_missing(&reading, UsageReason::NotMetered, "");
        } else {
            assert_reported(&reading, "headers", "input=8");
        }
    }
}

#[test]
fn an_embedding_that_was_not_seen_has_generated_nothing() {
    let model = model("amazon.titan-embed-text-v2:0");
    let reading = Meter::choose(Operation::InvokeModel, Some(&model)).finish(End::NoAnswer);
    assert_missing(&reading, UsageReason::NoAnswer, "output=0");
}

#[test]
fn the_body_is_trusted_over_the_headers_and_a_disagreement_is_flagged() {
    let headers = token_headers("8", "10");
    let answer = Answer {
        headers: &headers,
        ..Answer::of(Operation::InvokeModel)
    };
    let reading = answer.read(r#"{"usage":{"input_tokens":8,"output_tokens":9}}"#);
    assert_reported(&reading, "body", "input=8 output=9");
    assert!(reading.disagreement);
}

#[test]
fn cache_writes_stated_only_by_a_header_live_as_long_as_their_family_does() {
    let headers = [
        ("x-amzn-bedrock-input-token-count", "8"),
        ("x-amzn-bedrock-output-token-count", "9"),
        ("x-amzn-bedrock-cache-write-input-token-count", "5"),
    ];
    let check = |base, expected: &str| {
        let answer = Answer {
            headers: &headers,
            base,
            ..Answer::of(Operation::InvokeModel)
        };
        assert_reported(&answer.read("{}"), "headers", expected);
    };
    check(CLAUDE, "input=8 output=9 cache_write_5m=5");
    check("openai.gpt-5.6-sol", "input=8 output=9 cache_write_30m=5");
    check("moonshotai.kimi-k3", "input=8 output=9 cache_write_30m=5");
    check("zai.glm-5.3", "input=8 output=9 cache_write_30m=5");
}

#[test]
fn a_converse_body_tells_usage_tier_latency_and_the_invoked_model() {
    let reading = Answer::of(Operation::Converse).read(
        r#"{"output":{"message":{"content":[{"text":"serviceTier"}]}},
            "usage":{"inputTokens":1,"outputTokens":2,"totalTokens":36,"cacheReadInputTokens":3,
                "cacheReadInputTokenCount":3,"cacheWriteInputTokens":30,
                "cacheDetails":[{"ttl":"1h","inputTokens":20},{"ttl":"5m","inputTokens":10}]},
            "serviceTier":{"type":"flex"},"performanceConfig":{"latency":"optimized"},
            "trace":{"promptRouter":{"invokedModelId":"arn:aws:bedrock:x"}}}"#,
    );
    let used = "input=1 output=2 cache_read=3 cache_write_5m=10 cache_write_1h=20";
    assert_reported(&reading, "body", used);
    assert_eq!(reading.served_tier, Some(ServiceTier::Flex));
    assert_eq!(reading.served_latency, Some(Latency::Optimized));
    assert_eq!(reading.invoked_model.as_deref(), Some("arn:aws:bedrock:x"));
    assert!(!reading.disagreement);
}

#[test]
fn tier_and_latency_of_an_invoke_answer_are_in_its_headers() {
    let headers = [
        ("x-amzn-bedrock-service-tier", "priority"),
        ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
    ];
    let answer = Answer {
        headers: &headers,
        ..Answer::of(Operation::InvokeModelWithResponseStream)
    };
    let reading = answer.read(claude_frames().concat());
    assert_eq!(reading.served_tier, Some(ServiceTier::Priority));
    assert_eq!(reading.served_latency, Some(Latency::Optimized));
}

#[test]
fn a_claude_stream_is_read_from_its_events_and_its_cumulative_deltas_are_not_added() {
    let reading =
        Answer::of(Operation::InvokeModelWithResponseStream).read(claude_frames().concat());
    assert_reported(&reading, "events", CLAUDE_USED);
    assert!(!reading.disagreement);
}

#[test]
fn the_last_chunks_are_read_in_order_however_many_came_before() {
    let usage = |output: u64| {
        chunk(&format!(
            r#"{{"choices":[{{}}],"usage":{{"prompt_tokens":4,"completion_tokens":{output}}}}}"#
        ))
    };
    for count in 1..12 {
        let frames: Vec<_> = (1..=count).map(usage).collect();
        let reading = Answer::of(Operation::InvokeModelWithResponseStream).read(frames.concat());
        assert_reported(&reading, "events", &format!("input=4 output={count}"));
    }
}

#[test]
fn the_input_of_a_later_delta_replaces_the_first_one() {
    let frames = [
        chunk(CLAUDE_START),
        chunk(
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},
                "usage":{"input_tokens":12,"output_tokens":5,"cache_read_input_tokens":501}}"#,
        ),
    ];
    let reading = Answer::of(Operation::InvokeModelWithResponseStream).read(frames.concat());
    let used = "input=12 output=5 cache_read=501 cache_write_5m=20 cache_write_1h=40";
    assert_reported(&reading, "events", used);
}

#[test]
fn other_families_streams_are_read_by_their_last_chunks() {
    let check = |chunks: &[&str], read_from: &str, expected: &str| {
        let mut frames = vec![chunk(r#"{"x":"first"}"#), chunk(r#"{"x":"second"}"#)];
        frames.extend(chunks.iter().map(|json| chunk(json)));
        let reading = Answer::of(Operation::InvokeModelWithResponseStream).read(frames.concat());
        assert_reported(&reading, read_from, expected);
        assert!(!reading.disagreement, "{expected}");
    };
    check(
        &[
            r#"{"metadata":{"usage":{"inputTokens":4,"outputTokens":5,"cacheReadInputTokenCount":0}}}"#,
        ],
        "events",
        "input=4 output=5 cache_read=0",
    );
    check(
        &[
            r#"{"choices":[{"delta":{}}],"usage":null}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":5}},
                "amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":5,"cacheReadInputTokenCount":5}}"#,
        ],
        "events",
        "input=4 output=5 cache_read=5",
    );
    check(
        &[
            r#"{"outputText":"a","totalOutputTextTokenCount":3,"completionReason":null}"#,
            r#"{"outputText":"b","totalOutputTextTokenCount":5,"completionReason":"FINISH","inputTextTokenCount":4}"#,
        ],
        "events",
        "input=4 output=5",
    );
    check(
        &[
            r#"{"generation":"","prompt_token_count":4,"generation_token_count":5,"stop_reason":"stop"}"#,
        ],
        "events",
        "input=4 output=5",
    );
    check(
        &[
            r#"{"is_finished":true,"amazon-bedrock-invocationMetrics":{"inputTokenCount":4,"outputTokenCount":5}}"#,
        ],
        "metrics",
        "input=4 output=5",
    );
}

#[test]
fn metrics_that_differ_from_the_events_are_flagged() {
    let mut frames = claude_frames();
    frames.pop();
    frames.push(chunk(&CLAUDE_STOP.replace("77", "78")));
    let reading = Answer::of(Operation::InvokeModelWithResponseStream).read(frames.concat());
    assert_reported(&reading, "events", CLAUDE_USED);
    assert!(reading.disagreement);
}

#[test]
fn a_converse_stream_is_read_from_its_metadata_event() {
    let metadata = r#"{"usage":{"inputTokens":7,"outputTokens":8,"totalTokens":15},"metrics":{"latencyMs":9},
        "serviceTier":{"type":"priority"},"p":"abcd"}"#;
    let reading = Answer::of(Operation::ConverseStream).read(converse_frames(metadata).concat());
    assert_reported(&reading, "metadata", "input=7 output=8");
    assert_eq!(reading.served_tier, Some(ServiceTier::Priority));
}

#[test]
fn content_has_started_once_a_frame_with_content_passed() {
    let check = |operation, frames: &[Vec<u8>], opening: usize| {
        let mut meter = Answer::of(operation).meter();
        for (index, frame) in frames.iter().enumerate() {
            assert_eq!(meter.content_started(), index > opening, "frame {index}");
            meter.frame(frame);
        }
    };
    check(Operation::ConverseStream, &converse_frames("{}"), 1);
    check(
        Operation::InvokeModelWithResponseStream,
        &claude_frames(),
        1,
    );
    check(Operation::Converse, &[b"{".to_vec(), b"}".to_vec()], 0);
}

#[test]
fn a_stream_that_ends_by_exception_keeps_what_is_exactly_known() {
    let mut frames = claude_frames();
    frames.truncate(10);
    frames.push(exception("modelStreamErrorException"));
    let mut meter = Answer::of(Operation::InvokeModelWithResponseStream).meter();
    assert_eq!(meter.failure(), None);
    meter.frame(&frames.concat());
    assert_eq!(meter.failure(), Some("modelStreamErrorException"));
    let known = "input=11 cache_read=500 cache_write_5m=20 cache_write_1h=40";
    assert_missing(&meter.finish(End::Complete), UsageReason::CutShort, known);

    let mut meter = Answer::of(Operation::ConverseStream).meter();
    let started = &converse_frames("{}")[..2].concat();
    meter.frame(&[started.as_slice(), &exception("throttlingException")].concat());
    assert_eq!(meter.failure(), Some("throttlingException"));
    assert_missing(&meter.finish(End::Complete), UsageReason::CutShort, "");
}

#[test]
fn the_end_decides_the_reason_of_missing_usage_and_never_unsays_what_was_read() {
    let metadata = r#"{"usage":{"inputTokens":7,"outputTokens":8}}"#;
    let frames = converse_frames(metadata);
    for (end, reason) in [
        (End::Complete, UsageReason::NotInAnswer),
        (End::CutShort, UsageReason::CutShort),
        (End::NotDrained, UsageReason::NotDrained),
    ] {
        let answer = Answer {
            end,
            ..Answer::of(Operation::ConverseStream)
        };
        assert_missing(&answer.read(frames[..4].concat()), reason, "");
        assert_reported(
            &answer.read(frames.concat()),
            "metadata",
            "input=7 output=8",
        );
    }
    let half = &frames.concat()[..frames.concat().len() - 1];
    let answer = Answer::of(Operation::ConverseStream);
    assert_missing(&answer.read(half), UsageReason::CutShort, "");
}

#[test]
fn counts_that_still_run_at_a_cut_are_not_reported() {
    let frames = [
        chunk(CLAUDE_START),
        chunk(
            r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":5}}"#,
        ),
    ];
    let answer = Answer {
        end: End::CutShort,
        ..Answer::of(Operation::InvokeModelWithResponseStream)
    };
    let known = "input=11 cache_read=500 cache_write_5m=20 cache_write_1h=40";
    assert_missing(&answer.read(frames.concat()), UsageReason::CutShort, known);
}

#[test]
fn an_error_answer_used_nothing_unless_the_model_had_begun() {
    for status in [400, 403, 404, 429, 500, 503] {
        for operation in [Operation::Converse, Operation::StartAsyncInvoke] {
            let answer = Answer {
                status,
                ..Answer::of(operation)
            };
            assert_reported(&answer.read(r#"{"message":"no"}"#), "", "");
        }
    }
    for status in [302, 408, 418, 424, 502, 504, 599] {
        let answer = Answer {
            status,
            ..Answer::of(Operation::Converse)
        };
        assert_missing(&answer.read("{}"), UsageReason::NotInAnswer, "");
    }
}

#[test]
fn free_and_unmetered_operations_say_so() {
    for operation in Operation::ALL {
        let reading = Answer::of(operation).read(r#"{"inputTokens":7}"#);
        if operation.is_free() {
            assert_reported(&reading, "", "");
        }
    }
    for operation in [
        Operation::ApplyGuardrail,
        Operation::InvokeGuardrailChecks,
        Operation::StartAsyncInvoke,
    ] {
        let reading = Answer::of(operation).read("{}");
        assert_missing(&reading, UsageReason::NotMetered, "");
    }
    let image = Answer {
        base: "stability.sd3-5-large-v1:0",
        ..Answer::of(Operation::InvokeModel)
    };
    assert_missing(&image.read(r#"{"images":[]}"#), UsageReason::NotMetered, "");
    let model = model("amazon.nova-canvas-v1:0");
    for end in [End::NotDrained, End::NoAnswer] {
        let reading = Meter::choose(Operation::InvokeModel, Some(&model)).finish(end);
        assert_missing(&reading, UsageReason::NotMetered, "");
    }
}

#[test]
fn without_a_head_nothing_is_known() {
    let check = |end, reason| {
        let meter = Meter::choose(Operation::Converse, None);
        assert_missing(&meter.finish(end), reason, "");
    };
    check(End::NoAnswer, UsageReason::NoAnswer);
    check(End::CutShort, UsageReason::NoAnswer);
    check(End::NotDrained, UsageReason::NotDrained);
}

#[test]
fn counts_that_are_no_counts_are_unreadable() {
    for usage in [
        r#"{"inputTokens":-1,"outputTokens":2}"#,
        r#"{"inputTokens":1e3,"outputTokens":2}"#,
        r#"{"inputTokens":18446744073709551615,"outputTokens":2}"#,
        r#"{"inputTokens":18446744073709551616,"outputTokens":2}"#,
        r#""none""#,
    ] {
        let reading = Answer::of(Operation::Converse).read(format!(r#"{{"usage":{usage}}}"#));
        assert_eq!(reading.source, UsageSource::Missing, "{usage}");
        assert_eq!(reading.reason, Some(UsageReason::Unreadable), "{usage}");
    }
    let html = Answer::of(Operation::Converse).read("<html>");
    assert_missing(&html, UsageReason::Unreadable, "");
    let stream = Answer::of(Operation::ConverseStream).read("<html>........");
    assert_missing(&stream, UsageReason::Unreadable, "");
}

#[test]
fn any_flipped_bit_in_the_usage_frame_is_unreadable() {
    let check = |operation, frames: &[Vec<u8>]| {
        let (last, before) = frames.split_last().unwrap();
        for bit in 0..last.len() * 8 {
            let mut bad = last.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let reading = Answer::of(operation).read([before.concat(), bad].concat());
            assert_eq!(reading.source, UsageSource::Missing, "bit {bit}");
            assert_eq!(reading.reason, Some(UsageReason::Unreadable), "bit {bit}");
        }
    };
    let metadata = r#"{"usage":{"inputTokens":7,"outputTokens":8}}"#;
    check(Operation::ConverseStream, &converse_frames(metadata));
    check(Operation::InvokeModelWithResponseStream, &claude_frames());
}

fn read_in_pieces(operation: Operation, bytes: &[u8], sizes: &[usize]) -> Reading {
    let mut meter = Answer::of(operation).meter();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        meter.frame(piece);
        rest = tail;
    }
    meter.finish(End::Complete)
}

fn answers() -> Vec<(Operation, Vec<u8>)> {
    let metadata = r#"{"usage":{"inputTokens":7,"outputTokens":8},"serviceTier":{"type":"flex"}}"#;
    let invoke =
        r#"{"id":"x","usage":{"input_tokens":8,"output_tokens":9},"content":[{"text":"\"}"}]}"#;
    vec![
        (
            Operation::ConverseStream,
            converse_frames(metadata).concat(),
        ),
        (
            Operation::InvokeModelWithResponseStream,
            claude_frames().concat(),
        ),
        (Operation::InvokeModel, invoke.as_bytes().to_vec()),
        (Operation::Converse, metadata.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_reading(sizes in prop::collection::vec(1_usize..700, 1..30)) {
        for (operation, bytes) in answers() {
            let whole = Answer::of(operation).read(&bytes);
            prop_assert_eq!(whole.source, UsageSource::Reported);
            prop_assert_eq!(read_in_pieces(operation, &bytes, &sizes), whole);
        }
    }

    #[test]
    fn garbage_never_panics_and_is_never_reported(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        sizes in prop::collection::vec(1_usize..100, 1..9),
    ) {
        for (operation, _) in answers() {
            let reading = read_in_pieces(operation, &bytes, &sizes);
            prop_assert_eq!(reading.source, UsageSource::Missing);
        }
    }

    #[test]
    fn an_answer_cut_anywhere_is_whole_or_missing(cut in 0.0_f64..1.0, garbage in any::<u64>()) {
        for (operation, bytes) in answers() {
            let whole = Answer::of(operation).read(&bytes);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a test's cut point")]
            let at = (cut * bytes.len() as f64) as usize;
            let mut bad = bytes[..at].to_vec();
            bad.extend(garbage.to_be_bytes());
            let reading = Answer::of(operation).read(&bad);
            if reading.source == UsageSource::Reported {
                prop_assert_eq!(reading.usage, whole.usage);
            }
        }
    }
}

//! Event streams as Bedrock sends them, encoded by the AWS crate.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The frames of a ConverseStream of a Claude model: 25 tokens in, 12 out.
pub(crate) fn converse_stream() -> Vec<Vec<u8>> {
    let mut frames = vec![event("messageStart", r#"{"role":"assistant"}"#)];
    for word in ["Good", " morning", ", how are you", "?"] {
        let delta = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{word}"}}}}"#);
        frames.push(event("contentBlockDelta", &delta));
    }
    frames.push(event("contentBlockStop", r#"{"contentBlockIndex":0}"#));
    frames.push(event("messageStop", r#"{"stopReason":"end_turn"}"#));
    let usage = r#"{"metrics":{"latencyMs":9},"usage":{"inputTokens":25,"outputTokens":12,"totalTokens":37}}"#;
    frames.push(event("metadata", usage));
    frames
}

/// The frames of the same generation through `InvokeModelWithResponseStream`.
pub(crate) fn invoke_stream() -> Vec<Vec<u8>> {
    let mut events = vec![
        r#"{"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":25,"output_tokens":1}}}"#.to_owned(),
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.to_owned(),
    ];
    for word in ["Good", " morning", "."] {
        events.push(format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{word}"}}}}"#
        ));
    }
    events.push(r#"{"type":"content_block_stop","index":0}"#.to_owned());
    events.push(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":12}}"#.to_owned());
    events.push(r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":25,"outputTokenCount":12,"invocationLatency":9,"firstByteLatency":4}}"#.to_owned());
    let chunk = |json: &String| {
        let payload = format!(r#"{{"bytes":"{}"}}"#, BASE64_STANDARD.encode(json));
        event("chunk", &payload)
    };
    events.iter().map(chunk).collect()
}

/// One event frame.
pub(crate) fn event(kind: &str, payload: &str) -> Vec<u8> {
    frame(":event-type", kind, "event", payload)
}

/// The frame that ends a stream with an error.
pub(crate) fn exception(class: &str) -> Vec<u8> {
    frame(
        ":exception-type",
        class,
        "exception",
        r#"{"message":"Slow down."}"#,
    )
}

fn frame(kind_header: &'static str, kind: &str, message: &str, payload: &str) -> Vec<u8> {
    let headers = [
        (kind_header, kind),
        (":content-type", "application/json"),
        (":message-type", message),
    ];
    let add = |message: Message, (name, value): (&'static str, &str)| {
        message.add_header(Header::new(
            name,
            HeaderValue::String(value.to_owned().into()),
        ))
    };
    let message = headers
        .into_iter()
        .fold(Message::new(payload.to_owned()), add);
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

/// The head of a stream's answer.
pub(crate) fn ok_stream() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n\
        x-amzn-requestid: 7f0c7a5e-0000-4000-8000-000000000001\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    head.as_bytes().to_vec()
}

/// Bytes in chunked encoding, its end included.
pub(crate) fn chunked(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut encoded = Vec::new();
    for piece in bytes.chunks(size) {
        encoded.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        encoded.extend_from_slice(piece);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\n\r\n");
    encoded
}

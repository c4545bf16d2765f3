//! The event stream that the fake upstream sends: 200 text deltas and the frames around them,
//! with true lengths and checksums. A delta can carry the time it was sent, in the padding field
//! `p` that Bedrock's own frames have too. Written from the published framing, so that it shares
//! no mistake with the codec under test.

use std::io;

use base64::Engine as _;
use rustix::time::{ClockId, clock_gettime};

const EVENT_JSON_BYTES: usize = 148;
const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
const STAMP_BYTES: usize = 16;
/// What follows the stamp in a frame: the JSON's `"}` and the frame's checksum.
const AFTER_STAMP_BYTES: usize = 2 + CHECKSUM_BYTES;
const SHORTEST: usize = PRELUDE_BYTES + CHECKSUM_BYTES;
/// Longer than any frame made here.
const LONGEST: usize = 4096;
const INPUT_TOKENS: u32 = 250;

/// Text deltas of a stream, unless told otherwise.
pub(crate) const DELTAS: usize = 200;

/// Frames that surround the deltas: two before, three after.
pub(crate) const FRAMES_AROUND: usize = 5;

/// `CLOCK_MONOTONIC` in nanoseconds: the same clock in every process of one machine.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// All frames of one answer, in order.
pub(crate) fn claude_stream(deltas: usize) -> Vec<Vec<u8>> {
    let start = format!(
        r#"{{"type":"message_start","message":{{"id":"msg_bdrk_01","type":"message","role":"assistant","model":"claude-sonnet-4","content":[],"stop_reason":null,"usage":{{"input_tokens":{INPUT_TOKENS},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}}}}"#
    );
    let block =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let stop = r#"{"type":"content_block_stop","index":0}"#;
    let usage = format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{{"output_tokens":{deltas}}}}}"#
    );
    let last = format!(
        r#"{{"type":"message_stop","amazon-bedrock-invocationMetrics":{{"inputTokenCount":{INPUT_TOKENS},"outputTokenCount":{deltas},"invocationLatency":4000,"firstByteLatency":300}}}}"#
    );
    let mut frames = vec![chunk_frame(&start), chunk_frame(block)];
    frames.extend(std::iter::repeat_n(chunk_frame(&delta_event()), deltas));
    frames.extend([chunk_frame(stop), chunk_frame(&usage), chunk_frame(&last)]);
    frames
}

fn delta_event() -> String {
    let head = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""#;
    let tail = r#""}}"#;
    let text = "lorem ipsum dolor sit amet ".repeat(4);
    format!(
        "{head}{}{tail}",
        &text[..EVENT_JSON_BYTES - head.len() - tail.len()]
    )
}

fn chunk_frame(event: &str) -> Vec<u8> {
    let bytes = base64::engine::general_purpose::STANDARD.encode(event);
    let payload = format!(r#"{{"bytes":"{bytes}","p":"{:0>STAMP_BYTES$}"}}"#, 0);
    let headers = [
        header(":event-type", "chunk"),
        header(":content-type", "application/json"),
        header(":message-type", "event"),
    ]
    .concat();
    let total = PRELUDE_BYTES + headers.len() + payload.len() + CHECKSUM_BYTES;
    let mut frame = Vec::with_capacity(total);
    frame.extend(length(total));
    frame.extend(length(headers.len()));
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload.as_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

fn header(name: &str, value: &str) -> Vec<u8> {
    const STRING: u8 = 7;
    let name_length = u8::try_from(name.len()).expect("names here are short");
    let value_length = u16::try_from(value.len()).expect("values here are short");
    [
        &[name_length],
        name.as_bytes(),
        &[STRING],
        &value_length.to_be_bytes(),
        value.as_bytes(),
    ]
    .concat()
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("frames here are short")
        .to_be_bytes()
}

/// Writes the present time into a frame and makes its checksum true again.
pub(crate) fn stamp(frame: &mut [u8]) {
    let end = frame.len() - AFTER_STAMP_BYTES;
    let text = format!("{:0>STAMP_BYTES$x}", monotonic_ns());
    frame[end - STAMP_BYTES..end].copy_from_slice(text.as_bytes());
    let checked = frame.len() - CHECKSUM_BYTES;
    let checksum = crc32fast::hash(&frame[..checked]).to_be_bytes();
    frame[checked..].copy_from_slice(&checksum);
}

/// When the frame was sent, if it carries a stamp.
pub(crate) fn stamped_at(frame: &[u8]) -> Option<u64> {
    let end = frame.len().checked_sub(AFTER_STAMP_BYTES)?;
    let digits = frame.get(end.checked_sub(STAMP_BYTES)?..end)?;
    let sent = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (sent != 0).then_some(sent)
}

/// Finds frame borders in body bytes however they were cut.
#[derive(Default)]
pub(crate) struct Walker {
    partial: Vec<u8>,
}

impl Walker {
    /// # Errors
    /// When the bytes cannot be frames: a proxy broke the stream.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        on_frame: &mut impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if self.partial.is_empty() {
            let walked = walk(bytes, on_frame)?;
            self.partial.extend_from_slice(&bytes[walked..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let walked = walk(&self.partial, on_frame)?;
            self.partial.drain(..walked);
        }
        Ok(())
    }
}

/// Hands out the whole frames at the start of `bytes` and returns how many bytes they were.
fn walk(bytes: &[u8], on_frame: &mut impl FnMut(&[u8])) -> io::Result<usize> {
    let mut walked = 0;
    while let Some(prelude) = bytes[walked..].first_chunk::<4>() {
        let total = u32::from_be_bytes(*prelude) as usize;
        if !(SHORTEST..=LONGEST).contains(&total) {
            return Err(io::Error::other(format!(
                "a frame of {total} bytes: the stream is broken"
            )));
        }
        let Some(frame) = bytes.get(walked..walked + total) else {
            break;
        };
        on_frame(frame);
        walked += total;
    }
    Ok(walked)
}

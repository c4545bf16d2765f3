//! Event-stream frames: encoding by the AWS crate, damage on purpose, and cutting into writes.

use aws_smithy_eventstream::error::Error;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::draws::Draws;
use super::scenario::{Scenario, Writing};

/// The text whose prefixes Bedrock sends as padding, so that lengths tell nothing.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Bytes that are no frame: the prelude announces 1.7 GB and its checksum is wrong.
const GARBAGE: &[u8] = b"garbage that no decoder should take for a frame of an event stream";

/// One event, padded as Bedrock pads it.
pub(super) fn event(kind: &str, payload: &Value, draws: &mut Draws) -> Result<Bytes, Error> {
    let mut padded = payload.clone();
    if let Some(members) = padded.as_object_mut() {
        let length = draws.length(1, 62);
        let padding = PADDING.get(..length).unwrap_or(PADDING);
        members.insert("p".to_owned(), padding.into());
    }
    encode(":event-type", kind, "event", &padded)
}

/// The frame that ends a stream with an error.
pub(super) fn exception(class: &str) -> Result<Bytes, Error> {
    let payload = json!({"message": "Scripted by x-simulate."});
    encode(":exception-type", class, "exception", &payload)
}

fn encode(kind_header: &str, kind: &str, message: &str, payload: &Value) -> Result<Bytes, Error> {
    let header = |name: &str, value: &str| {
        Header::new(
            name.to_owned(),
            HeaderValue::String(value.to_owned().into()),
        )
    };
    let message = Message::new(payload.to_string())
        .add_header(header(kind_header, kind))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", message));
    let mut buffer = BytesMut::new();
    write_message_to(&message, &mut buffer)?;
    Ok(buffer.freeze())
}

/// Breaks the frames that the scenario names.
pub(super) fn damage(mut frames: Vec<Bytes>, scenario: &Scenario) -> Vec<Bytes> {
    if let Some(frame) = scenario.bad_crc_at.and_then(|at| frames.get_mut(at)) {
        let mut bytes = BytesMut::from(frame.as_ref());
        if let Some(last) = bytes.last_mut() {
            *last ^= 0xff;
        }
        *frame = bytes.freeze();
    }
    if let Some(frame) = scenario.huge_length_at.and_then(|at| frames.get_mut(at)) {
        *frame = announce_huge_length(frame);
    }
    if let Some(after) = scenario.garbage_after {
        frames.insert(after.min(frames.len()), Bytes::from_static(GARBAGE));
    }
    frames
}

/// The same frame with a total length of 2 GiB - 1 under a prelude checksum that fits it.
fn announce_huge_length(frame: &[u8]) -> Bytes {
    let mut prelude = i32::MAX.to_be_bytes().to_vec();
    prelude.extend_from_slice(frame.get(4..8).unwrap_or_default());
    let checksum = crc32fast::hash(&prelude);
    prelude.extend_from_slice(&checksum.to_be_bytes());
    prelude.extend_from_slice(frame.get(12..).unwrap_or_default());
    prelude.into()
}

/// Cuts a stream into the writes that the scenario asks for.
pub(super) fn writes(frames: Vec<Bytes>, writing: Writing, draws: &mut Draws) -> Vec<Bytes> {
    let mut stream = match writing {
        Writing::FrameByFrame => return frames,
        Writing::Whole | Writing::Many | Writing::Split(_) => Bytes::from(frames.concat()),
    };
    let mut writes = Vec::new();
    while !stream.is_empty() {
        let length = match writing {
            Writing::FrameByFrame | Writing::Whole => stream.len(),
            Writing::Many => draws.length(1, 2000),
            Writing::Split(length) => length,
        };
        writes.push(stream.split_to(length.clamp(1, stream.len())));
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder written from the AWS description of the format, sharing nothing with the encoder:
    /// the string headers and the payload of each frame.
    fn decode(mut stream: &[u8]) -> Vec<(Vec<(String, String)>, Value)> {
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        let mut frames = Vec::new();
        while !stream.is_empty() {
            let (frame, rest) = stream.split_at(number(&stream[..4]) as usize);
            let (checked, checksum) = frame.split_at(frame.len() - 4);
            assert_eq!(
                number(&frame[8..12]),
                crc32(&frame[..8]),
                "prelude checksum"
            );
            assert_eq!(number(checksum), crc32(checked), "frame checksum");
            let (mut headers, payload) = checked[12..].split_at(number(&frame[4..8]) as usize);
            let mut decoded = Vec::new();
            while let [length, tail @ ..] = headers {
                let (name, tail) = tail.split_at(usize::from(*length));
                assert_eq!(tail[0], 7, "a string");
                let length = usize::from(u16::from_be_bytes([tail[1], tail[2]]));
                let (value, tail) = tail[3..].split_at(length);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                decoded.push((text(name), text(value)));
                headers = tail;
            }
            frames.push((decoded, serde_json::from_slice(payload).unwrap()));
            stream = rest;
        }
        frames
    }

    /// CRC-32 (IEEE), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 * (crc & 1))
            })
        })
    }

    fn some_frames() -> Vec<Bytes> {
        let mut draws = Draws::new(1, 1);
        (0..5)
            .map(|n| event("contentBlockDelta", &json!({"n": n}), &mut draws).unwrap())
            .collect()
    }

    #[test]
    fn an_independent_decoder_reads_what_was_encoded() {
        let stream = [
            some_frames().concat(),
            exception("throttlingException").unwrap().to_vec(),
        ]
        .concat();
        let frames = decode(&stream);
        assert_eq!(frames.len(), 6);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert!(
            frames[4]
                .0
                .contains(&header(":event-type", "contentBlockDelta"))
        );
        assert!(frames[4].0.contains(&header(":message-type", "event")));
        assert_eq!(frames[4].1["n"], 4);
        assert!(PADDING.starts_with(frames[4].1["p"].as_str().unwrap()));
        assert!(
            frames[5]
                .0
                .contains(&header(":exception-type", "throttlingException"))
        );
        assert!(frames[5].0.contains(&header(":message-type", "exception")));
    }

    #[test]
    fn any_cutting_keeps_every_byte() {
        let whole = some_frames().concat();
        let rows = [
            (Writing::FrameByFrame, Some(5)),
            (Writing::Whole, Some(1)),
            (Writing::Split(1), Some(whole.len())),
            (Writing::Many, None),
        ];
        for (writing, count) in rows {
            let writes = writes(some_frames(), writing, &mut Draws::new(1, 1));
            assert_eq!(writes.concat(), whole, "{writing:?}");
            assert!(
                count.is_none_or(|count| writes.len() == count),
                "{writing:?}"
            );
        }
    }

    #[test]
    fn damage_is_done_where_it_is_asked_for() {
        let plain = some_frames();
        let bad = damage(plain.clone(), &Scenario::read("bad-crc-at=1").unwrap());
        assert_eq!(bad[1][..bad[1].len() - 1], plain[1][..plain[1].len() - 1]);
        assert_ne!(bad[1], plain[1]);
        let huge = damage(plain.clone(), &Scenario::read("huge-length-at=0").unwrap());
        assert_eq!(huge[0][..4], [0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(huge[0][8..12], crc32(&huge[0][..8]).to_be_bytes());
        let garbage = damage(plain.clone(), &Scenario::read("garbage-after=2").unwrap());
        assert_eq!(
            (&garbage[1], garbage[2].as_ref(), &garbage[3]),
            (&plain[1], GARBAGE, &plain[2])
        );
    }
}

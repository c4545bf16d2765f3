//! Incremental scanner for `application/vnd.amazon.eventstream`.
//!
//! It finds frames in pieces of any size. A frame that lies whole in one piece is viewed in
//! place; only a frame split across pieces is gathered, into one reused buffer. It must not know
//! what the events mean.
//!
//! | offset | size | field (big-endian) |
//! |---|---|---|
//! | 0 | 4 | total length, itself and the trailing checksum included |
//! | 4 | 4 | headers length |
//! | 8 | 4 | CRC-32 (IEEE) of bytes 0..8 |
//! | 12 | H | headers: name length, name, type, value |
//! | 12+H | total-H-16 | payload |
//! | total-4 | 4 | CRC-32 of everything before it |
//!
//! Checksum policy: the prelude's is verified on every frame, because every later frame depends
//! on it. The message's costs three times the walk, so it is verified on request
//! ([`Frame::is_intact`]): callers ask for each frame that they decode or do not understand.

/// The longest frame that is read. Bedrock's own limit for a decoded chunk is 1,000,000 bytes;
/// base64 and padding stay far below this.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why bytes are not an event stream. The scanner cannot find the next frame after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The prelude's checksum is wrong: these bytes are not a prelude.
    #[error("checksum of a frame's prelude is wrong")]
    PreludeChecksum,
    /// A frame is announced that is longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes is announced, at most {FRAME_BYTES_MAX} are read")]
    TooLong(usize),
    /// The lengths contradict each other.
    #[error("a frame's lengths contradict each other")]
    Lengths,
}

/// What a frame says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind<'a> {
    /// An event of that `:event-type`.
    Event(&'a str),
    /// A modelled exception of that `:exception-type`, such as `throttlingException`.
    Exception(&'a str),
    /// An unmodelled error of that `:error-code`.
    Error(&'a str),
    /// The headers do not say, or cannot be read.
    Unknown,
}

/// One whole frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of some bytes that hold it whole, such as [`Self::bytes`] kept
    /// for later.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let total = announced_length(bytes).ok()??;
        bytes.get(..total).map(|bytes| Self { bytes })
    }

    /// All bytes of the frame.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        let end = self.bytes.len().saturating_sub(CHECKSUM_BYTES);
        let start = PRELUDE_BYTES.saturating_add(self.headers_length());
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Whether the message's checksum is right.
    pub fn is_intact(&self) -> bool {
        let body = self.bytes.len().saturating_sub(CHECKSUM_BYTES);
        self.bytes
            .split_at_checked(body)
            .is_some_and(|(message, sum)| read_u32(sum, 0) == Some(crc32fast::hash(message)))
    }

    /// What the frame says it is.
    pub fn kind(&self) -> FrameKind<'a> {
        let (mut message_type, mut event, mut exception, mut error) = (None, None, None, None);
        let mut headers = self.headers();
        while let Some((name, value)) = split_header(&mut headers) {
            match name {
                b":message-type" => message_type = value,
                b":event-type" => event = value,
                b":exception-type" => exception = value,
                b":error-code" => error = value,
                _other => {}
            }
        }
        let text = |value: Option<&'a [u8]>| value.and_then(|value| str::from_utf8(value).ok());
        let kind = match message_type {
            Some(b"event") => text(event).map(FrameKind::Event),
            Some(b"exception") => text(exception).map(FrameKind::Exception),
            Some(b"error") => Some(FrameKind::Error(text(error).unwrap_or("error"))),
            _other => None,
        };
        kind.unwrap_or(FrameKind::Unknown)
    }

    fn headers_length(&self) -> usize {
        read_u32(self.bytes, 4).map_or(0, widen)
    }

    /// The raw headers. Frames of one kind repeat them byte for byte, and comparing is cheaper
    /// than reading them again.
    pub fn headers(&self) -> &'a [u8] {
        let end = PRELUDE_BYTES.saturating_add(self.headers_length());
        self.bytes.get(PRELUDE_BYTES..end).unwrap_or_default()
    }
}

/// Finds frames in a body that arrives in pieces.
#[derive(Debug, Default)]
pub struct FrameScanner {
    /// The start of a frame whose end has not arrived; at most one frame.
    partial: Vec<u8>,
    /// Its announced length; zero while even the prelude is incomplete.
    announced: usize,
    broken: Option<FramingError>,
}

impl FrameScanner {
    /// Reads the next piece and hands every frame that it completes to `on_frame`, in order.
    ///
    /// # Errors
    /// When the bytes are not an event stream; every later call says so again.
    pub fn feed(
        &mut self,
        mut piece: &[u8],
        mut on_frame: impl FnMut(Frame<'_>),
    ) -> Result<(), FramingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        while !piece.is_empty() {
            let step = if self.partial.is_empty() {
                self.view(piece, &mut on_frame)
            } else {
                self.gather(piece, &mut on_frame)
            };
            match step {
                Ok(used) => piece = piece.get(used..).unwrap_or_default(),
                Err(error) => {
                    self.broken = Some(error);
                    self.partial = Vec::new();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether no frame is half read and the framing was never broken.
    pub const fn is_at_boundary(&self) -> bool {
        self.partial.is_empty() && self.broken.is_none()
    }

    /// Whether the bytes turned out not to be an event stream.
    pub const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Reads a frame in place, or starts gathering it.
    fn view(
        &mut self,
        piece: &[u8],
        on_frame: &mut impl FnMut(Frame<'_>),
    ) -> Result<usize, FramingError> {
        let total = announced_length(piece)?;
        if let Some(bytes) = total.and_then(|total| piece.get(..total)) {
            on_frame(Frame { bytes });
            return Ok(bytes.len());
        }
        self.announced = total.unwrap_or(0);
        self.partial.extend_from_slice(piece);
        Ok(piece.len())
    }

    /// Adds to the frame being gathered, up to its prelude first, then up to its end.
    fn gather(
        &mut self,
        piece: &[u8],
        on_frame: &mut impl FnMut(Frame<'_>),
    ) -> Result<usize, FramingError> {
        let goal = self.announced.max(PRELUDE_BYTES);
        let missing = goal.saturating_sub(self.partial.len());
        let part = piece.get(..missing).unwrap_or(piece);
        self.partial.extend_from_slice(part);
        if self.announced == 0 {
            self.announced = announced_length(&self.partial)?.unwrap_or(0);
        }
        if self.announced != 0 && self.partial.len() == self.announced {
            on_frame(Frame {
                bytes: &self.partial,
            });
            self.announced = 0;
            self.partial.clear();
            self.partial.shrink_to(KEPT_BYTES_MAX);
        }
        Ok(part.len())
    }
}

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
/// What the gathering buffer keeps between frames: enough for ordinary ones.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The total length that a prelude announces; `None` while the prelude is incomplete.
fn announced_length(bytes: &[u8]) -> Result<Option<usize>, FramingError> {
    let Some(prelude) = bytes.get(..PRELUDE_BYTES) else {
        return Ok(None);
    };
    let (lengths, sum) = prelude.split_at(8);
    if read_u32(sum, 0) != Some(crc32fast::hash(lengths)) {
        return Err(FramingError::PreludeChecksum);
    }
    let total = read_u32(lengths, 0).map_or(0, widen);
    let headers = read_u32(lengths, 4).map_or(0, widen);
    if total > FRAME_BYTES_MAX {
        return Err(FramingError::TooLong(total));
    }
    if total < headers.saturating_add(PRELUDE_BYTES + CHECKSUM_BYTES) {
        return Err(FramingError::Lengths);
    }
    Ok(Some(total))
}

/// Splits the next header off: its name, and its value where that is a string.
fn split_header<'a>(headers: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let (&name_length, rest) = headers.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_length))?;
    let (&value_type, rest) = rest.split_first()?;
    let (length, rest) = match value_type {
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        5 | 8 => (8, rest),
        6 | 7 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        9 => (16, rest),
        _unknown => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *headers = rest;
    Some((name, (value_type == 7).then_some(value)))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let (number, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number))
}

/// Lengths beyond the address space are beyond every limit too.
fn widen(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    use proptest::prelude::*;

    use super::*;

    fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut message = Message::new(payload.to_vec());
        for (name, value) in headers {
            let value = HeaderValue::String((*value).to_owned().into());
            message = message.add_header(Header::new((*name).to_owned(), value));
        }
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        bytes
    }

    fn event(name: &str, payload: &[u8]) -> Vec<u8> {
        encode(
            &[(":event-type", name), (":message-type", "event")],
            payload,
        )
    }

    /// A frame of raw header bytes, with right checksums.
    fn raw(total: u32, headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = total.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend(headers);
        bytes.extend(payload);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn scan(
        pieces: impl IntoIterator<Item: AsRef<[u8]>>,
    ) -> (Vec<(String, Vec<u8>, bool)>, FrameScanner) {
        let mut scanner = FrameScanner::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let _broken = scanner.feed(piece.as_ref(), |frame| {
                let kind = format!("{:?}", frame.kind());
                seen.push((kind, frame.payload().to_vec(), frame.is_intact()));
            });
        }
        (seen, scanner)
    }

    #[test]
    fn frames_of_the_aws_encoder_are_read() {
        let check = |headers: &[(&str, &str)], expected: &str| {
            let bytes = encode(headers, b"{}");
            let (seen, scanner) = scan([bytes.as_slice()]);
            assert_eq!(seen, [(expected.to_owned(), b"{}".to_vec(), true)]);
            assert!(scanner.is_at_boundary());
        };
        check(
            &[
                (":event-type", "metadata"),
                (":content-type", "application/json"),
                (":message-type", "event"),
            ],
            r#"Event("metadata")"#,
        );
        check(
            &[
                (":message-type", "exception"),
                (":exception-type", "throttlingException"),
            ],
            r#"Exception("throttlingException")"#,
        );
        check(
            &[(":message-type", "error"), (":error-code", "oops")],
            r#"Error("oops")"#,
        );
        check(&[(":message-type", "error")], r#"Error("error")"#);
        check(&[(":message-type", "event")], "Unknown");
        check(&[], "Unknown");
    }

    #[test]
    fn a_frame_split_at_any_byte_is_read_once() {
        let mut stream = event("one", b"first");
        stream.extend(event("two", b""));
        let (whole, _) = scan([stream.as_slice()]);
        assert_eq!(whole.len(), 2);
        for cut in 0..=stream.len() {
            let (left, right) = stream.split_at(cut);
            assert_eq!(scan([left, right]).0, whole, "cut at {cut}");
        }
        assert_eq!(scan(stream.chunks(1)).0, whole);
    }

    #[test]
    fn a_prelude_that_lies_is_refused_before_its_frame_is_gathered() {
        let check = |bytes: &[u8], expected: FramingError| {
            let mut scanner = FrameScanner::default();
            assert_eq!(scanner.feed(bytes, |_frame| panic!()), Err(expected));
            assert_eq!(scanner.feed(b"more", |_frame| panic!()), Err(expected));
            assert!(scanner.is_broken() && !scanner.is_at_boundary());
        };
        check(
            &raw(0x7fff_ffff, b"", b""),
            FramingError::TooLong(0x7fff_ffff),
        );
        check(&raw(15, b"", b""), FramingError::Lengths);
        check(&raw(20, b"12345", b""), FramingError::Lengths);
        check(b"HTTP/1.1 200 OK\r\n", FramingError::PreludeChecksum);
        check(&[0; 16], FramingError::PreludeChecksum);
    }

    #[test]
    fn headers_that_cannot_be_read_make_the_kind_unknown() {
        for headers in [&b"\x05ab"[..], b"\x01a\x63", b"\x01a\x07\xff\xff", b"\x00"] {
            let total = u32::try_from(headers.len() + 16).unwrap();
            let bytes = raw(total, headers, b"");
            assert_eq!(Frame::parse(&bytes).unwrap().kind(), FrameKind::Unknown);
        }
    }

    #[test]
    fn headers_of_every_type_are_stepped_over() {
        let mut message = Message::new(b"x".to_vec());
        let mut add = |name: &'static str, value| {
            message = message.clone().add_header(Header::new(name, value));
        };
        add("a", HeaderValue::Bool(true));
        add("b", HeaderValue::Bool(false));
        add("c", HeaderValue::Byte(1));
        add("d", HeaderValue::Int16(1));
        add("e", HeaderValue::Int32(1));
        add("f", HeaderValue::Int64(1));
        add("g", HeaderValue::ByteArray(vec![1, 2].into()));
        add("h", HeaderValue::Uuid(7));
        add(":message-type", HeaderValue::String("event".into()));
        add(":event-type", HeaderValue::String("chunk".into()));
        let mut bytes = Vec::new();
        write_message_to(&message, &mut bytes).unwrap();
        assert_eq!(
            Frame::parse(&bytes).unwrap().kind(),
            FrameKind::Event("chunk")
        );
    }

    #[test]
    fn any_flipped_bit_of_a_frame_is_noticed() {
        let bytes = event("metadata", b"{\"usage\":{}}");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (seen, scanner) = scan([bad.as_slice()]);
            let noticed = scanner.is_broken() || seen.iter().all(|(_, _, intact)| !intact);
            assert!(noticed, "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
            cuts in prop::collection::vec(1_usize..400, 1..40),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| event("e", p)).collect();
            let mut pieces = Vec::new();
            let (mut rest, mut sizes) = (stream.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let size = (*sizes.next().unwrap()).min(rest.len());
                let (piece, tail) = rest.split_at(size);
                pieces.push(piece);
                rest = tail;
            }
            let (seen, _) = scan(pieces);
            let found: Vec<_> = seen.into_iter().map(|(_, payload, _)| payload).collect();
            prop_assert_eq!(found, payloads);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
            let _seen = scan(bytes.chunks(size));
        }
    }
}

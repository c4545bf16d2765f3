//! HTTP/2 written by hand: frames as RFC 9113 section 4.1 has them, and headers as literals without
//! indexing (RFC 7541 section 6.2.2), so that a test can send what no library would.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::client::{prepare, read};

/// A connection that has sent its preface and these settings.
pub(crate) struct Http2 {
    socket: TcpStream,
    read: Vec<u8>,
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        prepare(&socket);
        let read = Vec::new();
        let mut client = Self { socket, read };
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        client.send(&Frame::settings(settings));
        client
    }

    /// Sends; false once the proxy has closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// The next frame; `None` when the proxy has closed.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        self.fill(9)?;
        let length = usize::from(self.read[0]) << 16
            | usize::from(self.read[1]) << 8
            | usize::from(self.read[2]);
        self.fill(9 + length)?;
        let frame: Vec<u8> = self.read.drain(..9 + length).collect();
        Some(Frame {
            kind: frame[3],
            flags: frame[4],
            stream: number(&frame[5..9]) & 0x7fff_ffff,
            payload: frame[9..].to_vec(),
        })
    }

    /// The frames up to the first that this is true of; fails when the proxy closes before.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().unwrap();
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// What becomes of a stream: its status, `reset N`, or `goaway N` of the whole connection.
    pub(crate) fn verdict(&mut self, stream: u32) -> String {
        while let Some(frame) = self.next() {
            match frame.kind {
                HEADERS if frame.stream == stream => return status(&frame.payload),
                RESET if frame.stream == stream => {
                    return format!("reset {}", number(&frame.payload));
                }
                GOAWAY => return format!("goaway {}", number(&frame.payload[4..8])),
                _ => {}
            }
        }
        "closed".to_owned()
    }

    fn fill(&mut self, length: usize) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        while self.read.len() < length {
            match read(&mut self.socket, &mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.read.extend_from_slice(&buffer[..read]),
                Err(error) => {
                    let late = matches!(error.kind(), std::io::ErrorKind::WouldBlock);
                    assert!(!late, "no frame came");
                    return None;
                }
            }
        }
        Some(())
    }
}

impl Frame {
    pub(crate) fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    pub(crate) fn data(stream: u32, last: bool, payload: &[u8]) -> Vec<u8> {
        Self::bytes(DATA, u8::from(last), stream, payload)
    }

    /// A whole head; `last` when no body follows.
    pub(crate) fn headers(stream: u32, last: bool, block: &[u8]) -> Vec<u8> {
        Self::bytes(HEADERS, END_HEADERS | u8::from(last), stream, block)
    }

    /// A head that goes on in CONTINUATION frames.
    pub(crate) fn headers_begun(stream: u32, block: &[u8]) -> Vec<u8> {
        Self::bytes(HEADERS, 1, stream, block)
    }

    pub(crate) fn continuation(stream: u32, last: bool, block: &[u8]) -> Vec<u8> {
        let flags = if last { END_HEADERS } else { 0 };
        Self::bytes(CONTINUATION, flags, stream, block)
    }

    /// CANCEL.
    pub(crate) fn reset(stream: u32) -> Vec<u8> {
        Self::bytes(RESET, 0, stream, &8_u32.to_be_bytes())
    }

    pub(crate) fn settings(settings: &[u8]) -> Vec<u8> {
        Self::bytes(4, 0, 0, settings)
    }

    pub(crate) fn ping() -> Vec<u8> {
        Self::bytes(PING, 0, 0, b"12345678")
    }

    pub(crate) fn window(stream: u32, more: u32) -> Vec<u8> {
        Self::bytes(8, 0, stream, &more.to_be_bytes())
    }

    pub(crate) const fn is_ping_answer(&self) -> bool {
        self.kind == PING && self.flags == 1
    }

    pub(crate) const fn is_reset_of(&self, stream: u32) -> bool {
        self.kind == RESET && self.stream == stream
    }

    pub(crate) const fn is_end_of(&self, stream: u32) -> bool {
        self.stream == stream && self.kind <= HEADERS && self.flags & 1 == 1
    }
}

/// One setting (RFC 9113 section 6.5.1).
pub(crate) fn setting(id: u16, value: u32) -> Vec<u8> {
    [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat()
}

/// A header block of literals.
pub(crate) fn head<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.extend(length(text.len()));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn length(number: usize) -> Vec<u8> {
    if number < 127 {
        return vec![u8::try_from(number).unwrap()];
    }
    let (mut bytes, mut rest) = (vec![127], number - 127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The status of a head: an entry of the static table, or a literal under its name, plain or in
/// Huffman code (whose digits have five or six bits).
fn status(block: &[u8]) -> String {
    let after_updates = block.iter().skip_while(|byte| **byte & 0xe0 == 0x20);
    let block: Vec<u8> = after_updates.copied().collect();
    let known = ["200", "204", "206", "304", "400", "404", "500"];
    if let Some(at) = block[0].checked_sub(0x88).filter(|at| *at < 7) {
        return known[usize::from(at)].to_owned();
    }
    let length = usize::from(block[1] & 0x7f);
    let value = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return String::from_utf8(value.to_vec()).unwrap();
    }
    digits(value)
}

/// Three digits in Huffman code (RFC 7541 appendix B): 0 to 2 in five bits, 3 to 9 in six.
fn digits(code: &[u8]) -> String {
    let bits: Vec<String> = code.iter().map(|byte| format!("{byte:08b}")).collect();
    let bits = bits.concat();
    let (mut at, mut text) = (0, String::new());
    while text.len() < 3 {
        let five = u8::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let (digit, used) = if five <= 2 {
            (five, 5)
        } else {
            let six = u8::from_str_radix(&bits[at..at + 6], 2).unwrap();
            (six - 0x19 + 3, 6)
        };
        text.push(char::from(b'0' + digit));
        at += used;
    }
    text
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

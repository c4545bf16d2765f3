//! A client that writes bytes and reads answers, over whatever stream it is given.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

pub(crate) trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    /// The same socket, for what only sockets can do.
    socket: Option<TcpStream>,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether it ended where it said it would.
    pub(crate) whole: bool,
}

/// A request to be written.
#[derive(Clone)]
pub(crate) struct Request {
    path: String,
    headers: String,
    body: Vec<u8>,
}

impl Request {
    /// A call of this operation, such as `converse`.
    pub(crate) fn of(operation: &str) -> Self {
        Self::at(format!(
            "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/{operation}"
        ))
    }

    /// A call of this path.
    pub(crate) fn at(path: String) -> Self {
        Self {
            path,
            headers: "host: bedrock\r\n".to_owned(),
            body: br#"{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}"#.to_vec(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// The head alone, announcing the body.
    pub(crate) fn head(&self) -> Vec<u8> {
        let Self {
            path,
            headers,
            body,
        } = self;
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n").into_bytes()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    /// The same call with its body in chunks of this size.
    pub(crate) fn chunked(&self, size: usize) -> Vec<u8> {
        let Self {
            path,
            headers,
            body,
        } = self;
        let head = format!("POST {path} HTTP/1.1\r\n{headers}transfer-encoding: chunked\r\n\r\n");
        [head.into_bytes(), super::chunked(body, size)].concat()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub(crate) fn over(socket: TcpStream) -> Self {
        prepare(&socket);
        let copy = socket.try_clone().unwrap();
        Self {
            socket: Some(copy),
            ..Self::through(socket)
        }
    }

    /// A client over a stream that is no plain socket.
    pub(crate) fn through(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            socket: None,
            read: Vec::new(),
        }
    }

    /// Writes; a proxy that has closed already is met when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let written = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
        drop(written);
    }

    /// Sends a call and reads its answer.
    pub(crate) fn call(&mut self, request: &Request) -> Answer {
        self.send(&request.bytes());
        self.answer()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&self) {
        let socket = self.socket.as_ref().unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until the body holds that many bytes, framing included, or ends.
    pub(crate) fn read_some(&mut self, bytes: usize) {
        while self.read.len() < bytes && self.read_more() {}
    }

    /// Whether the proxy closes without a word.
    pub(crate) fn is_closed_silently(&mut self) -> bool {
        self.last_words().is_empty()
    }

    /// What comes until the proxy closes.
    pub(crate) fn last_words(&mut self) -> String {
        while self.read_more() {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Whether anything comes before the proxy closes.
    pub(crate) fn is_answered(&mut self) -> bool {
        self.read_more()
    }

    /// Reads a whole answer, or what there is of it.
    pub(crate) fn answer(&mut self) -> Answer {
        let answer = self.answer_if_any();
        assert!(answer.is_some(), "closed before the head");
        answer.unwrap()
    }

    /// Reads a whole answer; `None` when the proxy closes before its head.
    pub(crate) fn answer_if_any(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read_more() {
                return None;
            }
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (body, whole) = match header(&head, "content-length") {
            Some(length) => self.counted(length.parse().unwrap()),
            None if header(&head, "transfer-encoding") == Some("chunked") => self.chunks(),
            None => {
                while self.read_more() {}
                (std::mem::take(&mut self.read), true)
            }
        };
        Some(Answer {
            status,
            head,
            body,
            whole,
        })
    }

    fn counted(&mut self, length: usize) -> (Vec<u8>, bool) {
        while self.read.len() < length && self.read_more() {}
        let whole = self.read.len() >= length;
        let taken = length.min(self.read.len());
        (self.read.drain(..taken).collect(), whole)
    }

    fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line() else {
                return (body, false);
            };
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            let (chunk, whole) = self.counted(length);
            body.extend(chunk);
            if !whole || self.line().is_none() {
                return (body, false);
            }
            if length == 0 {
                return (body, true);
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.read, b"\r\n") {
                let line = self.read.drain(..at + 2).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Reads what comes next; false at the end, whether it is an orderly one or not.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match read(self.stream.as_mut(), &mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.read.extend_from_slice(&buffer[..length]);
                true
            }
            Err(error) => {
                let late = matches!(error.kind(), io::ErrorKind::WouldBlock);
                assert!(!late, "nothing came for {PATIENCE:?}");
                false
            }
        }
    }
}

/// Reads what comes next. A read with a time-out does not go on by itself after the process was
/// stopped and continued (signal(7)).
pub(super) fn read(stream: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The kind of a refusal of the proxy's own.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.header("x-bedrock-meter-error")
    }
}

/// No test hangs, and no write waits for another.
pub(crate) fn prepare(socket: &TcpStream) {
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value)
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

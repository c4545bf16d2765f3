//! The load generator's clients: HTTP/1.1 by hand over any stream (a general client would cost
//! more than the proxies it measures), HTTP/2 by hyper.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::protocol::LocalExecutor;

/// What is sent, for either protocol; the bytes are made once.
pub(crate) struct Call {
    http1: Vec<u8>,
    http2: http::Request<Full<Bytes>>,
}

impl Call {
    pub(crate) fn new(address: SocketAddr, operation: &str, body_bytes: usize) -> Self {
        let path = format!("/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/{operation}");
        let body = body_of(body_bytes);
        let mut http1 = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n");
        let mut http2 = http::Request::post(format!("http://{address}{path}"));
        let length = body.len().to_string();
        for (name, value) in HEADERS
            .into_iter()
            .chain([("content-length", length.as_str())])
        {
            http1.extend([name, ": ", value, "\r\n"]);
            http2 = http2.header(name, value);
        }
        http1.push_str("\r\n");
        http1.push_str(&body);
        let http2 = http2
            .body(Full::from(body))
            .expect("the headers above are valid");
        Self {
            http1: http1.into_bytes(),
            http2,
        }
    }
}

const HEADERS: [(&str, &str); 6] = [
    ("content-type", "application/json"),
    ("accept", "*/*"),
    (
        "user-agent",
        "Boto3/1.40.0 md/Botocore#1.40.0 lang/python#3.13.0",
    ),
    (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/bedrock/aws4_request, \
         SignedHeaders=host, Signature=00",
    ),
    ("x-bedrock-meter-tenant", "search"),
    ("x-bedrock-meter-application", "ranking"),
];

/// A Claude prompt of exactly so many bytes.
fn body_of(bytes: usize) -> String {
    let head = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":512,"messages":[{"role":"user","content":""#;
    let tail = r#""}]}"#;
    let text = "lorem ipsum dolor sit amet ".repeat(bytes / 27 + 1);
    format!("{head}{}{tail}", &text[..bytes - head.len() - tail.len()])
}

/// A client connection that makes one call after another.
pub(crate) enum Client {
    Http1(Http1),
    Http2(SendRequest<Full<Bytes>>),
}

impl Client {
    pub(crate) async fn http1(address: SocketAddr, tls: Option<&TlsConnector>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            Some(tls) => Box::new(tls.connect(ServerName::from(address.ip()), stream).await?),
            None => Box::new(stream),
        };
        Ok(Self::Http1(Http1 {
            stream,
            buffer: BytesMut::new(),
        }))
    }

    pub(crate) async fn http2(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(LocalExecutor, TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
        tokio::task::spawn_local(connection);
        Ok(Self::Http2(sender))
    }

    /// Another client on the same connection, where the protocol allows that.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Makes one call, hands out the body as it comes, and fails on any status but 200.
    pub(crate) async fn call(
        &mut self,
        call: &Call,
        on_body: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Http1(connection) => connection.call(&call.http1, on_body).await,
            Self::Http2(sender) => http2_call(sender, call.http2.clone(), on_body).await,
        }
    }
}

async fn http2_call(
    sender: &mut SendRequest<Full<Bytes>>,
    request: http::Request<Full<Bytes>>,
    on_body: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    sender.ready().await.map_err(io::Error::other)?;
    let mut response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    expect_ok(response.status().as_str())?;
    while let Some(frame) = response.body_mut().frame().await {
        if let Some(data) = frame.map_err(io::Error::other)?.data_ref() {
            on_body(data)?;
        }
    }
    Ok(())
}

fn expect_ok(status: &str) -> io::Result<()> {
    if status == "200" {
        Ok(())
    } else {
        Err(io::Error::other(format!("status {status}")))
    }
}

/// What a client connection needs of its transport.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// One HTTP/1.1 connection; knows just what a reverse proxy may answer to a POST.
pub(crate) struct Http1 {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Http1 {
    async fn call(
        &mut self,
        request: &[u8],
        on_body: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        match self.read_head().await? {
            Framing::Length(length) => self.read_body(length, on_body).await,
            Framing::Chunked => self.read_chunks(on_body).await,
        }
    }

    async fn read_head(&mut self) -> io::Result<Framing> {
        let end = self.find(b"\r\n\r\n").await?;
        let head = self.buffer.split_to(end + 4);
        let text = String::from_utf8_lossy(&head);
        expect_ok(text.get(9..12).unwrap_or_default())?;
        text.lines()
            .find_map(framing)
            .ok_or_else(|| io::Error::other("a response without length"))
    }

    async fn read_chunks(
        &mut self,
        on_body: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let end = self.find(b"\r\n").await?;
            let line = self.buffer.split_to(end + 2);
            let size = std::str::from_utf8(&line[..end])
                .ok()
                .and_then(|digits| usize::from_str_radix(digits, 16).ok())
                .ok_or_else(|| io::Error::other("a broken chunk size"))?;
            self.read_body(size, on_body).await?;
            self.read_body(2, &mut |_line_end| Ok(())).await?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    async fn read_body(
        &mut self,
        mut left: usize,
        on_body: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let now = left.min(self.buffer.len());
            on_body(&self.buffer[..now])?;
            self.buffer.advance(now);
            left -= now;
        }
        Ok(())
    }

    async fn find(&mut self, mark: &[u8]) -> io::Result<usize> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.buffer, mark) {
                return Ok(at);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(16 * 1024);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::other("the connection was closed early")),
            _ => Ok(()),
        }
    }
}

fn framing(header: &str) -> Option<Framing> {
    let (name, value) = header.split_once(':')?;
    if name.eq_ignore_ascii_case("content-length") {
        value.trim().parse().ok().map(Framing::Length)
    } else if name.eq_ignore_ascii_case("transfer-encoding") {
        value
            .trim()
            .eq_ignore_ascii_case("chunked")
            .then_some(Framing::Chunked)
    } else {
        None
    }
}

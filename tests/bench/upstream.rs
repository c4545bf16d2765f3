//! A fake Bedrock that costs next to nothing: raw sockets, answers prepared beforehand.
//! It knows three operations by the end of the path and refuses everything else. How its streams
//! run is told on its command line, because a proxy may drop headers it does not know.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::client::Stream;
use crate::frames;
use crate::protocol::tls_acceptor;

/// How a stream is sent.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// Where to listen.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    listen: SocketAddr,
    /// Text deltas per stream.
    #[arg(long, default_value_t = frames::DELTAS)]
    deltas: usize,
    /// One stamped frame per write with this gap between; 0: the whole stream in one write.
    #[arg(long, default_value_t = 0)]
    gap_ms: u64,
    /// Folder with certificate.pem and key.pem: speak TLS.
    #[arg(long)]
    certificates: Option<PathBuf>,
}

struct Answers {
    invoke: Vec<u8>,
    converse: Vec<u8>,
    stream_head: Vec<u8>,
    frames: Vec<Vec<u8>>,
    whole_stream: Vec<u8>,
    gap: Duration,
}

/// Listens, says where on stdout, and serves until it is killed.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    let tls = options
        .certificates
        .as_deref()
        .map(tls_acceptor)
        .transpose()?;
    println!("listening http://{}", listener.local_addr()?);
    let answers = Rc::new(Answers::new(&options));
    loop {
        let (stream, _peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (answers, tls) = (Rc::clone(&answers), tls.clone());
        tokio::task::spawn_local(async move {
            // A client that goes away is the end of its connection and nothing else.
            drop(match tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => converse_with(stream, &answers).await,
                    Err(error) => Err(error),
                },
                None => converse_with(stream, &answers).await,
            });
        });
    }
}

impl Answers {
    fn new(options: &Options) -> Self {
        let frames = frames::claude_stream(options.deltas);
        let stream_head = head(
            "application/vnd.amazon.eventstream",
            "transfer-encoding: chunked\r\n",
        );
        let mut whole_stream = stream_head.clone();
        for frame in &frames {
            whole_stream.extend(http_chunk(frame));
        }
        whole_stream.extend(LAST_CHUNK);
        Self {
            invoke: invoke_answer(),
            converse: converse_answer(),
            stream_head,
            frames,
            whole_stream,
            gap: Duration::from_millis(options.gap_ms),
        }
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn http_chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn head(content_type: &str, more: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 00:00:00 GMT\r\ncontent-type: {content_type}\r\n\
         x-amzn-requestid: 00000000-0000-4000-8000-000000000000\r\n{more}\r\n"
    )
    .into_bytes()
}

fn invoke_answer() -> Vec<u8> {
    let text = "lorem ipsum ".repeat(60);
    let body = format!(
        r#"{{"id":"msg_bdrk_01","type":"message","role":"assistant","model":"claude-sonnet-4","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":250,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":180}}}}"#
    );
    let counts = "x-amzn-bedrock-input-token-count: 250\r\n\
                  x-amzn-bedrock-output-token-count: 180\r\n\
                  x-amzn-bedrock-invocation-latency: 900\r\n";
    with_body(&body, counts)
}

fn converse_answer() -> Vec<u8> {
    let text = "lorem ipsum ".repeat(65);
    let body = format!(
        r#"{{"metrics":{{"latencyMs":900}},"output":{{"message":{{"content":[{{"text":"{text}"}}],"role":"assistant"}}}},"stopReason":"end_turn","usage":{{"inputTokens":250,"outputTokens":180,"totalTokens":430}}}}"#
    );
    with_body(&body, "")
}

fn with_body(body: &str, headers: &str) -> Vec<u8> {
    let length = format!("{headers}content-length: {}\r\n", body.len());
    [head("application/json", &length), body.as_bytes().to_vec()].concat()
}

async fn converse_with(mut stream: impl Stream, answers: &Answers) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    while let Some(head_end) = read_head(&mut stream, &mut buffer).await? {
        let operation = Operation::of(&buffer[..head_end]);
        let request_end = head_end + content_length(&buffer[..head_end])?;
        buffer.reserve(request_end.saturating_sub(buffer.len()));
        while buffer.len() < request_end {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..request_end);
        answer(&mut stream, operation, answers).await?;
        stream.flush().await?;
    }
    Ok(())
}

async fn read_head(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The announced body length; a proxy that re-frames bodies as chunks is not expected here.
fn content_length(head: &[u8]) -> io::Result<usize> {
    let text = String::from_utf8_lossy(head);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    length.ok_or_else(|| io::Error::other("a request without content-length"))
}

#[derive(Clone, Copy)]
enum Operation {
    Invoke,
    Converse,
    Stream,
    Unknown,
}

impl Operation {
    fn of(head: &[u8]) -> Self {
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if path.ends_with(b"/invoke") {
            Self::Invoke
        } else if path.ends_with(b"/converse") {
            Self::Converse
        } else if path.ends_with(b"/invoke-with-response-stream") {
            Self::Stream
        } else {
            Self::Unknown
        }
    }
}

async fn answer(
    stream: &mut impl Stream,
    operation: Operation,
    answers: &Answers,
) -> io::Result<()> {
    match operation {
        Operation::Invoke => stream.write_all(&answers.invoke).await,
        Operation::Converse => stream.write_all(&answers.converse).await,
        Operation::Stream if answers.gap.is_zero() => stream.write_all(&answers.whole_stream).await,
        Operation::Stream => one_by_one(stream, answers).await,
        Operation::Unknown => {
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                .await
        }
    }
}

async fn one_by_one(stream: &mut impl Stream, answers: &Answers) -> io::Result<()> {
    let mut ticks = ticks(answers.gap);
    stream.write_all(&answers.stream_head).await?;
    for frame in &answers.frames {
        ticks.tick().await;
        let mut frame = frame.clone();
        frames::stamp(&mut frame);
        stream.write_all(&http_chunk(&frame)).await?;
    }
    stream.write_all(LAST_CHUNK).await
}

fn ticks(gap: Duration) -> Interval {
    let mut ticks = interval(gap);
    // After a late tick the gap counts anew: two frames are never sent back to back.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

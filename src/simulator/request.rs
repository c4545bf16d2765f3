//! A request, read whole, with what the signature and the bill need of it.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, request::Parts};
use http_body::Body;
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::Value;

/// The longest body Bedrock accepts, in bytes (Bedrock service model, `InvokeModel.body`).
pub(super) const BODY_MAX: u64 = 25_000_000;

/// A request as it arrived.
pub(super) struct Request {
    pub(super) received_at: Timestamp,
    pub(super) method: Method,
    /// Path and query as they came.
    pub(super) target: String,
    authority: Option<String>,
    pub(super) headers: HeaderMap,
    /// The body up to the limit.
    pub(super) body: Bytes,
    /// The length of the body, which may pass the limit.
    pub(super) body_length: u64,
    /// Lower-case hexadecimal.
    pub(super) body_sha256: String,
}

impl Request {
    /// Reads the body to its end, keeping no more of it than the limit; `None` when it breaks off.
    pub(super) async fn read<B>(parts: Parts, body: B) -> Option<Self>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let body = Gathered::read(body).await?;
        let target = parts.uri.path_and_query();
        Some(Self {
            received_at: Timestamp::now(),
            method: parts.method,
            target: target.map_or_else(|| "/".to_owned(), ToString::to_string),
            authority: parts.uri.authority().map(ToString::to_string),
            headers: parts.headers,
            body: body.kept.freeze(),
            body_length: body.length,
            body_sha256: hexadecimal(body.digest.finish().as_ref()),
        })
    }

    /// The raw path, without the query.
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// A header as text, where it is present once or first.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header, joined as the canonical request of SigV4 joins them. HTTP/2 has no
    /// host header: its authority stands for it.
    pub(super) fn header_values(&self, name: &str) -> Option<String> {
        if name == "host" {
            return Some(self.host().to_owned());
        }
        let values: Option<Vec<&str>> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().ok())
            .collect();
        let values = values?;
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The host that was called.
    pub(super) fn host(&self) -> &str {
        let host = self.header("host").or(self.authority.as_deref());
        host.unwrap_or_default()
    }

    /// The body as JSON, where it is.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the prompt asks for caching, in Converse's or Anthropic's words.
    pub(super) fn asks_for_cache(&self) -> bool {
        let words: [&[u8]; 2] = [b"cachePoint", b"cache_control"];
        words
            .iter()
            .any(|word| memchr::memmem::find(&self.body, word).is_some())
    }
}

/// A body while it is read.
struct Gathered {
    kept: BytesMut,
    length: u64,
    digest: Context,
}

impl Gathered {
    async fn read<B>(mut body: B) -> Option<Self>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut gathered = Self {
            kept: BytesMut::new(),
            length: 0,
            digest: Context::new(&SHA256),
        };
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.ok()?.into_data() {
                gathered.push(&data);
            }
        }
        Some(gathered)
    }

    fn push(&mut self, data: &Bytes) {
        self.length += data.len() as u64;
        self.digest.update(data);
        if self.length <= BODY_MAX {
            self.kept.extend_from_slice(data);
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

//! One request to a web server beside Bedrock: a provider of keys or of logins.
//!
//! Redirects are not followed: who asks says which host is believed.

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};

use super::{Exchange, Patience, Pool, RequestBody, Settings, Target};

/// The road to web servers, with the trust that calls have, or with authorities of its own.
#[derive(Clone, Debug)]
pub struct Web {
    upstream: Settings,
}

/// What is asked of a web server.
#[derive(Debug)]
pub struct WebQuestion<'a> {
    /// `GET` or `POST`.
    pub method: Method,
    /// Scheme, host, path and query.
    pub url: &'a Uri,
    /// Beside `host` and `user-agent`.
    pub headers: HeaderMap,
    /// Empty for `GET`.
    pub body: Bytes,
    /// The most that the answer may have.
    pub bytes_max: usize,
    /// For the whole answer.
    pub time_max: Duration,
}

/// Why there is no answer. The words hold no part of what was asked but the host.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Nobody answered, or not in time. The server may have been reached.
    #[error("{0}")]
    Unreachable(Box<dyn Error + Send + Sync>),
    /// The URL names no host that can be asked.
    #[error("{0}")]
    NoHost(Box<dyn Error + Send + Sync>),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Web {
    /// The road of these settings.
    pub const fn new(upstream: Settings) -> Self {
        Self { upstream }
    }

    /// Asks, and reads the answer whole.
    ///
    /// # Errors
    /// When there is no answer in time, or it is too long.
    pub async fn ask(&self, question: WebQuestion<'_>) -> Result<(StatusCode, Vec<u8>), WebError> {
        let time_max = question.time_max;
        let answer = tokio::time::timeout(time_max, self.ask_patiently(question)).await;
        answer.unwrap_or_else(|_elapsed| Err(WebError::Unreachable("no answer in time".into())))
    }

    async fn ask_patiently(
        &self,
        question: WebQuestion<'_>,
    ) -> Result<(StatusCode, Vec<u8>), WebError> {
        let upstream = self.upstream.clone();
        // Made anew for each attempt: the authorities may have changed, and reading them takes long.
        let pool = tokio::task::spawn_blocking(move || Pool::new(&upstream)).await;
        let pool = pool.map_err(unreachable)?;
        let pool = Arc::new(pool.map_err(unreachable)?);
        let target = target(question.url)?;
        let patience = Patience {
            head: question.time_max,
            idle: question.time_max,
        };
        let bytes_max = question.bytes_max;
        let request = request(question, &target);
        let exchange = Exchange::begin(&pool, &target, request, patience).await;
        let mut exchange = exchange.map_err(unreachable)?;
        let head = poll_fn(|cx| exchange.poll_head(cx)).await;
        let head = head.map_err(|failed| unreachable(failed.error))?;
        let mut body = Vec::new();
        while let Some(frame) = poll_fn(|cx| exchange.poll_frame(cx)).await {
            let frame = frame.map_err(unreachable)?;
            body.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if body.len() > bytes_max {
                return Err(WebError::TooLong(bytes_max));
            }
        }
        Ok((head.status, body))
    }
}

fn unreachable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> WebError {
    WebError::Unreachable(cause.into())
}

/// The host of a URL. Path and query stand in the request.
fn target(uri: &Uri) -> Result<Target, WebError> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    let host = Uri::from_parts(parts).map_err(|cause| WebError::NoHost(cause.into()))?;
    Target::new(&host).map_err(|cause| WebError::NoHost(cause.into()))
}

fn request(question: WebQuestion<'_>, target: &Target) -> Request<RequestBody> {
    let pieces = if question.body.is_empty() {
        Vec::new()
    } else {
        vec![question.body]
    };
    let mut request = Request::new(RequestBody::gathered(pieces));
    *request.method_mut() = question.method;
    let path = question.url.path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    let headers = request.headers_mut();
    *headers = question.headers;
    headers.insert(header::HOST, target.host.clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    request
}

const USER_AGENT: &str = concat!("bedrock-meter/", env!("CARGO_PKG_VERSION"));

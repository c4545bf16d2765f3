//! Sends spans and metrics to a collector: OTLP over HTTP, with protobuf bodies.
//!
//! One task, one connection, one request at a time. While the collector is slow or away the queue
//! fills, and the settling thread drops and counts. A request that may succeed later is tried
//! three times in all.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::config::Settings;
use crate::domain::{CallId, Clock as _, Secret, SystemClock, Timestamp};
use crate::telemetry::{
    CollectorUrl, Metrics, OtlpSettings, Resource, SettledCall, traces_request,
};
use crate::upstream::{Exchange, Patience, Pool, RequestBody, Target};

/// Sends what the settling thread passes on.
pub(super) struct Collector {
    calls: Receiver<Arc<SettledCall>>,
    metrics: Arc<Metrics>,
    resource: Resource,
    road: Road,
    interval: Duration,
    started: Timestamp,
}

/// The way of one request.
struct Road {
    target: Target,
    pool: Arc<Pool>,
    headers: HeaderMap,
    timeout: Duration,
}

/// How a request ended that was not taken.
#[derive(Clone, Copy, Debug)]
enum NotTaken {
    /// Another attempt may succeed.
    Unreachable,
    /// None will.
    Refused,
}

impl NotTaken {
    const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

impl Collector {
    /// A sender to that endpoint, trusting what calls trust.
    ///
    /// # Errors
    /// When the endpoint cannot be called.
    pub(super) fn new(
        endpoint: &CollectorUrl,
        settings: &Settings,
        calls: Receiver<Arc<SettledCall>>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let otlp = &settings.telemetry.otlp;
        let target = Target::new(endpoint.uri())?;
        let started = SystemClock.now();
        let instance = CallId::generate(started).to_string();
        let road = Road {
            headers: headers(otlp, &target)?,
            target,
            pool: Arc::new(Pool::new(&settings.upstream)?),
            timeout: otlp.timeout,
        };
        Ok(Self {
            calls,
            metrics,
            resource: Resource::new(otlp, &instance),
            road,
            interval: otlp.interval,
            started,
        })
    }

    /// Sends until the settling thread has ended and all it passed on is out.
    pub(super) async fn run(mut self) {
        let mut beat = interval(self.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let room = BATCH_MAX.saturating_sub(batch.len());
            tokio::select! {
                taken = self.calls.recv_many(&mut batch, room) => {
                    if taken == 0 {
                        break;
                    }
                    if batch.len() >= BATCH_MAX {
                        self.send_spans(&mut batch).await;
                    }
                }
                _instant = beat.tick() => {
                    self.send_spans(&mut batch).await;
                    self.send_metrics().await;
                }
            }
        }
        self.send_spans(&mut batch).await;
        self.send_metrics().await;
    }

    async fn send_spans(&self, batch: &mut Vec<Arc<SettledCall>>) {
        if batch.is_empty() {
            return;
        }
        let body = traces_request(&self.resource, batch);
        if let Err(not_taken) = self.send("traces", "/v1/traces", body).await {
            let spans = batch.len() as u64;
            self.metrics.spans_dropped(not_taken.reason(), spans);
        }
        batch.clear();
    }

    /// Sums since the start: a request that is lost costs nothing but freshness.
    async fn send_metrics(&self) {
        let now = SystemClock.now();
        let body = self
            .metrics
            .gen_ai_request(&self.resource, self.started, now);
        if let Some(body) = body {
            // Counted where it failed.
            let _taken = self.send("metrics", "/v1/metrics", body).await;
        }
    }

    async fn send(&self, signal: &'static str, path: &str, body: Vec<u8>) -> Result<(), NotTaken> {
        let body = Bytes::from(body);
        let mut attempt = 1;
        loop {
            let attempted = timeout(self.road.timeout, self.road.post(path, body.clone())).await;
            let (not_taken, why) = match attempted {
                Ok(Ok(status)) if status.is_success() => return Ok(()),
                Ok(Ok(status)) => (of_status(status), status.to_string()),
                Ok(Err(error)) => (NotTaken::Unreachable, error.to_string()),
                Err(_elapsed) => (NotTaken::Unreachable, "no answer in time".to_owned()),
            };
            self.metrics.collector_failed(signal);
            tracing::warn!(
                event = "collector_failed",
                signal,
                attempt,
                why,
                "collector"
            );
            if matches!(not_taken, NotTaken::Refused) || attempt >= ATTEMPTS_MAX {
                return Err(not_taken);
            }
            sleep(RETRY_PAUSE * attempt).await;
            attempt += 1;
        }
    }
}

impl Road {
    /// The status of the answer; its body is read away, so that the connection can serve again.
    async fn post(&self, path: &str, body: Bytes) -> anyhow::Result<StatusCode> {
        let uri: Uri = format!("{}{path}", self.target.base_path).parse()?;
        let mut request = Request::new(RequestBody::gathered(vec![body]));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        let patience = Patience {
            head: self.timeout,
            idle: self.timeout,
        };
        let exchange = Exchange::begin(&self.pool, &self.target, request, patience).await;
        let mut exchange = exchange?;
        let head = poll_fn(|cx| exchange.poll_head(cx)).await;
        let head = head.map_err(|failed| failed.error)?;
        let mut read = 0;
        while let Some(frame) = poll_fn(|cx| exchange.poll_frame(cx)).await {
            read += frame?.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(head.status)
    }
}

/// What the OTLP specification lets a client send again.
const fn of_status(status: StatusCode) -> NotTaken {
    match status.as_u16() {
        429 | 502 | 503 | 504 => NotTaken::Unreachable,
        _ => NotTaken::Refused,
    }
}

fn headers(otlp: &OtlpSettings, target: &Target) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &otlp.headers {
        headers.insert(HeaderName::try_from(name)?, secret(value)?);
    }
    if let Some(value) = &otlp.authorization {
        headers.insert(header::AUTHORIZATION, secret(value)?);
    }
    let protobuf = HeaderValue::from_static("application/x-protobuf");
    headers.insert(header::CONTENT_TYPE, protobuf);
    headers.insert(header::HOST, target.host.clone());
    Ok(headers)
}

fn secret(value: &Secret) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value.as_str())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Spans of one request.
const BATCH_MAX: usize = 512;
const ATTEMPTS_MAX: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 64 << 10;

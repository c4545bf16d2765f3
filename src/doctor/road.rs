//! Requests to AWS as the proxy makes them: its connections, its trust, its signatures.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::finding::Finding;
use super::visit::Patient;
use crate::aws::{Plane, Scope, Signable, Signer, error_class, hex, sts_url};
use crate::domain::{Clock, Region, Timestamp};
use crate::upstream::{
    Authority, Exchange, Patience, Pool, RequestBody, Target, Targets, UpstreamError,
};

/// The way to the three hosts of one region.
pub(super) struct Road<'a> {
    pub(super) region: &'a Region,
    pub(super) runtime: Target,
    pub(super) control: Target,
    pub(super) sts: Target,
    /// How far AWS's clock is ahead of ours.
    pub(super) skew_ms: i64,
    /// What requests are signed with, or the key they carry; none: they go without.
    pub(super) authority: Option<Authority>,
    pub(super) clock: &'a dyn Clock,
    pool: Arc<Pool>,
    signer: Signer,
}

/// A request to be made.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: &'static [u8],
}

impl<'a> Ask<'a> {
    /// A read.
    pub(super) const fn get(path: &'a str, query: &'a str) -> Self {
        Self {
            method: Method::GET,
            path,
            query,
            content_type: None,
            body: b"",
        }
    }

    /// A request with a body.
    pub(super) const fn post(
        path: &'a str,
        content_type: &'static str,
        body: &'static [u8],
    ) -> Self {
        Self {
            method: Method::POST,
            path,
            query: "",
            content_type: Some(content_type),
            body,
        }
    }
}

/// An answer, read whole up to a limit.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Our clock when the head came.
    pub(super) at: Timestamp,
}

impl<'a> Road<'a> {
    /// The road of the patient's region; the finding says why there is none.
    pub(super) fn new(patient: &'a Patient<'a>) -> Result<Self, Finding> {
        let failed = |why: String| {
            let mend =
                "correct this setting; `bedrock-meter check-config` shows the effective ones";
            Finding::failed("reachability", why, mend)
        };
        let settings = patient.upstream;
        let targets = Targets::new(settings).map_err(|error| failed(error.to_string()))?;
        let target = |plane| {
            let found = targets.get(plane, &patient.region).cloned();
            found.ok_or_else(|| failed(format!("{} is not configured", patient.region)))
        };
        let sts = match settings.sts_endpoints.get(&patient.region) {
            Some(uri) => Ok(uri.clone()),
            None => sts_url(&patient.region).parse(),
        };
        let sts = sts.map_err(|error: http::uri::InvalidUri| failed(error.to_string()))?;
        Ok(Self {
            region: &patient.region,
            runtime: target(Plane::Runtime)?,
            control: target(Plane::Control)?,
            sts: Target::new(&sts).map_err(|error| failed(error.to_string()))?,
            skew_ms: 0,
            authority: None,
            clock: patient.clock,
            pool: Arc::new(Pool::new(settings).map_err(|error| failed(error.to_string()))?),
            signer: Signer::default(),
        })
    }

    /// Asks a host of Bedrock.
    pub(super) async fn ask(
        &self,
        target: &Target,
        ask: &Ask<'_>,
    ) -> Result<Answer, UpstreamError> {
        self.ask_service(target, "bedrock", ask).await
    }

    /// Asks a host of a service with that signing name.
    pub(super) async fn ask_service(
        &self,
        target: &Target,
        service: &str,
        ask: &Ask<'_>,
    ) -> Result<Answer, UpstreamError> {
        let request = self.request(target, service, ask);
        let patience = Patience {
            head: PATIENCE,
            idle: PATIENCE,
        };
        let mut exchange = Exchange::begin(&self.pool, target, request, patience).await?;
        let head = poll_fn(|cx| exchange.poll_head(cx)).await;
        let head = head.map_err(|failed| failed.error)?;
        let at = self.clock.now();
        let mut body = Vec::new();
        while let Some(frame) = poll_fn(|cx| exchange.poll_frame(cx)).await {
            if let Some(data) = frame?.data_ref() {
                body.extend_from_slice(data);
            }
            if body.len() > BODY_BYTES_MAX {
                break;
            }
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            at,
        })
    }

    fn request(&self, target: &Target, service: &str, ask: &Ask<'_>) -> Request<RequestBody> {
        let path = [target.base_path.as_str(), ask.path].concat();
        let uri = match ask.query {
            "" => path.clone(),
            query => [&path, "?", query].concat(),
        };
        let mut headers = HeaderMap::new();
        if let Some(content_type) = ask.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(Authority::Bearer(key)) = &self.authority {
            headers.insert(AUTHORIZATION, key.clone());
        }
        if let Some(Authority::SigV4(credentials)) = &self.authority {
            let now = self.clock.now().unix_ms().saturating_add(self.skew_ms);
            let signable = Signable {
                method: ask.method.as_str(),
                path: &path,
                query: ask.query,
                host: target.host.to_str().unwrap_or_default(),
                body_sha256: &hex(digest(&SHA256, ask.body).as_ref()),
            };
            let scope = Scope {
                region: self.region.as_str(),
                service,
            };
            let now = Timestamp::from_unix_ms(now);
            self.signer
                .sign(signable, &mut headers, scope, credentials, now);
        }
        headers.insert(HOST, target.host.clone());
        let pieces = match ask.body {
            b"" => Vec::new(),
            body => vec![Bytes::from_static(body)],
        };
        let mut request = Request::new(RequestBody::gathered(pieces));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }
}

impl Answer {
    /// The error class, of the header or, for STS, of the XML.
    pub(super) fn class(&self) -> String {
        let class = error_class(&self.headers).map(str::to_owned);
        let class = class.or_else(|| self.element("Code"));
        class.unwrap_or_else(|| format!("HTTP {}", self.status.as_u16()))
    }

    /// What AWS says is wrong, to at most so many characters.
    pub(super) fn message(&self) -> String {
        let json: Option<serde_json::Value> = serde_json::from_slice(&self.body).ok();
        let of_json = json.as_ref().and_then(|json| {
            let message = json.get("message").or_else(|| json.get("Message"))?;
            message.as_str().map(str::to_owned)
        });
        let message = of_json.or_else(|| self.element("Message"));
        message
            .unwrap_or_default()
            .chars()
            .take(MESSAGE_CHARACTERS_MAX)
            .collect()
    }

    /// The text of the first XML element of that name.
    pub(super) fn element(&self, name: &str) -> Option<String> {
        let text = std::str::from_utf8(&self.body).ok()?;
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value.to_owned())
    }
}

const PATIENCE: Duration = Duration::from_secs(15);
const BODY_BYTES_MAX: usize = 8 << 20;
const MESSAGE_CHARACTERS_MAX: usize = 300;

//! Asks STS for the credentials of a role, over the same connections and trust as calls to
//! Bedrock (`AssumeRole`, STS API reference).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::{RoleFailure, UpstreamError};
use super::roles::Wanted;
use super::{Exchange, Patience, Pool, RequestBody, Target};
use crate::aws::{Credentials, Scope, Signable, Signer, hex};
use crate::domain::{Clock, Timestamp};

/// The road to STS.
pub(super) struct Sts {
    pool: Arc<Pool>,
    signer: Signer,
    clock: Arc<dyn Clock>,
    /// What the clock of STS shows more than ours, in milliseconds; learned from a refusal.
    skew_ms: AtomicI64,
}

/// Why there are no credentials: the kind, and what was said.
pub(super) type Failure = (RoleFailure, String);

struct Answer {
    status: StatusCode,
    date: Option<Timestamp>,
    body: Vec<u8>,
}

impl Sts {
    pub(super) fn new(pool: Pool, clock: Arc<dyn Clock>) -> Self {
        Self {
            pool: Arc::new(pool),
            signer: Signer::default(),
            clock,
            skew_ms: AtomicI64::new(0),
        }
    }

    /// Assumes the role; the end of the credentials is told by our clock.
    pub(super) async fn assume(
        &self,
        credentials: &Credentials,
        wanted: &Wanted,
    ) -> Result<Credentials, Failure> {
        let form = Bytes::from(form(wanted));
        let mut answer = self.ask(credentials, wanted, &form).await?;
        if self.corrects_clock(&answer) {
            answer = self.ask(credentials, wanted, &form).await?;
        }
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        let skew_ms = self.skew_ms.load(Ordering::Relaxed);
        read_credentials(&answer, skew_ms).ok_or_else(|| {
            let why = "STS answered without credentials: check upstream.sts_endpoints";
            (RoleFailure::Malformed, why.to_owned())
        })
    }

    async fn ask(
        &self,
        credentials: &Credentials,
        wanted: &Wanted,
        form: &Bytes,
    ) -> Result<Answer, Failure> {
        let target = &wanted.terms.sts;
        let request = self.signed(credentials, wanted, form);
        let answer = tokio::time::timeout(PATIENCE, self.exchange(target, request)).await;
        match answer {
            Ok(answer) => answer.map_err(|error| (RoleFailure::Unreachable, error.to_string())),
            Err(_elapsed) => {
                let why = format!("{} did not answer in time", target.address());
                Err((RoleFailure::Unreachable, why))
            }
        }
    }

    fn signed(
        &self,
        credentials: &Credentials,
        wanted: &Wanted,
        form: &Bytes,
    ) -> Request<RequestBody> {
        let target = &wanted.terms.sts;
        let path = format!("{}/", target.base_path);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, FORM);
        let signable = Signable {
            method: "POST",
            path: &path,
            query: "",
            host: target.host.to_str().unwrap_or_default(),
            body_sha256: &hex(digest(&SHA256, form).as_ref()),
        };
        let scope = Scope {
            region: wanted.terms.region.as_str(),
            service: "sts",
        };
        let skew_ms = self.skew_ms.load(Ordering::Relaxed);
        let now = Timestamp::from_unix_ms(self.clock.now().unix_ms().saturating_add(skew_ms));
        self.signer
            .sign(signable, &mut headers, scope, credentials, now);
        headers.insert(HOST, target.host.clone());
        let mut request = Request::new(RequestBody::gathered(vec![form.clone()]));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse::<Uri>().unwrap_or_default();
        *request.headers_mut() = headers;
        request
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Answer, UpstreamError> {
        let patience = Patience {
            head: PATIENCE,
            idle: PATIENCE,
        };
        let mut exchange = Exchange::begin(&self.pool, target, request, patience).await?;
        let head = poll_fn(|cx| exchange.poll_head(cx)).await;
        let head = head.map_err(|failed| failed.error)?;
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
            date: head.headers.get(DATE).and_then(read_date),
            body,
        })
    }

    /// Whether STS refused for the time of the signature; its own time is known then.
    fn corrects_clock(&self, answer: &Answer) -> bool {
        if !matches!(answer.status.as_u16(), 400 | 403) {
            return false;
        }
        let Some(theirs) = answer.date else {
            return false;
        };
        let skew_ms = theirs.unix_ms().saturating_sub(self.clock.now().unix_ms());
        let known = self.skew_ms.load(Ordering::Relaxed);
        let is_wrong = skew_ms.abs_diff(known) > SKEW_MS_MIN;
        if is_wrong {
            self.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
        is_wrong
    }
}

fn form(wanted: &Wanted) -> String {
    let mut form = String::from("Action=AssumeRole&Version=2011-06-15");
    let mut field = |name: &str, value: &str| {
        let value = utf8_percent_encode(value, ENCODED).to_string();
        form.extend(["&", name, "=", &value]);
    };
    let role = &wanted.role;
    field("RoleArn", &role.arn);
    field("RoleSessionName", &role.session_name());
    field(
        "DurationSeconds",
        &wanted.terms.duration.as_secs().to_string(),
    );
    for (at, (key, value)) in role.tags().enumerate() {
        let number = at.saturating_add(1);
        field(&format!("Tags.member.{number}.Key"), key);
        field(&format!("Tags.member.{number}.Value"), value);
    }
    if let Some(external_id) = &wanted.terms.external_id {
        field("ExternalId", external_id);
    }
    form
}

fn refused(answer: &Answer) -> Failure {
    let code = element(&answer.body, "Code").unwrap_or_default();
    let failure = match code.as_str() {
        "AccessDenied" => RoleFailure::Denied,
        "Throttling" | "ThrottlingException" => RoleFailure::Throttled,
        "ExpiredToken" | "ExpiredTokenException" | "InvalidClientTokenId" => {
            RoleFailure::NoCredentials
        }
        _ if answer.status.is_server_error() => RoleFailure::Unreachable,
        _ => RoleFailure::Refused,
    };
    let message = element(&answer.body, "Message").unwrap_or_default();
    let message: String = message.chars().take(MESSAGE_CHARACTERS_MAX).collect();
    let status = answer.status.as_u16();
    (failure, format!("STS answered {status} {code}: {message}"))
}

fn read_credentials(answer: &Answer, skew_ms: i64) -> Option<Credentials> {
    let of = |name| element(&answer.body, name).filter(|value| !value.is_empty());
    let expires_at: Timestamp = of("Expiration")?.parse().ok()?;
    Some(Credentials {
        access_key_id: of("AccessKeyId")?.into(),
        secret_access_key: of("SecretAccessKey")?.into(),
        session_token: Some(of("SessionToken")?.into()),
        expires_at: Some(Timestamp::from_unix_ms(
            expires_at.unix_ms().saturating_sub(skew_ms),
        )),
    })
}

/// The text of the first XML element of that name.
fn element(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.trim().to_owned())
}

fn read_date(value: &HeaderValue) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(value.to_str().ok()?).ok()?;
    let ms = date.timestamp().as_millisecond();
    Some(Timestamp::from_unix_ms(ms))
}

const FORM: HeaderValue =
    HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// For one answer; STS answers within a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 64 << 10;
const MESSAGE_CHARACTERS_MAX: usize = 300;
/// Below four minutes a refusal has another reason: signatures are valid for five.
const SKEW_MS_MIN: u64 = 240_000;

//! The way to Bedrock: a call is signed, sent, and its head waited for.

use std::future::poll_fn;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, header, response};

use super::answer::Guard;
use super::refusal::{Refusal, RefusalKind};
use super::service::Service;
use super::skew;
use crate::aws::{Scope, Signable};
use crate::domain::{Region, Timestamp};
use crate::relay::{Gathered, RequestHeaderFilter};
use crate::upstream::{Authority, Exchange, Failed, RequestBody, Target, UpstreamError, Wanted};

/// A request on its way out, unsigned.
pub(super) struct Outgoing<'a> {
    pub(super) method: http::Method,
    /// As the client sent them.
    pub(super) headers: HeaderMap,
    pub(super) filter: &'a RequestHeaderFilter,
    pub(super) region: Region,
    pub(super) target: &'a Target,
    pub(super) uri: PathAndQuery,
    pub(super) sha256: String,
}

/// What it takes to sign a call again.
pub(super) struct Resend<'a> {
    pub(super) outgoing: Outgoing<'a>,
    pub(super) authority: Authority,
    /// The clock skew it was signed with.
    pub(super) skew_ms: i64,
}

impl Service {
    /// What makes Bedrock take the call. Where a role is to sign, nothing else does.
    pub(super) async fn authority(&self, role: Option<Wanted>) -> Result<Authority, Refusal> {
        let gates = &*self.gates;
        let now = gates.clock.now();
        let Some(role) = role else {
            let authority = gates.credentials.wait(now).await;
            return authority.ok_or_else(no_credentials);
        };
        let authority = gates.role_sessions.wait(role, now).await;
        authority.map_err(|error| Refusal::from(&error))
    }

    /// Waits for the head. The call is sent again only where that cannot make Bedrock serve it
    /// twice: nothing was written, or Bedrock refused it for its clock.
    pub(super) async fn head(
        &self,
        guard: &mut Guard,
        resend: &Resend<'_>,
        gathered: &Gathered,
    ) -> Result<response::Parts, Failed> {
        let mut fresh_connections_left = FRESH_CONNECTIONS_MAX;
        let mut clock_corrected = false;
        loop {
            let head = poll_fn(|cx| match guard.live() {
                Some(live) => live.poll_head(cx),
                None => std::task::Poll::Pending,
            });
            let again = match head.await {
                Ok(parts) if !clock_corrected && self.corrects_clock(&parts, resend) => {
                    clock_corrected = true;
                    self.resign(resend, gathered)
                }
                Ok(parts) => return Ok(parts),
                Err(Failed {
                    error,
                    unsent: Some(request),
                }) if fresh_connections_left > 0 => {
                    tracing::debug!(%error, "a pooled connection was closed; sending on another");
                    fresh_connections_left -= 1;
                    *request
                }
                Err(failed) => return Err(failed),
            };
            if let Some(live) = guard.live() {
                live.withdraw();
            }
            let exchange = Box::pin(self.connect(resend.outgoing.target, again)).await;
            let exchange = exchange.map_err(|error| Failed {
                error,
                unsent: None,
            })?;
            if let Some(live) = guard.live() {
                live.replace_exchange(exchange);
            }
        }
    }

    /// A key has no time. The skew is compared with the one that the refused call was signed
    /// with: others may have learned more since.
    fn corrects_clock(&self, parts: &response::Parts, resend: &Resend<'_>) -> bool {
        if parts.status.is_success() || matches!(resend.authority, Authority::Bearer(_)) {
            return false;
        }
        let skew = skew::of_refusal(parts, self.gates.clock.now(), resend.skew_ms);
        if let Some(skew_ms) = skew {
            tracing::warn!(
                event = "clock_skew",
                skew_ms,
                "Bedrock's clock differs from ours"
            );
            self.gates.skew_ms.store(skew_ms, Ordering::Relaxed);
        }
        skew.is_some()
    }

    fn resign(&self, resend: &Resend<'_>, gathered: &Gathered) -> Request<RequestBody> {
        let Resend {
            outgoing,
            authority,
            skew_ms: _,
        } = resend;
        let skew_ms = self.gates.skew_ms.load(Ordering::Relaxed);
        self.sign(outgoing, authority, skew_ms, gathered.pieces.clone())
    }

    pub(super) fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        authority: &Authority,
        skew_ms: i64,
        pieces: Vec<Bytes>,
    ) -> Request<RequestBody> {
        let Outgoing {
            method,
            headers,
            filter,
            region,
            target,
            uri,
            sha256,
        } = outgoing;
        let now = Timestamp::from_unix_ms(self.gates.clock.now().unix_ms().saturating_add(skew_ms));
        let signable = Signable {
            method: method.as_str(),
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            host: target.host.to_str().unwrap_or_default(),
            body_sha256: sha256,
        };
        let scope = Scope {
            region: region.as_str(),
            service: SIGNING_NAME,
        };
        let mut headers = filter.passing(headers);
        headers.insert(header::HOST, target.host.clone());
        match authority {
            Authority::SigV4(credentials) => {
                self.signer
                    .sign(signable, &mut headers, scope, credentials, now);
            }
            Authority::Bearer(key) => {
                headers.insert(header::AUTHORIZATION, key.clone());
            }
        }
        let mut request = Request::new(RequestBody::gathered(pieces));
        *request.method_mut() = method.clone();
        *request.uri_mut() = Uri::from(uri.clone());
        *request.headers_mut() = headers;
        request
    }

    pub(super) async fn connect(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Exchange, UpstreamError> {
        Exchange::begin(&self.pool, target, request, self.gates.patience).await
    }
}

/// Path and query as they will stand on the wire, and so are signed.
pub(super) fn upstream_uri(
    target: &Target,
    path: &str,
    query: Option<&str>,
) -> Result<PathAndQuery, Refusal> {
    let base = &*target.base_path;
    let uri = match query {
        Some(query) => [base, path, "?", query].concat(),
        None => [base, path].concat(),
    };
    PathAndQuery::try_from(uri)
        .map_err(|_uri| Refusal::new(RefusalKind::MalformedPath, "the path cannot be sent on"))
}

fn no_credentials() -> Refusal {
    Refusal::new(
        RefusalKind::NoCredentials,
        "the proxy has no valid AWS credentials",
    )
}

/// The signing name of bedrock-runtime and of the control plane.
const SIGNING_NAME: &str = "bedrock";
/// A pool can hold several connections that Bedrock has closed meanwhile.
const FRESH_CONNECTIONS_MAX: u32 = 3;

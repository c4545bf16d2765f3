//! The way to one outlet: sends what the outlet's form asks for, and says how that was answered.
//! No message names a URL, which may be a secret; hosts are named.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, header};

use crate::alerts::{Notice, Outgoing, Outlet, OutletSettings};
use crate::aws::Credentials;
use crate::domain::Timestamp;
use crate::upstream::{self, Authority, Exchange, Patience, Pool, RequestBody, Target};

/// One outlet, and connections to it.
pub(super) struct Road {
    outlet: Outlet,
    pool: Arc<Pool>,
    timeout: Duration,
}

impl Road {
    /// The way to that outlet, with the trust and the proxy of calls, or with its own.
    ///
    /// # Errors
    /// When the outlet or its trust cannot be had.
    pub(super) fn new(
        settings: &OutletSettings,
        upstream: &upstream::Settings,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let name = &settings.name;
        let outlet = Outlet::new(settings);
        let outlet = outlet.with_context(|| format!("prepare the outlet {name}"))?;
        let mut upstream = upstream.clone();
        // Notices are rare: a connection of the last one would be closed at the other end.
        upstream.pool_idle_per_host = 0;
        if settings.ca_file.is_some() {
            upstream.ca_file.clone_from(&settings.ca_file);
        }
        if !settings.through_proxy {
            upstream.proxy = None;
        }
        let pool = Pool::new(&upstream);
        let pool = pool.with_context(|| format!("prepare the way to the outlet {name}"))?;
        Ok(Self {
            outlet,
            pool: Arc::new(pool),
            timeout,
        })
    }

    /// Whether the outlet is told again while a notice stands.
    pub(super) const fn hears_again(&self) -> bool {
        self.outlet.hears_again()
    }

    /// Whether requests are signed with the proxy's own AWS credentials.
    pub(super) const fn signs(&self) -> bool {
        self.outlet.signs()
    }

    /// Tells of a notice; what was answered.
    ///
    /// # Errors
    /// Why nobody took it, in words that hold no secret.
    pub(super) async fn tell(
        &self,
        notice: &Notice,
        authority: Option<Authority>,
        now: Timestamp,
    ) -> Result<String, String> {
        let credentials: Option<Credentials> = match authority {
            Some(Authority::SigV4(credentials)) => Some(credentials),
            Some(Authority::Bearer(_)) | None => None,
        };
        if self.outlet.signs() && credentials.is_none() {
            return Err("there are no AWS credentials to sign with".to_owned());
        }
        let requests = self.outlet.requests(notice, credentials.as_ref(), now);
        self.send(requests).await
    }

    /// Tells again of all notices that stand, or stand no more.
    ///
    /// # Errors
    /// Why nobody took it.
    pub(super) async fn tell_again(
        &self,
        notices: &[Notice],
        now: Timestamp,
    ) -> Result<String, String> {
        self.send(self.outlet.again(notices, now)).await
    }

    /// Sends them all; one that is taken is enough.
    async fn send(&self, requests: Vec<Outgoing>) -> Result<String, String> {
        let mut taken = None;
        let mut refused = Vec::new();
        for request in requests {
            match self.post(request).await {
                Ok(status) => taken = Some(status.to_string()),
                Err(why) => refused.push(why),
            }
        }
        taken.ok_or_else(|| refused.join("; "))
    }

    async fn post(&self, request: Outgoing) -> Result<StatusCode, String> {
        let (target, request) = addressed(request)?;
        let host = target.address();
        let exchange = tokio::time::timeout(self.timeout, self.exchange(&target, request)).await;
        let status = match exchange {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_elapsed) => return Err(format!("{host} did not answer in time")),
        };
        if status.is_success() {
            Ok(status)
        } else {
            Err(format!("{host} answered {status}"))
        }
    }

    /// The status of the answer; its body is read away and never shown.
    async fn exchange(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> anyhow::Result<StatusCode> {
        let patience = Patience {
            head: self.timeout,
            idle: self.timeout,
        };
        let mut exchange = Exchange::begin(&self.pool, target, request, patience).await?;
        let head = poll_fn(|cx| exchange.poll_head(cx)).await;
        let head = head.map_err(|failed| failed.error)?;
        let mut read = 0;
        while let Some(frame) = poll_fn(|cx| exchange.poll_frame(cx)).await {
            // The head says it all; who cuts the rest off has taken the notice.
            let Ok(frame) = frame else { break };
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(head.status)
    }
}

/// The host, and the request that goes there.
fn addressed(outgoing: Outgoing) -> Result<(Target, Request<RequestBody>), String> {
    let mut parts = outgoing.url.into_parts();
    let path = parts.path_and_query.take();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    // Neither error is shown: both hold the URL. The configuration was checked, so there is none.
    let no_url = |_cause| "its URL cannot be called".to_owned();
    let host = Uri::from_parts(parts).map_err(|_cause| no_url(()))?;
    let target = Target::new(&host).map_err(|_cause| no_url(()))?;
    let mut request = Request::new(RequestBody::gathered(vec![outgoing.body]));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    *request.headers_mut() = outgoing.headers;
    let host = target.host.clone();
    request.headers_mut().insert(header::HOST, host);
    Ok((target, request))
}

const ANSWER_BYTES_MAX: usize = 64 << 10;

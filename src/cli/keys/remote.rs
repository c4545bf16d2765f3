//! Keys and tenants of a running server, through its admin API.
//!
//! One request at a time, each on a connection of our own HTTP stack: the same trust and the same
//! limits as towards Bedrock. The token is sent to the server that was named and to nobody else.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::registrar::{Described, Handed, Registrar};
use crate::domain::{Secret, TenantId, Timestamp};
use crate::registry::{
    AuditEvent, HandedOut, KeyId, KeyRecord, ListedAct, ListedKey, ListedTenant, NewKey,
    NewKeyDocument, PolicyDocument, TenantDocument,
};
use crate::upstream::{Exchange, Patience, Pool, RequestBody, Settings, Target};

/// A running server.
pub(in crate::cli) struct RemoteRegistrar {
    runtime: Runtime,
    pool: Arc<Pool>,
    target: Target,
    token: Option<Secret>,
}

impl RemoteRegistrar {
    /// The server at that URL; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL cannot be called or the certificate authorities cannot be read.
    pub(super) fn new(
        url: &str,
        token: Option<&str>,
        ca_file: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("--server {url}"))?;
        let plain = uri.authority().is_some_and(|at| !at.as_str().contains('@'));
        ensure!(
            plain && uri.query().is_none(),
            "--server {url}: expected a URL such as https://meter.example:8081"
        );
        let settings = Settings {
            ca_file,
            ..Settings::default()
        };
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            pool: Arc::new(Pool::new(&settings)?),
            target: Target::new(&uri).with_context(|| format!("--server {url}"))?,
            token: token.filter(|token| !token.is_empty()).map(Secret::new),
        })
    }

    /// What `GET /api/v1/{path}` answers.
    ///
    /// # Errors
    /// When it cannot be had or read.
    pub(in crate::cli) fn read<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, None)
    }

    fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> anyhow::Result<T> {
        self.ask(method, path, Some(serde_json::to_vec(body)?))
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<T> {
        let request = self.request(method, path, body)?;
        // Made inside: a timer needs the runtime from its beginning.
        let asking = async { tokio::time::timeout(TIME_MAX, self.exchange(request)).await };
        let address = self.target.address();
        let answered = self.runtime.block_on(asking);
        let late = || {
            format!(
                "ask {address}: no answer within {} seconds",
                TIME_MAX.as_secs()
            )
        };
        let (status, answer) = answered.with_context(late)??;
        if status.is_success() {
            let strange = || format!("{address} answers what this version cannot read");
            return serde_json::from_slice(&answer).with_context(strange);
        }
        Err(refused(&address, status, &answer))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Request<RequestBody>> {
        let uri: Uri = format!("{}/api/v1/{path}", self.target.base_path).parse()?;
        let pieces = body.into_iter().map(Bytes::from).collect();
        let mut request = Request::new(RequestBody::gathered(pieces));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()));
            let mut value =
                value.map_err(|_cause| anyhow!("the token cannot be sent as a header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn exchange(&self, request: Request<RequestBody>) -> anyhow::Result<(StatusCode, Bytes)> {
        let patience = Patience {
            head: TIME_MAX,
            idle: TIME_MAX,
        };
        let mut exchange = Exchange::begin(&self.pool, &self.target, request, patience).await?;
        let head = poll_fn(|cx| exchange.poll_head(cx)).await;
        let status = head.map_err(|failed| failed.error)?.status;
        let mut answer = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| exchange.poll_frame(cx)).await {
            if let Ok(data) = frame?.into_data() {
                let long = answer.len().saturating_add(data.len()) > ANSWER_BYTES_MAX;
                ensure!(!long, "the answer is longer than {ANSWER_BYTES_MAX} bytes");
                answer.extend_from_slice(&data);
            }
        }
        Ok((status, answer.freeze()))
    }
}

/// The server's own words where it has some.
fn refused(address: &str, status: StatusCode, answer: &[u8]) -> anyhow::Error {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    let words = value.get("error").and_then(Value::as_str);
    match (status, words) {
        (StatusCode::UNAUTHORIZED, _) => anyhow!(
            "{address} wants a token: give --server-token or BEDROCK_METER_ADMIN_TOKEN, or one that it knows"
        ),
        (_, Some(words)) => anyhow!("{words}"),
        (status, None) => anyhow!("{address} answers {status}"),
    }
}

impl Registrar for RemoteRegistrar {
    fn keys(&mut self, of: Option<&TenantId>) -> anyhow::Result<Vec<KeyRecord>> {
        let path = of.map_or_else(
            || "keys".to_owned(),
            |tenant| format!("keys?tenant={}", encoded(tenant.as_str())),
        );
        let listed: Vec<ListedKey> = self.read(&path)?;
        let keys = listed.into_iter().map(ListedKey::read);
        Ok(keys.collect::<Result<_, _>>()?)
    }

    fn create(&mut self, new: &NewKey) -> anyhow::Result<Handed> {
        handed(self.write(Method::POST, "keys", &NewKeyDocument::new(new))?)
    }

    fn rotate(&mut self, id: KeyId, until: Timestamp) -> anyhow::Result<Handed> {
        let body = json!({ "until": until.to_string() });
        handed(self.write(Method::POST, &format!("keys/{id}/rotate"), &body)?)
    }

    fn revoke(&mut self, id: KeyId) -> anyhow::Result<bool> {
        let done: Value = self.write(Method::POST, &format!("keys/{id}/revoke"), &json!({}))?;
        Ok(done.get("changed") == Some(&Value::Bool(true)))
    }

    fn expire(&mut self, id: KeyId, at: Timestamp) -> anyhow::Result<()> {
        let body = json!({ "at": at.to_string() });
        self.write::<Value>(Method::POST, &format!("keys/{id}/expire"), &body)?;
        Ok(())
    }

    fn set_policy(&mut self, id: KeyId, policy: &PolicyDocument) -> anyhow::Result<()> {
        self.write::<Value>(Method::PUT, &format!("keys/{id}/policy"), policy)?;
        Ok(())
    }

    fn tenants(&mut self) -> anyhow::Result<Vec<Described>> {
        let listed: Vec<ListedTenant> = self.read("tenants")?;
        let tenants = listed.into_iter().map(ListedTenant::read);
        Ok(tenants.collect::<Result<_, _>>()?)
    }

    fn put_tenant(&mut self, name: &TenantId, document: &TenantDocument) -> anyhow::Result<()> {
        let path = format!("tenants/{}", encoded(name.as_str()));
        self.write::<Value>(Method::PUT, &path, document)?;
        Ok(())
    }

    fn rename(&mut self, old: &TenantId, new: &TenantId) -> anyhow::Result<()> {
        let path = format!("tenants/{}/rename", encoded(old.as_str()));
        self.write::<Value>(Method::POST, &path, &json!({ "name": new.as_str() }))?;
        Ok(())
    }

    fn suspend(&mut self, name: &TenantId, suspended: bool) -> anyhow::Result<()> {
        let act = if suspended { "suspend" } else { "resume" };
        let path = format!("tenants/{}/{act}", encoded(name.as_str()));
        self.write::<Value>(Method::POST, &path, &json!({}))?;
        Ok(())
    }

    fn audit(&mut self, count: u32) -> anyhow::Result<Vec<AuditEvent>> {
        let listed: Vec<ListedAct> = self.read(&format!("audit?last={count}"))?;
        let events = listed.into_iter().map(ListedAct::read);
        Ok(events.collect::<Result<_, _>>()?)
    }
}

fn handed(document: HandedOut) -> anyhow::Result<Handed> {
    let (issued, endpoint_url) = document.read()?;
    Ok(Handed {
        issued,
        endpoint_url,
    })
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// For one request, its answer included.
const TIME_MAX: Duration = Duration::from_secs(30);
/// A hundred thousand keys, listed.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

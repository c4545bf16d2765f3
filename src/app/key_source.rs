//! Where an issuer publishes its keys, and how they are read from there: a file, a URL, or the URL
//! that its discovery document names (OpenID Connect Discovery 1.0).
//!
//! Requests go out through `upstream`, with the trust that calls have or the issuer's own.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::identity::{IssuerSettings, JwksUrl, KeySet};
use crate::upstream::{self, Web, WebError, WebQuestion};

/// Where keys are read.
pub(super) struct KeySource {
    place: Place,
    web: Web,
    token_file: Option<PathBuf>,
}

enum Place {
    File(PathBuf),
    Url(JwksUrl),
    /// The discovery document of this issuer.
    Discovery(String),
}

/// Why keys were not read: a closed set for the metric, and words for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) why: String,
}

impl Failure {
    /// Nobody answered, or not in time; or the file cannot be read.
    fn unreachable(why: impl Into<Cause>) -> Self {
        Self::new("unreachable", &why.into())
    }

    /// An answer came, and it was not the keys.
    fn refused(why: impl Into<Cause>) -> Self {
        Self::new("refused", &why.into())
    }

    /// What came is not usable.
    pub(super) fn invalid(why: impl Into<Cause>) -> Self {
        Self::new("invalid", &why.into())
    }

    fn new(reason: &'static str, why: &Cause) -> Self {
        let why = why.to_string();
        Self { reason, why }
    }
}

type Cause = Box<dyn Error + Send + Sync>;

/// What a discovery document says about keys.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl KeySource {
    /// The source of these settings.
    pub(super) fn new(settings: &IssuerSettings, upstream: &upstream::Settings) -> Self {
        let place = match (&settings.jwks_file, &settings.jwks_url) {
            (Some(file), _) => Place::File(file.clone()),
            (None, Some(url)) => Place::Url(url.clone()),
            (None, None) => Place::Discovery(settings.issuer.clone()),
        };
        let mut upstream = upstream.clone();
        if settings.jwks_ca_file.is_some() {
            upstream.ca_file.clone_from(&settings.jwks_ca_file);
        }
        if !settings.jwks_through_proxy {
            upstream.proxy = None;
        }
        Self {
            place,
            web: Web::new(upstream),
            token_file: settings.jwks_token_file.clone(),
        }
    }

    /// How long keys of there are taken to be fresh, if the settings say this.
    pub(super) const fn interval(&self, configured: Duration) -> Duration {
        match self.place {
            Place::File(_) => FILE_INTERVAL,
            Place::Url(_) | Place::Discovery(_) => configured,
        }
    }

    /// Reads the keys, in the form in which they are published.
    pub(super) async fn read(&self) -> Result<Vec<u8>, Failure> {
        let read = tokio::time::timeout(ATTEMPT_MAX, self.read_patiently());
        read.await
            .unwrap_or_else(|_elapsed| Err(Failure::unreachable("no answer in time")))
    }

    async fn read_patiently(&self) -> Result<Vec<u8>, Failure> {
        match &self.place {
            Place::File(file) => read_file(file).await,
            Place::Url(url) => self.get(url, true).await,
            Place::Discovery(issuer) => self.discover(issuer).await,
        }
    }

    /// Section 4 of OpenID Connect Discovery.
    async fn discover(&self, issuer: &str) -> Result<Vec<u8>, Failure> {
        let url = format!("{}{DISCOVERY_PATH}", issuer.trim_end_matches('/'));
        let not_usable = || Failure::invalid(format!("{url} is not a URL that can be asked"));
        let url = safe_url(&url).ok_or_else(not_usable)?;
        let document = self.get(&url, true).await?;
        let discovered = serde_json::from_slice(&document);
        let Discovered {
            issuer: named,
            jwks_uri,
        } = discovered
            .map_err(|_cause| Failure::invalid("the discovery document names no keys"))?;
        if named != issuer {
            let why = "the discovery document is of another issuer";
            return Err(Failure::invalid(why));
        }
        let why = "the discovery document's jwks_uri is not an https:// URL";
        let keys = safe_url(&jwks_uri).ok_or_else(|| Failure::invalid(why))?;
        // The token was given for the issuer's own host.
        let is_same_host = keys.uri().authority() == url.uri().authority();
        self.get(&keys, is_same_host).await
    }

    async fn get(&self, url: &JwksUrl, with_token: bool) -> Result<Vec<u8>, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPTED));
        if let Some(file) = self.token_file.as_ref().filter(|_| with_token) {
            let token = bearer(&read_file(file).await?)?;
            headers.insert(header::AUTHORIZATION, token);
        }
        let question = WebQuestion {
            method: Method::GET,
            url: url.uri(),
            headers,
            body: Bytes::new(),
            bytes_max: KeySet::BYTES_MAX,
            time_max: ATTEMPT_MAX,
        };
        let answer = self.web.ask(question).await;
        let (status, body) = answer.map_err(|error| match error {
            WebError::Unreachable(_) => Failure::unreachable(error),
            WebError::TooLong(_) | WebError::NoHost(_) => Failure::invalid(error),
        })?;
        if status != StatusCode::OK {
            let host = url.uri().authority().map_or("", Authority::as_str);
            return Err(Failure::refused(format!("{host} answers {status}")));
        }
        Ok(body)
    }
}

async fn read_file(file: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |cause: io::Error| Failure::unreachable(format!("{}: {cause}", file.display()));
    let opened = tokio::fs::File::open(file).await.map_err(unreadable)?;
    read_bounded(opened).await.map_err(unreadable)
}

/// All of it, up to one byte more than a key set may have.
async fn read_bounded(from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let bound = KeySet::BYTES_MAX as u64 + 1;
    from.take(bound).read_to_end(&mut text).await?;
    Ok(text)
}

fn safe_url(text: &str) -> Option<JwksUrl> {
    JwksUrl::read(text).filter(JwksUrl::is_safe)
}

fn bearer(file: &[u8]) -> Result<HeaderValue, Failure> {
    let mut value = [b"Bearer ", file.trim_ascii()].concat();
    let header = HeaderValue::from_bytes(&value);
    value.fill(0);
    let mut header =
        header.map_err(|_value| Failure::unreachable("jwks_token_file is no token"))?;
    header.set_sensitive(true);
    Ok(header)
}

const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
const ACCEPTED: &str = "application/jwk-set+json, application/json";
/// How often a file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// The longest that one attempt may take, discovery included.
const ATTEMPT_MAX: Duration = Duration::from_secs(15);

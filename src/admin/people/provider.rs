//! The login provider: where it says people log in, and the token it gives for a code (OpenID
//! Connect Core 1.0 section 3.1, Discovery 1.0, RFC 7636).

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::LoginSettings;
use crate::domain::{Secret, Timestamp};
use crate::identity::JwksUrl;
use crate::upstream::{Web, WebError, WebQuestion};

/// The provider of `[admin.login]`.
pub(super) struct Provider {
    issuer: String,
    client_id: String,
    client_secret: Option<Secret>,
    scopes: String,
    web: Web,
    known: Mutex<Known>,
}

/// What was read of it, and when reading it failed last.
#[derive(Default)]
struct Known {
    places: Option<(Arc<Places>, Timestamp)>,
    failed_at: Option<Timestamp>,
}

/// What the discovery document says.
#[derive(Debug, Deserialize)]
pub(super) struct Places {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// Why the provider is of no help. No message repeats a code or a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// Nobody answered. What the network says of it is for the log, not for whoever asks.
    #[error("the login provider cannot be reached")]
    Unreachable(#[source] WebError),
    /// It could not be read a moment ago, and is not asked again yet.
    #[error("the login provider cannot be reached")]
    Resting,
    /// What it answers is not what a provider answers.
    #[error("the login provider answers what cannot be used: {0}")]
    Unusable(&'static str),
    /// It takes no such code, or not from us.
    #[error("the login provider gives no token: it answers {0}")]
    Refused(StatusCode),
}

impl ProviderError {
    /// Says it to the operator, with what lies behind it.
    fn log(&self) {
        let cause = std::error::Error::source(self).map(tracing::field::display);
        tracing::warn!(event = "login_provider_failed", error = %self, cause, "no login");
    }

    /// For the log.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Resting => "provider_unreachable",
            Self::Unusable(_) => "provider_unusable",
            Self::Refused(_) => "code_refused",
        }
    }
}

/// What one login asks with.
pub(super) struct Question<'a> {
    pub(super) redirect_uri: &'a str,
    pub(super) state: &'a str,
    pub(super) nonce: &'a str,
    pub(super) verifier: &'a str,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Provider {
    pub(super) fn new(settings: &LoginSettings, web: Web) -> Self {
        Self {
            issuer: settings.issuer.clone().unwrap_or_default(),
            client_id: settings.client_id.clone().unwrap_or_default(),
            client_secret: settings.client_secret.clone(),
            scopes: settings.scopes.join(" "),
            web,
            known: Mutex::default(),
        }
    }

    /// Its exact name.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where a browser is sent to log in.
    pub(super) fn url(&self, places: &Places, question: &Question<'_>) -> String {
        let endpoint = &places.authorization_endpoint;
        let join = if endpoint.contains('?') { '&' } else { '?' };
        let challenge = digest(&SHA256, question.verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", question.redirect_uri),
            ("scope", &self.scopes),
            ("state", question.state),
            ("nonce", question.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        format!("{endpoint}{join}{query}")
    }

    /// Its places: as read within the hour, else read now; else as read before, however long ago.
    pub(super) async fn places(&self, now: Timestamp) -> Result<Arc<Places>, ProviderError> {
        let mut known = self.known.lock().await;
        let before = known.places.clone();
        let is_young =
            |at: Timestamp, most: Duration| u128::from(now.ms_since(at)) < most.as_millis();
        if let Some((places, at)) = &before
            && is_young(*at, FRESH)
        {
            return Ok(Arc::clone(places));
        }
        let read = if known.failed_at.is_some_and(|at| is_young(at, REST)) {
            Err(ProviderError::Resting)
        } else {
            self.discover().await
        };
        match (read, before) {
            (Ok(places), _) => {
                let places = Arc::new(places);
                *known = Known {
                    places: Some((Arc::clone(&places), now)),
                    failed_at: None,
                };
                Ok(places)
            }
            (Err(error), before) => {
                if !matches!(error, ProviderError::Resting) {
                    known.failed_at = Some(now);
                    error.log();
                }
                before.map(|(places, _)| places).ok_or(error)
            }
        }
    }

    async fn discover(&self) -> Result<Places, ProviderError> {
        let url = format!("{}{DISCOVERY_PATH}", self.issuer.trim_end_matches('/'));
        let url = safe_url(&url).ok_or(ProviderError::Unusable("its name is no URL"))?;
        let (status, document) = self
            .ask(Method::GET, &url, HeaderMap::new(), Bytes::new())
            .await?;
        if status != StatusCode::OK {
            return Err(ProviderError::Refused(status));
        }
        let places: Places = serde_json::from_slice(&document).map_err(|_cause| {
            ProviderError::Unusable("its discovery document names no endpoints")
        })?;
        if places.issuer != self.issuer {
            return Err(ProviderError::Unusable(
                "the discovery document is of another issuer",
            ));
        }
        let endpoints = [&places.authorization_endpoint, &places.token_endpoint];
        if endpoints.iter().any(|url| safe_url(url).is_none()) {
            return Err(ProviderError::Unusable(
                "an endpoint of it is not an https:// URL",
            ));
        }
        Ok(places)
    }

    /// The ID token for a code.
    pub(super) async fn token(
        &self,
        places: &Places,
        code: &str,
        question: &Question<'_>,
    ) -> Result<String, ProviderError> {
        let token = self.exchange(places, code, question).await;
        token.inspect_err(ProviderError::log)
    }

    async fn exchange(
        &self,
        places: &Places,
        code: &str,
        question: &Question<'_>,
    ) -> Result<String, ProviderError> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", question.redirect_uri),
            ("code_verifier", question.verifier),
        ];
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        match &self.client_secret {
            Some(secret) if places.takes_basic() => {
                headers.insert(header::AUTHORIZATION, self.basic(secret)?);
            }
            Some(secret) => {
                fields.extend([
                    ("client_id", self.client_id.as_str()),
                    ("client_secret", secret.as_str()),
                ]);
            }
            None => fields.push(("client_id", &self.client_id)),
        }
        let url = safe_url(&places.token_endpoint);
        let url = url.ok_or(ProviderError::Unusable("its token endpoint is no URL"))?;
        let body = Bytes::from(form(&fields));
        let (status, answer) = self.ask(Method::POST, &url, headers, body).await?;
        if status != StatusCode::OK {
            return Err(ProviderError::Refused(status));
        }
        let tokens = serde_json::from_slice::<Tokens>(&answer);
        let tokens =
            tokens.map_err(|_cause| ProviderError::Unusable("no id_token in its answer"))?;
        Ok(tokens.id_token)
    }

    /// RFC 6749 section 2.3.1: both parts are encoded before they are joined.
    fn basic(&self, secret: &Secret) -> Result<HeaderValue, ProviderError> {
        let pair = format!("{}:{}", encoded(&self.client_id), encoded(secret.as_str()));
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
        let mut value =
            value.map_err(|_cause| ProviderError::Unusable("the client's secret is no header"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn ask(
        &self,
        method: Method,
        url: &JwksUrl,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Vec<u8>), ProviderError> {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let question = WebQuestion {
            method,
            url: url.uri(),
            headers,
            body,
            bytes_max: ANSWER_BYTES_MAX,
            time_max: TIME_MAX,
        };
        self.web
            .ask(question)
            .await
            .map_err(ProviderError::Unreachable)
    }
}

impl Places {
    /// What a provider takes that does not say.
    fn takes_basic(&self) -> bool {
        let methods = &self.token_endpoint_auth_methods_supported;
        methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic")
    }
}

fn safe_url(text: &str) -> Option<JwksUrl> {
    JwksUrl::read(text).filter(JwksUrl::is_safe)
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter();
    let pairs: Vec<_> = fields
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// All but the unreserved characters of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Somebody sits before a browser and waits.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long the places are taken to be as they were.
const FRESH: Duration = Duration::from_hours(1);
/// How long a provider that did not answer is left alone.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream;

    #[test]
    fn a_browser_is_sent_with_the_challenge_and_never_the_verifier() {
        let settings = LoginSettings {
            issuer: Some("https://login.example".to_owned()),
            client_id: Some("meter & co".to_owned()),
            ..LoginSettings::default()
        };
        let provider = Provider::new(&settings, Web::new(upstream::Settings::default()));
        let places = |endpoint: &str| Places {
            issuer: "https://login.example".to_owned(),
            authorization_endpoint: endpoint.to_owned(),
            token_endpoint: String::new(),
            token_endpoint_auth_methods_supported: Vec::new(),
        };
        // The verifier and the challenge of RFC 7636 appendix B.
        let question = Question {
            redirect_uri: "https://meter.example/login/callback",
            state: "S",
            nonce: "N",
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        };
        let url = provider.url(&places("https://login.example/auth?realm=a"), &question);
        assert_eq!(
            url,
            "https://login.example/auth?realm=a&response_type=code&client_id=meter%20%26%20co\
             &redirect_uri=https%3A%2F%2Fmeter.example%2Flogin%2Fcallback\
             &scope=openid%20profile%20email&state=S&nonce=N\
             &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
        );
        let url = provider.url(&places("https://login.example/auth"), &question);
        assert!(
            url.starts_with("https://login.example/auth?response_type=code&"),
            "{url}"
        );
    }

    #[test]
    fn a_secret_goes_the_way_that_the_provider_takes() {
        let check = |methods: &[&str], expected| {
            let places = Places {
                issuer: String::new(),
                authorization_endpoint: String::new(),
                token_endpoint: String::new(),
                token_endpoint_auth_methods_supported: methods
                    .iter()
                    .map(|m| (*m).to_owned())
                    .collect(),
            };
            assert_eq!(places.takes_basic(), expected, "{methods:?}");
        };
        check(&[], true);
        check(&["client_secret_post", "client_secret_basic"], true);
        check(&["client_secret_post"], false);
    }
}

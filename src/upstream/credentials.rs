//! The proxy's own AWS credentials: loaded once, refreshed ahead, served from memory.
//!
//! One task loads them, so there is never more than one load at a time; calls read a snapshot.
//! The SDK's chain has no cache of its own.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_types::error::display::DisplayErrorContext;
use tokio::sync::watch;

use super::settings::CredentialSettings;
use crate::aws::Credentials;
use crate::domain::{Clock, Timestamp};

/// The credentials of this process, as last loaded.
#[derive(Clone)]
pub struct CredentialStore {
    current: watch::Receiver<Option<Credentials>>,
    settings: watch::Sender<CredentialSettings>,
}

/// Loads credentials and puts them where [`CredentialStore`] reads them.
pub struct CredentialRefresher {
    source: Source,
    settings: watch::Receiver<CredentialSettings>,
    publish: watch::Sender<Option<Credentials>>,
    clock: Arc<dyn Clock>,
}

enum Source {
    Static(Credentials),
    Chain(SharedCredentialsProvider),
    /// The chain offers nothing at all.
    Nothing,
}

impl CredentialStore {
    /// The store and its refresher, which does nothing until it runs.
    pub async fn open(
        settings: &CredentialSettings,
        clock: Arc<dyn Clock>,
    ) -> (Self, CredentialRefresher) {
        let (publish, current) = watch::channel(None);
        let source = Source::open(settings).await;
        let (replace, settings) = watch::channel(settings.clone());
        (
            Self {
                current,
                settings: replace,
            },
            CredentialRefresher {
                source,
                settings,
                publish,
                clock,
            },
        )
    }

    /// Has credentials loaded from elsewhere; until they are there, those of before serve on.
    pub fn reload_from(&self, settings: &CredentialSettings) {
        self.settings.send_replace(settings.clone());
    }

    /// Credentials that have not expired, without waiting.
    pub fn current(&self, now: Timestamp) -> Option<Credentials> {
        let current = self.current.borrow();
        let valid = |c: &&Credentials| c.expires_at.is_none_or(|at| at > now);
        current.as_ref().filter(valid).cloned()
    }

    /// Credentials, waiting for the first load for a short while.
    pub async fn wait(&self, now: Timestamp) -> Option<Credentials> {
        if let Some(credentials) = self.current(now) {
            return Some(credentials);
        }
        let mut current = self.current.clone();
        let loaded = current.wait_for(Option::is_some);
        tokio::time::timeout(FIRST_LOAD_WAIT_MAX, loaded)
            .await
            .ok()?
            .ok()?;
        self.current(now)
    }
}

impl CredentialRefresher {
    /// Loads, and loads again ahead of each expiry, until dropped.
    pub async fn run(mut self) {
        let mut pause_after_failure = FAILURE_PAUSE_MIN;
        loop {
            let pause = match self.source.load().await {
                Ok(credentials) => {
                    pause_after_failure = FAILURE_PAUSE_MIN;
                    let pause = self.until_refresh(credentials.expires_at);
                    self.publish.send_replace(Some(credentials));
                    pause
                }
                Err(why) => {
                    tracing::warn!(event = "credentials_unavailable", why, "no AWS credentials");
                    pause_after_failure = (pause_after_failure * 2).min(FAILURE_PAUSE_MAX);
                    pause_after_failure
                }
            };
            match tokio::time::timeout(pause, self.settings.changed()).await {
                Ok(Ok(())) => {
                    let settings = self.settings.borrow_and_update().clone();
                    self.source = Source::open(&settings).await;
                }
                Ok(Err(_nobody_reads_them)) => return,
                Err(_elapsed) => {}
            }
        }
    }

    fn until_refresh(&self, expires_at: Option<Timestamp>) -> Duration {
        let Some(expires_at) = expires_at else {
            return RELOAD_LASTING;
        };
        let left = Duration::from_millis(expires_at.ms_since(self.clock.now()));
        left.saturating_sub(REFRESH_AHEAD).max(FAILURE_PAUSE_MIN)
    }
}

impl Source {
    async fn open(settings: &CredentialSettings) -> Self {
        let profile = match settings {
            CredentialSettings::DefaultChain { profile } => profile,
            CredentialSettings::Static {
                access_key_id,
                secret_access_key,
                session_token,
            } => {
                return Self::Static(Credentials {
                    access_key_id: access_key_id.as_str().into(),
                    secret_access_key: secret_access_key.as_str().into(),
                    session_token: session_token.as_ref().map(|token| token.as_str().into()),
                    expires_at: None,
                });
            }
        };
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest());
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        loader
            .load()
            .await
            .credentials_provider()
            .map_or(Self::Nothing, Self::Chain)
    }

    async fn load(&self) -> Result<Credentials, String> {
        match self {
            Self::Static(credentials) => Ok(credentials.clone()),
            Self::Chain(chain) => {
                let loaded = chain.provide_credentials().await;
                loaded
                    .map(|credentials| from_sdk(&credentials))
                    .map_err(|error| DisplayErrorContext(error).to_string())
            }
            Self::Nothing => Err("the AWS default chain offers no provider".to_owned()),
        }
    }
}

fn from_sdk(credentials: &aws_credential_types::Credentials) -> Credentials {
    let unix_ms = |at: std::time::SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    };
    Credentials {
        access_key_id: credentials.access_key_id().into(),
        secret_access_key: credentials.secret_access_key().into(),
        session_token: credentials.session_token().map(Into::into),
        expires_at: credentials.expiry().map(unix_ms),
    }
}

/// How long a call waits when the process has only just started.
const FIRST_LOAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// Ahead of an expiry: long enough for several failed loads.
const REFRESH_AHEAD: Duration = Duration::from_mins(5);
/// Credentials without expiry are read again, as the SDKs do.
const RELOAD_LASTING: Duration = Duration::from_mins(15);
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);

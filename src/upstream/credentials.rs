//! The proxy's own AWS credentials, or its Bedrock API key: loaded once, refreshed ahead, served
//! from memory.
//!
//! One task loads them, so there is never more than one load at a time; calls read a snapshot.
//! The SDK's chain has no cache of its own.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_types::error::display::DisplayErrorContext;
use http::HeaderValue;
use tokio::sync::watch;

use super::bearer;
use super::settings::{BearerKey, CredentialSettings};
use crate::aws::Credentials;
use crate::domain::{Clock, Timestamp};

/// What makes Bedrock take a request of ours.
#[derive(Clone, Debug)]
pub enum Authority {
    /// A signature with these credentials.
    SigV4(Credentials),
    /// This `Authorization` header: a Bedrock API key. Nothing is signed, so nothing is hashed.
    Bearer(HeaderValue),
}

impl Authority {
    /// When it ends, where that is known.
    pub const fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::SigV4(credentials) => credentials.expires_at,
            Self::Bearer(_) => None,
        }
    }
}

/// The credentials of this process, as last loaded.
#[derive(Clone)]
pub struct CredentialStore {
    current: watch::Receiver<Option<Authority>>,
    settings: watch::Sender<CredentialSettings>,
}

/// The credentials or the key of the settings, loaded now and once, expired or not.
///
/// # Errors
/// Why there are none, in words, without secrets.
pub async fn load_authority(settings: &CredentialSettings) -> Result<Authority, String> {
    Source::open(settings).await.load().await
}

/// Loads credentials and puts them where [`CredentialStore`] reads them.
pub struct CredentialRefresher {
    source: Source,
    settings: watch::Receiver<CredentialSettings>,
    publish: watch::Sender<Option<Authority>>,
    clock: Arc<dyn Clock>,
}

enum Source {
    Static(Credentials),
    Chain(SharedCredentialsProvider),
    Bearer(BearerKey),
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

    /// Whether requests are signed, as far as is known, so that their bodies are hashed as they come.
    pub fn signs(&self) -> bool {
        !matches!(&*self.current.borrow(), Some(Authority::Bearer(_)))
    }

    /// Has credentials loaded from elsewhere; until they are there, those of before serve on.
    pub fn reload_from(&self, settings: &CredentialSettings) {
        self.settings.send_replace(settings.clone());
    }

    /// Credentials that have not expired, without waiting.
    pub fn current(&self, now: Timestamp) -> Option<Authority> {
        let current = self.current.borrow();
        let valid = |c: &&Authority| c.expires_at().is_none_or(|at| at > now);
        current.as_ref().filter(valid).cloned()
    }

    /// Credentials, waiting for the first load for a short while.
    pub async fn wait(&self, now: Timestamp) -> Option<Authority> {
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
            let pause = if let Some(pause) = self.reload().await {
                pause_after_failure = FAILURE_PAUSE_MIN;
                pause
            } else {
                pause_after_failure = (pause_after_failure * 2).min(FAILURE_PAUSE_MAX);
                pause_after_failure
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

    /// Loads once; how long that lasts, or nothing when it failed and the old ones stay.
    async fn reload(&self) -> Option<Duration> {
        match self.source.load().await {
            Ok(authority) => {
                let lasts = self.until_refresh(&authority);
                self.publish.send_replace(Some(authority));
                Some(lasts)
            }
            Err(why) => {
                tracing::warn!(event = "credentials_unavailable", why, "no AWS credentials");
                None
            }
        }
    }

    fn until_refresh(&self, authority: &Authority) -> Duration {
        let Some(expires_at) = authority.expires_at() else {
            return match authority {
                Authority::SigV4(_) => RELOAD_LASTING,
                Authority::Bearer(_) => RELOAD_KEY,
            };
        };
        let left = Duration::from_millis(expires_at.ms_since(self.clock.now()));
        left.saturating_sub(REFRESH_AHEAD).max(FAILURE_PAUSE_MIN)
    }
}

impl Source {
    async fn open(settings: &CredentialSettings) -> Self {
        let profile = match settings {
            CredentialSettings::DefaultChain { profile } => profile,
            CredentialSettings::Bearer(key) => return Self::Bearer(key.clone()),
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

    async fn load(&self) -> Result<Authority, String> {
        match self {
            Self::Static(credentials) => Ok(Authority::SigV4(credentials.clone())),
            Self::Bearer(key) => bearer::authorization(key).map(Authority::Bearer),
            Self::Chain(chain) => {
                let loaded = chain.provide_credentials().await;
                loaded
                    .map(|credentials| Authority::SigV4(from_sdk(&credentials)))
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
/// A key in a file: small enough to be read often, so that a new one is soon in use.
const RELOAD_KEY: Duration = Duration::from_secs(5);
const FAILURE_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Secret, SystemClock};

    fn key(authority: Option<Authority>) -> Option<Vec<u8>> {
        match authority? {
            Authority::Bearer(value) => Some(value.as_bytes().to_vec()),
            Authority::SigV4(_) => None,
        }
    }

    async fn opened(key: BearerKey) -> (CredentialStore, CredentialRefresher) {
        let settings = CredentialSettings::Bearer(key);
        CredentialStore::open(&settings, Arc::new(SystemClock)).await
    }

    #[tokio::test]
    async fn a_fixed_key_is_served_and_needs_no_hash() {
        let (store, refresher) = opened(BearerKey::Fixed(Secret::new("ABSKfixed"))).await;
        let now = Timestamp::from_unix_ms(0);
        assert!(store.current(now).is_none());
        let load = tokio::spawn(refresher.run());
        assert_eq!(key(store.wait(now).await).unwrap(), b"Bearer ABSKfixed");
        assert!(!store.signs());
        load.abort();
    }

    #[tokio::test]
    async fn a_changed_file_replaces_the_key_and_a_bad_one_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, "first\n").unwrap();
        let (store, refresher) = opened(BearerKey::File(file.clone())).await;
        let now = Timestamp::from_unix_ms(0);
        refresher.reload().await;
        assert_eq!(key(store.current(now)).unwrap(), b"Bearer first");
        std::fs::write(&file, "").unwrap();
        let pause = refresher.reload().await;
        assert_eq!(pause, None);
        assert_eq!(key(store.current(now)).unwrap(), b"Bearer first");
        std::fs::write(&file, "second\n").unwrap();
        assert_eq!(refresher.reload().await, Some(RELOAD_KEY));
        assert_eq!(key(store.current(now)).unwrap(), b"Bearer second");
    }
}

//! Tokens of configured issuers, verified: signature first, then claims, then who pays.
//!
//! Time is passed in, keys are read elsewhere; checking a token waits for nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::key_set::KeySet;
use super::refusal::TokenRefusal;
use super::remembered::{Remembered, TokenHash};
use super::ring::{IssuerKeys, KeyRing};
use super::rules::{Assigned, assign};
use super::settings::{Algorithm, IssuerSettings};
use super::token::Token;
use crate::domain::{ApplicationId, Keyword as _, TenantId, Timestamp};

/// Whom a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCaller {
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload, where the token says so.
    pub application: Option<ApplicationId>,
    /// The user, as the issuer names it: not yet what the ledger may keep.
    pub user: Option<Arc<str>>,
    /// What the configuration calls the issuer.
    pub issuer: Arc<str>,
    /// When the token ends, leeway not included.
    pub expires_at: Timestamp,
}

/// The issuers of one configuration. A reload makes new ones, with the keys of the ring.
#[derive(Default)]
pub struct Issuers {
    by_iss: HashMap<String, Arc<Issuer>>,
    /// None without an issuer, so that it takes no room where there are no tokens.
    remembered: Option<Remembered<Verified>>,
}

/// One issuer, and its keys as they are read.
pub(super) struct Issuer {
    name: Arc<str>,
    pub(super) settings: IssuerSettings,
    pub(super) keys: Arc<IssuerKeys>,
}

/// A token whose signature, time and audience are right.
pub(super) struct Checked {
    pub(super) expires_at: Timestamp,
    /// The end, leeway included.
    until: Timestamp,
    /// Of the keys that it was checked with.
    fingerprint: [u8; 32],
}

/// A token that was verified, and with which version of its issuer's keys.
#[derive(Clone)]
struct Verified {
    issuer: Arc<Issuer>,
    fingerprint: [u8; 32],
    caller: Arc<TokenCaller>,
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_iss.keys()).finish()
    }
}

impl Issuers {
    /// The issuers of these settings, with their keys out of the ring.
    pub fn new(settings: &[IssuerSettings], ring: &KeyRing) -> Self {
        let issuers = settings.iter().map(|settings| Issuer::new(settings, ring));
        Self {
            by_iss: issuers
                .map(|issuer| (issuer.settings.issuer.clone(), Arc::new(issuer)))
                .collect(),
            remembered: (!settings.is_empty()).then(|| Remembered::new(REMEMBERED_MAX)),
        }
    }

    /// Whether no issuer is configured.
    pub fn is_empty(&self) -> bool {
        self.by_iss.is_empty()
    }

    /// Whom a token proves at this instant.
    ///
    /// # Errors
    /// Why it proves nobody. Where newer keys might help ([`TokenRefusal::wants_keys`]) they have
    /// been asked for, and [`Issuers::verify_patiently`] waits for them.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<TokenCaller>, TokenRefusal> {
        let hash = hash(token);
        if let Some(caller) = self.recall(&hash, now) {
            return Ok(caller);
        }
        let token = Token::read(token)?;
        let issuer = self.issuer(&token)?;
        let Checked {
            expires_at,
            until,
            fingerprint,
        } = issuer.check(&token, now)?;
        let Assigned {
            tenant,
            application,
            user,
        } = assign(&issuer.settings, &token.claims)?;
        let caller = Arc::new(TokenCaller {
            tenant,
            application,
            user,
            issuer: Arc::clone(&issuer.name),
            expires_at,
        });
        if let Some(remembered) = &self.remembered {
            let verified = Verified {
                issuer: Arc::clone(issuer),
                fingerprint,
                caller: Arc::clone(&caller),
            };
            remembered.remember(hash, until, now, verified);
        }
        Ok(caller)
    }

    /// As [`Issuers::verify`], and where newer keys might help waits for them, for so long.
    ///
    /// Strange keys make an issuer's be read at most once a minute, and whoever comes in between is
    /// answered at once: forged tokens hold up nobody.
    ///
    /// # Errors
    /// Why the token proves nobody.
    pub async fn verify_patiently(
        &self,
        token: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Result<Arc<TokenCaller>, TokenRefusal> {
        let read = Token::read(token)?;
        let keys = &self.issuer(&read)?.keys;
        patiently(keys, patience, || self.verify(token, now)).await
    }

    fn issuer(&self, token: &Token<'_>) -> Result<&Arc<Issuer>, TokenRefusal> {
        let issuer = token.issuer().and_then(|iss| self.by_iss.get(iss));
        issuer.ok_or(TokenRefusal::UnknownIssuer)
    }

    /// What is remembered of a token, while its issuer's keys are the same and still count.
    fn recall(&self, hash: &TokenHash, now: Timestamp) -> Option<Arc<TokenCaller>> {
        let verified = self.remembered.as_ref()?.find(hash, now)?;
        let keys = verified.issuer.keys(now).ok()?;
        (keys.fingerprint == verified.fingerprint).then_some(verified.caller)
    }
}

/// Verifies, and where newer keys might help waits for them and verifies once more.
pub(super) async fn patiently<T>(
    keys: &IssuerKeys,
    patience: Duration,
    verify: impl Fn() -> Result<T, TokenRefusal>,
) -> Result<T, TokenRefusal> {
    let mut attempts = keys.attempts();
    match verify() {
        Err(refusal) if refusal.wants_keys() && !keys.is_resting() => {
            let ended = tokio::time::timeout(patience, attempts.next()).await;
            ended.map_or(Err(refusal), |()| verify())
        }
        verified => verified,
    }
}

impl Issuer {
    pub(super) fn new(settings: &IssuerSettings, ring: &KeyRing) -> Self {
        Self {
            name: settings.name.as_str().into(),
            keys: ring.keys(settings),
            settings: settings.clone(),
        }
    }

    /// Signature, time and audience.
    pub(super) fn check(&self, token: &Token<'_>, now: Timestamp) -> Result<Checked, TokenRefusal> {
        let (algorithm, keys) = (self.algorithm(token)?, self.keys(now)?);
        self.check_signature(token, algorithm, &keys)?;
        let (expires_at, until) = self.check_time(token, now)?;
        if !token.is_for(&self.settings.audiences) {
            return Err(TokenRefusal::WrongAudience);
        }
        Ok(Checked {
            expires_at,
            until,
            fingerprint: keys.fingerprint,
        })
    }

    fn algorithm(&self, token: &Token<'_>) -> Result<Algorithm, TokenRefusal> {
        Algorithm::from_name(&token.header.alg)
            .filter(|algorithm| self.settings.algorithms.contains(algorithm))
            .ok_or(TokenRefusal::AlgorithmNotAllowed)
    }

    /// The issuer's keys, while they count.
    fn keys(&self, now: Timestamp) -> Result<Arc<KeySet>, TokenRefusal> {
        let max_age = ms(self.settings.keys_max_age).unsigned_abs();
        let keys = self.keys.current();
        let keys = keys.filter(|keys| now.ms_since(keys.read_at) <= max_age);
        keys.ok_or_else(|| {
            self.keys.want();
            TokenRefusal::KeysUnavailable
        })
    }

    fn check_signature(
        &self,
        token: &Token<'_>,
        algorithm: Algorithm,
        keys: &KeySet,
    ) -> Result<(), TokenRefusal> {
        let kid = token.header.kid.as_deref();
        let Some(key) = keys.find(kid, algorithm) else {
            self.keys.want();
            return Err(TokenRefusal::UnknownSigningKey);
        };
        let is_right = key.verifies(algorithm, token.signed.as_bytes(), &token.signature);
        is_right.then_some(()).ok_or(TokenRefusal::BadSignature)
    }

    /// When the token ends, without and with leeway. One that never ends is refused.
    fn check_time(
        &self,
        token: &Token<'_>,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), TokenRefusal> {
        let leeway = ms(self.settings.leeway);
        let shifted = |at: Timestamp, by| Timestamp::from_unix_ms(at.unix_ms().saturating_add(by));
        let expires_at = token.instant("exp")?.ok_or(TokenRefusal::NoExpiry)?;
        let until = shifted(expires_at, leeway);
        if now >= until {
            return Err(TokenRefusal::Expired);
        }
        match token.instant("nbf")? {
            Some(not_before) if now < shifted(not_before, -leeway) => {
                Err(TokenRefusal::NotYetValid)
            }
            _ => Ok((expires_at, until)),
        }
    }
}

fn hash(token: &str) -> TokenHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Tokens in use at once that need no second check; a place is a pointer, a token some 300 bytes.
const REMEMBERED_MAX: usize = 16_384;

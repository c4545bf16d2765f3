//! What is known of a caller beyond doubt, and how it was shown.

use std::sync::Arc;

use super::error::IdentityError;
use crate::domain::{ApplicationId, TenantId, Timestamp};
use crate::registry::{Key, Standing};

/// How a caller was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// By a signature with an issued key pair.
    Signature,
    /// By an issued bearer token.
    Token,
    /// By a token of a configured issuer.
    Jwt,
    /// By a client certificate.
    Certificate,
    /// By a pair of one hour, given for another proof.
    Session,
}

impl Means {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Token => "token",
            Self::Jwt => "jwt",
            Self::Certificate => "certificate",
            Self::Session => "session",
        }
    }
}

/// A proven caller.
#[derive(Clone, Debug)]
pub struct Proof {
    /// How.
    pub means: Means,
    /// Who pays.
    pub tenant: TenantId,
    /// The workload, where the proof names it.
    pub application: Option<ApplicationId>,
    /// The user, where the proof names it.
    pub user: Option<Arc<str>>,
    /// The key that was used.
    pub key: Option<Arc<Key>>,
    /// When the proof ends, where that is not the key's own affair.
    pub expires_at: Option<Timestamp>,
}

impl Proof {
    /// The proof that a key of the registry gives.
    pub(super) fn by_key(means: Means, key: &Arc<Key>) -> Self {
        Self {
            means,
            tenant: key.tenant.name.clone(),
            application: None,
            user: None,
            key: Some(Arc::clone(key)),
            expires_at: None,
        }
    }

    /// Refuses a proof that held once. Only who holds the secret learns that it did.
    ///
    /// # Errors
    /// When the key was revoked, or its time or that of the proof is over.
    pub(super) fn demand_standing(&self, now: Timestamp) -> Result<(), IdentityError> {
        let tenant = || self.tenant.clone();
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(IdentityError::KeyExpired { tenant: tenant() });
        }
        match self.key.as_ref().map(|key| key.standing(now)) {
            Some(Standing::Revoked) => Err(IdentityError::KeyRevoked { tenant: tenant() }),
            Some(Standing::Expired) => Err(IdentityError::KeyExpired { tenant: tenant() }),
            Some(Standing::Good) | None => Ok(()),
        }
    }
}

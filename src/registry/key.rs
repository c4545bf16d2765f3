//! An issued key: as it is kept in memory for calls, as it is listed, as it is handed out once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::document::PolicyDocument;
use super::id::{KeyId, KeyKind};
use super::policy::Policy;
use super::tenant::Tenant;
use crate::domain::{Secret, TenantId, Timestamp};

/// A key as calls meet it. Its secret is not here: it is derived when needed, or only hashed.
#[derive(Debug)]
pub struct Key {
    /// Its public id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// What it may do, beside what its tenant may.
    pub policy: Arc<Policy>,
    /// The master key that a pair's secret is derived from.
    pub(super) master_version: u32,
    pub(super) secret_sha256: Option<[u8; 32]>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    /// Milliseconds of the newest call, 0 before the first; each call overwrites it, unlocked.
    pub(super) last_used_ms: AtomicI64,
}

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Good,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Standing {
    /// `good`, `expired` or `revoked`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Standing {
    fn of(revoked_at: Option<Timestamp>, expires_at: Option<Timestamp>, now: Timestamp) -> Self {
        if revoked_at.is_some() {
            Self::Revoked
        } else if expires_at.is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::Good
        }
    }
}

impl Key {
    /// Whether it works at that instant.
    pub fn standing(&self, now: Timestamp) -> Standing {
        Standing::of(self.revoked_at, self.expires_at, now)
    }

    /// Whether that is the secret of this token, told in constant time. Always false for a pair.
    pub fn is_token_secret(&self, secret: &str) -> bool {
        let shown = digest(&SHA256, secret.as_bytes());
        let kept = self.secret_sha256.unwrap_or_default();
        let equal = verify_slices_are_equal(shown.as_ref(), &kept).is_ok();
        equal && self.secret_sha256.is_some()
    }

    /// The master key that a pair's secret is derived from.
    pub const fn master_version(&self) -> u32 {
        self.master_version
    }

    /// Notes that a call used it.
    pub fn used(&self, now: Timestamp) {
        self.last_used_ms.store(now.unix_ms(), Ordering::Relaxed);
    }
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose; a tenant that is not there yet is added.
    pub tenant: TenantId,
    /// A pair or a token.
    pub kind: KeyKind,
    /// A name for people, and for files that are applied.
    pub name: Option<String>,
    /// What it may do.
    pub policy: PolicyDocument,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is handed out, this once.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its public id: the access key id of a pair.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The secret access key of a pair; the whole token otherwise.
    pub secret: Secret,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its public id.
    pub id: KeyId,
    /// A pair or a token.
    pub kind: KeyKind,
    /// Whose.
    pub tenant: TenantId,
    /// Its name for people.
    pub name: Option<String>,
    /// What it may do.
    pub policy: PolicyDocument,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When a call last used it, to the minute or so.
    pub last_used_at: Option<Timestamp>,
}

impl KeyRecord {
    /// Whether it works at that instant.
    pub fn standing(&self, now: Timestamp) -> Standing {
        Standing::of(self.revoked_at, self.expires_at, now)
    }
}

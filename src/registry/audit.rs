//! The record of every administrative act.

use crate::domain::{Timestamp, keywords};

/// One act, as it was written down with what it changed, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub at: Timestamp,
    /// Who: a user of the machine or of the admin listener.
    pub actor: String,
    /// What.
    pub act: Act,
    /// The key's id or the tenant's name.
    pub subject: String,
    /// Whose.
    pub tenant: String,
    /// What changed, without secrets.
    pub detail: String,
}

keywords!(
    /// An administrative act.
    Act {
        /// A key was issued.
        KeyCreated = "key_created",
        /// A key was replaced by another.
        KeyRotated = "key_rotated",
        /// A key was revoked.
        KeyRevoked = "key_revoked",
        /// A key was given an end.
        KeyExpires = "key_expires",
        /// A key's policy changed.
        KeyChanged = "key_changed",
        /// A tenant was added.
        TenantCreated = "tenant_created",
        /// A tenant's facts or policy changed.
        TenantChanged = "tenant_changed",
        /// A tenant has another name.
        TenantRenamed = "tenant_renamed",
        /// A tenant's calls are refused.
        TenantSuspended = "tenant_suspended",
        /// A tenant's calls are served again.
        TenantResumed = "tenant_resumed",
    }
);

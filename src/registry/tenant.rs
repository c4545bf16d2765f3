//! A tenant as the registry knows it.

use super::policy::Policy;
use crate::domain::{TenantId, Timestamp};

/// Who pays, who answers for it, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: TenantId,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where its money is booked.
    pub cost_centre: Option<String>,
    /// Whom to write to.
    pub contact: Option<String>,
    /// When it begins.
    pub starts_at: Option<Timestamp>,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// Since when it is suspended.
    pub suspended_at: Option<Timestamp>,
    /// What all its callers may do.
    pub policy: Policy,
}

impl Tenant {
    /// Whether its calls are served at that instant.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.suspended_at.is_none()
            && self.starts_at.is_none_or(|starts| starts <= now)
            && self.ends_at.is_none_or(|ends| now < ends)
    }
}

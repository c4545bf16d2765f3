//! The caller, as far as the identity settings let it be known.

use std::sync::Arc;

use crate::domain::{ApplicationId, TenantId};

/// An admitted caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload.
    pub application: ApplicationId,
    /// The caller's user: a pseudonym or the name, as the settings say.
    pub user: Option<Arc<str>>,
    /// The caller's session or run.
    pub session: Option<Arc<str>>,
    /// Whether header and base path contradicted each other and the header was believed; to be
    /// counted (`identity.on_contradiction = "ignore-and-count"`).
    pub contradicted: bool,
}

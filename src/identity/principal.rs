//! The caller, as far as the identity settings let it be known.

use std::sync::Arc;

use super::judge::Grants;
use super::proof::Means;
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
    /// Whether a weaker claim contradicted a stronger one and was passed over; to be counted
    /// (`on_contradiction = "ignore-and-count"`).
    pub contradicted: bool,
    /// How it was proven; `None` for a caller whose network is trusted.
    pub proven_by: Option<Means>,
    /// What its key and its tenant may do.
    pub grants: Grants,
}

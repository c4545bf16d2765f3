//! What a key or a tenant may do. It judges names, and does not know how they were resolved.

use ipnet::IpNet;

use super::settings::OnContradiction;
use crate::domain::{ApplicationId, Glob, Operation, Region, keywords};

/// What a key or a tenant may do. An empty list allows everything of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The applications it may name.
    pub applications: Vec<ApplicationId>,
    /// The application of calls that name none.
    pub default_application: Option<ApplicationId>,
    /// The models, by label (`us.anthropic.claude-opus-5-5`) or base id.
    pub models: Vec<Glob>,
    /// The geographies: `in-region`, `global`, or a profile's prefix (`us`, `eu`, ...).
    pub geographies: Vec<Glob>,
    /// The regions that may be called.
    pub regions: Vec<Region>,
    /// The operations.
    pub operations: Vec<Operation>,
    /// The networks that it may call from.
    pub networks: Vec<IpNet>,
    /// Resources of the account that are its own: ARNs, ids, `s3://` URIs.
    pub resources: Vec<Glob>,
    /// The guardrail that every model call must name, by id or ARN.
    pub require_guardrail: Option<Glob>,
    /// The region of calls that name none.
    pub region: Option<Region>,
    /// The role that is assumed for its calls.
    pub role_arn: Option<String>,
    /// What happens when a weaker claim contradicts the proof; absent: as the settings say.
    pub on_contradiction: Option<OnContradiction>,
    /// Whether what it forbids is refused, or only counted.
    pub enforcement: Enforcement,
}

keywords!(
    /// Whether what a policy forbids is refused.
    Enforcement {
        /// It is refused.
        Enforce = "enforce",
        /// It passes, and is counted as what would have been refused.
        Observe = "observe",
    }
);

impl Policy {
    /// Whether it forbids nothing and sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

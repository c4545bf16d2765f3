//! What the part of a URL before Bedrock's own path says. It does not know how it is parsed.

use super::{ApplicationId, Region, TenantId};

/// What an endpoint's base path names: `/tenant/{t}/application/{a}/region/{r}/mantle/`, each
/// part optional. A claim of the caller, not a proof.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath {
    /// The tenant it names.
    pub tenant: Option<TenantId>,
    /// The application it names.
    pub application: Option<ApplicationId>,
    /// The region it names; whether it is a configured one is not known here.
    pub region: Option<Region>,
    /// Whether it asks for Bedrock's second host, mantle.
    pub mantle: bool,
}

//! How people log in (`[admin.login]`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::admin::Role;
use crate::domain::Secret;
use crate::identity::{Algorithm, ClaimName, IssuerSettings};

/// The login provider, and what its people may do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginSettings {
    /// The exact `iss` of its tokens, below which its discovery document is; absent: nobody logs in.
    pub issuer: Option<String>,
    /// What the provider calls this proxy; the audience of its tokens.
    pub client_id: Option<String>,
    /// What the proxy proves itself to the provider by; absent: it is a public client.
    pub client_secret: Option<Secret>,
    /// Scheme, host and port that people reach the admin listener by; absent: those of the listener.
    pub external_url: Option<Uri>,
    /// What the provider is asked for.
    pub scopes: Vec<String>,
    /// The claim whose values `roles` maps.
    pub roles_claim: ClaimName,
    /// The claim that names a team lead's tenant.
    pub tenant_claim: Option<ClaimName>,
    /// The claim that the audit log names people by.
    pub user_claim: ClaimName,
    /// The algorithms that the provider may sign with.
    pub algorithms: Vec<Algorithm>,
    /// How long a browser's session lasts.
    pub session_max: Duration,
    /// A PEM file with the authorities of the provider, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether the way there leads through `upstream.proxy`.
    pub through_proxy: bool,
    /// The role of whoever has that value in `roles_claim`.
    pub roles: BTreeMap<String, Role>,
}

impl Default for LoginSettings {
    fn default() -> Self {
        Self {
            issuer: None,
            client_id: None,
            client_secret: None,
            external_url: None,
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            roles_claim: ClaimName::member("groups"),
            tenant_claim: None,
            user_claim: ClaimName::member("sub"),
            algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
            session_max: Duration::from_hours(8),
            ca_file: None,
            through_proxy: true,
            roles: BTreeMap::new(),
        }
    }
}

impl LoginSettings {
    /// Whether people can log in.
    pub const fn is_on(&self) -> bool {
        self.issuer.is_some()
    }

    /// The provider as an issuer of tokens, whose keys are read like those of any other.
    pub fn issuer_settings(&self) -> Option<IssuerSettings> {
        Some(IssuerSettings {
            issuer: self.issuer.clone()?,
            audiences: self.client_id.iter().cloned().collect(),
            algorithms: self.algorithms.clone(),
            jwks_ca_file: self.ca_file.clone(),
            jwks_through_proxy: self.through_proxy,
            ..IssuerSettings::named(ISSUER_NAME)
        })
    }
}

/// In logs and metrics; no issuer of `identity.issuers` can have it, for its dot.
const ISSUER_NAME: &str = "admin.login";

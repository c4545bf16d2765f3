//! Who may say who is calling, and how they say it (`[identity]`, `when.identity_unknown`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::HeaderName;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::certificates::CertificateRule;
use super::jwt::IssuerSettings;
use crate::domain::{ApplicationId, Glob, Secret, TenantId, keywords};
use crate::registry::OnContradiction;

/// The identity settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How callers are told apart.
    pub mode: Mode,
    /// The networks whose callers may name their tenant.
    pub trusted_networks: Vec<IpNet>,
    /// The headers that carry identity.
    pub headers: HeaderNames,
    /// The request metadata key that names the application.
    pub application_metadata_key: String,
    /// The closed list of tenants; empty: every valid name is a tenant.
    pub tenants: Vec<TenantSettings>,
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerSettings>,
    /// Rules from the names of client certificates to tenants; the first that matches holds.
    pub certificates: Vec<CertificateRule>,
    /// The hops whose word about a client's certificate is believed.
    pub certificate_hops: Vec<IpNet>,
    /// What happens when two claims of one request contradict each other.
    pub on_contradiction: OnContradiction,
    /// How the caller's user is kept.
    pub user: UserPolicy,
    /// The key of the pseudonyms; absent: the program generates one for its ledger directory.
    pub pseudonym_key: Option<Secret>,
    /// What happens to a trusted caller who names no tenant.
    pub identity_unknown: IdentityUnknown,
    /// Other names by which clients call this proxy, as they sign them (`host` or `host:port`).
    pub external_names: Vec<String>,
    /// What a load balancer takes off each path before this proxy sees it.
    pub external_path_prefix: Option<String>,
    /// The most that a signature's time may differ from ours.
    pub clock_skew_max: Duration,
    /// Whether a signature may leave the body out (`UNSIGNED-PAYLOAD`).
    pub allow_unsigned_payload: bool,
    /// Whether a signature is taken only once while it is valid.
    pub refuse_replays: bool,
    /// Which resources of the account a proven caller reaches.
    pub resources: Resources,
    /// Resources of the account that are everybody's.
    pub shared_resources: Vec<Glob>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            trusted_networks: loopback_networks(),
            headers: HeaderNames::default(),
            application_metadata_key: "application".to_owned(),
            tenants: Vec::new(),
            issuers: Vec::new(),
            certificates: Vec::new(),
            certificate_hops: Vec::new(),
            on_contradiction: OnContradiction::default(),
            user: UserPolicy::default(),
            pseudonym_key: None,
            identity_unknown: IdentityUnknown::default(),
            external_names: Vec::new(),
            external_path_prefix: None,
            // The window of AWS itself (AWS general reference, "Troubleshooting SigV4").
            clock_skew_max: Duration::from_mins(5),
            allow_unsigned_payload: false,
            refuse_replays: false,
            resources: Resources::default(),
            shared_resources: Vec::new(),
        }
    }
}

/// The header names that carry each kind; the first is the product's own, the others are aliases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderNames {
    /// Names the tenant.
    pub tenant: Vec<HeaderName>,
    /// Names the application.
    pub application: Vec<HeaderName>,
    /// Names the user.
    pub user: Vec<HeaderName>,
    /// Names the session or run.
    pub session: Vec<HeaderName>,
}

impl Default for HeaderNames {
    fn default() -> Self {
        Self {
            tenant: vec![HeaderName::from_static("x-bedrock-meter-tenant")],
            application: vec![HeaderName::from_static("x-bedrock-meter-application")],
            user: vec![HeaderName::from_static("x-bedrock-meter-user")],
            session: vec![HeaderName::from_static("x-bedrock-meter-session")],
        }
    }
}

/// One tenant of the closed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSettings {
    /// Its name.
    pub name: TenantId,
    /// Its closed list of applications; empty: every valid name.
    pub applications: Vec<ApplicationId>,
    /// The application of calls that name none.
    pub default_application: Option<ApplicationId>,
}

keywords!(
    /// How callers are told apart.
    Mode {
        /// Callers of trusted networks are believed, unless they show a key of this proxy's.
        TrustedHeaders = "trusted-headers",
        /// Every caller proves who it is; names alone are never believed.
        Proven = "proven",
    }
);

keywords!(
    /// Which resources of the account a proven caller reaches by the proxy's credentials: buckets,
    /// guardrails, profiles, prompts, custom models, jobs.
    Resources {
        /// Those that its policies list, its own jobs, and the shared ones.
        Owned = "owned",
        /// All that the proxy's credentials reach.
        Shared = "shared",
    }
);

keywords!(
    /// How the caller's user is kept in the ledger.
    UserPolicy {
        /// As a keyed hash: the same user has the same pseudonym, nobody can read it back.
        Pseudonym = "pseudonym",
        /// As sent.
        Store = "store",
        /// Not at all.
        Drop = "drop",
    }
);

keywords!(
    /// What happens to a trusted caller who names no tenant.
    IdentityUnknown {
        /// Admitted as tenant `unknown`.
        Allow = "allow",
        /// Refused.
        Refuse = "refuse",
    }
);

fn loopback_networks() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    vec![v4.into(), v6.into()]
}

//! Why a caller is refused. Nothing was sent to Bedrock, and no message repeats a raw header.

use std::net::IpAddr;

use crate::domain::{ApplicationId, InvalidName, TenantId};

/// Why a caller is refused; the message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A caller outside the trusted networks names a tenant. The operator adds its network, or
    /// the caller is an intruder.
    #[error(
        "bedrock-meter: this proxy does not let {client} name a tenant: the address is in none of \
         its identity.trusted_networks. Ask its operator to add your network."
    )]
    Untrusted {
        /// The address that the proxy saw.
        client: IpAddr,
    },
    /// A caller outside the trusted networks names no tenant, and nothing else proves it.
    #[error(
        "bedrock-meter: this proxy cannot tell who {client} is: the address is in none of its \
         identity.trusted_networks. Ask its operator to add your network."
    )]
    Unproven {
        /// The address that the proxy saw.
        client: IpAddr,
    },
    /// A trusted caller names no tenant, and `when.identity_unknown` is `refuse`.
    #[error(
        "bedrock-meter: this proxy demands a tenant and the request names none. Send the header \
         {header}, or put /tenant/NAME in the endpoint URL."
    )]
    TenantMissing {
        /// The header to send.
        header: String,
    },
    /// Several headers carry one claim.
    #[error(
        "bedrock-meter: the request names its {claim} in more than one header. Send one of them, \
         once."
    )]
    Ambiguous {
        /// What they name.
        claim: Claim,
    },
    /// Header and base path name different things.
    #[error(
        "bedrock-meter: the request names one {claim} in a header and another in the URL. Make \
         them equal, or send one of them."
    )]
    Contradiction {
        /// What they name.
        claim: Claim,
    },
    /// A name breaks the rule for names.
    #[error("bedrock-meter: the request names its {claim} by what is {cause}.")]
    InvalidName {
        /// What it names.
        claim: Claim,
        /// The rule.
        cause: InvalidName,
    },
    /// The tenant is not in the closed list.
    #[error(
        "bedrock-meter: this proxy has no tenant {tenant}. Check the spelling, or ask its operator \
         to add it to identity.tenants."
    )]
    UnknownTenant {
        /// The name.
        tenant: TenantId,
    },
    /// The tenant lists its applications, and this is none of them.
    #[error(
        "bedrock-meter: tenant {tenant} has no application {application} in this proxy. Check the \
         spelling, or ask its operator to add it to the tenant's applications."
    )]
    UnlistedApplication {
        /// The tenant.
        tenant: TenantId,
        /// The name.
        application: ApplicationId,
    },
}

impl IdentityError {
    /// Every kind.
    pub const KINDS: [&'static str; 8] = [
        "untrusted_caller",
        "unproven_caller",
        "tenant_missing",
        "ambiguous_claim",
        "contradicting_claims",
        "invalid_name",
        "unknown_tenant",
        "unlisted_application",
    ];

    /// The kind: a closed set, for the metric label `reason` and `x-bedrock-meter-error`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => "untrusted_caller",
            Self::Unproven { .. } => "unproven_caller",
            Self::TenantMissing { .. } => "tenant_missing",
            Self::Ambiguous { .. } => "ambiguous_claim",
            Self::Contradiction { .. } => "contradicting_claims",
            Self::InvalidName { .. } => "invalid_name",
            Self::UnknownTenant { .. } => "unknown_tenant",
            Self::UnlistedApplication { .. } => "unlisted_application",
        }
    }

    /// The HTTP status: 400 where the request is at fault, 403 where the caller may not.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Ambiguous { .. } | Self::Contradiction { .. } | Self::InvalidName { .. } => 400,
            Self::Untrusted { .. }
            | Self::Unproven { .. }
            | Self::TenantMissing { .. }
            | Self::UnknownTenant { .. }
            | Self::UnlistedApplication { .. } => 403,
        }
    }
}

/// What a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The tenant.
    Tenant,
    /// The application.
    Application,
    /// The user.
    User,
    /// The session.
    Session,
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Application => "application",
            Self::User => "user",
            Self::Session => "session",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_whose_it_is_and_has_its_kind() {
        let client = IpAddr::from([203, 0, 113, 9]);
        let tenant = TenantId::new("acme").unwrap();
        let application = ApplicationId::new("chat").unwrap();
        let claim = Claim::Tenant;
        let errors = [
            IdentityError::Untrusted { client },
            IdentityError::Unproven { client },
            IdentityError::TenantMissing {
                header: "x-team".to_owned(),
            },
            IdentityError::Ambiguous { claim },
            IdentityError::Contradiction { claim },
            IdentityError::InvalidName {
                claim,
                cause: TenantId::new("").unwrap_err(),
            },
            IdentityError::UnknownTenant {
                tenant: tenant.clone(),
            },
            IdentityError::UnlistedApplication {
                tenant,
                application,
            },
        ];
        for error in &errors {
            assert!(error.to_string().starts_with("bedrock-meter: "), "{error}");
        }
        assert_eq!(
            errors.each_ref().map(IdentityError::kind),
            IdentityError::KINDS
        );
        assert_eq!(
            errors.each_ref().map(IdentityError::status),
            [403, 403, 403, 400, 400, 400, 403, 403]
        );
    }
}

//! Why a caller is refused. Nothing was sent to Bedrock, and no message repeats a raw header.

use std::net::IpAddr;

use super::judge::Forbidden;
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
    /// Nothing proves the caller, and the mode is `proven`.
    #[error(
        "bedrock-meter: this proxy demands a key of its own and the request shows none. Ask its \
         operator for one (`bedrock-meter keys create`)."
    )]
    CredentialsMissing,
    /// The request is signed with a key of another issuer, such as a real AWS key.
    #[error(
        "bedrock-meter: the request is signed with {issuer}, and this proxy takes keys of its own \
         only. Use the key that its operator issued to you; the AWS key opens nothing here and is \
         not needed."
    )]
    ForeignKey {
        /// Whose key it seems to be.
        issuer: &'static str,
    },
    /// A signature that does not hold, or an access key id that nobody has: one answer.
    #[error(
        "bedrock-meter: the signature does not match, or the access key id is none of this \
         proxy's. Check id and secret; behind a load balancer its operator checks \
         identity.external_names."
    )]
    InvalidSignature {
        /// Why, for log and metric alone.
        reason: &'static str,
    },
    /// The signature is too old, or of the future.
    #[error(
        "bedrock-meter: the signature's time differs from this proxy's by {skew_seconds} s. Set \
         the clock of the caller."
    )]
    ClockSkew {
        /// By how much.
        skew_seconds: u64,
    },
    /// A token that nobody has.
    #[error(
        "bedrock-meter: the bearer token is none of this proxy's. Check that it was copied whole, \
         or ask its operator for a new one."
    )]
    InvalidToken {
        /// Why, for log and metric alone.
        reason: &'static str,
    },
    /// The token may be good, but its issuer's keys cannot be read. Nothing was sent to Bedrock;
    /// the operator looks at `issuer_keys_failed` in the log.
    #[error(
        "bedrock-meter: the keys of the token's issuer cannot be read at the moment, so that nobody \
         can tell whether it is good."
    )]
    IssuerUnavailable,
    /// The key, or the proof, was good once.
    #[error("bedrock-meter: this key of tenant {tenant} has expired. Ask for a new one.")]
    KeyExpired {
        /// Whose it was.
        tenant: TenantId,
    },
    /// The key was revoked.
    #[error("bedrock-meter: this key of tenant {tenant} was revoked. Ask for a new one.")]
    KeyRevoked {
        /// Whose it was.
        tenant: TenantId,
    },
    /// The tenant is suspended, or its time has not come or is over.
    #[error("bedrock-meter: tenant {tenant} is not active in this proxy. Ask its operator.")]
    TenantInactive {
        /// The tenant.
        tenant: TenantId,
    },
    /// The signature was taken before.
    #[error("bedrock-meter: this very signature was taken before. Sign each request anew.")]
    Replayed {
        /// Whose it is.
        tenant: TenantId,
    },
    /// The policy of key or tenant forbids it.
    #[error(
        "bedrock-meter: tenant {tenant} may not {what}. Ask the operator of this proxy to allow it."
    )]
    Forbidden {
        /// Whose policy.
        tenant: TenantId,
        /// What it forbids.
        what: Forbidden,
    },
}

impl IdentityError {
    /// The reason that log and metric show; `None` where the kind says it all.
    pub const fn reason(&self) -> Option<&'static str> {
        if let Self::InvalidSignature { reason } | Self::InvalidToken { reason } = self {
            Some(reason)
        } else {
            None
        }
    }

    /// The tenant, where it is proven.
    pub const fn tenant(&self) -> Option<&TenantId> {
        if let Self::KeyExpired { tenant }
        | Self::KeyRevoked { tenant }
        | Self::Replayed { tenant }
        | Self::Forbidden { tenant, .. } = self
        {
            Some(tenant)
        } else {
            None
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

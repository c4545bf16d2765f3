//! Why a token proves nobody. No message repeats a part of the token.

/// Why a token is refused. Nothing was sent to Bedrock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is no signed token in compact form, has no claims, or demands an extension.
    #[error("the token is not a signed JWT in compact form")]
    Malformed,
    /// It is longer than 16 KiB.
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Its `iss` is none of `identity.issuers`.
    #[error("the token's issuer is not known to this proxy")]
    UnknownIssuer,
    /// Its `alg` is none that its issuer may use; `none` and HMAC never are.
    #[error("the token is signed with an algorithm that its issuer may not use here")]
    AlgorithmNotAllowed,
    /// The issuer's keys were never read, or not for `keys_max_age`. The operator looks at
    /// `issuer_keys_failed` in the log.
    #[error("the keys of the token's issuer cannot be read at the moment")]
    KeysUnavailable,
    /// The issuer has no such key: it was taken away, or is too new.
    #[error("the token is signed with a key that its issuer does not publish")]
    UnknownSigningKey,
    /// The signature is not the issuer's.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// It has no `exp`, so that it would be good for ever once stolen.
    #[error("the token never expires")]
    NoExpiry,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It was issued for somebody else.
    #[error("the token is for another audience")]
    WrongAudience,
    /// No rule matches it, and it has no claim that names a tenant.
    #[error("the token names no tenant that this proxy knows how to read")]
    NoTenantClaim,
    /// What it names its tenant by is no valid name.
    #[error("the token names its tenant by what is no valid name")]
    InvalidTenantClaim,
}

impl TokenRefusal {
    /// Every reason.
    pub const REASONS: [&'static str; 13] = [
        "malformed",
        "too_long",
        "unknown_issuer",
        "algorithm_not_allowed",
        "keys_unavailable",
        "unknown_signing_key",
        "bad_signature",
        "no_expiry",
        "expired",
        "not_yet_valid",
        "wrong_audience",
        "no_tenant_claim",
        "invalid_tenant_claim",
    ];

    /// The reason: a closed set, for a metric label and the log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::UnknownIssuer => "unknown_issuer",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownSigningKey => "unknown_signing_key",
            Self::BadSignature => "bad_signature",
            Self::NoExpiry => "no_expiry",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::NoTenantClaim => "no_tenant_claim",
            Self::InvalidTenantClaim => "invalid_tenant_claim",
        }
    }

    /// Whether newer keys of the issuer could change the answer.
    pub const fn wants_keys(self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::UnknownSigningKey)
    }
}

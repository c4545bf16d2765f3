//! Tokens of configured issuers: JWT of an OIDC provider, or of Kubernetes' service accounts.
//!
//! Signatures are checked by `aws-lc-rs`. No crate for JWT stands between: such a crate would read
//! the system's clock, which is an argument here, and what remained of it would be three calls.

mod claim_name;
mod issuers;
mod key_set;
mod refusal;
mod remembered;
mod ring;
mod rules;
mod settings;
mod sole;
mod token;

#[cfg(test)]
mod tests;

pub use claim_name::ClaimName;
pub use issuers::{Issuers, TokenCaller};
pub use key_set::{InvalidKeySet, KeySet};
pub use refusal::TokenRefusal;
pub use ring::{IssuerKeys, KeyRing};
pub use settings::{Algorithm, IssuerSettings, JwksUrl, MatchRule};
pub use sole::{SoleIssuer, TokenClaims};
pub use token::looks_like_jwt;

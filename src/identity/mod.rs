//! Who is calling: claims in, a principal or a refusal out.
//!
//! This room reads heads, addresses and small facts of a request; it knows nothing of models,
//! prices or the way upstream. Today callers of trusted networks are believed; a stronger proof
//! (signature, key, certificate) joins as another way to find the tenant in `identify.rs`.

mod address;
mod ambient;
mod certificates;
mod error;
mod glob;
mod headers;
mod identify;
mod jwt;
mod principal;
mod proxy_protocol;
mod pseudonym;
mod settings;
mod template;

pub use address::client_address;
pub use certificates::{
    CertificateCaller, CertificateName, CertificateRule, Certificates, ClientCertificate, Peer,
};
pub use error::{Claim, IdentityError};
pub use glob::Glob;
pub use identify::{Claims, Identity};
pub use jwt::{
    Algorithm, ClaimName, InvalidKeySet, IssuerKeys, IssuerSettings, Issuers, JwksUrl, KeyRing,
    KeySet, MatchRule, TokenCaller, TokenRefusal, looks_like_jwt,
};
pub use principal::Principal;
pub use proxy_protocol::{ProxyHeader, parse_proxy_v2};
pub use settings::{
    HeaderNames, IdentityUnknown, Mode, OnContradiction, Settings, TenantSettings, UserPolicy,
};
pub use template::Template;

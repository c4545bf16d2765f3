//! Who is calling, and whether that may be: heads and proofs in, a principal or a refusal out.
//!
//! This room reads heads, addresses and small facts of a request; it knows nothing of prices or
//! the way upstream. The strongest proof decides who pays; callers of trusted networks may name
//! a tenant where nothing proves one.

mod address;
mod ambient;
mod caller;
mod certificates;
mod error;
mod head;
mod headers;
mod identify;
mod judge;
mod jwt;
mod outside;
mod pattern;
mod principal;
mod proof;
mod proxy_protocol;
mod pseudonym;
mod replay;
mod session;
mod settings;
mod signature;
mod template;
mod token;

pub use address::client_address;
pub use caller::Caller;
pub use certificates::{
    CertificateCaller, CertificateName, CertificateRule, Certificates, ClientCertificate, Peer,
};
pub use error::{Claim, IdentityError};
pub use head::{Head, shown_token};
pub use identify::{Claims, Identity};
pub use judge::{Asked, Forbidden, Grants, Judgement};
pub use jwt::{
    Algorithm, ClaimName, InvalidKeySet, IssuerKeys, IssuerSettings, Issuers, JwksUrl, KeyRing,
    KeySet, MatchRule, SoleIssuer, TokenCaller, TokenClaims, TokenRefusal, looks_like_jwt,
};
pub use outside::Outside;
pub use pattern::Pattern;
pub use principal::Principal;
pub use proof::{Means, Proof};
pub use proxy_protocol::{ProxyHeader, parse_proxy_v2};
pub use replay::Replays;
pub use session::Session;
pub use settings::{
    HeaderNames, IdentityUnknown, Mode, Resources, Settings, TenantSettings, UserPolicy,
};
pub use signature::Signed;
pub use template::Template;

//! The road to Bedrock: targets, connections, credentials, one exchange at a time.
//!
//! This room knows nothing of callers, prices or ledgers.

mod bearer;
mod connect;
mod credentials;
mod error;
mod exchange;
mod pool;
mod request_body;
mod roles;
mod sessions;
mod settings;
mod sts;
mod target;
mod web;

pub use connect::TrustError;
pub use credentials::{Authority, CredentialRefresher, CredentialStore, load_authority};
pub use error::{RoleFailure, RoleUnavailable, UpstreamError};
pub use exchange::{Exchange, Failed, Patience};
pub use pool::Pool;
pub use request_body::RequestBody;
pub use roles::{Roles, Wanted};
pub use sessions::{RoleAssumer, RoleSessions};
pub use settings::{
    BearerKey, CredentialSettings, HttpProxy, MetadataKeys, RoleSettings, Settings,
};
pub use target::{InvalidTarget, Target, Targets};
pub use web::{Web, WebError, WebQuestion};

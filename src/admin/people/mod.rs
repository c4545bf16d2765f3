//! Logins of people at an OIDC provider: the authorization-code flow with PKCE for browsers, bearer
//! tokens of the same provider for programs.
//!
//! Nothing of a login is stored here. A session is a cookie that this process signs, and so is what
//! a login in progress needs; only the logins that were used are remembered, so that each is used
//! once. What a role may do is not decided here.

mod cookie;
mod desk;
mod person;
mod provider;
mod screen;
mod seal;
mod settings;
mod used;

pub use desk::{People, PeopleParts};
pub(super) use screen::go;
pub use settings::LoginSettings;

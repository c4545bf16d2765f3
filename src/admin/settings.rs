//! The admin listener (`[admin]`).

use std::net::{Ipv4Addr, SocketAddr};

use super::{LoginSettings, Role};
use crate::domain::{Secret, TenantId};

/// The admin listener and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The admin's bearer token; off loopback it, one of `tokens` or `login` is required.
    pub token: Option<Secret>,
    /// A bearer token that opens `/metrics` only; absent: `token` does.
    pub metrics_token: Option<Secret>,
    /// Further tokens, each with what it may do.
    pub tokens: Vec<TokenSettings>,
    /// How people log in.
    pub login: LoginSettings,
}

/// A bearer token of a person or a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// Its name: the audit log has it.
    pub name: String,
    /// The token; the configuration is refused without.
    pub token: Option<Secret>,
    /// What it may do.
    pub role: Role,
    /// Whose team lead it is.
    pub tenant: Option<TenantId>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8081).into(),
            token: None,
            metrics_token: None,
            tokens: Vec::new(),
            login: LoginSettings::default(),
        }
    }
}

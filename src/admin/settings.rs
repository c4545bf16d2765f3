//! The admin listener (`[admin]`).

use std::net::{Ipv4Addr, SocketAddr};

use crate::domain::Secret;

/// The admin listener and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The bearer token for everything but health; required off loopback.
    pub token: Option<Secret>,
    /// A bearer token that opens `/metrics` only; absent: `token` does.
    pub metrics_token: Option<Secret>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8081).into(),
            token: None,
            metrics_token: None,
        }
    }
}

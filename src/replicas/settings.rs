//! Where replicas share their budgets (`[budget_store]`, `when.budget_store_down`).

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::{Secret, keywords};

/// The store, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `redis://`, `rediss://` or `unix://`; absent: every replica counts for itself.
    pub redis_url: Option<Secret>,
    /// PEM file with the authorities of the store's certificate, besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name that all keys share: a cluster keeps them on one node.
    pub deployment: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// For how long a replica that is not heard of keeps its holds.
    pub lease: Duration,
    /// How many replicas there are.
    pub replicas: u32,
    /// What happens to calls while the store does not answer.
    pub when_down: StoreDown,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            redis_url: None,
            ca_file: None,
            deployment: "default".to_owned(),
            timeout: Duration::from_millis(250),
            lease: Duration::from_secs(30),
            replicas: 2,
            when_down: StoreDown::LocalShare,
        }
    }
}

keywords!(
    /// What happens to a call with a budget while replicas cannot see each other.
    StoreDown {
        /// Each replica may spend its part of what was left.
        LocalShare = "local-share",
        /// It is refused.
        Refuse = "refuse",
        /// It passes, whatever its budgets have left.
        Allow = "allow",
    }
);

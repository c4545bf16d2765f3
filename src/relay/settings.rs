//! How far an answer is read on after its client left (`[drain]`).

use std::time::Duration;

use crate::domain::keywords;

/// The limits of reading on to the usage after the client left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Whether to read on at all.
    pub on_client_disconnect: OnClientDisconnect,
    /// The longest time to read on, per call.
    pub time_max: Duration,
    /// The most bytes to read on, per call.
    pub bytes_max: u64,
    /// The most calls read on at once.
    pub calls_max: usize,
    /// The part of `calls_max` that one tenant may hold, in percent (1 to 100).
    pub share_per_tenant_percent: u8,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            on_client_disconnect: OnClientDisconnect::default(),
            time_max: Duration::from_mins(15),
            bytes_max: 64 * 1024 * 1024,
            calls_max: 256,
            share_per_tenant_percent: 25,
        }
    }
}

keywords!(
    /// What happens upstream when the client leaves.
    OnClientDisconnect {
        /// The answer is read to its usage: Bedrock charges for it anyway.
        Drain = "drain",
        /// The connection is closed and the usage estimated.
        Close = "close",
    }
);

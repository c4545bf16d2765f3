//! Where the ledger lies and how durable it is (`[ledger]`).

use std::path::PathBuf;
use std::time::Duration;

/// The ledger settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the ledger and its open-calls log.
    pub directory: PathBuf,
    /// What an admitted call survives.
    pub durability: Durability,
    /// The longest time entries wait to be committed together.
    pub commit_interval: Duration,
    /// The size at which a new segment of the open-calls log begins.
    pub segment_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("./bedrock-meter-data"),
            durability: Durability::default(),
            commit_interval: Duration::from_millis(20),
            segment_bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// What an admitted call survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process: a plain write before the first upstream byte.
    #[default]
    Default,
    /// The loss of power: that write is synced to the disk.
    Strict,
}

//! Where the ledger lies and how durable it is (`[ledger]`).

use std::path::PathBuf;
use std::time::Duration;

use super::{PostgresSettings, ReplicaSettings};
use crate::domain::keywords;

/// The ledger settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the ledger and its open-calls log.
    pub directory: PathBuf,
    /// What keeps the entries.
    pub store: StoreKind,
    /// The server, where it keeps them.
    pub postgres: PostgresSettings,
    /// Which of the processes that share a server this one is.
    pub replica: ReplicaSettings,
    /// What an admitted call survives.
    pub durability: Durability,
    /// The longest time entries wait to be committed together.
    pub commit_interval: Duration,
    /// The size at which a new segment of the open-calls log begins.
    pub segment_bytes_max: u64,
}

impl Settings {
    /// The default settings for a ledger in this directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            ..Self::default()
        }
    }

    /// The longest span of calls that a loss of power can take from the ledger; `None` when it
    /// can take none. The death of the process alone never takes any.
    pub fn power_loss_window(&self) -> Option<Duration> {
        match self.durability {
            Durability::Default => Some(super::SYNC_INTERVAL + self.commit_interval),
            Durability::Strict => None,
        }
    }

    pub(super) fn ledger_file(&self) -> PathBuf {
        super::ledger_file(&self.directory)
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.directory.join("ledger.lock")
    }

    pub(super) fn open_calls_directory(&self) -> PathBuf {
        self.directory.join("open-calls")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("./bedrock-meter-data"),
            store: StoreKind::default(),
            postgres: PostgresSettings::default(),
            replica: ReplicaSettings::default(),
            durability: Durability::default(),
            commit_interval: Duration::from_millis(20),
            segment_bytes_max: 8 * 1024 * 1024,
        }
    }
}

keywords!(
    /// What keeps the entries.
    StoreKind {
        /// A file in the ledger's directory, of one process.
        Sqlite = "sqlite",
        /// A server that replicas share.
        Postgres = "postgres",
    }
);

keywords!(
    /// What an admitted call survives.
    Durability {
        /// The death of the process: a plain write before the first upstream byte.
        Default = "default",
        /// The loss of power: that write is synced to the disk.
        Strict = "strict",
    }
);

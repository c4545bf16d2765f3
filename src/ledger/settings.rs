//! Where the ledger lies and how durable it is (`[ledger]`).

use std::fmt;
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
    /// The size at which a new segment of the open-calls log, or of the spill, begins.
    pub segment_bytes_max: u64,
    /// The most bytes that may wait in the spill while the store takes no entries.
    pub spill_bytes_max: u64,
    /// How long entries are kept; their sums always are.
    pub keep_entries: KeepEntries,
    /// Whether only entries that a backup has are deleted.
    pub keep_until_backup: bool,
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

    pub(super) fn last_backup_file(&self) -> PathBuf {
        self.directory.join("last-backup.json")
    }

    pub(super) fn elsewhere_file(&self) -> PathBuf {
        super::elsewhere::file(&self.directory)
    }

    pub(super) fn spill_directory(&self) -> PathBuf {
        self.directory.join("spill")
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
            spill_bytes_max: 1024 * 1024 * 1024,
            keep_entries: KeepEntries::Forever,
            keep_until_backup: true,
        }
    }
}

/// How long entries are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepEntries {
    /// For ever.
    Forever,
    /// So many whole UTC days, at least [`KeepEntries::DAYS_MIN`].
    Days(u32),
}

impl KeepEntries {
    /// The current month and the 31 days before it are read entry by entry.
    pub const DAYS_MIN: u32 = 62;

    /// Reads `forever` or days such as `400d`.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "forever" {
            return Some(Self::Forever);
        }
        let digits = text.strip_suffix('d')?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let days = digits.parse().ok().filter(|_| plain)?;
        (days >= Self::DAYS_MIN).then_some(Self::Days(days))
    }
}

impl fmt::Display for KeepEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::Days(days) => write!(f, "{days}d"),
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

//! The ledger: one row for every settled call, and a log of the calls that are not settled yet.
//!
//! Two things lie in the directory that [`Settings`] name. `ledger.sqlite3` holds one row per
//! call, for ever, and can be read with any SQLite tool (`docs/ledger.md` has the schema).
//! `open-calls/` holds a small record of each call that went upstream and has no row yet: what
//! is left there when a process starts belongs to calls that a dead process left open, and
//! [`recover`] settles them. One process owns a directory: `ledger.lock` says so.
//!
//! This room knows nothing of HTTP, prices or meters, and stores no text of prompts or answers.

#[cfg(test)]
mod crash_tests;
mod error;
mod open_calls;
mod open_record;
mod period;
mod query;
mod recover;
mod row;
mod schema;
mod store;
mod stored_call;
mod totals;

use std::path::PathBuf;
use std::time::Duration;

pub use error::LedgerError;
pub use open_calls::{OpenCalls, OpenTicket};
pub use open_record::OpenCall;
pub use period::{Period, Span};
pub use query::{Group, GroupBy, LedgerReader, Summary, Sums};
pub use recover::{Recovered, recover};
pub use store::Ledger;
pub use stored_call::{
    StoredAnswer, StoredCall, StoredCaller, StoredCharge, StoredChargeLine, StoredRequest,
    StoredUsage,
};
pub use totals::{PeriodTotal, PeriodTotals, Totals};

/// Where the ledger lies and how hard it holds on to what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory; created when it does not exist. A local disk: SQLite's locks and shared
    /// memory do not work on network file systems.
    pub directory: PathBuf,
    /// What survives a loss of power.
    pub durability: Durability,
    /// How long the writer gathers entries before it commits them together.
    pub commit_interval: Duration,
    /// Bytes after which the open-calls log goes on in a new segment.
    pub segment_bytes_max: u64,
}

impl Settings {
    /// The default settings for a ledger in this directory.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Default,
            commit_interval: Duration::from_millis(20),
            segment_bytes_max: 8 << 20,
        }
    }

    /// The longest span of calls that a loss of power can take from the ledger; `None` when it
    /// can take none. The death of the process alone never takes any.
    pub fn power_loss_window(&self) -> Option<Duration> {
        match self.durability {
            Durability::Default => Some(SYNC_INTERVAL + self.commit_interval),
            Durability::Strict => None,
        }
    }

    fn ledger_file(&self) -> PathBuf {
        ledger_file(&self.directory)
    }

    fn lock_file(&self) -> PathBuf {
        self.directory.join("ledger.lock")
    }

    fn open_calls_directory(&self) -> PathBuf {
        self.directory.join("open-calls")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::in_directory("./bedrock-meter-data")
    }
}

/// What survives what. Both survive the death of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Writes reach the operating system at once and the disk within [`SYNC_INTERVAL`].
    #[default]
    Default,
    /// Every open-calls record and every commit reaches the disk before anything goes on.
    Strict,
}

/// How often the writer asks the disk to keep what was written, under default durability.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The SQLite file of the ledger in that directory.
pub fn ledger_file(directory: &std::path::Path) -> PathBuf {
    directory.join("ledger.sqlite3")
}

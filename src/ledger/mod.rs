//! The ledger: one row for every settled call, and a log of the calls that are not settled yet.
//!
//! Three things lie in the directory that [`Settings`] name. `ledger.sqlite3` holds one row per
//! call, for ever, and can be read with any SQLite tool (`docs/ledger.md` has the schema).
//! `open-calls/` holds a small record of each call that went upstream and has no row yet: what
//! is left there when a process starts belongs to calls that a dead process left open, and
//! [`recover`] settles them. `spill/` holds whole entries while the store does not take them; the
//! [`Journal`] writes them there and brings them back. One process owns a directory: `ledger.lock` says so.
//!
//! This room knows nothing of HTTP, prices or meters, and stores no text of prompts or answers.

mod amounts;
mod backup;
mod breakdown;
#[cfg(test)]
mod breakdown_tests;
#[cfg(test)]
mod crash_tests;
mod cursor;
mod database;
mod elsewhere;
mod error;
mod frame;
mod inspect;
mod journal;
#[cfg(test)]
mod journal_tests;
mod mirror;
mod model_names;
mod models_seen;
mod movers;
mod open_calls;
mod open_record;
mod past;
mod period;
mod postgres;
mod query;
mod recover;
mod replay;
mod replica;
mod retention;
mod rolled;
mod rollup;
#[cfg(test)]
mod rollup_tests;
mod row;
mod schema;
mod settings;
mod spill;
mod spill_bytes;
mod spill_record;
#[cfg(test)]
mod spill_record_tests;
mod spill_state;
#[cfg(test)]
mod spill_tests;
mod store;
mod store_thread;
mod stored_call;
#[cfg(test)]
pub(crate) mod test_stores;
mod totals;
mod verify;
mod waste;
mod witness;

use std::path::PathBuf;
use std::time::Duration;

pub use amounts::LedgerAmount;
pub use backup::{Copied, Progress, back_up, restore};
pub use breakdown::Breakdown;
pub use error::LedgerError;
pub use inspect::{Condition, inspect};
pub use journal::Journal;
pub use models_seen::ModelsSeen;
pub use open_calls::{OpenCalls, OpenTicket};
pub use open_record::OpenCall;
pub use past::PastCall;
pub use period::{Period, Span};
pub use postgres::{
    Beat, Leases, PostgresProblem, PostgresSettings, ROLES_SQL, SharedCondition, SharedDeliveries,
    SharedDelivery, SslMode, Tables, inspect_shared, migrate, postgres_schema,
};
pub use query::{Group, GroupBy, LedgerReader, Summary, Sums};
pub use recover::{Recovered, recover};
pub use replay::{Replayed, replay};
pub use replica::ReplicaSettings;
pub use schema::sql_schema;
pub use settings::{Durability, KeepEntries, Settings, StoreKind};
pub use spill::{Batch, Spill};
pub use spill_state::SpillState;
pub use store::Ledger;
pub use stored_call::{
    StoredAnswer, StoredCall, StoredCaller, StoredCharge, StoredChargeLine, StoredRequest,
    StoredUsage,
};
pub use totals::{PeriodTotal, PeriodTotals, Totals};
pub use verify::{Verified, verify};
pub use witness::Witness;

/// How often the writer asks the disk to keep what was written, under default durability.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The SQLite file of the ledger in that directory.
pub fn ledger_file(directory: &std::path::Path) -> PathBuf {
    directory.join("ledger.sqlite3")
}

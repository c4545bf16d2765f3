//! Budgets as code: what a configuration would have refused, what changes from one to another, and
//! what history suggests.
//!
//! Past calls go through the very budgets that calls go through, with the ledger's times in place
//! of a clock. This room opens no files and prints nothing.

mod difference;
mod replay;
mod suggest;

pub use difference::{Change, differences};
pub use replay::{Blocked, BlockedDay, Replay, Tally};
pub use suggest::{Basis, History, Suggestion, suggest};

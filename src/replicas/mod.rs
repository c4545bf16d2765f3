//! Replicas share budgets and limits through Redis or Valkey: one atomic script for each decision.
//!
//! The store holds, for every counter, what was spent and what is held. What this replica knows and
//! the store may not (calls in flight, costs that were not confirmed) stays here until it is told.
//! A store that lost its memory begins another *epoch*: its replicas hold again what is in flight,
//! and sums come from the ledger. Nothing that is missing is taken to be zero.
//!
//! This room knows nothing of budgets: counters, limits and amounts come to it as `domain` values.
//! `docs/budgets.md` says what is promised and why it holds.

mod connect;
mod error;
mod inspect;
mod keeper;
mod late;
mod link;
mod names;
mod ops;
mod places;
mod rate_words;
mod rates;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod told;

pub use connect::{is_encrypted, is_url};
pub use error::StoreError;
pub use inspect::{Condition, inspect};
pub use keeper::Keeper;
pub use late::Late;
pub use settings::{Settings, StoreDown};
pub use store::{Answer, LedgerOf, Outage, Store};

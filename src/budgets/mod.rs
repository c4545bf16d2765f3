//! Budgets: what may be spent, by whom, in which period; held before a call, settled after it.
//!
//! A call reserves the most that it can cost with every budget that applies, in one step: all have
//! room for the whole amount, or nothing is held and the call is refused. When its entry is in the
//! ledger the hold becomes what the call cost. Whatever is not known stays held: usage that nobody
//! reported is counted at the hold, and a hold that is dropped unsettled counts as spent.
//!
//! This room knows nothing of HTTP, prices or tokens: amounts come to it worked out. It does no
//! I/O and asks no clock, and holds no lock that all calls share: each counter has its own, and a
//! call takes those of its counters together. `docs/budgets.md` says what is promised and why it holds.

#![deny(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::integer_division
)]

mod asker;
mod bid;
mod book;
mod budget;
mod counter;
mod counters;
mod document;
mod hold;
mod in_flight;
mod period;
mod refused;
mod shared;
#[cfg(test)]
mod tests;

pub use asker::Asker;
pub use bid::{Applying, Bid, Room};
pub use book::{Budgets, Settled, Spent};
pub use budget::{Action, Budget, BudgetMode, InputBound, Raise, RefuseWith, Reserve};
pub use document::{BudgetDocument, RaiseDocument, StandingDocument};
pub use hold::{Held, Reservation};
pub use in_flight::Enrolled;
pub use period::{Calendar, InvalidPeriod, Period, Zone};
pub use refused::{Downgrade, Refused};
pub use shared::SharedLook;

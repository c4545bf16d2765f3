//! The road to AWS, proven step by step, with what mends each fault.
//!
//! Only reads are made, and requests that AWS refuses before it generates anything: nothing here
//! can cause a charge. It uses the proxy's own signer, connections, trust and prices, so that
//! what it proves is what the proxy will meet. It prints nothing.

mod budget_store;
mod clock;
mod credentials;
mod finding;
mod identity;
mod ledger;
mod models;
mod permissions;
mod prices;
mod reach;
mod region;
mod road;
mod shared_ledger;
mod visit;

pub use finding::{Finding, State};
pub use visit::{Patient, examine};

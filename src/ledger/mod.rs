//! The ledger: one row per settled call.

mod settings;

pub use settings::{Durability, Settings};

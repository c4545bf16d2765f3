//! What operators see: metrics and log.
//!
//! Knows the domain's entries and nothing of who makes them. Label values pass the guard of
//! `labels`; money is exact up to the print; a value that was not read has no series.

mod catalogue;
mod counting;
mod error;
mod family;
mod labels;
mod ledger_sums;
mod logging;
mod metrics;
mod observed;
mod settings;
mod settled;
mod subjects;
#[cfg(test)]
mod tests;
mod timing;

pub use catalogue::{Definition, Kind, catalogue, catalogue_markdown};
pub use error::TelemetryError;
pub use labels::KnownNames;
pub use ledger_sums::{LedgerFamily, LedgerSum};
pub use logging::install_log;
pub use metrics::{Held, Metrics};
pub use observed::{Observed, PeriodCost, PeriodKind};
pub use settings::{LogFormat, LogLevel, Settings};
pub use timing::{Phase, Timing};

//! What operators see: metrics, logs, and what a collector is sent.
//!
//! Knows the domain's entries and nothing of who makes them. Label values pass the guard of
//! `labels`; money is exact up to the print; a value that was not read has no series.

mod access_log;
mod budgets;
mod catalogue;
mod counting;
mod error;
mod family;
mod labels;
mod ledger_sums;
mod logging;
mod metrics;
mod observed;
mod origin;
mod otlp;
mod settings;
mod settled;
mod sinks;
mod subjects;
#[cfg(test)]
mod tests;
mod timing;

pub use access_log::AccessLog;
pub use budgets::BudgetGauge;
pub use catalogue::{Definition, Kind, catalogue, catalogue_markdown};
pub use error::TelemetryError;
pub use labels::KnownNames;
pub use ledger_sums::{LedgerFamily, LedgerSum};
pub use logging::install_log;
pub use metrics::{Held, Metrics};
pub use observed::{LimitStanding, Observed, PeriodCost, PeriodKind};
pub use origin::{Origin, TraceParent};
pub use otlp::{Resource, traces_request};
pub use settings::{CollectorUrl, LogFormat, LogLevel, OtlpSettings, Settings};
pub use sinks::{SettledCall, Sinks, Trace};
pub use timing::{Phase, Timing};

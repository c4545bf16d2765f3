//! Reports: what the ledger holds, for people (tables), programs (JSON) and spreadsheets (CSV).
//!
//! Every report adds up to the ledger to the last digit and says on what basis. This room reads
//! the ledger and writes text; it never opens files or prints.

mod csv;
mod explain;
mod summary;
mod table;

pub use csv::{csv_line, summary_csv};
pub use explain::{explain_sources, explain_text};
pub use summary::{Amounts, Basis, Report, ReportRow, TokenSums, summary_text};
pub use table::{Align, Table};

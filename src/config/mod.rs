//! The configuration: reads TOML, reports every problem at once, fills each room's settings.
//!
//! `sections.rs` binds each key to its field, once; `reader.rs` reads through these bindings and
//! `printer.rs` prints through them, so that what is read and what is shown cannot differ.
//! `check.rs` and `check_proofs.rs` have the rules that join several keys. No room but the wiring imports this one.

mod alerts;
mod budgets;
mod changes;
mod check;
mod check_login;
mod check_proofs;
mod field;
mod form;
mod limits;
mod load;
mod printer;
mod problem;
mod proofs;
mod proxy_choice;
mod reader;
mod scope;
mod sections;
mod settings;
mod substitute;
mod suggest;
mod warnings;

pub use changes::changed_keys;
pub use load::{load, parse};
pub use printer::explain;
pub use problem::{Problem, Problems};
pub use settings::Settings;
pub use warnings::warnings;

#[cfg(test)]
mod tests;

//! What usage costs: the price catalogue and the rules that choose a call's rates.
//!
//! This room knows no HTTP, no clock and no configuration file. It never guesses: what has no
//! rate is `Unpriced` with the reason. `docs/pricing.md` tells the rules in words.

#![deny(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::integer_division
)]

mod catalogue;
mod charge;
mod error;
mod listing;
mod matching;
mod sheet;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use catalogue::Catalogue;
pub use error::PricingError;
pub use listing::{Listing, Selection, Source};
pub use matching::Terms;
pub use sheet::{Endpoint, Scope};

/// Where prices come from, and what opaque identifiers stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// A catalogue in the format of `config/prices/README.md`; `None` takes the embedded one.
    pub catalogue_file: Option<PathBuf>,
    /// Identifiers that do not name their model (application profiles, prompts, ...), each with
    /// the id whose price it has, geography prefix included.
    pub models: BTreeMap<String, String>,
}

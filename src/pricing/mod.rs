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
mod dearest;
mod error;
mod listing;
mod matching;
mod settings;
mod sheet;
mod text;

pub use catalogue::Catalogue;
pub use dearest::Bounds;
pub use error::PricingError;
pub use listing::{Listing, Selection, Source};
pub use matching::Terms;
pub use settings::Settings;
pub use sheet::{Endpoint, Scope};

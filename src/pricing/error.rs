//! What can go wrong while a catalogue is read. Pricing a call cannot fail: it can be unpriced.

use std::path::PathBuf;

/// A catalogue that cannot be used. No call was affected: the previous one stays in place.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// The file cannot be read. Mend the path or its permissions.
    #[error("cannot read the price catalogue {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The text is not a catalogue. Rebuild it with `scripts/prices-build`.
    #[error("price catalogue, line {line}: {why}")]
    Malformed {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// `prices.models` gives an identifier the price of a model that the catalogue does not have.
    #[error(
        "prices.models: {asked} is to be priced as {priced}, which the catalogue does not know"
    )]
    UnknownPricedModel {
        /// The identifier to be priced.
        asked: String,
        /// The id it was given.
        priced: String,
    },
}

//! Money for usage: rates, charge lines, and what it means to have no price.

use std::fmt;
use std::sync::Arc;

use super::{Dimension, Usd};

/// The price that applies to one unit (one token, one image, one search unit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Identifies the catalogue row, stable over rebuilds.
    pub id: Arc<str>,
    /// The price of ONE unit.
    pub per_unit: Usd,
}

/// One line of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeLine {
    /// What was counted.
    pub dimension: Dimension,
    /// How many.
    pub quantity: u64,
    /// At which rate.
    pub rate: Rate,
    /// quantity x rate, exact.
    pub amount: Usd,
}

/// Whether usage has a price. The same words in entry, metric, header, report and quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PriceStatus {
    /// Every quantity has a rate.
    Priced,
    /// Some quantity has none: the usage is kept and can be rated later.
    Unpriced(UnpricedReason),
    /// Paid by capacity (provisioned throughput, reserved tier): no charge per call.
    Allocated,
}

impl PriceStatus {
    /// `priced`, `unpriced` or `allocated`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Unpriced(_) => "unpriced",
            Self::Allocated => "allocated",
        }
    }

    /// The reason of an unpriced usage.
    pub const fn reason(&self) -> Option<UnpricedReason> {
        match self {
            Self::Unpriced(reason) => Some(*reason),
            Self::Priced | Self::Allocated => None,
        }
    }
}

/// Why usage has no price. A closed set: it is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnpricedReason {
    /// The identifier does not say which model it is (an opaque ARN that was not resolved).
    UnresolvedModel,
    /// The catalogue does not know the model.
    UnknownModel,
    /// The model has no rate in that region.
    NoRateForRegion,
    /// The model has no rate for that geography.
    NoRateForGeography,
    /// The model has no rate for the tier that was served.
    NoRateForTier,
    /// The model has no rate for the latency mode that was served.
    NoRateForLatency,
    /// The model has no rate for one of the dimensions used.
    NoRateForDimension,
    /// The model has no rate at that endpoint.
    NoRateForEndpoint,
    /// No rate was in force at that instant.
    NoRateAtInstant,
    /// The usage itself is unknown.
    UsageMissing,
    /// The amount passes the range of the arithmetic.
    OutOfRange,
}

impl UnpricedReason {
    /// The word in entry, metric label and quote.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnresolvedModel => "unresolved_model",
            Self::UnknownModel => "unknown_model",
            Self::NoRateForRegion => "no_rate_for_region",
            Self::NoRateForGeography => "no_rate_for_geography",
            Self::NoRateForTier => "no_rate_for_tier",
            Self::NoRateForLatency => "no_rate_for_latency",
            Self::NoRateForDimension => "no_rate_for_dimension",
            Self::NoRateForEndpoint => "no_rate_for_endpoint",
            Self::NoRateAtInstant => "no_rate_at_instant",
            Self::UsageMissing => "usage_missing",
            Self::OutOfRange => "out_of_range",
        }
    }
}

impl fmt::Display for UnpricedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The money for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whether it has a price.
    pub status: PriceStatus,
    /// One line for each dimension with a quantity above zero; empty unless priced.
    pub lines: Vec<ChargeLine>,
    /// The sum of the lines; `None` exactly when unpriced. Zero when allocated.
    pub total: Option<Usd>,
}

impl Charge {
    /// No price, and why.
    pub const fn unpriced(reason: UnpricedReason) -> Self {
        Self {
            status: PriceStatus::Unpriced(reason),
            lines: Vec::new(),
            total: None,
        }
    }

    /// Paid by capacity.
    pub const fn allocated() -> Self {
        Self {
            status: PriceStatus::Allocated,
            lines: Vec::new(),
            total: Some(Usd::ZERO),
        }
    }

    /// The charge of these lines; unpriced where their sum passes the range of the arithmetic.
    pub fn of(lines: Vec<ChargeLine>) -> Self {
        let mut amounts = lines.iter().map(|line| line.amount);
        let total = amounts.try_fold(Usd::ZERO, Usd::checked_add);
        match total {
            Some(total) => Self {
                status: PriceStatus::Priced,
                lines,
                total: Some(total),
            },
            None => Self::unpriced(UnpricedReason::OutOfRange),
        }
    }
}

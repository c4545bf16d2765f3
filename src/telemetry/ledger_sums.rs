//! Sums of the ledger beside the period's cost: which families, and their print.
//!
//! It does not know how a sum is made; the ledger fills these.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::proto::{Metric, MetricFamily};

use super::catalogue::{self as define, Definition};
use super::family::dollars;
use super::observed::{family, gauge};
use crate::domain::{TenantId, Usd};

/// A family of gauges that shows sums of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerFamily {
    /// Cost by model and kind.
    ModelCost,
    /// Cost by usage source.
    SourceCost,
    /// Calls by usage source and price status.
    Calls,
    /// Tokens by usage source and price status.
    Tokens,
    /// Cost that bought nothing, by model and cause.
    Waste,
    /// Change of the cost by application, day of comparison and effect.
    CostChange,
}

impl LedgerFamily {
    const fn definition(self) -> Definition {
        match self {
            Self::ModelCost => define::MODEL_COST,
            Self::SourceCost => define::SOURCE_COST,
            Self::Calls => define::PERIOD_CALLS,
            Self::Tokens => define::PERIOD_TOKENS,
            Self::Waste => define::WASTE,
            Self::CostChange => define::COST_CHANGE,
        }
    }

    /// Whether the label after the tenant is an application.
    pub(super) const fn names_application(self) -> bool {
        matches!(self, Self::CostChange)
    }

    /// Whether the label after the tenant is a model.
    pub(super) const fn names_model(self) -> bool {
        matches!(self, Self::ModelCost | Self::Waste)
    }
}

/// One sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSum {
    /// What it is a sum of.
    pub family: LedgerFamily,
    /// Who pays.
    pub tenant: TenantId,
    /// The label values that follow the tenant, in the order of the table of metrics.
    pub labels: Vec<Box<str>>,
    /// Femtodollars, calls or tokens, as the family counts.
    pub amount: i128,
}

/// A family and its label values, after the guard.
pub(super) type GuardedKey = (LedgerFamily, Vec<Arc<str>>);

/// Sums by label values, added exactly.
pub(super) type GuardedSums = BTreeMap<GuardedKey, i128>;

/// The families of these sums.
pub(super) fn families(sums: &GuardedSums) -> Vec<MetricFamily> {
    let mut samples: BTreeMap<LedgerFamily, Vec<Metric>> = BTreeMap::new();
    for ((of, labels), amount) in sums {
        let labels: Vec<&str> = labels.iter().map(|label| &**label).collect();
        let value = value(*of, *amount);
        let sample = gauge(of.definition(), &labels, value);
        samples.entry(*of).or_default().push(sample);
    }
    let families = samples.into_iter();
    families
        .filter_map(|(of, samples)| family(of.definition(), samples))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the boundary where a number becomes a float"
)]
fn value(of: LedgerFamily, amount: i128) -> f64 {
    match of {
        LedgerFamily::Calls | LedgerFamily::Tokens => amount as f64,
        LedgerFamily::ModelCost
        | LedgerFamily::SourceCost
        | LedgerFamily::Waste
        | LedgerFamily::CostChange => dollars(Usd::from_femto(amount)),
    }
}

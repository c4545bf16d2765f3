//! Where budgets stand, as gauges: set now and then, printed at each scrape. A budget that does not
//! exist has no series.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus::proto::{Metric, MetricFamily};

use super::catalogue::{self as define, Definition};
use super::family::dollars;
use super::observed::{family, gauge};
use crate::domain::Usd;

/// One counter of a budget, in plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetGauge {
    /// The budget's name.
    pub budget: Arc<str>,
    /// The tenant, or nothing.
    pub tenant: Arc<str>,
    /// Whom it is for, or nothing for everybody.
    pub subject: Arc<str>,
    /// The kind of period.
    pub period: Arc<str>,
    /// What may be spent.
    pub limit: Usd,
    /// What was spent.
    pub spent: Usd,
    /// What is held for calls in flight.
    pub reserved: Usd,
    /// What will be spent by the end; `None` where nothing can be said.
    pub forecast: Option<Usd>,
    /// Whether outlets of ours tell of it, and not the rules of Prometheus.
    pub has_outlets: bool,
}

/// The most series of a family, by what was spent: those who spent least have none.
pub(super) fn kept(mut gauges: Vec<BudgetGauge>, series_max: usize) -> Vec<BudgetGauge> {
    if gauges.len() > series_max {
        gauges.sort_by_key(|gauge| std::cmp::Reverse(gauge.spent));
        gauges.truncate(series_max);
    }
    gauges
}

/// The families of these gauges.
pub(super) fn families(gauges: &[BudgetGauge]) -> Vec<MetricFamily> {
    let of = |metric: Definition, value: fn(&BudgetGauge) -> Option<Usd>| {
        let samples = gauges.iter().filter_map(|one| sample(metric, one, value));
        family(metric, samples.collect())
    };
    let families = [
        of(define::BUDGET_LIMIT, |one| Some(one.limit)),
        of(define::BUDGET_SPENT, |one| Some(one.spent)),
        of(define::BUDGET_RESERVED, |one| Some(one.reserved)),
        of(define::BUDGET_FORECAST, |one| one.forecast),
        family(define::BUDGET_ALERTING, alerting(gauges)),
    ];
    families.into_iter().flatten().collect()
}

fn sample(
    metric: Definition,
    one: &BudgetGauge,
    value: fn(&BudgetGauge) -> Option<Usd>,
) -> Option<Metric> {
    let labels = [&*one.budget, &*one.tenant, &*one.subject, &*one.period];
    value(one).map(|value| gauge(metric, &labels, dollars(value)))
}

/// Once for each budget, however many subjects it has.
fn alerting(gauges: &[BudgetGauge]) -> Vec<Metric> {
    let by = |one: &BudgetGauge| {
        if one.has_outlets {
            "outlet"
        } else {
            "prometheus"
        }
    };
    let budgets: BTreeSet<_> = gauges.iter().map(|one| (&*one.budget, by(one))).collect();
    let budgets = budgets.into_iter();
    budgets
        .map(|(budget, by)| gauge(define::BUDGET_ALERTING, &[budget, by], 1.0))
        .collect()
}

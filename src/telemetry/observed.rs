//! Values that are read at the moment of a scrape. What was not read has no series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::proto::{Gauge, Metric, MetricFamily, MetricType};

use super::catalogue::{self as define, Definition};
use super::family::{dollars, label_pairs};
use super::ledger_sums::{self, GuardedSums, LedgerSum};
use crate::domain::{ApplicationId, TenantId, Timestamp, Usd};

/// A calendar period in UTC that live spend is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeriodKind {
    /// Today.
    Day,
    /// This month.
    Month,
}

impl PeriodKind {
    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// What the ledger says an application has cost in the current period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodCost {
    /// Who pays.
    pub tenant: TenantId,
    /// Which workload.
    pub application: ApplicationId,
    /// Which period.
    pub period: PeriodKind,
    /// The cost since the period began.
    pub amount: Usd,
}

/// How much of a limit is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStanding {
    /// The configured name.
    pub limit: Arc<str>,
    /// Of what, such as `tokens`.
    pub kind: &'static str,
    /// The fullest counter, in thousandths.
    pub fullest_permille: u64,
    /// How many counters hold something.
    pub counters: usize,
}

/// What was read for one scrape.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The current period's costs, one for each tenant, application and period.
    pub period_costs: Vec<PeriodCost>,
    /// When each model was first called; no more of them than there are real models.
    pub models_first_seen: Vec<(Arc<str>, Timestamp)>,
    /// What these costs are made of; empty until the ledger was read.
    pub ledger_sums: Arc<[LedgerSum]>,
    /// The limits; no more of them than are configured.
    pub limits: Vec<LimitStanding>,
    /// Age of the oldest call that is not settled; zero when none is open.
    pub oldest_open_call: Option<Duration>,
    /// Settled calls that wait for their commit.
    pub ledger_queue_depth: Option<u64>,
    /// Entries that wait in the spill for the store.
    pub spill_entries: Option<u64>,
    /// Bytes of the spill.
    pub spill_bytes: Option<u64>,
    /// Version of the price catalogue in use.
    pub catalogue_version: Option<Arc<str>>,
    /// Age of the price catalogue in use.
    pub catalogue_age: Option<Duration>,
    /// Time until the AWS credentials expire.
    pub credentials_expire_in: Option<Duration>,
    /// Which amount live metrics show, such as `contracted`.
    pub cost_basis: Option<&'static str>,
}

/// Period costs by label values, summed exactly.
pub(super) type PeriodSums = BTreeMap<(Arc<str>, Arc<str>, PeriodKind), Usd>;

/// The families of what was read.
pub(super) fn families(
    observed: &Observed,
    sums: &PeriodSums,
    ledger: &GuardedSums,
) -> Vec<MetricFamily> {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let families = [
        family(define::PERIOD_COST, sums.iter().map(period_cost).collect()),
        family(
            define::MODEL_FIRST_SEEN,
            observed.models_first_seen.iter().map(first_seen).collect(),
        ),
        family(
            define::LIMIT_USE,
            observed.limits.iter().map(limit_use).collect(),
        ),
        family(define::LIMIT_COUNTERS, limit_counters(&observed.limits)),
        single(define::OLDEST_OPEN, seconds(observed.oldest_open_call)),
        single(define::LEDGER_QUEUE, observed.ledger_queue_depth.map(count)),
        single(define::SPILL_ENTRIES, observed.spill_entries.map(count)),
        single(define::SPILL_BYTES, observed.spill_bytes.map(count)),
        info(define::PRICES_INFO, observed.catalogue_version.as_deref()),
        single(define::PRICES_AGE, seconds(observed.catalogue_age)),
        single(
            define::CREDENTIALS_EXPIRY,
            seconds(observed.credentials_expire_in),
        ),
        info(define::COST_BASIS, observed.cost_basis),
        info(define::BUILD_INFO, Some(env!("CARGO_PKG_VERSION"))),
    ];
    let read = families.into_iter().flatten();
    read.chain(ledger_sums::families(ledger)).collect()
}

fn period_cost(row: (&(Arc<str>, Arc<str>, PeriodKind), &Usd)) -> Metric {
    let ((tenant, application, period), amount) = row;
    gauge(
        define::PERIOD_COST,
        &[tenant, application, period.name()],
        dollars(*amount),
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 are far below 2^53"
)]
fn first_seen((model, first): &(Arc<str>, Timestamp)) -> Metric {
    let seconds = first.unix_ms().div_euclid(1000) as f64;
    gauge(define::MODEL_FIRST_SEEN, &[model], seconds)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "thousandths of a limit are far below 2^53"
)]
fn limit_use(limit: &LimitStanding) -> Metric {
    let ratio = limit.fullest_permille as f64 / 1_000.0;
    gauge(define::LIMIT_USE, &[&limit.limit, limit.kind], ratio)
}

/// One for each limit, whatever number of kinds it has.
fn limit_counters(limits: &[LimitStanding]) -> Vec<Metric> {
    let by_name: BTreeMap<_, _> = limits
        .iter()
        .map(|limit| (&limit.limit, limit.counters))
        .collect();
    let number = |(name, counters): (&Arc<str>, usize)| {
        let counters = u64::try_from(counters).unwrap_or(u64::MAX);
        gauge(define::LIMIT_COUNTERS, &[name], count(counters))
    };
    by_name.into_iter().map(number).collect()
}

fn single(metric: Definition, value: Option<f64>) -> Option<MetricFamily> {
    family(
        metric,
        value
            .map(|value| gauge(metric, &[], value))
            .into_iter()
            .collect(),
    )
}

fn info(metric: Definition, value: Option<&str>) -> Option<MetricFamily> {
    family(
        metric,
        value
            .map(|value| gauge(metric, &[value], 1.0))
            .into_iter()
            .collect(),
    )
}

pub(super) fn gauge(metric: Definition, values: &[&str], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut sample = Metric::from_label(label_pairs(metric.labels, values));
    sample.set_gauge(gauge);
    sample
}

pub(super) fn family(metric: Definition, samples: Vec<Metric>) -> Option<MetricFamily> {
    if samples.is_empty() {
        return None;
    }
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(samples);
    Some(family)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a queue never holds 2^53 entries or bytes"
)]
fn count(value: u64) -> f64 {
    value as f64
}

//! Families of series, made from the catalogue; with exact money, and with a limit of series.
//!
//! The `prometheus` crate keeps and prints the series; this file is the only one that makes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Describer, Metric, MetricVec, MetricVecBuilder};
use prometheus::proto::{self, MetricType};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::TelemetryError;
use super::catalogue::Definition;
use super::labels::Budget;
use crate::domain::Usd;

/// A counter of exact dollars. Only its print is a floating-point number.
#[derive(Clone, Debug)]
pub(super) struct MoneyCounter {
    labels: Arc<[proto::LabelPair]>,
    sum: Arc<Mutex<Usd>>,
}

impl MoneyCounter {
    /// Adds an amount, exactly.
    pub(super) fn add(&self, amount: Usd) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = sum.saturating_add(amount);
    }
}

impl Metric for MoneyCounter {
    fn metric(&self) -> proto::Metric {
        let sum = *self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counter = proto::Counter::default();
        counter.set_value(dollars(sum));
        let mut metric = proto::Metric::from_label(self.labels.to_vec());
        metric.set_counter(counter);
        metric
    }
}

/// The float nearest to an amount (within two units in the last place): the Prometheus boundary.
#[expect(
    clippy::cast_precision_loss,
    reason = "the boundary where money becomes a float"
)]
pub(super) fn dollars(amount: Usd) -> f64 {
    amount.femto() as f64 / 1e15
}

/// Builds the series of a [`MoneyVec`].
#[derive(Clone, Copy, Debug)]
pub(super) struct MoneyBuilder;

impl MetricVecBuilder for MoneyBuilder {
    type M = MoneyCounter;
    type P = Opts;

    fn build<V: AsRef<str>>(&self, opts: &Opts, values: &[V]) -> prometheus::Result<MoneyCounter> {
        let desc = opts.describe()?;
        let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
        Ok(MoneyCounter {
            labels: label_pairs(&desc.variable_labels, &values).into(),
            sum: Arc::default(),
        })
    }
}

/// A family of exact dollar counters.
pub(super) type MoneyVec = MetricVec<MoneyBuilder>;

/// Label names with their values, in the order of names that the text format asks for.
pub(super) fn label_pairs<N: AsRef<str>>(names: &[N], values: &[&str]) -> Vec<proto::LabelPair> {
    let pair = |(name, value): (&N, &&str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.as_ref().to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut pairs: Vec<_> = names.iter().zip(values).map(pair).collect();
    pairs.sort_by(|one, other| one.name().cmp(other.name()));
    pairs
}

/// Makes and registers families.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    pub(super) registry: &'a Registry,
    pub(super) series_max: usize,
}

impl Maker<'_> {
    pub(super) fn money(&self, metric: Definition) -> Result<MoneyVec, TelemetryError> {
        let opts = opts(metric).variable_labels(names(metric));
        let money = MetricVec::create(MetricType::COUNTER, MoneyBuilder, opts)?;
        self.registered(money)
    }

    pub(super) fn counters(&self, metric: Definition) -> Result<IntCounterVec, TelemetryError> {
        self.registered(IntCounterVec::new(opts(metric), metric.labels)?)
    }

    pub(super) fn histograms(
        &self,
        metric: Definition,
        buckets: &[f64],
    ) -> Result<HistogramVec, TelemetryError> {
        let opts = HistogramOpts::from(opts(metric)).buckets(buckets.to_vec());
        self.registered(HistogramVec::new(opts, metric.labels)?)
    }

    pub(super) fn gauge(&self, metric: Definition) -> Result<IntGauge, TelemetryError> {
        self.registered(IntGauge::with_opts(opts(metric))?)
    }

    pub(super) fn gauges(&self, metric: Definition) -> Result<IntGaugeVec, TelemetryError> {
        self.registered(IntGaugeVec::new(opts(metric), metric.labels)?)
    }

    pub(super) fn counter(&self, metric: Definition) -> Result<IntCounter, TelemetryError> {
        self.registered(IntCounter::with_opts(opts(metric))?)
    }

    fn registered<C>(&self, collector: C) -> Result<C, TelemetryError>
    where
        C: prometheus::core::Collector + Clone + 'static,
    {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Puts a limit on the series of a family; a histogram's series counts as all its lines.
    pub(super) fn guarded<V: SeriesVec, const N: usize>(
        &self,
        metric: Definition,
        family: V,
        lines: usize,
    ) -> Result<Family<V, N>, TelemetryError> {
        let defined = metric.labels.len();
        if defined != N {
            return Err(TelemetryError::Labels {
                name: metric.name,
                defined,
                used: N,
            });
        }
        let budget = Budget::new(self.series_max.div_euclid(lines.max(1)));
        Ok(Family {
            vec: family,
            budget,
            series: HashMap::new(),
        })
    }
}

fn opts(metric: Definition) -> Opts {
    Opts::new(metric.name, metric.help)
}

fn names(metric: Definition) -> Vec<String> {
    metric
        .labels
        .iter()
        .map(|name| (*name).to_owned())
        .collect()
}

/// Who asks for a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) tenant: &'a Arc<str>,
    /// All its names are known beforehand: no limit applies.
    pub(super) known: bool,
}

/// Series by their label values.
pub(super) trait SeriesVec {
    /// One series.
    type Series: Clone;

    /// The series with these values, new or not; as many values as the family has labels.
    fn of(&self, values: &[&str]) -> Self::Series;
}

impl<B: MetricVecBuilder> SeriesVec for MetricVec<B> {
    type Series = B::M;

    fn of(&self, values: &[&str]) -> B::M {
        self.with_label_values(values)
    }
}

/// A family with a limit of series; the limit is shared out among tenants.
#[derive(Debug)]
pub(super) struct Family<V: SeriesVec, const N: usize> {
    vec: V,
    budget: Budget,
    series: HashMap<[Box<str>; N], V::Series>,
}

impl<V: SeriesVec, const N: usize> Family<V, N> {
    /// The series with these label values, or `None` when the limit refuses a new one.
    pub(super) fn series(&mut self, owner: Owner<'_>, values: [&str; N]) -> Option<V::Series> {
        let key = values.map(Box::from);
        if let Some(found) = self.series.get(&key) {
            return Some(found.clone());
        }
        if !owner.known && !self.budget.take(owner.tenant) {
            return None;
        }
        let made = self.vec.of(&values);
        self.series.insert(key, made.clone());
        Some(made)
    }

    /// The series in place of a refused one: its values are `other` or from closed sets.
    pub(super) fn fallback(&self, values: [&str; N]) -> V::Series {
        self.vec.of(&values)
    }
}

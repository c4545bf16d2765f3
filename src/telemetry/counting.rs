//! The families that settled calls fill, and how one call fills them.
//!
//! It does not know how names become labels; it gets a call with its labels and their series.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::TelemetryError;
use super::catalogue as define;
use super::family::{Family, Maker, MoneyCounter, MoneyVec, Owner, SeriesVec};
use super::labels::{Labels, OTHER};
use super::timing::Timing;
use crate::domain::{Dimension, Entry, Operation, Outcome, Region, UsageSource};

/// Label value where there is nothing to name: no model, no answer, no reason.
pub(super) const NONE: &str = "none";

const SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0,
    3600.0,
];
const TOKENS_PER_SECOND: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0,
];

/// Over a shorter time the arrival of tokens is the network's burst, not the model's pace.
const RATE_TIME_MIN: Duration = Duration::from_millis(100);

/// Series found by a small key. Linear: the keys are from closed sets and few are used.
#[derive(Debug)]
pub(super) struct Cache<K, S>(Vec<(K, S)>);

impl<K, S> Default for Cache<K, S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq + Clone, S> Cache<K, S> {
    pub(super) fn with(&mut self, key: &K, make: impl FnOnce() -> S, record: impl FnOnce(&S)) {
        if let Some((_, series)) = self.0.iter().find(|(known, _)| known == key) {
            return record(series);
        }
        let series = make();
        record(&series);
        self.0.push((key.clone(), series));
    }
}

/// Why a call is not plainly reported and priced: the families by tenant, model and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    Estimated,
    Missing,
    UnpricedCall,
    UnpricedTokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Latency {
    Duration,
    FirstByte,
    FirstToken,
    OutputRate,
}

/// The series of one (tenant, application, model), as far as they were needed.
#[derive(Debug, Default)]
pub(super) struct Series {
    requests: Cache<(Operation, Outcome), IntCounter>,
    quantities: Cache<Dimension, IntCounter>,
    cost: Cache<Dimension, MoneyCounter>,
    estimated_cost: Cache<&'static str, MoneyCounter>,
    doubts: Cache<(Doubt, &'static str), IntCounter>,
    latency: Cache<(Latency, Operation), Histogram>,
    upstream: Cache<(Region, Option<u16>), IntCounter>,
}

#[derive(Debug)]
pub(super) struct Families {
    requests: Family<IntCounterVec, 5>,
    tokens: Family<IntCounterVec, 4>,
    units: Family<IntCounterVec, 4>,
    cost: Family<MoneyVec, 4>,
    estimated_cost: Family<MoneyVec, 3>,
    estimated: Family<IntCounterVec, 3>,
    missing: Family<IntCounterVec, 3>,
    unpriced_calls: Family<IntCounterVec, 3>,
    unpriced_tokens: Family<IntCounterVec, 3>,
    duration: Family<HistogramVec, 2>,
    first_byte: Family<HistogramVec, 2>,
    first_token: Family<HistogramVec, 2>,
    output_rate: Family<HistogramVec, 2>,
    upstream: Family<IntCounterVec, 4>,
}

impl Families {
    pub(super) fn new(maker: &Maker<'_>) -> Result<Self, TelemetryError> {
        Ok(Self {
            requests: counters(maker, define::REQUESTS)?,
            tokens: counters(maker, define::TOKENS)?,
            units: counters(maker, define::UNITS)?,
            cost: money(maker, define::COST)?,
            estimated_cost: money(maker, define::ESTIMATED_COST)?,
            estimated: counters(maker, define::USAGE_ESTIMATED)?,
            missing: counters(maker, define::USAGE_MISSING)?,
            unpriced_calls: counters(maker, define::UNPRICED_REQUESTS)?,
            unpriced_tokens: counters(maker, define::UNPRICED_TOKENS)?,
            duration: histograms(maker, define::DURATION, SECONDS)?,
            first_byte: histograms(maker, define::FIRST_BYTE, SECONDS)?,
            first_token: histograms(maker, define::FIRST_TOKEN, SECONDS)?,
            output_rate: histograms(maker, define::OUTPUT_RATE, TOKENS_PER_SECOND)?,
            upstream: counters(maker, define::UPSTREAM_REQUESTS)?,
        })
    }

    fn doubt(&mut self, doubt: Doubt) -> &mut Family<IntCounterVec, 3> {
        match doubt {
            Doubt::Estimated => &mut self.estimated,
            Doubt::Missing => &mut self.missing,
            Doubt::UnpricedCall => &mut self.unpriced_calls,
            Doubt::UnpricedTokens => &mut self.unpriced_tokens,
        }
    }

    fn latency(&mut self, latency: Latency) -> &mut Family<HistogramVec, 2> {
        match latency {
            Latency::Duration => &mut self.duration,
            Latency::FirstByte => &mut self.first_byte,
            Latency::FirstToken => &mut self.first_token,
            Latency::OutputRate => &mut self.output_rate,
        }
    }
}

fn counters<const N: usize>(
    maker: &Maker<'_>,
    metric: define::Definition,
) -> Result<Family<IntCounterVec, N>, TelemetryError> {
    maker.guarded(metric, maker.counters(metric)?, 1)
}

fn money<const N: usize>(
    maker: &Maker<'_>,
    metric: define::Definition,
) -> Result<Family<MoneyVec, N>, TelemetryError> {
    maker.guarded(metric, maker.money(metric)?, 1)
}

fn histograms<const N: usize>(
    maker: &Maker<'_>,
    metric: define::Definition,
    buckets: &[f64],
) -> Result<Family<HistogramVec, N>, TelemetryError> {
    // Beside its buckets a histogram prints +Inf, sum and count.
    let lines = buckets.len().saturating_add(3);
    maker.guarded(metric, maker.histograms(metric, buckets)?, lines)
}

/// The series of a family, or the one in its place, which is counted.
fn series_or<V: SeriesVec, const N: usize>(
    family: &mut Family<V, N>,
    overflow: &IntCounterVec,
    owner: Owner<'_>,
    values: [&str; N],
    instead: [&str; N],
) -> V::Series {
    if let Some(series) = family.series(owner, values) {
        return series;
    }
    overflow.with_label_values(&["series"]).inc();
    family.fallback(instead)
}

/// One call on its way into the families.
pub(super) struct Counting<'a> {
    pub(super) entry: &'a Entry,
    pub(super) labels: &'a Labels,
    /// All of the labels are known beforehand.
    pub(super) known: bool,
    pub(super) families: &'a mut Families,
    pub(super) overflow: &'a IntCounterVec,
}

impl<'a> Counting<'a> {
    /// Counts the call in every family that it concerns.
    pub(super) fn count(&mut self, series: &mut Series, timing: &Timing<'_>) {
        self.count_call(series);
        self.count_usage(series);
        self.count_doubts(series);
        self.count_latency(series, timing);
        self.count_upstream(series, timing);
    }

    fn owner(&self) -> Owner<'a> {
        Owner {
            tenant: &self.labels.tenant,
            known: self.known,
        }
    }

    fn count_call(&mut self, series: &mut Series) {
        let owner = self.owner();
        let Labels {
            tenant,
            application,
            model,
        } = self.labels;
        let (operation, outcome) = (self.entry.operation, self.entry.outcome);
        let make = || {
            let [operation, outcome] = [operation.name(), outcome.name()];
            let values = [tenant, application, model, operation, outcome];
            let instead = [tenant, OTHER, OTHER, operation, outcome];
            series_or(
                &mut self.families.requests,
                self.overflow,
                owner,
                values,
                instead,
            )
        };
        series
            .requests
            .with(&(operation, outcome), make, IntCounter::inc);
    }

    fn count_usage(&mut self, series: &mut Series) {
        let owner = self.owner();
        let Labels {
            tenant,
            application,
            model,
        } = self.labels;
        let Families {
            tokens,
            units,
            cost,
            ..
        } = &mut *self.families;
        for (dimension, quantity) in self.entry.reading.usage.iter() {
            let make = || {
                let family = if dimension.is_tokens() {
                    &mut *tokens
                } else {
                    &mut *units
                };
                let values = [tenant, application, model, dimension.kind()];
                let instead = [tenant, OTHER, OTHER, dimension.kind()];
                series_or(family, self.overflow, owner, values, instead)
            };
            series
                .quantities
                .with(dimension, make, |one| one.inc_by(quantity));
        }
        for line in &self.entry.charge.lines {
            let make = || {
                let values = [tenant, application, model, line.dimension.kind()];
                let instead = [tenant, OTHER, OTHER, line.dimension.kind()];
                series_or(cost, self.overflow, owner, values, instead)
            };
            series
                .cost
                .with(&line.dimension, make, |one| one.add(line.amount));
        }
    }

    fn count_doubts(&mut self, series: &mut Series) {
        let reading = &self.entry.reading;
        let reason = reading.reason.map_or(NONE, |reason| reason.name());
        match reading.source {
            UsageSource::Reported => {}
            UsageSource::Estimated => {
                self.count_doubt(series, Doubt::Estimated, reason, 1);
                self.count_estimated_cost(series, reason);
            }
            UsageSource::Missing => self.count_doubt(series, Doubt::Missing, reason, 1),
        }
        if let Some(reason) = self.entry.charge.status.reason() {
            let tokens = reading
                .usage
                .iter()
                .filter(|(dimension, _)| dimension.is_tokens());
            let tokens = tokens.fold(0, |sum: u64, (_, quantity)| sum.saturating_add(quantity));
            self.count_doubt(series, Doubt::UnpricedCall, reason.name(), 1);
            self.count_doubt(series, Doubt::UnpricedTokens, reason.name(), tokens);
        }
    }

    fn count_doubt(&mut self, series: &mut Series, doubt: Doubt, reason: &'static str, by: u64) {
        let owner = self.owner();
        let make = || {
            let values = [&self.labels.tenant, &self.labels.model, reason];
            let instead = [&self.labels.tenant, OTHER, reason];
            series_or(
                self.families.doubt(doubt),
                self.overflow,
                owner,
                values,
                instead,
            )
        };
        series
            .doubts
            .with(&(doubt, reason), make, |one| one.inc_by(by));
    }

    fn count_estimated_cost(&mut self, series: &mut Series, reason: &'static str) {
        let Some(total) = self.entry.charge.total else {
            return;
        };
        let owner = self.owner();
        let make = || {
            let values = [&self.labels.tenant, &self.labels.model, reason];
            let instead = [&self.labels.tenant, OTHER, reason];
            let family = &mut self.families.estimated_cost;
            series_or(family, self.overflow, owner, values, instead)
        };
        series
            .estimated_cost
            .with(&reason, make, |one| one.add(total));
    }

    fn count_latency(&mut self, series: &mut Series, timing: &Timing<'_>) {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        // An answer in one piece has no first token of its own.
        let first_token = timing
            .first_token
            .filter(|_| self.entry.operation.is_stream());
        let samples = [
            (Latency::Duration, Some(timing.duration.as_secs_f64())),
            (Latency::FirstByte, seconds(timing.first_byte)),
            (Latency::FirstToken, seconds(first_token)),
            (Latency::OutputRate, output_rate(self.entry, timing)),
        ];
        let operation = self.entry.operation;
        let owner = self.owner();
        for (latency, sample) in samples {
            let Some(sample) = sample else { continue };
            let make = || {
                let values = [&self.labels.model, operation.name()];
                let instead = [OTHER, operation.name()];
                series_or(
                    self.families.latency(latency),
                    self.overflow,
                    owner,
                    values,
                    instead,
                )
            };
            let record = |one: &Histogram| one.observe(sample);
            series.latency.with(&(latency, operation), make, record);
        }
    }

    fn count_upstream(&mut self, series: &mut Series, timing: &Timing<'_>) {
        let Entry {
            region,
            status,
            outcome,
            ..
        } = self.entry;
        if *outcome == Outcome::Unreachable {
            return;
        }
        let owner = self.owner();
        let make = || {
            let status = status.map_or_else(|| NONE.to_owned(), |status| status.to_string());
            let values = [timing.account, region.as_str(), &self.labels.model, &status];
            let instead = [timing.account, region.as_str(), OTHER, &status];
            let Families { upstream, .. } = &mut *self.families;
            series_or(upstream, self.overflow, owner, values, instead)
        };
        series
            .upstream
            .with(&(region.clone(), *status), make, IntCounter::inc);
    }
}

/// Output tokens per second of a stream after its first generated content. Content that came in
/// one burst has no rate.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is a float; token counts stay far below 2^53"
)]
fn output_rate(entry: &Entry, timing: &Timing<'_>) -> Option<f64> {
    let tokens = entry.reading.usage.get(&Dimension::OutputTokens)?;
    let time = timing.duration.checked_sub(timing.first_token?)?;
    let is_rate = entry.operation.is_stream() && time >= RATE_TIME_MIN;
    let measurable = is_rate && tokens > 1 && entry.outcome == Outcome::Success;
    measurable.then(|| tokens as f64 / time.as_secs_f64())
}

//! Counts settled calls. One thread settles, so a call is a few map look-ups and atomic adds.
//!
//! The series of a (tenant, application, model) are kept together; the guard and the limits of
//! [`super::labels`] are asked only for new ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::catalogue as define;
use super::family::{Family, Maker, MoneyCounter, MoneyVec, Owner, SeriesVec};
use super::labels::{Budget, Guard, KnownNames, Labels, OTHER};
use super::timing::{Phase, Timing};
use super::{Settings, TelemetryError};
use crate::domain::{
    ApplicationId, Dimension, Entry, ModelRef, Operation, Outcome, PriceStatus, Region, TenantId,
    UsageSource,
};

/// Label value of calls without a model, and of attempts without an answer.
const NONE: &str = "none";

const SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 900.0,
    3600.0,
];
const OVERHEAD_SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.1, 1.0,
];
const TOKENS_PER_SECOND: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0,
];

/// Series found by a small key. Linear: the keys are from closed sets and few are used.
#[derive(Debug)]
struct Cache<K, S>(Vec<(K, S)>);

impl<K, S> Default for Cache<K, S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq + Clone, S> Cache<K, S> {
    fn with(&mut self, key: &K, make: impl FnOnce() -> S, record: impl FnOnce(&S)) {
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

/// The series of one (tenant, application, model).
#[derive(Debug, Default)]
struct Subject {
    known: bool,
    requests: Cache<(Operation, Outcome), IntCounter>,
    quantities: Cache<Dimension, IntCounter>,
    cost: Cache<Dimension, MoneyCounter>,
    estimated_cost: Cache<&'static str, MoneyCounter>,
    doubts: Cache<(Doubt, &'static str), IntCounter>,
    latency: Cache<(Latency, Operation), Histogram>,
    upstream: Cache<(Region, Option<u16>), IntCounter>,
}

/// Counters that have only a tenant.
#[derive(Debug)]
struct TenantCounters {
    retries: IntCounterVec,
    disconnects: IntCounterVec,
    drained: IntCounterVec,
    disagreement: IntCounterVec,
}

#[derive(Debug)]
struct Families {
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
    overflow: IntCounterVec,
}

impl Families {
    fn new(maker: &Maker<'_>) -> Result<Self, TelemetryError> {
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
            overflow: maker.counters(define::LABEL_OVERFLOW)?,
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

/// Counts settled calls; used by one thread at a time.
#[derive(Debug)]
pub(super) struct Recorder {
    guard: Guard,
    subjects: HashMap<Labels, Subject>,
    subjects_budget: Budget,
    families: Families,
    of_tenant: TenantCounters,
    overhead: HistogramVec,
    overhead_series: Cache<(Operation, Phase), Histogram>,
    refused: IntCounterVec,
    /// Rows of the ledger that have their own series.
    rows: HashSet<(Arc<str>, Arc<str>)>,
    rows_budget: Budget,
    other: Arc<str>,
}

impl Recorder {
    pub(super) fn new(
        settings: &Settings,
        known: &KnownNames,
        maker: &Maker<'_>,
    ) -> Result<Self, TelemetryError> {
        Ok(Self {
            guard: Guard::new(settings, known),
            subjects: HashMap::new(),
            subjects_budget: Budget::new(settings.series_per_family_max),
            families: Families::new(maker)?,
            of_tenant: TenantCounters {
                retries: maker.counters(define::CLIENT_RETRIES)?,
                disconnects: maker.counters(define::CLIENT_DISCONNECTS)?,
                drained: maker.counters(define::DRAINED)?,
                disagreement: maker.counters(define::USAGE_DISAGREEMENT)?,
            },
            overhead: maker.histograms(define::OVERHEAD, OVERHEAD_SECONDS)?,
            overhead_series: Cache::default(),
            refused: maker.counters(define::REFUSED)?,
            rows: HashSet::new(),
            rows_budget: Budget::new(settings.series_per_family_max.div_euclid(2)),
            other: OTHER.into(),
        })
    }

    /// Counts one settled call.
    pub(super) fn settled(&mut self, entry: &Entry, timing: &Timing<'_>) {
        let labels = self.labels(entry);
        let Some(subject) = self.subjects.get_mut(&labels) else {
            return; // `labels` made it
        };
        let mut counting = Counting {
            entry,
            labels: &labels,
            families: &mut self.families,
        };
        counting.count_call(subject);
        counting.count_usage(subject);
        counting.count_doubts(subject);
        counting.count_latency(subject, timing);
        counting.count_upstream(subject, timing);
        self.count_tenant(entry, timing, &labels);
        self.count_overhead(entry.operation, timing);
    }

    /// The label values of a call, whose subject exists afterwards.
    fn labels(&mut self, entry: &Entry) -> Labels {
        let model = entry
            .model
            .as_ref()
            .map_or_else(|| NONE.to_owned(), ModelRef::label);
        let priced = entry.charge.status == PriceStatus::Priced || entry.model.is_none();
        let admitted = self
            .guard
            .call(&entry.tenant, &entry.application, &model, priced);
        for replaced in admitted.replaced.into_iter().flatten() {
            self.families.overflow.with_label_values(&[replaced]).inc();
        }
        let mut labels = admitted.labels;
        let fits = admitted.known
            || self.subjects.contains_key(&labels)
            || self.subjects_budget.take(&labels.tenant);
        if !fits {
            self.families.overflow.with_label_values(&["series"]).inc();
            labels.application = Arc::clone(&self.other);
            labels.model = Arc::clone(&self.other);
        }
        let subject = self.subjects.entry(labels.clone()).or_default();
        subject.known = admitted.known;
        labels
    }

    fn count_tenant(&self, entry: &Entry, timing: &Timing<'_>, labels: &Labels) {
        let count = |family: &IntCounterVec| family.with_label_values(&[&*labels.tenant]).inc();
        if entry.sdk_attempt.is_some_and(|attempt| attempt > 1) {
            count(&self.of_tenant.retries);
        }
        if entry.outcome == Outcome::ClientLeft {
            count(&self.of_tenant.disconnects);
        }
        if timing.drained {
            count(&self.of_tenant.drained);
        }
        if entry.reading.disagreement {
            let values: [&str; 2] = [&labels.tenant, &labels.model];
            self.of_tenant.disagreement.with_label_values(&values).inc();
        }
    }

    fn count_overhead(&mut self, operation: Operation, timing: &Timing<'_>) {
        for (phase, took) in timing.overhead {
            let make = || {
                self.overhead
                    .with_label_values(&[operation.name(), phase.name()])
            };
            let key = (operation, *phase);
            self.overhead_series
                .with(&key, make, |series| series.observe(took.as_secs_f64()));
        }
    }

    /// Counts a proven caller's refused call.
    pub(super) fn refused(&mut self, tenant: &TenantId, reason: &'static str) {
        let tenant = self.guard.tenant(tenant);
        self.refused.with_label_values(&[&*tenant, reason]).inc();
    }

    /// The label values for a row of the ledger. Its two periods make two series.
    pub(super) fn application(
        &mut self,
        tenant: &TenantId,
        application: &ApplicationId,
    ) -> (Arc<str>, Arc<str>) {
        let (tenant, application, known) = self.guard.application(tenant, application);
        let row = (tenant, application);
        if known || self.rows.contains(&row) {
            return row;
        }
        if !self.rows_budget.take(&row.0) {
            return (row.0, Arc::clone(&self.other));
        }
        self.rows.insert(row.clone());
        row
    }

    /// The family of refusals, for callers without proof.
    pub(super) fn refusals(&self) -> IntCounterVec {
        self.refused.clone()
    }
}

/// One call on its way into the families.
struct Counting<'a> {
    entry: &'a Entry,
    labels: &'a Labels,
    families: &'a mut Families,
}

impl Counting<'_> {
    fn owner<'b>(labels: &'b Labels, subject: &Subject) -> Owner<'b> {
        Owner {
            tenant: &labels.tenant,
            known: subject.known,
        }
    }

    fn count_call(&mut self, subject: &mut Subject) {
        let owner = Self::owner(self.labels, subject);
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
                &self.families.overflow,
                owner,
                values,
                instead,
            )
        };
        subject
            .requests
            .with(&(operation, outcome), make, IntCounter::inc);
    }

    fn count_usage(&mut self, subject: &mut Subject) {
        let owner = Self::owner(self.labels, subject);
        let Labels {
            tenant,
            application,
            model,
        } = self.labels;
        let Families {
            tokens,
            units,
            cost,
            overflow,
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
                series_or(family, overflow, owner, values, instead)
            };
            subject
                .quantities
                .with(dimension, make, |series| series.inc_by(quantity));
        }
        for line in &self.entry.charge.lines {
            let make = || {
                let values = [tenant, application, model, line.dimension.kind()];
                let instead = [tenant, OTHER, OTHER, line.dimension.kind()];
                series_or(cost, overflow, owner, values, instead)
            };
            subject
                .cost
                .with(&line.dimension, make, |series| series.add(line.amount));
        }
    }

    fn count_doubts(&mut self, subject: &mut Subject) {
        let reading = &self.entry.reading;
        let reason = reading.reason.map_or(NONE, |reason| reason.name());
        match reading.source {
            UsageSource::Reported => {}
            UsageSource::Estimated => {
                self.count_doubt(subject, Doubt::Estimated, reason, 1);
                self.count_estimated_cost(subject, reason);
            }
            UsageSource::Missing => self.count_doubt(subject, Doubt::Missing, reason, 1),
        }
        if let Some(reason) = self.entry.charge.status.reason() {
            let tokens = reading
                .usage
                .iter()
                .filter(|(dimension, _)| dimension.is_tokens());
            let tokens = tokens.fold(0, |sum: u64, (_, quantity)| sum.saturating_add(quantity));
            self.count_doubt(subject, Doubt::UnpricedCall, reason.name(), 1);
            self.count_doubt(subject, Doubt::UnpricedTokens, reason.name(), tokens);
        }
    }

    fn count_doubt(&mut self, subject: &mut Subject, doubt: Doubt, reason: &'static str, by: u64) {
        let owner = Self::owner(self.labels, subject);
        let overflow = self.families.overflow.clone();
        let make = || {
            let values = [&self.labels.tenant, &self.labels.model, reason];
            let instead = [&self.labels.tenant, OTHER, reason];
            series_or(
                self.families.doubt(doubt),
                &overflow,
                owner,
                values,
                instead,
            )
        };
        subject
            .doubts
            .with(&(doubt, reason), make, |series| series.inc_by(by));
    }

    fn count_estimated_cost(&mut self, subject: &mut Subject, reason: &'static str) {
        let Some(total) = self.entry.charge.total else {
            return;
        };
        let owner = Self::owner(self.labels, subject);
        let make = || {
            let values = [&self.labels.tenant, &self.labels.model, reason];
            let instead = [&self.labels.tenant, OTHER, reason];
            let Families {
                estimated_cost,
                overflow,
                ..
            } = &mut *self.families;
            series_or(estimated_cost, overflow, owner, values, instead)
        };
        subject
            .estimated_cost
            .with(&reason, make, |series| series.add(total));
    }

    fn count_latency(&mut self, subject: &mut Subject, timing: &Timing<'_>) {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        let samples = [
            (Latency::Duration, Some(timing.duration.as_secs_f64())),
            (Latency::FirstByte, seconds(timing.first_byte)),
            (Latency::FirstToken, seconds(timing.first_token)),
            (Latency::OutputRate, output_rate(self.entry, timing)),
        ];
        let operation = self.entry.operation;
        let owner = Self::owner(self.labels, subject);
        for (latency, sample) in samples {
            let Some(sample) = sample else { continue };
            let overflow = self.families.overflow.clone();
            let make = || {
                let values = [&self.labels.model, operation.name()];
                let instead = [OTHER, operation.name()];
                series_or(
                    self.families.latency(latency),
                    &overflow,
                    owner,
                    values,
                    instead,
                )
            };
            let record = |series: &Histogram| series.observe(sample);
            subject.latency.with(&(latency, operation), make, record);
        }
    }

    fn count_upstream(&mut self, subject: &mut Subject, timing: &Timing<'_>) {
        let Entry {
            region,
            status,
            outcome,
            ..
        } = self.entry;
        if *outcome == Outcome::Unreachable {
            return;
        }
        let owner = Self::owner(self.labels, subject);
        let make = || {
            let status = status.map_or_else(|| NONE.to_owned(), |status| status.to_string());
            let values = [timing.account, region.as_str(), &self.labels.model, &status];
            let instead = [timing.account, region.as_str(), OTHER, &status];
            let Families {
                upstream, overflow, ..
            } = &mut *self.families;
            series_or(upstream, overflow, owner, values, instead)
        };
        subject
            .upstream
            .with(&(region.clone(), *status), make, IntCounter::inc);
    }
}

/// Output tokens per second after the first generated content, where both are known.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is a float; token counts stay far below 2^53"
)]
fn output_rate(entry: &Entry, timing: &Timing<'_>) -> Option<f64> {
    let tokens = entry.reading.usage.get(&Dimension::OutputTokens)?;
    let time = timing.duration.checked_sub(timing.first_token?)?;
    let measurable = tokens > 1 && !time.is_zero() && entry.outcome == Outcome::Success;
    measurable.then(|| tokens as f64 / time.as_secs_f64())
}

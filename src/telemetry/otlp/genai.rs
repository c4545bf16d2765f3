//! The GenAI client metrics of settled calls: `ExportMetricsServiceRequest` of OTLP 1.x.
//!
//! `gen_ai.client.*` and not `gen_ai.server.*`: towards Bedrock the proxy is a client, and what a
//! model server measures of itself cannot be seen from here. Sums since the start (cumulative).

use std::collections::HashMap;
use std::time::Duration;

use super::attributes::{Attributes, PROVIDER, is_error, operation_name};
use super::resource::Resource;
use super::wire::Message;
use crate::domain::{Dimension, Entry, Operation, Outcome, Timestamp, Usd};
use crate::telemetry::family::dollars;
use crate::telemetry::labels::{Labels, OTHER};
use crate::telemetry::timing::Timing;

/// What one series is about. Labels have passed the guard; the rest is closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    labels: Labels,
    operation: Operation,
    outcome: Outcome,
}

/// The sums of one key.
#[derive(Debug)]
struct Sums {
    input: Histogram,
    output: Histogram,
    duration: Histogram,
    first_chunk: Histogram,
    cost: Option<Usd>,
}

/// The GenAI metrics since the start.
#[derive(Debug)]
pub(in crate::telemetry) struct GenAi {
    sums: HashMap<Key, Sums>,
    series_max: usize,
}

impl GenAi {
    pub(in crate::telemetry) fn new(series_max: usize) -> Self {
        Self {
            sums: HashMap::new(),
            series_max,
        }
    }

    /// Counts one call.
    pub(in crate::telemetry) fn count(
        &mut self,
        entry: &Entry,
        labels: &Labels,
        timing: &Timing<'_>,
    ) {
        let mut key = Key {
            labels: labels.clone(),
            operation: entry.operation,
            outcome: entry.outcome,
        };
        if self.sums.len() >= self.series_max && !self.sums.contains_key(&key) {
            key.labels.application = OTHER.into();
            key.labels.model = OTHER.into();
        }
        self.sums.entry(key).or_default().count(entry, timing);
    }

    /// The body of one request with all sums.
    pub(in crate::telemetry) fn request(
        &self,
        resource: &Resource,
        start: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        if self.sums.is_empty() {
            return None;
        }
        let times = [start, now].map(nanos);
        let mut scope = Message::default();
        scope.message(1, &resource.scope());
        scope.message(2, &self.tokens(times));
        scope.message(2, &self.histogram(DURATION, times, |sums| &sums.duration));
        scope.message(
            2,
            &self.histogram(FIRST_CHUNK, times, |sums| &sums.first_chunk),
        );
        scope.message(2, &self.cost(times));
        let mut resource_metrics = Message::default();
        resource_metrics
            .message(1, resource.message())
            .message(2, &scope);
        let mut request = Message::default();
        request.message(1, &resource_metrics);
        Some(request.into_bytes())
    }

    fn tokens(&self, times: [u64; 2]) -> Message {
        let mut histogram = Message::default();
        for (key, sums) in &self.sums {
            for (kind, one) in [("input", &sums.input), ("output", &sums.output)] {
                let mut attributes = attributes(key);
                attributes.text("gen_ai.token.type", kind);
                one.write(&attributes, times, &mut histogram);
            }
        }
        histogram.number(2, CUMULATIVE);
        let mut metric = metric(TOKENS);
        metric.message(9, &histogram);
        metric
    }

    fn histogram(&self, named: Named, times: [u64; 2], of: fn(&Sums) -> &Histogram) -> Message {
        let mut histogram = Message::default();
        for (key, sums) in &self.sums {
            of(sums).write(&attributes(key), times, &mut histogram);
        }
        histogram.number(2, CUMULATIVE);
        let mut metric = metric(named);
        metric.message(9, &histogram);
        metric
    }

    fn cost(&self, times: [u64; 2]) -> Message {
        let mut sum = Message::default();
        for (key, sums) in &self.sums {
            let Some(cost) = sums.cost else { continue };
            let mut point = Message::default();
            attributes(key).write(7, &mut point);
            write_times(times, &mut point);
            point.double(4, dollars(cost));
            sum.message(1, &point);
        }
        sum.number(2, CUMULATIVE).number(3, 1);
        let mut metric = metric(COST);
        metric.message(7, &sum);
        metric
    }
}

fn attributes(key: &Key) -> Attributes {
    let Labels {
        tenant,
        application,
        model,
    } = &key.labels;
    let mut all = Attributes::default();
    all.text(
        "gen_ai.operation.name",
        operation_name(key.operation, Some(model)),
    )
    .text("gen_ai.provider.name", PROVIDER)
    .text("gen_ai.request.model", model)
    .text("bedrock_meter.tenant", tenant)
    .text("bedrock_meter.application", application)
    .text("bedrock_meter.operation", key.operation.name())
    .text("bedrock_meter.outcome", key.outcome.name());
    if is_error(key.outcome) {
        all.text("error.type", key.outcome.name());
    }
    all
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            input: Histogram::new(TOKEN_BOUNDS),
            output: Histogram::new(TOKEN_BOUNDS),
            duration: Histogram::new(SECOND_BOUNDS),
            first_chunk: Histogram::new(CHUNK_BOUNDS),
            cost: None,
        }
    }
}

impl Sums {
    fn count(&mut self, entry: &Entry, timing: &Timing<'_>) {
        let usage = &entry.reading.usage;
        if usage.iter().any(|(dimension, _)| dimension.is_prompt()) {
            self.input.observe(whole(usage.prompt_tokens()));
        }
        if let Some(tokens) = usage.get(&Dimension::OutputTokens) {
            self.output.observe(whole(tokens));
        }
        self.duration.observe(timing.duration.as_secs_f64());
        let first = timing.first_byte.filter(|_| entry.operation.is_stream());
        if let Some(first) = first {
            self.first_chunk.observe(Duration::as_secs_f64(&first));
        }
        if let Some(total) = entry.charge.total {
            let cost = self.cost.unwrap_or(Usd::ZERO);
            self.cost = Some(cost.saturating_add(total));
        }
    }
}

/// A histogram with explicit bounds.
#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            buckets: vec![0; bounds.len().saturating_add(1)],
            count: 0,
            sum: 0.0,
        }
    }

    /// A bound belongs to the bucket below it.
    fn observe(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    /// What was never observed has no point.
    fn write(&self, attributes: &Attributes, times: [u64; 2], histogram: &mut Message) {
        if self.count == 0 {
            return;
        }
        let mut point = Message::default();
        write_times(times, &mut point);
        point
            .fixed64(4, self.count)
            .double(5, self.sum)
            .packed(6, self.buckets.iter().copied())
            .packed(7, self.bounds.iter().map(|bound| bound.to_bits()));
        attributes.write(9, &mut point);
        histogram.message(1, &point);
    }
}

fn write_times([start, now]: [u64; 2], point: &mut Message) {
    point.fixed64(2, start).fixed64(3, now);
}

/// Name, unit, description.
type Named = [&'static str; 3];

fn metric([name, unit, description]: Named) -> Message {
    let mut metric = Message::default();
    metric
        .bytes(1, name.as_bytes())
        .bytes(2, description.as_bytes())
        .bytes(3, unit.as_bytes());
    metric
}

#[expect(
    clippy::cast_precision_loss,
    reason = "token counts stay far below 2^53"
)]
const fn whole(count: u64) -> f64 {
    count as f64
}

fn nanos(instant: Timestamp) -> u64 {
    let ms = u64::try_from(instant.unix_ms()).unwrap_or(0);
    ms.saturating_mul(1_000_000)
}

const CUMULATIVE: u64 = 2;
const TOKENS: Named = [
    "gen_ai.client.token.usage",
    "{token}",
    "Number of input and output tokens used.",
];
const DURATION: Named = [
    "gen_ai.client.operation.duration",
    "s",
    "GenAI operation duration.",
];
const FIRST_CHUNK: Named = [
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    "Time to receive the first chunk of a streaming call.",
];
const COST: Named = [
    "bedrock_meter.cost",
    "{USD}",
    "Contracted cost since the start of the process.",
];

/// The bounds that the conventions ask for.
const TOKEN_BOUNDS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const SECOND_BOUNDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const CHUNK_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

//! The metrics of this process: what each place calls, and the print for Prometheus.
//!
//! Settled calls go through one lock that only the settling thread, refusals and scrapes take;
//! what the request path counts is a plain atomic.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::core::Collector as _;
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{
    HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::budgets::{self, BudgetGauge};
use super::catalogue as define;
use super::family::Maker;
use super::labels::{KnownNames, UNPROVEN};
use super::ledger_sums::GuardedSums;
use super::observed::{self, Observed, PeriodSums};
use super::otlp::Resource;
use super::settled::Recorder;
use super::timing::Timing;
use super::{Settings, TelemetryError};
use crate::domain::{Entry, TenantId, Timestamp, Usd};

const COMMIT_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// The metrics of this process. Shared by reference.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    recorder: Mutex<Recorder>,
    in_flight: IntGauge,
    open_drains: IntGauge,
    /// Without labels; its one series begins with the first use.
    buffered: IntGaugeVec,
    refusals: IntCounterVec,
    ledger_entries: IntCounter,
    ledger_errors: IntCounterVec,
    ledger_commit: HistogramVec,
    config_reloads: IntCounterVec,
    /// Without labels; their one series begins when a configuration is in force.
    config_failed: IntGaugeVec,
    config_success: IntGaugeVec,
    config_waiting: IntGaugeVec,
    role_assumptions: IntCounterVec,
    /// Without labels; its one series begins with the first role.
    role_sessions: IntGaugeVec,
    limit_refused: IntCounterVec,
    spans_dropped: IntCounterVec,
    collector_failed: IntCounterVec,
    access_log_dropped: IntCounterVec,
    issuer_keys_read: IntGaugeVec,
    issuer_keys_failed: IntCounterVec,
    admin_logins: IntCounterVec,
    budgets: Mutex<Vec<BudgetGauge>>,
    series_max: usize,
    budget_store_mode: IntGaugeVec,
    alerting: IntGaugeVec,
    alerts_sent: IntCounterVec,
    alerts_failed: IntCounterVec,
    alerts_given_up: IntCounterVec,
    /// Without labels; its one series begins when the delivery log was read.
    alerts_pending: IntGaugeVec,
}

impl Metrics {
    /// Metrics at zero.
    ///
    /// # Errors
    /// When the table of metrics is at fault.
    pub fn new(settings: &Settings, known: &KnownNames) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let maker = Maker {
            registry: &registry,
            series_max: settings.series_per_family_max,
        };
        let recorder = Recorder::new(settings, known, &maker)?;
        Ok(Self {
            in_flight: maker.gauge(define::IN_FLIGHT)?,
            open_drains: maker.gauge(define::OPEN_DRAINS)?,
            buffered: maker.gauges(define::BUFFERED)?,
            refusals: recorder.refusals(),
            ledger_entries: maker.counter(define::LEDGER_ENTRIES)?,
            ledger_errors: maker.counters(define::LEDGER_ERRORS)?,
            ledger_commit: maker.histograms(define::LEDGER_COMMIT, COMMIT_SECONDS)?,
            config_failed: maker.gauges(define::CONFIG_FAILED)?,
            config_success: maker.gauges(define::CONFIG_SUCCESS)?,
            config_reloads: maker.counters(define::CONFIG_RELOADS)?,
            config_waiting: maker.gauges(define::CONFIG_WAITING)?,
            role_assumptions: maker.counters(define::ROLE_ASSUMPTIONS)?,
            role_sessions: maker.gauges(define::ROLE_SESSIONS)?,
            limit_refused: maker.counters(define::LIMIT_REFUSED)?,
            spans_dropped: maker.counters(define::OTLP_DROPPED)?,
            collector_failed: maker.counters(define::OTLP_FAILED)?,
            access_log_dropped: maker.counters(define::ACCESS_LOG_DROPPED)?,
            issuer_keys_read: maker.gauges(define::ISSUER_KEYS_READ)?,
            issuer_keys_failed: maker.counters(define::ISSUER_KEYS_FAILED)?,
            admin_logins: maker.counters(define::ADMIN_LOGINS)?,
            budgets: Mutex::default(),
            series_max: settings.series_per_family_max,
            budget_store_mode: maker.gauges(define::BUDGET_STORE_MODE)?,
            alerting: maker.gauges(define::ALERTING)?,
            alerts_sent: maker.counters(define::ALERTS_SENT)?,
            alerts_failed: maker.counters(define::ALERTS_FAILED)?,
            alerts_given_up: maker.counters(define::ALERTS_GIVEN_UP)?,
            alerts_pending: maker.gauges(define::ALERTS_PENDING)?,
            recorder: Mutex::new(recorder),
            registry,
        })
    }

    /// Counts one settled call.
    pub fn settled(&self, entry: &Entry, timing: &Timing<'_>) {
        self.recorder().settled(entry, timing);
    }

    /// Counts a call refused before it reached Bedrock. `tenant` is the proven one; without
    /// proof the name that a caller claims must not be given.
    pub fn refused(&self, tenant: Option<&TenantId>, reason: &'static str) {
        match tenant {
            Some(tenant) => self.recorder().refused(tenant, reason),
            None => self.refusals.with_label_values(&[UNPROVEN, reason]).inc(),
        }
    }

    /// Counts a call whose claims contradict each other, where the settings let it pass.
    pub fn contradicted(&self, tenant: &TenantId) {
        self.recorder().contradicted(tenant);
    }

    /// Counts a call that a policy would have refused, were it not only observed.
    pub fn observed(&self, tenant: &TenantId, reason: &'static str) {
        self.recorder().observed(tenant, reason);
    }

    /// Counts an admitted call until the returned value is dropped.
    pub fn in_flight(&self) -> Held {
        Held::new(&self.in_flight, 1)
    }

    /// Counts a stream that is drained until the returned value is dropped.
    pub fn open_drain(&self) -> Held {
        Held::new(&self.open_drains, 1)
    }

    /// Counts bytes held in memory until the returned value is dropped.
    pub fn buffered(&self, bytes: usize) -> Held {
        let gauge = self.buffered.with_label_values::<&str>(&[]);
        Held::new(&gauge, i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Counts a commit of that many entries.
    pub fn ledger_committed(&self, entries: u64, took: Duration) {
        self.ledger_entries.inc_by(entries);
        self.ledger_commit
            .with_label_values::<&str>(&[])
            .observe(took.as_secs_f64());
    }

    /// Counts a failure to write the ledger.
    pub fn ledger_failed(&self, kind: &'static str) {
        self.ledger_errors.with_label_values(&[kind]).inc();
    }

    /// Admits these names always, besides those it was made with.
    pub fn know(&self, known: &KnownNames) {
        self.recorder().know(known);
    }

    /// Counts a reload of the configuration.
    pub fn config_reloaded(&self, applied: bool) {
        let outcome = if applied { "applied" } else { "refused" };
        self.config_reloads.with_label_values(&[outcome]).inc();
        set(&self.config_failed, i64::from(!applied));
    }

    /// Notes when the configuration in force was loaded, and how many keys wait for a restart.
    pub fn config_in_force(&self, since: Timestamp, keys_waiting: usize) {
        set(&self.config_failed, 0);
        set(&self.config_success, since.unix_ms().div_euclid(1000));
        let keys_waiting = i64::try_from(keys_waiting).unwrap_or(i64::MAX);
        set(&self.config_waiting, keys_waiting);
    }

    /// Counts a role that was asked for at STS.
    pub fn role_assumed(&self, outcome: &'static str) {
        self.role_assumptions.with_label_values(&[outcome]).inc();
    }

    /// Notes how many assumed roles are in memory.
    pub fn role_sessions(&self, sessions: usize) {
        let sessions = i64::try_from(sessions).unwrap_or(i64::MAX);
        set(&self.role_sessions, sessions);
    }

    /// Counts a call that found no room in a configured limit.
    pub fn limit_refused(&self, limit: &str, mode: &'static str) {
        self.limit_refused.with_label_values(&[limit, mode]).inc();
    }

    /// Counts spans that the collector did not get.
    pub fn spans_dropped(&self, reason: &'static str, spans: u64) {
        self.spans_dropped
            .with_label_values(&[reason])
            .inc_by(spans);
    }

    /// Counts a request to the collector that failed.
    pub fn collector_failed(&self, signal: &'static str) {
        self.collector_failed.with_label_values(&[signal]).inc();
    }

    /// Notes when the keys of a configured issuer of tokens were read.
    pub fn issuer_keys_read(&self, issuer: &str, at: Timestamp) {
        let seconds = at.unix_ms().div_euclid(1000);
        self.issuer_keys_read
            .with_label_values(&[issuer])
            .set(seconds);
    }

    /// Counts an attempt to read the keys of a configured issuer of tokens that failed.
    pub fn issuer_keys_failed(&self, issuer: &str, reason: &'static str) {
        self.issuer_keys_failed
            .with_label_values(&[issuer, reason])
            .inc();
    }

    /// Counts a login at the admin listener by how it ended: a closed set.
    pub fn admin_login(&self, outcome: &'static str) {
        self.admin_logins.with_label_values(&[outcome]).inc();
    }

    /// How often the ledger could not be written, since the start.
    pub fn ledger_write_failures(&self) -> f64 {
        let families = self.ledger_errors.collect();
        let series = families.iter().flat_map(MetricFamily::get_metric);
        let is_write = |one: &&Metric| one.get_label().iter().all(|label| label.value() != "read");
        let failures = series
            .filter(is_write)
            .map(|one| one.get_counter().get_value());
        failures.sum()
    }

    /// Shows where budgets stand, until it is told anew.
    pub fn budgets(&self, gauges: Vec<BudgetGauge>) {
        let gauges = budgets::kept(gauges, self.series_max);
        *self.budgets.lock().unwrap_or_else(PoisonError::into_inner) = gauges;
    }

    /// Notes which way budgets are kept from now on; nothing is shown before.
    pub fn budget_store_mode(&self, mode: &'static str) {
        self.budget_store_mode.reset();
        self.budget_store_mode.with_label_values(&[mode]).set(1);
    }

    /// Notes who tells of a kind of notice that is about no budget.
    pub fn alerting(&self, kind: &'static str, has_outlets: bool) {
        let (by, other) = if has_outlets {
            ("outlet", "prometheus")
        } else {
            ("prometheus", "outlet")
        };
        self.alerting.with_label_values(&[kind, by]).set(1);
        // It may not be there.
        let _removed = self.alerting.remove_label_values(&[kind, other]);
    }

    /// Counts a notice that a configured outlet took.
    pub fn alert_sent(&self, outlet: &str, kind: &'static str) {
        self.alerts_sent.with_label_values(&[outlet, kind]).inc();
    }

    /// Counts an attempt that a configured outlet did not take.
    pub fn alert_failed(&self, outlet: &str) {
        self.alerts_failed.with_label_values(&[outlet]).inc();
    }

    /// Counts a notice that a configured outlet did not take in all the time there was.
    pub fn alert_given_up(&self, outlet: &str) {
        self.alerts_given_up.with_label_values(&[outlet]).inc();
    }

    /// Notes how many deliveries are not done.
    pub fn alerts_pending(&self, deliveries: u64) {
        let deliveries = i64::try_from(deliveries).unwrap_or(i64::MAX);
        set(&self.alerts_pending, deliveries);
    }

    /// Counts lines of the access log that were not written.
    pub fn access_log_dropped(&self, lines: u64) {
        self.access_log_dropped
            .with_label_values::<&str>(&[])
            .inc_by(lines);
    }

    /// The GenAI metrics as one OTLP request; `None` where they are not kept, or before the
    /// first call.
    pub fn gen_ai_request(
        &self,
        resource: &Resource,
        start: Timestamp,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        let recorder = self.recorder();
        recorder.gen_ai()?.request(resource, start, now)
    }

    /// All metrics in the Prometheus text format 0.0.4, with what was read for this scrape.
    ///
    /// # Errors
    /// When the metrics library refuses a family.
    pub fn render(&self, observed: &Observed) -> Result<String, TelemetryError> {
        let mut families = observed::families(
            observed,
            &self.period_sums(observed),
            &self.ledger_sums(observed),
        );
        families.extend(budgets::families(
            &self.budgets.lock().unwrap_or_else(PoisonError::into_inner),
        ));
        families.extend(self.registry.gather());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }

    /// The ledger's costs under the same guard as calls, so that junk in the ledger is `other`.
    fn period_sums(&self, observed: &Observed) -> PeriodSums {
        let mut recorder = self.recorder();
        let mut sums = PeriodSums::new();
        for cost in &observed.period_costs {
            let (tenant, application) = recorder.application(&cost.tenant, &cost.application);
            let sum = sums
                .entry((tenant, application, cost.period))
                .or_insert(Usd::ZERO);
            *sum = sum.saturating_add(cost.amount);
        }
        sums
    }

    /// The ledger's other sums under that guard.
    fn ledger_sums(&self, observed: &Observed) -> GuardedSums {
        let mut recorder = self.recorder();
        let mut sums = GuardedSums::new();
        for one in &*observed.ledger_sums {
            let sum = sums.entry(recorder.ledger_labels(one)).or_default();
            *sum = sum.saturating_add(one.amount);
        }
        sums
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(gauge: &IntGaugeVec, value: i64) {
    gauge.with_label_values::<&str>(&[]).set(value);
}

/// A part of a gauge that is given back on drop.
#[derive(Debug)]
#[must_use = "what is held is given back on drop"]
pub struct Held {
    gauge: IntGauge,
    amount: i64,
}

impl Held {
    fn new(gauge: &IntGauge, amount: i64) -> Self {
        gauge.add(amount);
        Self {
            gauge: gauge.clone(),
            amount,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.sub(self.amount);
    }
}

//! Counts settled calls. One thread settles, so a call is a few look-ups and atomic adds.

use std::collections::HashSet;
use std::sync::Arc;

use prometheus::{Histogram, HistogramVec, IntCounterVec};

use super::catalogue as define;
use super::counting::{Cache, Counting, Families};
use super::family::Maker;
use super::labels::{Budget, KnownNames, Labels, OTHER};
use super::ledger_sums::{GuardedKey, LedgerSum};
use super::otlp::GenAi;
use super::subjects::{Subject, Subjects};
use super::timing::{Phase, Timing};
use super::{Settings, TelemetryError};
use crate::domain::{ApplicationId, Entry, Operation, Outcome, TenantId};

const OVERHEAD_SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.1, 1.0,
];

/// The names under tenants that have series of their own in a family read at the scrape.
#[derive(Debug)]
struct Rows {
    admitted: HashSet<(Arc<str>, Arc<str>)>,
    budget: Budget,
}

impl Rows {
    fn new(settings: &Settings, series_of_each: usize) -> Self {
        Self {
            admitted: HashSet::new(),
            budget: Budget::new(settings.series_per_family_max.div_euclid(series_of_each)),
        }
    }

    /// Whether the name has, or now gets, series of its own.
    fn admit(&mut self, tenant: &Arc<str>, name: &Arc<str>) -> bool {
        let row = (Arc::clone(tenant), Arc::clone(name));
        if self.admitted.contains(&row) {
            return true;
        }
        let room = self.budget.take(tenant);
        if room {
            self.admitted.insert(row);
        }
        room
    }
}

/// Counters of rare events: their families are asked each time.
#[derive(Debug)]
struct TenantCounters {
    retries: IntCounterVec,
    disconnects: IntCounterVec,
    drained: IntCounterVec,
    disagreement: IntCounterVec,
}

impl TenantCounters {
    fn count(&self, entry: &Entry, timing: &Timing<'_>, labels: &Labels) {
        let count = |family: &IntCounterVec| family.with_label_values(&[&*labels.tenant]).inc();
        if entry.sdk_attempt.is_some_and(|attempt| attempt > 1) {
            count(&self.retries);
        }
        if entry.outcome == Outcome::ClientLeft {
            count(&self.disconnects);
        }
        if timing.drained {
            count(&self.drained);
        }
        if entry.reading.disagreement {
            let values: [&str; 2] = [&labels.tenant, &labels.model];
            self.disagreement.with_label_values(&values).inc();
        }
    }
}

/// Counts settled calls; used by one thread at a time.
#[derive(Debug)]
pub(super) struct Recorder {
    subjects: Subjects,
    families: Families,
    overflow: IntCounterVec,
    of_tenant: TenantCounters,
    overhead: HistogramVec,
    overhead_series: Cache<(Operation, Phase), Histogram>,
    refused: IntCounterVec,
    contradictions: IntCounterVec,
    observed: IntCounterVec,
    /// Applications with series of their own among the period's costs: two each.
    costs: Rows,
    /// Applications with series of their own among the changes: three effects since two days.
    changes: Rows,
    /// Models with series of their own among the ledger's sums: six kinds in two periods.
    models: Rows,
    other: Arc<str>,
    /// Kept only for a collector.
    gen_ai: Option<GenAi>,
}

impl Recorder {
    pub(super) fn new(
        settings: &Settings,
        known: &KnownNames,
        maker: &Maker<'_>,
    ) -> Result<Self, TelemetryError> {
        let overflow = maker.counters(define::LABEL_OVERFLOW)?;
        Ok(Self {
            subjects: Subjects::new(settings, known, overflow.clone()),
            overflow,
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
            contradictions: maker.counters(define::CONTRADICTIONS)?,
            observed: maker.counters(define::OBSERVED)?,
            costs: Rows::new(settings, 2),
            changes: Rows::new(settings, 6),
            models: Rows::new(settings, 12),
            other: OTHER.into(),
            gen_ai: (settings.otlp.endpoint.is_some() && settings.otlp.metrics)
                .then(|| GenAi::new(settings.series_per_family_max)),
        })
    }

    /// Admits these names always.
    pub(super) fn know(&mut self, known: &KnownNames) {
        self.subjects.guard.know(known);
    }

    /// Counts one settled call.
    pub(super) fn settled(&mut self, entry: &Entry, timing: &Timing<'_>) {
        let Some(subject) = self.subjects.of(entry) else {
            return; // never: a subject is made when there is none
        };
        let Subject {
            labels,
            known,
            series,
        } = subject;
        let (families, overflow) = (&mut self.families, &self.overflow);
        let mut counting = Counting {
            entry,
            labels,
            known: *known,
            families,
            overflow,
        };
        counting.count(series, timing);
        self.of_tenant.count(entry, timing, labels);
        if let Some(gen_ai) = &mut self.gen_ai {
            gen_ai.count(entry, labels, timing);
        }
        self.count_overhead(entry.operation, timing);
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

    /// The GenAI metrics, where they are kept.
    pub(super) const fn gen_ai(&self) -> Option<&GenAi> {
        self.gen_ai.as_ref()
    }

    /// Counts a proven caller's refused call.
    pub(super) fn refused(&mut self, tenant: &TenantId, reason: &'static str) {
        let tenant = self.subjects.guard.tenant(tenant);
        self.refused.with_label_values(&[&*tenant, reason]).inc();
    }

    /// Counts a call whose weaker claim was ignored.
    pub(super) fn contradicted(&mut self, tenant: &TenantId) {
        let tenant = self.subjects.guard.tenant(tenant);
        self.contradictions.with_label_values(&[&*tenant]).inc();
    }

    /// Counts a call that a policy would have refused, were it not only observed.
    pub(super) fn observed(&mut self, tenant: &TenantId, reason: &'static str) {
        let tenant = self.subjects.guard.tenant(tenant);
        self.observed.with_label_values(&[&*tenant, reason]).inc();
    }

    /// The label values for a row of the ledger. Its two periods make two series.
    pub(super) fn application(
        &mut self,
        tenant: &TenantId,
        application: &ApplicationId,
    ) -> (Arc<str>, Arc<str>) {
        let (tenant, application, known) = self.subjects.guard.application(tenant, application);
        if known || self.costs.admit(&tenant, &application) {
            return (tenant, application);
        }
        (tenant, Arc::clone(&self.other))
    }

    /// The label values for a sum of the ledger.
    pub(super) fn ledger_labels(&mut self, sum: &LedgerSum) -> GuardedKey {
        let tenant = self.subjects.guard.tenant(&sum.tenant);
        let mut labels: Vec<Arc<str>> = sum.labels.iter().map(|label| (&**label).into()).collect();
        if let Some(name) = labels.first_mut() {
            let own = if sum.family.names_application() {
                self.own_changes(&sum.tenant, name)
            } else {
                !sum.family.names_model() || self.models.admit(&tenant, name)
            };
            if !own {
                *name = Arc::clone(&self.other);
            }
        }
        labels.insert(0, tenant);
        (sum.family, labels)
    }

    fn own_changes(&mut self, tenant: &TenantId, name: &Arc<str>) -> bool {
        let Ok(application) = ApplicationId::new(name) else {
            return false;
        };
        let (tenant, admitted, known) = self.subjects.guard.application(tenant, &application);
        known || (admitted == *name && self.changes.admit(&tenant, &admitted))
    }

    /// The family of refusals, for callers without proof.
    pub(super) fn refusals(&self) -> IntCounterVec {
        self.refused.clone()
    }
}

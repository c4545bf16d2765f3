//! What the admin listener shows: readiness, metrics, reports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::callers::Roster;
use super::sums::NewestSums;
use crate::admin::{Check, Done, PageError, Pages, State, View, Work};
use crate::budgets::{Budget, BudgetDocument, StandingDocument};
use crate::domain::{BudgetStanding, CallId, Clock as _, SystemClock, Timestamp};
use crate::ledger::{self, GroupBy, LedgerError, LedgerReader, Period, PeriodTotals, Span};
use crate::limits::{LimitUse, Limits};
use crate::proxy::{Gates, LiveCall};
use crate::report::Report;
use crate::telemetry::{LimitStanding, Metrics, Observed, PeriodCost, PeriodKind};

/// The pages of a running proxy.
pub(super) struct ProxyPages {
    pub(super) gates: Arc<Gates>,
    pub(super) totals: Arc<Mutex<PeriodTotals>>,
    pub(super) sums: NewestSums,
    pub(super) waiting: Arc<AtomicU64>,
    pub(super) ledger: ledger::Settings,
    pub(super) roster: Arc<Roster>,
}

impl Pages for ProxyPages {
    fn readiness(&self) -> Vec<Check> {
        let gates = &self.gates;
        let stopping = gates.stopping.load(Ordering::Relaxed);
        let credentials = gates.credentials.current(gates.clock.now()).is_some();
        vec![
            check(
                "lifecycle",
                State::Blocking,
                !stopping,
                "taking calls",
                "stopping",
            ),
            check(
                "credentials",
                State::Blocking,
                credentials,
                "valid",
                "no valid AWS credentials",
            ),
            check(
                "settling",
                State::Blocking,
                gates.can_settle(),
                "running",
                "the settling thread died",
            ),
            self.ledger_check(),
        ]
    }

    fn metrics(&self) -> Result<String, PageError> {
        let rendered = self.gates.metrics.render(&self.observe());
        rendered.map_err(|error| PageError::Failed(error.to_string()))
    }

    fn report(&self, query: &str, view: &View) -> Result<Vec<u8>, PageError> {
        let (by, span) = question(query, SystemClock.now())?;
        let of = view.tenant.as_ref();
        let summary = self.reader()?.summary_of(of, &by, span).map_err(failed)?;
        to_json(&Report::new(&by, span, summary))
    }

    fn call(&self, id: CallId, view: &View) -> Result<Vec<u8>, PageError> {
        let found = self.reader()?.call_of(view.tenant.as_ref(), id);
        let mut call = found.map_err(|error| {
            if matches!(error, LedgerError::NoSuchCall(_)) {
                PageError::NotFound(error.to_string())
            } else {
                failed(error)
            }
        })?;
        if view.without_people {
            call.caller.user = None;
            call.caller.session = None;
        }
        to_json(&call)
    }

    fn live(&self, view: &View) -> Result<Vec<u8>, PageError> {
        let now = self.gates.clock.now();
        let of = view.tenant.as_ref();
        let (open, calls) = self.gates.open_set.list(LIVE_MAX, of);
        let calls: Vec<_> = calls
            .iter()
            .map(|(id, call)| live(*id, call, now))
            .collect();
        to_json(&serde_json::json!({ "open": open, "calls": calls }))
    }

    fn budgets(&self, view: &View) -> Result<Vec<u8>, PageError> {
        let now = self.gates.clock.now();
        let table = self.gates.budgets.table();
        let mut standings = self.gates.budgets.standings(now);
        standings.retain(|standing| may_see(&table, standing, view));
        let concerns = |budget: &&Arc<Budget>| match &view.tenant {
            Some(tenant) => budget.is_of(tenant),
            None => true,
        };
        let configured = table.iter().filter(concerns);
        let configured = configured.map(|budget| BudgetDocument::from(&**budget));
        to_json(&serde_json::json!({
            "budgets": StandingDocument::of_all(&table, &standings),
            "configured": configured.collect::<Vec<_>>(),
        }))
    }

    fn office(&self, work: Work<'_>) -> Result<Done, PageError> {
        self.roster.work(work)
    }
}

/// A counter of another tenant, or one that names people, is not for every reader.
fn may_see(table: &[Arc<Budget>], standing: &BudgetStanding, view: &View) -> bool {
    if let Some(tenant) = &view.tenant {
        return standing.tenant.as_ref() == Some(tenant);
    }
    let budget = table.iter().find(|one| one.name == standing.budget);
    !(view.without_people && budget.is_none_or(|budget| budget.names_people()))
}

fn live(id: CallId, call: &LiveCall, now: Timestamp) -> serde_json::Value {
    serde_json::json!({
        "call_id": id.to_string(),
        "opened_at": call.opened_at.to_string(),
        "age_ms": now.ms_since(call.opened_at),
        "tenant": call.tenant.as_str(),
        "application": call.application.as_str(),
        "operation": call.operation.name(),
        "model": call.model.as_deref(),
    })
}

impl ProxyPages {
    /// One store's blip must not take all replicas out at once: while the spill has room this one
    /// serves.
    fn ledger_check(&self) -> Check {
        let gates = &self.gates;
        let (state, detail) = if gates.spill.is_full() {
            let detail = "neither the store nor the spill takes entries".to_owned();
            (State::Blocking, detail)
        } else if !gates.has_places() {
            (State::Trouble, "the queue is full".to_owned())
        } else if gates.spill.bytes() > 0 {
            let (entries, bytes) = (gates.spill.entries(), gates.spill.bytes());
            let detail = format!(
                "the store does not take entries: {entries} wait in the spill ({bytes} bytes)"
            );
            (State::Trouble, detail)
        } else {
            (State::Ok, "taking entries".to_owned())
        };
        Check {
            name: "ledger",
            state,
            detail,
        }
    }

    fn reader(&self) -> Result<LedgerReader, PageError> {
        LedgerReader::of(&self.ledger).map_err(failed)
    }

    fn observe(&self) -> Observed {
        let gates = &self.gates;
        let now = gates.clock.now();
        let since = |then: Timestamp| Duration::from_millis(now.ms_since(then));
        let world = gates.world.load();
        let expiry = gates
            .credentials
            .current(now)
            .and_then(|authority| authority.expires_at());
        Observed {
            period_costs: period_costs(&self.totals, now),
            models_first_seen: models_first_seen(&self.totals),
            ledger_sums: Arc::clone(&self.sums.lock().unwrap_or_else(PoisonError::into_inner)),
            limits: limits(&gates.limits),
            oldest_open_call: Some(gates.open_set.oldest().map_or(Duration::ZERO, since)),
            ledger_queue_depth: Some(self.waiting.load(Ordering::Relaxed)),
            spill_entries: Some(gates.spill.entries()),
            spill_bytes: Some(gates.spill.bytes()),
            catalogue_version: Some(Arc::clone(world.catalogue.version())),
            catalogue_age: world.catalogue.as_of().map(since),
            credentials_expire_in: expiry.map(|at| Duration::from_millis(at.ms_since(now))),
            cost_basis: Some(COST_BASIS),
        }
    }
}

/// The metrics of a proxy that has stopped: all that does not need it any more.
pub(super) struct LastMetrics {
    metrics: Arc<Metrics>,
    totals: Arc<Mutex<PeriodTotals>>,
    catalogue_version: Arc<str>,
}

impl LastMetrics {
    pub(super) fn of(pages: &ProxyPages) -> Self {
        Self {
            metrics: Arc::clone(&pages.gates.metrics),
            totals: Arc::clone(&pages.totals),
            catalogue_version: Arc::clone(pages.gates.world.load().catalogue.version()),
        }
    }

    pub(super) fn render(&self) -> anyhow::Result<String> {
        let observed = Observed {
            period_costs: period_costs(&self.totals, SystemClock.now()),
            catalogue_version: Some(Arc::clone(&self.catalogue_version)),
            cost_basis: Some(COST_BASIS),
            ..Observed::default()
        };
        Ok(self.metrics.render(&observed)?)
    }
}

fn period_costs(totals: &Mutex<PeriodTotals>, now: Timestamp) -> Vec<PeriodCost> {
    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
    totals.roll(now);
    let mut costs = Vec::new();
    for (tenant, application, totals) in totals.iter() {
        let periods = [
            (PeriodKind::Day, totals.day),
            (PeriodKind::Month, totals.month),
        ];
        costs.extend(periods.map(|(period, total)| PeriodCost {
            tenant: tenant.clone(),
            application: application.clone(),
            period,
            amount: total.cost,
        }));
    }
    costs
}

fn limits(limits: &Limits) -> Vec<LimitStanding> {
    let standing = |one: LimitUse| LimitStanding {
        limit: one.limit,
        kind: one.what.name(),
        fullest_permille: one.fullest_permille,
        counters: one.counters,
    };
    limits.uses().into_iter().map(standing).collect()
}

fn models_first_seen(totals: &Mutex<PeriodTotals>) -> Vec<(Arc<str>, Timestamp)> {
    let totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
    let models = totals.models().iter();
    models
        .map(|(model, first)| (Arc::clone(model), first))
        .collect()
}

/// Live calls in one answer.
const LIVE_MAX: usize = 200;
/// Which of the four amounts live metrics show.
const COST_BASIS: &str = "contracted";

fn check(name: &'static str, otherwise: State, ok: bool, good: &str, bad: &str) -> Check {
    let (state, detail) = if ok {
        (State::Ok, good)
    } else {
        (otherwise, bad)
    };
    Check {
        name,
        state,
        detail: detail.to_owned(),
    }
}

/// `by=tenant,model&from=...&to=...`, each optional.
fn question(query: &str, now: Timestamp) -> Result<(Vec<GroupBy>, Span), PageError> {
    let mut by = vec![GroupBy::Tenant, GroupBy::Application, GroupBy::Model];
    let mut span = Period::Month.containing(now);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
        let refuse = |why: String| PageError::BadQuestion(format!("{name}: {why}"));
        match name {
            "by" => {
                let words = value.split(',').map(str::parse);
                by = words
                    .collect::<Result<_, _>>()
                    .map_err(|e| refuse(format!("{e}")))?;
            }
            "from" => span.from = value.parse().map_err(|e| refuse(format!("{e}")))?,
            "to" => span.to = value.parse().map_err(|e| refuse(format!("{e}")))?,
            _ => return Err(refuse("expected by, from or to".to_owned())),
        }
    }
    Ok((by, span))
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, PageError> {
    serde_json::to_vec(value).map_err(|error| PageError::Failed(error.to_string()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn failed(error: LedgerError) -> PageError {
    PageError::Failed(error.to_string())
}

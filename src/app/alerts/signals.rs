//! What is worth a notice beside budgets, read off the sums of the ledger and the state of stores.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::alerts::{DayOfTenant, Signal, SuddenSettings, sudden};
use crate::app::sums::NewestSums;
use crate::domain::{TenantId, Usd};
use crate::proxy::Gates;
use crate::telemetry::{LedgerFamily, LedgerSum};

/// Looks at what other threads leave; asks no store itself.
pub(in crate::app) struct SignalSource {
    gates: Arc<Gates>,
    sums: NewestSums,
    failures_seen: f64,
    failed_at: Option<Instant>,
}

impl SignalSource {
    pub(in crate::app) const fn new(gates: Arc<Gates>, sums: NewestSums) -> Self {
        Self {
            gates,
            sums,
            failures_seen: 0.0,
            failed_at: None,
        }
    }

    /// Everything that stands now.
    pub(in crate::app) fn signals(&mut self, settings: &SuddenSettings) -> Vec<Signal> {
        let sums = Arc::clone(&self.sums.lock().unwrap_or_else(PoisonError::into_inner));
        let mut signals = sudden(&days(&sums), settings);
        signals.extend(unpriced(&sums));
        signals.extend(self.ledger_trouble().map(|mode| Signal::Trouble {
            store: "ledger",
            mode,
        }));
        signals
    }

    fn ledger_trouble(&mut self) -> Option<&'static str> {
        let failures = self.gates.metrics.ledger_write_failures();
        if failures > self.failures_seen {
            self.failures_seen = failures;
            self.failed_at = Some(Instant::now());
        }
        if !self.gates.can_settle() {
            Some("the settling thread died: calls are refused")
        } else if !self.gates.has_places() {
            Some("the queue is full: new calls are refused")
        } else if self.failed_at.is_some_and(|at| at.elapsed() < RECENT) {
            Some("entries cannot be written and wait")
        } else {
            None
        }
    }
}

/// Each tenant's day, and the same hours of the days that the ledger still has.
fn days(sums: &[LedgerSum]) -> Vec<DayOfTenant> {
    let mut today: BTreeMap<&str, i128> = BTreeMap::new();
    let mut changes: BTreeMap<(&str, &str), i128> = BTreeMap::new();
    for sum in sums {
        let tenant = sum.tenant.as_str();
        let labels: Vec<&str> = sum.labels.iter().map(|label| &**label).collect();
        match (sum.family, labels.as_slice()) {
            (LedgerFamily::SourceCost, [_source, "day"]) => {
                add(today.entry(tenant).or_default(), sum.amount);
            }
            (LedgerFamily::CostChange, [_application, since, _effect]) => {
                add(changes.entry((tenant, since)).or_default(), sum.amount);
            }
            _ => {}
        }
    }
    let day = |(tenant, spent): (&str, i128)| {
        let before = changes.iter().filter(|((of, _), _)| *of == tenant);
        let before = before.map(|(_, change)| Usd::from_femto(spent.saturating_sub(*change)));
        Some(DayOfTenant {
            before: before.collect(),
            tenant: TenantId::new(tenant).ok()?,
            today: Usd::from_femto(spent),
        })
    };
    today.into_iter().filter_map(day).collect()
}

/// Tenants with calls of today that have usage and no price.
fn unpriced(sums: &[LedgerSum]) -> Vec<Signal> {
    let mut calls: BTreeMap<&TenantId, i128> = BTreeMap::new();
    for sum in sums {
        let labels: Vec<&str> = sum.labels.iter().map(|label| &**label).collect();
        if let (LedgerFamily::Calls, [source, "unpriced", "day"]) = (sum.family, labels.as_slice())
            && *source != "missing"
            && sum.amount > 0
        {
            add(calls.entry(&sum.tenant).or_default(), sum.amount);
        }
    }
    let signal = |(tenant, calls): (&TenantId, i128)| Signal::Unpriced {
        tenant: tenant.clone(),
        calls: u64::try_from(calls).unwrap_or(u64::MAX),
    };
    calls.into_iter().map(signal).collect()
}

const fn add(sum: &mut i128, amount: i128) {
    *sum = sum.saturating_add(amount);
}

/// A failure of the last minute is one of now.
const RECENT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(family: LedgerFamily, labels: &[&str], amount: i128) -> LedgerSum {
        LedgerSum {
            family,
            tenant: TenantId::new("search").unwrap(),
            labels: labels.iter().map(|label| (*label).into()).collect(),
            amount,
        }
    }

    #[test]
    fn the_same_hours_of_earlier_days_follow_from_what_changed() {
        use LedgerFamily::{CostChange, SourceCost};
        let found = days(&[
            sum(SourceCost, &["reported", "day"], 70),
            sum(SourceCost, &["estimated", "day"], 30),
            sum(SourceCost, &["reported", "month"], 999),
            sum(CostChange, &["ranker", "yesterday", "volume"], 60),
            sum(CostChange, &["batch", "yesterday", "mix"], -10),
            sum(CostChange, &["ranker", "last_week", "price"], 100),
        ]);
        let usd = Usd::from_femto;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].today, usd(100));
        // 100 less a change of 50, and of 100.
        let mut before = found[0].before.clone();
        before.sort();
        assert_eq!(before, [usd(0), usd(50)]);
    }

    #[test]
    fn a_call_whose_usage_is_missing_is_no_unpriced_spend() {
        let calls = |source, status, period, amount| {
            sum(LedgerFamily::Calls, &[source, status, period], amount)
        };
        let found = unpriced(&[
            calls("missing", "unpriced", "day", 5),
            calls("reported", "priced", "day", 5),
            calls("reported", "unpriced", "month", 5),
            calls("reported", "unpriced", "day", 2),
            calls("estimated", "unpriced", "day", 1),
        ]);
        let tenant = TenantId::new("search").unwrap();
        assert_eq!(found, [Signal::Unpriced { tenant, calls: 3 }]);
    }
}

//! What is read before the first call: the ledger with what was left open in it, this month's
//! totals, and what budgets count.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokio::runtime::Handle;

use crate::budgets::Budgets;
use crate::config::Settings;
use crate::domain::Clock;
use crate::ledger::{Leases, Ledger, OpenCalls, PeriodTotals, Recovered, recover};
use crate::meters::Estimator;
use crate::pricing::Catalogue;
use crate::proxy::{TellReplicas, entry_of_lost_call, of_ledger, spent_in};
use crate::replicas::Store;

/// The books of a proxy that is about to serve.
pub(super) struct Books {
    /// Calls that an earlier process left open; each has its entry now.
    pub(super) recovered: Recovered,
    pub(super) open_calls: Arc<OpenCalls>,
    /// Its place among the replicas, until its thread takes it.
    pub(super) leases: Option<Leases>,
    pub(super) totals: Arc<Mutex<PeriodTotals>>,
    pub(super) budgets: Budgets,
    pub(super) estimator: Estimator,
}

impl Books {
    /// Settles what was left open, and tells the store of shared budgets; then sums up. On a thread
    /// that may wait, as the ledger may lie on a server.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub(super) async fn open(
        settings: &Settings,
        ledger: Ledger,
        catalogue: &Arc<Catalogue>,
        clock: &Arc<dyn Clock>,
        replicas: Option<&Store>,
    ) -> anyhow::Result<(Self, Ledger)> {
        let (settings, clock) = (settings.clone(), Arc::clone(clock));
        let (catalogue, replicas) = (Arc::clone(catalogue), replicas.cloned());
        let open = move || Self::read(&settings, ledger, &catalogue, &*clock, replicas.as_ref());
        tokio::task::spawn_blocking(open).await?
    }

    fn read(
        settings: &Settings,
        mut ledger: Ledger,
        catalogue: &Arc<Catalogue>,
        clock: &dyn Clock,
        replicas: Option<&Store>,
    ) -> anyhow::Result<(Self, Ledger)> {
        let estimator = Estimator::default();
        let entry = |call| entry_of_lost_call(call, &estimator, catalogue, clock);
        // How budgets name their counters; nothing is counted here yet.
        let named = Budgets::new(settings.budgets.clone(), &[], clock.now());
        let runtime = Handle::current();
        let mut told = TellReplicas::new(&named, replicas, &runtime);
        let recovered = recover(&mut ledger, entry, &mut told);
        let mut recovered = recovered.context("settle the calls that were left open")?;
        let mut leases = Leases::join(&settings.ledger)?;
        if let Some(leases) = &mut leases {
            let settled = leases.settle_own(entry, &mut told)?;
            recovered.settled = recovered.settled.saturating_add(settled);
        }
        let open_calls = OpenCalls::open(&settings.ledger).context("open the open-calls log")?;
        let now = clock.now();
        let totals = PeriodTotals::seed(&ledger, now).context("sum up this month")?;
        let amounts = spent_in(&settings.ledger, &settings.budgets, now);
        let amounts = amounts.context("sum up what budgets count")?;
        let spent: Vec<_> = amounts.iter().map(of_ledger).collect();
        let books = Self {
            recovered,
            open_calls: Arc::new(open_calls.told_by(leases.as_ref())),
            leases,
            totals: Arc::new(Mutex::new(totals)),
            budgets: Budgets::new(settings.budgets.clone(), &spent, now),
            estimator,
        };
        Ok((books, ledger))
    }
}

//! Budgets that replicas share: the store and its tasks, while the proxy serves.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::budgets::Budgets;
use crate::config::Settings;
use crate::domain::Clock;
use crate::ledger::StoreKind;
use crate::proxy::follow_shared;
use crate::replicas::{LedgerOf, Store};
use crate::telemetry::Metrics;

/// The store, where one is configured, and who keeps up with it until all is settled.
pub(super) struct Shared {
    pub(super) store: Option<Store>,
    tasks: JoinSet<()>,
}

impl Shared {
    /// Connects, and waits for the store before the first call. One that is away does not keep the
    /// proxy from serving.
    ///
    /// # Errors
    /// When the name of the ledger cannot be read or written.
    pub(super) async fn open(settings: &Settings, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let mut tasks = JoinSet::new();
        if settings.budget_store.redis_url.is_none() {
            let store = None;
            if !settings.budgets.is_empty() {
                metrics.budget_store_mode("memory");
            }
            return Ok(Self { store, tasks });
        }
        let ledger = match settings.ledger.store {
            StoreKind::Postgres => LedgerOf::All,
            StoreKind::Sqlite => {
                let name = ledger_name(&settings.ledger.directory);
                LedgerOf::This(name.context("name the ledger for other replicas")?)
            }
        };
        let note = settings.ledger.directory.join("budget-store.untold");
        let (store, keeper) = Store::new(&settings.budget_store, ledger, Arc::clone(metrics), note);
        tasks.spawn(keeper.run());
        if !store.wait_up(FIRST_MAX).await {
            tracing::warn!(
                event = "budget_store_away",
                "the store of shared budgets does not answer; serving without it"
            );
        }
        let store = Some(store);
        Ok(Self { store, tasks })
    }

    /// Has the counters of this process follow those of all.
    pub(super) fn follow(&mut self, budgets: &Budgets, clock: &Arc<dyn Clock>) {
        if let Some(store) = self.store.clone() {
            let following = follow_shared(budgets.clone(), store, Arc::clone(clock));
            self.tasks.spawn(following);
        }
    }

    /// Tells the store the last of it.
    pub(super) async fn leave(mut self) {
        if let Some(store) = &self.store
            && !store.flush(LAST_MAX).await
        {
            let unconfirmed = store.unconfirmed();
            tracing::warn!(
                event = "budget_store_not_told",
                unconfirmed,
                "the store does not know what the last calls cost; what they held counts as spent"
            );
        }
        self.tasks.abort_all();
    }
}

/// A name of this ledger that outlives restarts, so that the store counts it once.
fn ledger_name(directory: &Path) -> anyhow::Result<String> {
    let file = directory.join("ledger.id");
    if let Ok(name) = fs::read_to_string(&file)
        && !name.trim().is_empty()
    {
        return Ok(name.trim().to_owned());
    }
    let name = uuid::Uuid::now_v7().simple().to_string();
    fs::write(&file, &name).with_context(|| format!("create {}", file.display()))?;
    Ok(name)
}

const FIRST_MAX: Duration = Duration::from_secs(2);
const LAST_MAX: Duration = Duration::from_secs(3);

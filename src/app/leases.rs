//! The thread that tells the other replicas that this one lives and what it has open, and settles
//! the calls of one that is gone.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;

use crate::ledger::{Beat, Leases, LedgerError};
use crate::meters::Estimator;
use crate::proxy::{Gates, TellReplicas, entry_of_lost_call};
use crate::telemetry::Metrics;

/// The running thread; none where the ledger is not shared. It ends when this is dropped.
pub(super) struct LeasesThread {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LeasesThread {
    /// To be called on a runtime, which asks the store of shared budgets.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(leases: Option<Leases>, gates: &Arc<Gates>) -> anyhow::Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let Some(leases) = leases else {
            let (stop, thread) = (None, None);
            return Ok(Self { stop, thread });
        };
        let (metrics, runtime) = (Arc::clone(&gates.metrics), Handle::current());
        // The queue of settlements ends with the gates, and this thread outlives it.
        let gates = Arc::downgrade(gates);
        let thread = std::thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || keep(leases, &gates, &runtime, &metrics, &stopped))
            .context("start the thread of the leases")?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for LeasesThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "leases_failed", "the thread of the leases panicked");
        }
    }
}

fn keep(
    mut leases: Leases,
    gates: &Weak<Gates>,
    runtime: &Handle,
    metrics: &Metrics,
    stop: &Receiver<()>,
) {
    let mut is_doubled = false;
    loop {
        if let Err(error) = leases.fold_sums() {
            metrics.ledger_failed("fold");
            tracing::warn!(event = "fold_failed", %error, "reports have more rows to read");
        }
        match beat(&mut leases, gates, runtime) {
            Ok(Beat::Renewed) => is_doubled = false,
            Ok(Beat::Returned) => tracing::warn!(
                event = "replica_returned",
                "the lease was over: another replica has settled what was open here"
            ),
            Ok(Beat::Doubled) if is_doubled => {}
            Ok(Beat::Doubled) => {
                is_doubled = true;
                let replica = leases.replica();
                tracing::error!(
                    event = "replica_doubled",
                    %replica,
                    "another process has the same replica.id: give each its own"
                );
            }
            Err(error) => {
                metrics.ledger_failed("lease");
                tracing::warn!(event = "lease_failed", %error, "the lease is not renewed");
            }
        }
        if stop.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    if let Err(error) = leases.leave() {
        tracing::warn!(event = "lease_failed", %error, "the other replicas are not told of the end");
    }
}

fn beat(leases: &mut Leases, gates: &Weak<Gates>, runtime: &Handle) -> Result<Beat, LedgerError> {
    let beat = leases.beat()?;
    let Some(gates) = gates.upgrade() else {
        return Ok(beat);
    };
    let (estimator, world) = (Estimator::default(), gates.world.load());
    let entry = |call| entry_of_lost_call(call, &estimator, &world.catalogue, &*gates.clock);
    let mut replicas = TellReplicas::new(&gates.budgets, gates.replicas.as_ref(), runtime);
    leases.settle_for_the_gone(entry, &mut replicas)?;
    Ok(beat)
}

/// What a replica opened since the last beat is lost with its disk.
const BEAT: Duration = Duration::from_secs(1);

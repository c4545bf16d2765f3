//! The thread that follows the ledger for the gauges of what the spend is made of.
//!
//! It shares no lock with calls: it reads, and leaves the newest sums where a scrape finds them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use crate::domain::{Clock as _, SystemClock};
use crate::ledger::{Breakdown, LedgerError, PeriodTotals, Settings};
use crate::telemetry::{LedgerSum, Metrics};

/// How long the sums stand before they are read again.
const PAUSE: Duration = Duration::from_secs(1);

/// The newest sums; empty while there are none, or while they cannot be read.
pub(super) type NewestSums = Arc<Mutex<Arc<[LedgerSum]>>>;

/// The running thread. It ends when this is dropped.
pub(super) struct SumsThread {
    /// What it has found.
    pub(super) newest: NewestSums,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SumsThread {
    pub(super) fn start(
        ledger: &Settings,
        totals: Arc<Mutex<PeriodTotals>>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let ledger = ledger.clone();
        let newest = NewestSums::default();
        let found = Arc::clone(&newest);
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("sums".to_owned())
            .spawn(move || follow(&ledger, &found, &totals, &metrics, &stopped))
            .context("start the thread of the sums")?;
        Ok(Self {
            newest,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for SumsThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "sums_failed", "the thread of the sums panicked");
        }
    }
}

fn follow(
    ledger: &Settings,
    newest: &NewestSums,
    totals: &Mutex<PeriodTotals>,
    metrics: &Metrics,
    stop: &Receiver<()>,
) {
    let mut breakdown = None;
    loop {
        let pause = match read(ledger, &mut breakdown, totals) {
            Ok(Some(sums)) => {
                show(newest, sums);
                PAUSE
            }
            Ok(None) => Duration::ZERO,
            Err(error) => {
                metrics.ledger_failed("read");
                tracing::warn!(event = "ledger_read_failed", %error, "sums of the ledger");
                breakdown = None;
                show(newest, Vec::new());
                PAUSE
            }
        };
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn show(newest: &NewestSums, sums: Vec<LedgerSum>) {
    *newest.lock().unwrap_or_else(PoisonError::into_inner) = sums.into();
}

/// The sums; `None` while rows are left to read.
fn read(
    ledger: &Settings,
    breakdown: &mut Option<Breakdown>,
    totals: &Mutex<PeriodTotals>,
) -> Result<Option<Vec<LedgerSum>>, LedgerError> {
    let now = SystemClock.now();
    let breakdown = match breakdown {
        Some(breakdown) => breakdown,
        None => breakdown.insert(Breakdown::of(ledger, now)?),
    };
    if breakdown.refresh(now)? {
        return Ok(None);
    }
    if let Some(followed) = breakdown.totals() {
        let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.take(followed);
    }
    breakdown.sums().map(Some)
}

//! Where settled calls are written down: into the store, or, while it does not take them, into the
//! spill and from there into the store, in order.
//!
//! An append that the store refuses, or does not answer in time, goes to the spill: the settled
//! call is safe at once, whatever the store does. While anything waits in the spill, what comes
//! later goes behind it. [`Journal::advance`] gives the store the oldest segment again and again,
//! and once the spill is empty, entries go straight to the store as before. An entry that reaches
//! the store twice, because it answered late, is one row: entries are idempotent by call id.
//!
//! Only when neither takes entries does [`Journal::append`] fail.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::store_thread::{Answer, Job, StoreThread};
use super::{Ledger, LedgerError, Spill, SpillState};
use crate::domain::{Entry, Timestamp};
use crate::telemetry::Metrics;

/// The store and its spill, open for writing.
pub struct Journal {
    store: StoreThread,
    /// What the store has been asked and not answered yet.
    under_way: Option<UnderWay>,
    spill: Spill,
    state: Arc<SpillState>,
    metrics: Arc<Metrics>,
    /// How long an append may take before its entries go to the spill.
    patience: Duration,
    /// When the store is tried again after it refused what was in the spill.
    retry_at: Instant,
    retry_pause: Duration,
    /// When it is next looked for entries that are older than they are kept.
    trim_at: Instant,
}

/// A job of the store.
#[derive(Clone, Copy)]
enum UnderWay {
    Append {
        entries: u64,
    },
    /// An append that took too long: its entries are in the spill as well.
    LateAppend,
    Replay {
        entries: u64,
        unreadable: u64,
    },
    Sync,
    Trim,
}

impl Journal {
    /// Takes the ledger, and the spill that was replayed into it.
    ///
    /// # Errors
    /// When the store's thread cannot be started.
    pub fn start(
        ledger: Ledger,
        spill: Spill,
        state: Arc<SpillState>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            store: StoreThread::start(ledger)?,
            under_way: None,
            spill,
            state,
            metrics,
            patience: PATIENCE,
            retry_at: Instant::now(),
            retry_pause: RETRY_PAUSE_MIN,
            trim_at: Instant::now(),
        })
    }

    /// Writes entries down, into the store or the spill: they survive the death of the process,
    /// and under strict durability the loss of power.
    ///
    /// # Errors
    /// When neither takes them; they are to be given again.
    pub fn append(&mut self, entries: &Arc<Vec<Entry>>) -> Result<(), LedgerError> {
        if entries.is_empty() || self.append_to_store(entries) {
            self.state.set_full(false);
            return Ok(());
        }
        let spilled = self.spill.append(entries);
        self.state.set_full(spilled.is_err());
        self.show();
        if let Err(error) = &spilled {
            self.metrics.ledger_failed("spill");
            tracing::error!(event = "ledger_spill_failed", %error, "ledger");
        }
        spilled
    }

    /// Brings what waits in the spill into the store, as far as it gets in that time.
    pub fn advance(&mut self, time: Duration) {
        let begun = Instant::now();
        loop {
            let left = time.saturating_sub(begun.elapsed());
            if !self.settle_answer(left) || !self.give_oldest() {
                break;
            }
        }
    }

    /// Whether [`Self::advance`] has anything to do.
    pub fn is_behind(&self) -> bool {
        self.under_way.is_some() || !self.spill.is_empty()
    }

    /// Whether settled calls wait in the spill.
    pub fn is_spilling(&self) -> bool {
        !self.spill.is_empty()
    }

    /// Asks the disk to keep what was written.
    pub fn sync(&mut self) {
        if let Err(error) = self.spill.sync() {
            self.metrics.ledger_failed("spill");
            tracing::error!(event = "ledger_sync_failed", %error, "spill");
        }
        if self.settle_answer(Duration::ZERO) && self.give(Job::Sync, UnderWay::Sync) {
            self.settle_answer(self.patience);
        }
    }

    /// Has the store delete some of what is older than it is kept, when it has nothing else to do.
    pub fn trim(&mut self, now: Timestamp) {
        let idle = !self.is_behind() && Instant::now() >= self.trim_at;
        if idle && self.give(Job::Trim(now), UnderWay::Trim) {
            self.settle_answer(self.patience);
        }
    }

    /// Brings in what can be brought in within some seconds, and lets the ledger go. What stays
    /// in the spill is the next start's.
    pub fn close(mut self) {
        self.advance(CLOSE_TIME_MAX);
        self.sync();
        let entries = self.spill.entries();
        if entries > 0 {
            tracing::warn!(
                event = "spill_left",
                entries,
                "the next start brings them in"
            );
        }
        if self.settle_answer(Duration::ZERO) {
            self.store.end();
        }
    }

    /// Whether the store has them; otherwise they are the spill's.
    fn append_to_store(&mut self, entries: &Arc<Vec<Entry>>) -> bool {
        if !self.settle_answer(Duration::ZERO) || !self.spill.is_empty() {
            return false;
        }
        let asked = UnderWay::Append {
            entries: count(entries.len()),
        };
        if !self.give(Job::Append(Arc::clone(entries)), asked) {
            return false;
        }
        match self.store.answer(self.patience) {
            Ok(answer) => {
                self.under_way = None;
                self.judge(asked, &answer)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.under_way = Some(UnderWay::LateAppend);
                self.metrics.ledger_failed("slow");
                tracing::error!(
                    event = "ledger_slow",
                    "the store does not answer: entries go to the spill"
                );
                false
            }
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// Gives the store the oldest segment of the spill; `false` when there is nothing to wait for.
    fn give_oldest(&mut self) -> bool {
        if self.spill.is_empty() || Instant::now() < self.retry_at {
            return false;
        }
        match self.spill.oldest() {
            Ok(Some(batch)) => {
                let under_way = UnderWay::Replay {
                    entries: count(batch.entries.len()),
                    unreadable: batch.unreadable,
                };
                self.give(Job::Replay(batch.entries), under_way)
            }
            Ok(None) => false,
            Err(error) => {
                self.try_later("spill", &error);
                false
            }
        }
    }

    fn give(&mut self, job: Job, under_way: UnderWay) -> bool {
        if !self.store.give(job) {
            self.under_way = None;
            self.metrics.ledger_failed("store_died");
            self.retry_at = Instant::now() + RETRY_PAUSE_MAX;
            return false;
        }
        self.under_way = Some(under_way);
        true
    }

    /// Whether the store is free, waiting for it so long.
    fn settle_answer(&mut self, patience: Duration) -> bool {
        let Some(under_way) = self.under_way else {
            return true;
        };
        match self.store.answer(patience) {
            Ok(answer) => {
                self.under_way = None;
                self.judge(under_way, &answer);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.under_way = None;
                true
            }
        }
    }

    /// Whether the store did it.
    fn judge(&mut self, what: UnderWay, answer: &Answer) -> bool {
        match (&answer.result, what) {
            (Ok(_), UnderWay::Append { entries }) => {
                self.metrics.ledger_committed(entries, answer.took);
                true
            }
            (
                Ok(_),
                UnderWay::Replay {
                    entries,
                    unreadable,
                },
            ) => {
                self.metrics.ledger_committed(entries, answer.took);
                self.replayed(unreadable);
                true
            }
            (Ok(_), UnderWay::LateAppend | UnderWay::Sync) => true,
            (Ok(more), UnderWay::Trim) => {
                let pause = if *more { Duration::ZERO } else { TRIM_PAUSE };
                self.trim_at = Instant::now() + pause;
                true
            }
            (Err(error), UnderWay::Trim) => {
                self.metrics.ledger_failed("trim");
                tracing::error!(event = "ledger_trim_failed", %error, "ledger");
                self.trim_at = Instant::now() + TRIM_PAUSE;
                false
            }
            (Err(error), UnderWay::Append { .. } | UnderWay::LateAppend) => {
                self.metrics.ledger_failed("append");
                tracing::error!(event = "ledger_append_failed", %error, "ledger");
                false
            }
            (Err(error), UnderWay::Replay { .. }) => {
                self.try_later("replay", error);
                false
            }
            (Err(error), UnderWay::Sync) => {
                self.metrics.ledger_failed("sync");
                tracing::error!(event = "ledger_sync_failed", %error, "ledger");
                false
            }
        }
    }

    fn replayed(&mut self, unreadable: u64) {
        self.retry_pause = RETRY_PAUSE_MIN;
        if unreadable > 0 {
            self.metrics.ledger_failed("spill_damaged");
            tracing::error!(
                event = "spill_damaged",
                unreadable,
                "a segment is kept aside"
            );
        }
        if let Err(error) = self.spill.done(unreadable > 0) {
            self.try_later("spill", &error);
        }
        // Whoever took the answer: an append may, and then nothing waits to be advanced.
        self.show();
        if self.spill.is_empty() {
            tracing::info!(event = "spill_empty", "the store takes entries again");
        }
    }

    fn try_later(&mut self, kind: &'static str, error: &LedgerError) {
        self.metrics.ledger_failed(kind);
        tracing::error!(event = "ledger_replay_failed", %error, "ledger");
        self.retry_at = Instant::now() + self.retry_pause;
        self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
    }

    fn show(&self) {
        self.state.show(self.spill.entries(), self.spill.bytes());
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A commit takes milliseconds; what takes longer than this must not hold up the settling thread.
const PATIENCE: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);
const TRIM_PAUSE: Duration = Duration::from_hours(1);
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

//! What the calls of a process that died cost, from whoever makes their entries.
//!
//! The store is told just before the entries are committed, while nobody may sum up the ledger: then
//! no sum that is there has them, and every later one will. Killed in between, this replica leaves a
//! store that knows of them and a ledger that does not yet; whoever makes the entries then tells it
//! again, by the calls' ids.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::store::Store;
use crate::domain::SharedLate;

/// Entries that are about to be committed, as the store is told of them.
#[derive(Debug)]
pub struct Late {
    calls: Vec<SharedLate>,
    /// Whether others were kept from summing up.
    keeps_others: bool,
}

impl Store {
    /// Entries of these calls of a process that died are about to be committed. Waits some seconds
    /// at most: a store that does not answer is told later.
    pub async fn begin_late(&self, calls: Vec<SharedLate>) -> Late {
        let begun = Instant::now();
        let keeps_others = self.keep_others(begun).await;
        let late = Late {
            calls,
            keeps_others,
        };
        if keeps_others {
            self.tell_late(&late, begun).await;
        }
        late
    }

    /// They are committed, or will be made again.
    pub async fn end_late(&self, late: Late) {
        let is_told = late.keeps_others && self.let_others().await;
        // Others may have summed up meanwhile, with them or without: rather twice than never.
        if !is_told {
            self.inner.ops().late(late.calls);
            self.inner.work.notify_one();
        }
    }

    /// Keeps replicas from summing up, this one too; false where that cannot be had in time.
    async fn keep_others(&self, begun: Instant) -> bool {
        while begun.elapsed() < LATE_MAX {
            let Some(link) = self.inner.link() else {
                return false;
            };
            match link.begin_late().await {
                Ok(true) => return true,
                Ok(false) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(error) => {
                    self.inner.lost(&link, &error);
                    return false;
                }
            }
        }
        false
    }

    async fn let_others(&self) -> bool {
        let Some(link) = self.inner.link() else {
            return false;
        };
        match link.end_late().await {
            Ok(was_kept) => was_kept,
            Err(error) => {
                self.inner.lost(&link, &error);
                false
            }
        }
    }

    /// Tells the store, and waits until it has it.
    async fn tell_late(&self, late: &Late, begun: Instant) {
        let mut changed = self.inner.changed.subscribe();
        let last = self.inner.ops().late(late.calls.clone());
        self.inner.work.notify_one();
        let told =
            async { while self.inner.ops().confirmed < last && changed.changed().await.is_ok() {} };
        // It stays in the queue.
        let left = LATE_MAX.saturating_sub(begun.elapsed());
        let _in_time = timeout(left, told).await.is_ok();
    }
}

/// Shorter than others are kept from summing up.
const LATE_MAX: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

//! The task that keeps up with the store: connects, enters the epoch, tells what became of calls,
//! and says every second that this replica lives.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::error::StoreError;
use super::link::{Door, Link};
use super::ops::Summing;
use super::store::{Inner, Store};

/// Keeps one store.
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    /// The epoch that this replica has entered last.
    epoch: Option<Arc<str>>,
    /// An epoch that is to end: the store forgot part of it.
    over: Option<Arc<str>>,
    /// A process before this one died with such a note: only the ledger knows what it spent.
    owes: bool,
    /// When the ledger is to be read for an epoch that this replica began: earlier, another may
    /// still forget what it settled, as the ledger will tell it.
    sums_due: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(store: Store) -> Self {
        let owes = store.inner.note.exists();
        Self {
            store,
            epoch: None,
            over: None,
            owes,
            sums_due: None,
        }
    }

    /// Keeps up with the store until it is aborted.
    pub async fn run(mut self) {
        let mut complained = false;
        loop {
            let was_up = !complained;
            let Err(error) = self.session(&mut complained).await;
            self.store.inner.places().end();
            if matches!(error, StoreError::RolledBack) {
                self.over = self.epoch.clone();
            }
            if error.is_answer() && was_up {
                // Only once: one that changes for ever is away.
                self.store.inner.reenter();
            } else {
                self.store.inner.down(&error);
            }
            if !complained {
                complained = true;
                tracing::warn!(event = "budget_store_lost", %error, "trying again");
            }
            // The first time soon: the store may be there, and only have changed.
            let pause = if was_up { SOON } else { AGAIN_AFTER };
            tokio::time::sleep(pause).await;
        }
    }

    /// One connection, until it ends.
    async fn session(&mut self, complained: &mut bool) -> Result<Infallible, StoreError> {
        let store = self.store.clone();
        let inner = &*store.inner;
        let link = Arc::new(self.enter(inner).await?);
        let mut is_summing = false;
        flush(inner, &link).await?;
        if inner.sums_own {
            inner.want_sums();
        }
        self.owes = false;
        inner.forget_note();
        inner.tell_all_places(&link).await?;
        inner.up(&link);
        *complained = false;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = inner.work.notified() => {}
                () = inner.broken.notified() => {}
                _ = beat.tick() => self.beat(inner, &link, is_summing).await?,
            }
            if self.sums_due.is_some_and(|due| due <= Instant::now()) {
                self.sums_due = None;
                inner.want_sums();
            }
            // What was noted may have been an earlier connection.
            if !inner.uses(&link) {
                return Err(inner.why_none());
            }
            sum_up(inner, &link, &mut is_summing).await?;
            flush(inner, &link).await?;
            end_lots(inner, &link).await?;
            inner.tell_places(&link).await?;
        }
    }

    /// Enters the epoch of the store, and sees to it that the store learns what it may not know.
    async fn enter(&mut self, inner: &Inner) -> Result<Link, StoreError> {
        let over = self.over.take();
        let mut door = Door::open(&inner.settings, &inner.names, over.as_deref()).await?;
        let is_untold = self.owes || inner.ops().overflowed;
        if is_untold && !door.is_closed {
            // What was forgotten here stands in no sum of that epoch.
            let over = Arc::clone(&door.epoch);
            door = Door::open(&inner.settings, &inner.names, Some(&over)).await?;
        }
        let is_known = self.epoch.as_ref() == Some(&door.epoch);
        let last = {
            let mut ops = inner.ops();
            if !is_known {
                ops.begin_epoch(!door.is_closed);
            }
            ops.confirmed
        };
        if let Some(opens_in) = door.opens_in.filter(|_| !inner.sums_own) {
            self.sums_due = Instant::now().checked_add(opens_in);
        }
        let is_behind = inner.is_behind.load(Ordering::Relaxed);
        let (link, applied, is_new) = door.enter(last, is_behind).await?;
        self.epoch = Some(Arc::clone(link.epoch()));
        if is_known && (is_new || applied < last) {
            return Err(StoreError::RolledBack);
        }
        let mut ops = inner.ops();
        ops.confirm(applied);
        ops.hold_again();
        drop(ops);
        Ok(link)
    }

    async fn beat(&self, inner: &Inner, link: &Link, is_summing: bool) -> Result<(), StoreError> {
        let is_behind = inner.is_behind.load(Ordering::Relaxed);
        let (applied, dead) = link.beat(is_behind).await?;
        if is_summing {
            link.begin_sums().await?;
        }
        if applied < inner.ops().confirmed {
            return Err(StoreError::RolledBack);
        }
        if let Some(replica) = dead {
            tracing::warn!(
                event = "budget_lease_expired",
                replica,
                "a replica was not heard of: what it held counts as spent, its places are free"
            );
        }
        Ok(())
    }
}

/// Tells the store what the ledger says. One replica of those that share a ledger at a time: what
/// the others settle meanwhile counts, in the ledger or beside it.
async fn sum_up(inner: &Inner, link: &Link, is_summing: &mut bool) -> Result<(), StoreError> {
    let is_asked = matches!(inner.ops().summing, Summing::Asked);
    if is_asked && !inner.sums_own && !inner.has_reader.load(Ordering::Relaxed) {
        return Ok(());
    }
    if is_asked && !inner.sums_own {
        *is_summing = link.begin_sums().await?;
        if *is_summing {
            inner.ops().summing = Summing::May;
        } else {
            // Another sums up: calls look again whether it has what they want.
            tokio::time::sleep(LOOK_AGAIN).await;
            inner.ops().summing = Summing::No;
            inner.tell();
        }
        return Ok(());
    }
    loop {
        let next = inner.ops().next_sums();
        let Some((books, last)) = next else {
            return Ok(());
        };
        let is_late = !books.is_empty() && !link.sum(&books, last, !inner.sums_own).await?;
        if !books.is_empty() && !is_late {
            continue;
        }
        if std::mem::take(is_summing) {
            link.end_sums().await?;
        }
        inner.ops().summing = Summing::No;
        inner.tell();
        return Ok(());
    }
}

/// Tells the store what became of what calls took of rates.
async fn end_lots(inner: &Inner, link: &Link) -> Result<(), StoreError> {
    loop {
        let lots = inner.ops().next_lots();
        if lots.is_empty() {
            return Ok(());
        }
        link.ended(&lots).await?;
    }
}

/// Tells the store what became of calls, until it has confirmed all of it that may go.
async fn flush(inner: &Inner, link: &Link) -> Result<(), StoreError> {
    loop {
        let batch = inner.ops().batch();
        let Some(last) = batch.last() else {
            inner.tell();
            return Ok(());
        };
        link.apply(&batch).await?;
        inner.ops().confirm(last.number);
    }
}

/// Three of these pass before a store that lost its memory opens again.
const BEAT: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_millis(10);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

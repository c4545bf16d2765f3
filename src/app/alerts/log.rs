//! The delivery log of this process: that of the settings, or one in memory while that cannot be
//! written.
//!
//! Ids do not depend on the log. What memory delivered is written down once the log is back; a
//! restart before that may tell twice, with the same id.

use std::time::{Duration, Instant};

use super::place::LogPlace;
use crate::alerts::{
    AlertError, Delivery, DeliveryLog, Line, Notice, Outcome, SqliteLog, Standing,
};
use crate::domain::Timestamp;

/// The log that is in use.
pub(super) struct AlertLog {
    place: LogPlace,
    log: Option<Box<dyn DeliveryLog>>,
    /// In place of that log, since then.
    memory: Option<(SqliteLog, Instant)>,
}

impl AlertLog {
    /// Opens the log; one that cannot be opened must not keep calls from being served.
    pub(super) fn open(place: LogPlace) -> Self {
        let mut log = Self {
            place,
            log: None,
            memory: None,
        };
        match log.place.open() {
            Ok(opened) => log.log = Some(opened),
            Err(error) => log.leave(&error),
        }
        log
    }

    /// Whether the log cannot be written.
    pub(super) const fn is_in_trouble(&self) -> bool {
        self.memory.is_some()
    }

    pub(super) fn claim(&mut self, notice: &Notice, outlet: &str, now: Timestamp) -> bool {
        self.with(|log| log.claim(notice, outlet, now)).is_some()
    }

    pub(super) fn take_due(
        &mut self,
        most: usize,
        hold: Duration,
        now: Timestamp,
    ) -> Vec<Delivery> {
        let due = self.with(|log| log.take_due(most, hold, now));
        due.unwrap_or_default()
    }

    pub(super) fn settle(&mut self, delivery: &Delivery, outcome: &Outcome, now: Timestamp) {
        let _settled = self.with(|log| log.settle(delivery, outcome, now));
        // It may have been taken from the log that is away now, which is to hear of it later.
        if let (Some((memory, _since)), Outcome::Delivered) = (&mut self.memory, outcome) {
            let _written = memory.write_down(&delivered(delivery, now));
        }
    }

    pub(super) fn pending(&mut self) -> Option<u64> {
        self.with(|log| log.pending())
    }

    pub(super) fn prune(&mut self, ended_before: Timestamp) {
        let _pruned = self.with(|log| log.prune(ended_before));
    }

    /// Goes back to the log when it can be written again and memory has nothing left to deliver.
    pub(super) fn recover(&mut self) {
        let Some((memory, tried)) = &mut self.memory else {
            return;
        };
        if tried.elapsed() < RECOVERY_PAUSE || memory.pending().is_ok_and(|left| left > 0) {
            return;
        }
        *tried = Instant::now();
        let lines = memory.lines(LINES_MAX).unwrap_or_default();
        let opened = self.place.open();
        let written = opened.and_then(|mut log| {
            lines.iter().try_for_each(|line| log.write_down(line))?;
            Ok(log)
        });
        match written {
            Ok(log) => {
                self.log = Some(log);
                self.memory = None;
                tracing::info!(
                    event = "alerts_log_recovered",
                    "the delivery log is written again"
                );
            }
            Err(error) => tracing::warn!(event = "alerts_log_failed", %error, "delivery log"),
        }
    }

    /// Does something with the log in use; with that in memory, where the other fails.
    fn with<T>(
        &mut self,
        mut work: impl FnMut(&mut dyn DeliveryLog) -> Result<T, AlertError>,
    ) -> Option<T> {
        if let Some(log) = &mut self.log {
            match work(log.as_mut()) {
                Ok(done) => return Some(done),
                Err(error) => self.leave(&error),
            }
        }
        let (memory, _since) = self.memory.as_mut()?;
        let done = work(memory);
        done.inspect_err(|error| {
            tracing::error!(event = "alerts_log_failed", %error, "delivery log in memory");
        })
        .ok()
    }

    fn leave(&mut self, error: &AlertError) {
        let message = "the delivery log cannot be written; notices are kept in memory";
        tracing::error!(event = "alerts_log_failed", %error, "{message}");
        self.log = None;
        self.memory = SqliteLog::in_memory().ok().map(|log| (log, Instant::now()));
    }
}

/// The line of what an outlet has just taken.
fn delivered(delivery: &Delivery, now: Timestamp) -> Line {
    Line {
        notice: delivery.notice.clone(),
        outlet: delivery.outlet.clone(),
        standing: Standing::Delivered,
        attempts: delivery.attempts,
        claimed_at: delivery.claimed_at,
        ended_at: Some(now),
        next_try_at: None,
        last_error: None,
    }
}

/// How often the log is tried again.
const RECOVERY_PAUSE: Duration = Duration::from_secs(10);
const LINES_MAX: usize = 10_000;

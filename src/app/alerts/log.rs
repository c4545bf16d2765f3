//! The delivery log of this process: the file, or a log in memory while that cannot be written.
//!
//! Ids do not depend on the log. What memory delivered is written down once the file is back; a
//! restart before that may tell twice, with the same id.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::alerts::{
    AlertError, Delivery, DeliveryLog, Line, Notice, Outcome, SqliteLog, Standing,
};
use crate::domain::Timestamp;

/// The log that is in use.
pub(super) struct AlertLog {
    file: PathBuf,
    log: Option<SqliteLog>,
    /// In place of the file, since then.
    memory: Option<(SqliteLog, Instant)>,
}

impl AlertLog {
    /// Opens the file; a file that cannot be opened must not keep calls from being served.
    pub(super) fn open(file: PathBuf) -> Self {
        let mut log = Self {
            file,
            log: None,
            memory: None,
        };
        match SqliteLog::open(&log.file) {
            Ok(opened) => log.log = Some(opened),
            Err(error) => log.leave_file(&error),
        }
        log
    }

    /// Whether the file cannot be written.
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

    pub(super) fn settle(&mut self, delivery: &Delivery, outcome: &Outcome) {
        let _settled = self.with(|log| log.settle(delivery, outcome));
    }

    pub(super) fn pending(&mut self) -> Option<u64> {
        self.with(|log| log.pending())
    }

    pub(super) fn prune(&mut self, ended_before: Timestamp) {
        let _pruned = self.with(|log| log.prune(ended_before));
    }

    /// Goes back to the file when it can be written again and memory has nothing left to deliver.
    pub(super) fn recover(&mut self) {
        let Some((memory, tried)) = &mut self.memory else {
            return;
        };
        if tried.elapsed() < RECOVERY_PAUSE || memory.pending().is_ok_and(|left| left > 0) {
            return;
        }
        *tried = Instant::now();
        let lines = memory.lines(LINES_MAX).unwrap_or_default();
        let opened = SqliteLog::open(&self.file);
        let written = opened.and_then(|mut log| {
            lines
                .iter()
                .try_for_each(|line| write_down(&mut log, line))?;
            Ok(log)
        });
        match written {
            Ok(log) => {
                self.log = Some(log);
                self.memory = None;
                tracing::info!(
                    event = "alerts_log_recovered",
                    "the delivery log is a file again"
                );
            }
            Err(error) => tracing::warn!(event = "alerts_log_failed", %error, "delivery log"),
        }
    }

    /// Does something with the log in use; with that in memory, where the file fails.
    fn with<T>(
        &mut self,
        mut work: impl FnMut(&mut SqliteLog) -> Result<T, AlertError>,
    ) -> Option<T> {
        if let Some(log) = &mut self.log {
            match work(log) {
                Ok(done) => return Some(done),
                Err(error) => self.leave_file(&error),
            }
        }
        let (memory, _since) = self.memory.as_mut()?;
        let done = work(memory);
        done.inspect_err(|error| {
            tracing::error!(event = "alerts_log_failed", %error, "delivery log in memory");
        })
        .ok()
    }

    fn leave_file(&mut self, error: &AlertError) {
        let message = "the delivery log cannot be written; notices are kept in memory";
        tracing::error!(event = "alerts_log_failed", %error, "{message}");
        self.log = None;
        self.memory = SqliteLog::in_memory().ok().map(|log| (log, Instant::now()));
    }
}

/// Claims what memory has told, so that it is not told again.
fn write_down(log: &mut SqliteLog, line: &Line) -> Result<(), AlertError> {
    log.claim(&line.notice, &line.outlet, line.claimed_at)?;
    let delivery = Delivery {
        notice: line.notice.clone(),
        outlet: line.outlet.clone(),
        attempts: line.attempts,
        claimed_at: line.claimed_at,
    };
    let at = line.ended_at.unwrap_or(line.claimed_at);
    let why = line.last_error.clone().unwrap_or_default();
    let outcome = match line.standing {
        Standing::Delivered => Outcome::Delivered(at),
        Standing::Failed => Outcome::GivenUp(at, why),
        Standing::Pending => Outcome::Again(at, why),
    };
    log.settle(&delivery, &outcome)
}

/// How often the file is tried again.
const RECOVERY_PAUSE: Duration = Duration::from_secs(10);
const LINES_MAX: usize = 10_000;

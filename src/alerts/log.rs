//! The delivery log: what every outlet was told or is to be told, for all processes that share it.
//!
//! Whoever claims first writes the one row of a notice and an outlet. Whoever takes a row that is
//! due holds it for a while; after a crash it is due again, with the same notice. The number of the
//! attempt tells a holder from those after it: a failure that is told late changes nothing.

use std::time::Duration;

use super::{AlertError, Notice};
use crate::domain::{Timestamp, keywords};

/// A log that processes share: a file, or a table for replicas.
pub trait DeliveryLog: Send {
    /// Notes that the outlet is to be told; `true` for the first who says so.
    ///
    /// # Errors
    /// When the log cannot be written.
    fn claim(&mut self, notice: &Notice, outlet: &str, now: Timestamp) -> Result<bool, AlertError>;

    /// Takes what is due, at most so many, and holds it for that long against others.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    fn take_due(
        &mut self,
        most: usize,
        hold: Duration,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, AlertError>;

    /// Notes how an attempt ended. A delivery always counts; a failure only where no other attempt
    /// was begun meanwhile.
    ///
    /// # Errors
    /// When the log cannot be written; the delivery is due again when its hold is over.
    fn settle(
        &mut self,
        delivery: &Delivery,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<(), AlertError>;

    /// How many deliveries are not done.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn pending(&self) -> Result<u64, AlertError>;

    /// Forgets what is done and whose period ended before that.
    ///
    /// # Errors
    /// When the log cannot be written.
    fn prune(&mut self, ended_before: Timestamp) -> Result<(), AlertError>;

    /// The newest lines, newest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn lines(&self, most: usize) -> Result<Vec<Line>, AlertError>;

    /// Adds what another log says. Of a row that is here already only a delivery is news.
    ///
    /// # Errors
    /// When the log cannot be written.
    fn write_down(&mut self, line: &Line) -> Result<(), AlertError>;
}

/// One notice for one outlet, in somebody's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What is to be told.
    pub notice: Notice,
    /// To whom.
    pub outlet: String,
    /// How many attempts there were, this one included.
    pub attempts: u32,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The outlet took it.
    Delivered,
    /// It did not; after which pause to try again, and why it failed.
    Again(Duration, String),
    /// It did not, for too long.
    GivenUp(String),
}

keywords!(
    /// Where a delivery stands.
    Standing {
        /// It waits for an attempt.
        Pending = "pending",
        /// The outlet took it.
        Delivered = "delivered",
        /// It was tried for too long.
        Failed = "failed",
    }
);

/// One row of the log, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was told.
    pub notice: Notice,
    /// To whom.
    pub outlet: String,
    /// Where it stands.
    pub standing: Standing,
    /// How many attempts there were.
    pub attempts: u32,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
    /// When the next attempt is due.
    pub next_try_at: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

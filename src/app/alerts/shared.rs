//! The delivery log of replicas that share a ledger: rows of its server, as the room of alerts
//! speaks of them.

use std::time::Duration;

use crate::alerts::{AlertError, Delivery, DeliveryLog, Line, Notice, Outcome, Standing};
use crate::domain::{Keyword as _, Timestamp};
use crate::ledger::{LedgerError, SharedDeliveries, SharedDelivery};

/// The table that replicas share.
pub(super) struct SharedLog(pub(super) SharedDeliveries);

impl DeliveryLog for SharedLog {
    fn claim(&mut self, notice: &Notice, outlet: &str, now: Timestamp) -> Result<bool, AlertError> {
        self.0.claim(&row(notice, outlet, now)).map_err(shared)
    }

    fn take_due(
        &mut self,
        most: usize,
        hold: Duration,
        _now: Timestamp,
    ) -> Result<Vec<Delivery>, AlertError> {
        let taken = self.0.take_due(most, hold).map_err(shared)?;
        Ok(taken.iter().filter_map(delivery).collect())
    }

    fn settle(
        &mut self,
        delivery: &Delivery,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<(), AlertError> {
        let row = SharedDelivery {
            attempts: delivery.attempts,
            ..row(&delivery.notice, &delivery.outlet, delivery.claimed_at)
        };
        let settled = match outcome {
            Outcome::Delivered => self.0.delivered(&row, now),
            Outcome::Again(pause, why) => self.0.again(&row, *pause, why),
            Outcome::GivenUp(why) => self.0.given_up(&row, why, now),
        };
        settled.map_err(shared)
    }

    fn pending(&self) -> Result<u64, AlertError> {
        self.0.pending().map_err(shared)
    }

    fn prune(&mut self, ended_before: Timestamp) -> Result<(), AlertError> {
        self.0.prune(ended_before).map_err(shared)
    }

    fn lines(&self, most: usize) -> Result<Vec<Line>, AlertError> {
        let rows = self.0.lines(most).map_err(shared)?;
        Ok(rows.into_iter().filter_map(line).collect())
    }

    fn write_down(&mut self, line: &Line) -> Result<(), AlertError> {
        let ended = |standing| line.ended_at.filter(|_| line.standing == standing);
        let row = SharedDelivery {
            attempts: line.attempts,
            delivered_at: ended(Standing::Delivered),
            failed_at: ended(Standing::Failed),
            last_error: line.last_error.clone(),
            ..row(&line.notice, &line.outlet, line.claimed_at)
        };
        self.0.write_down(&row).map_err(shared)
    }
}

/// A row that nobody has tried yet.
fn row(notice: &Notice, outlet: &str, claimed_at: Timestamp) -> SharedDelivery {
    SharedDelivery {
        id: notice.id.clone(),
        outlet: outlet.to_owned(),
        kind: notice.kind.name().to_owned(),
        notice: notice.json(),
        ends: notice.ends,
        claimed_at,
        attempts: 0,
        next_try_at: None,
        delivered_at: None,
        failed_at: None,
        last_error: None,
    }
}

fn delivery(row: &SharedDelivery) -> Option<Delivery> {
    Some(Delivery {
        notice: notice(row)?,
        outlet: row.outlet.clone(),
        attempts: row.attempts,
        claimed_at: row.claimed_at,
    })
}

fn line(row: SharedDelivery) -> Option<Line> {
    let notice = notice(&row)?;
    let standing = match (row.delivered_at, row.failed_at) {
        (Some(_), _) => Standing::Delivered,
        (None, Some(_)) => Standing::Failed,
        (None, None) => Standing::Pending,
    };
    Some(Line {
        notice,
        outlet: row.outlet,
        standing,
        attempts: row.attempts,
        claimed_at: row.claimed_at,
        ended_at: row.delivered_at.or(row.failed_at),
        next_try_at: row.next_try_at,
        last_error: row.last_error,
    })
}

/// One of a newer program must not stop the others: it is left to who can read it.
fn notice(row: &SharedDelivery) -> Option<Notice> {
    let read = Notice::of_json(&row.notice);
    read.inspect_err(|error| {
        let (id, outlet) = (row.id.as_str(), row.outlet.as_str());
        tracing::warn!(event = "alert_unreadable", id, outlet, %error, "left to another replica");
    })
    .ok()
}

fn shared(error: LedgerError) -> AlertError {
    AlertError::Shared(Box::new(error))
}

//! The alerts' delivery log of replicas that share a ledger: who may tell an outlet of what, and
//! what came of it. Knows notices as text only.
//!
//! The first who adds a row has noted it for all. Who takes a row that is due holds it until a time
//! of the server; whoever comes after finds it held, and finds it due again should the holder die.
//! The number of the attempt tells a holder from those after it: what a late one says of a failure
//! changes nothing, and what it says of a delivery always counts.

use std::time::Duration;

use tokio_postgres::Row;

use super::delivery::{COLUMNS, SharedDelivery, held, noted, read};
use super::{Refusal, Session, failed, open, open_to_read};
use crate::domain::Timestamp;
use crate::ledger::database::Value;
use crate::ledger::{LedgerError, PostgresSettings};

/// The delivery log on the server, open.
#[derive(Debug)]
pub struct SharedDeliveries {
    pub(super) session: Session,
}

impl SharedDeliveries {
    /// Opens the log to write in it.
    ///
    /// # Errors
    /// When the server cannot be reached, or its schema does not fit.
    pub fn open(settings: &PostgresSettings) -> Result<Self, LedgerError> {
        let session = open(&hasty(settings))?;
        Ok(Self { session })
    }

    /// Opens the log to read it.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn open_to_read(settings: &PostgresSettings) -> Result<Self, LedgerError> {
        let session = open_to_read(&hasty(settings))?;
        Ok(Self { session })
    }

    /// Notes that an outlet is to be told, at once; `true` for the first who says so. Of the row,
    /// what attempts came to is not looked at.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn claim(&self, row: &SharedDelivery) -> Result<bool, LedgerError> {
        let added = self.query(CLAIM, &noted(row));
        added
            .map(|rows| !rows.is_empty())
            .map_err(failed("note a notice"))
    }

    /// Takes what is due, at most so many, and holds it for that long against others.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn take_due(
        &self,
        most: usize,
        hold: Duration,
    ) -> Result<Vec<SharedDelivery>, LedgerError> {
        let values = [whole(most).into(), ms(hold).into()];
        let taken = self.query(&TAKE_DUE.replace("{columns}", COLUMNS), &values);
        taken
            .and_then(|rows| rows.iter().map(read).collect())
            .map_err(failed("take the notices that are due"))
    }

    /// Notes that the outlet has taken it.
    ///
    /// # Errors
    /// When the server refuses; the row is due again when its hold is over.
    pub fn delivered(&self, row: &SharedDelivery, now: Timestamp) -> Result<(), LedgerError> {
        let (id, outlet) = (row.id.as_str(), row.outlet.as_str());
        let values = [id.into(), outlet.into(), now.unix_ms().into()];
        self.note(DELIVERED, &values)
    }

    /// Notes that the outlet did not take it, and is to be tried again after a pause.
    ///
    /// # Errors
    /// When the server refuses; the row is due again when its hold is over.
    pub fn again(
        &self,
        row: &SharedDelivery,
        pause: Duration,
        why: &str,
    ) -> Result<(), LedgerError> {
        let [id, outlet, attempt] = held(row);
        self.note(AGAIN, &[id, outlet, attempt, ms(pause).into(), why.into()])
    }

    /// Notes that the outlet did not take it for too long.
    ///
    /// # Errors
    /// When the server refuses; the row is due again when its hold is over.
    pub fn given_up(
        &self,
        row: &SharedDelivery,
        why: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let [id, outlet, attempt] = held(row);
        let at = now.unix_ms().into();
        self.note(GIVEN_UP, &[id, outlet, attempt, at, why.into()])
    }

    /// Adds a row as it stands elsewhere. Of one that is here already only a delivery is news.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn write_down(&self, row: &SharedDelivery) -> Result<(), LedgerError> {
        let [id, outlet, kind, notice, ends, claimed_at] = noted(row);
        let at = |instant: Option<Timestamp>| instant.map(Timestamp::unix_ms).into();
        let values = [
            id,
            outlet,
            kind,
            notice,
            ends,
            claimed_at,
            i64::from(row.attempts).into(),
            at(row.delivered_at),
            at(row.failed_at),
            row.last_error.as_deref().into(),
        ];
        let written = self.query(WRITE_DOWN, &values);
        written.map(drop).map_err(failed("write down a delivery"))
    }

    /// How many are not done.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn pending(&self) -> Result<u64, LedgerError> {
        let counted = self.query(PENDING, &[]).and_then(|rows| {
            let first = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
            first.map_err(Refusal::Refused)
        });
        counted
            .map(|count| count.unwrap_or_default().unsigned_abs())
            .map_err(failed("count the notices that are not delivered"))
    }

    /// The newest rows, newest first.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn lines(&self, most: usize) -> Result<Vec<SharedDelivery>, LedgerError> {
        let lines = self.query(&LINES.replace("{columns}", COLUMNS), &[whole(most).into()]);
        lines
            .and_then(|rows| rows.iter().map(read).collect())
            .map_err(failed("read the delivery log"))
    }

    /// Forgets what is done, and of a period that ended before that.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn prune(&self, ended_before: Timestamp) -> Result<(), LedgerError> {
        let pruned = self.query(PRUNE, &[ended_before.unix_ms().into()]);
        pruned.map(drop).map_err(failed("forget old deliveries"))
    }

    fn note(&self, sql: &str, values: &[Value<'_>]) -> Result<(), LedgerError> {
        let noted = self.query(sql, values);
        noted
            .map(drop)
            .map_err(failed("note how telling an outlet ended"))
    }

    /// Asks once more where the connection broke, so that a server that was started anew is not in
    /// trouble. All statements may be repeated; what a first `TAKE_DUE` took is held, and due later.
    fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Refusal> {
        match self.session.query(sql, values) {
            Err(Refusal::Refused(cause)) if is_broken(&cause) => self.session.query(sql, values),
            answer => answer,
        }
    }

    /// Lets that much time pass for every row.
    #[cfg(test)]
    pub(crate) fn pass(&self, by: Duration) {
        let sql = "UPDATE alert_deliveries \
                   SET next_try_at = next_try_at - $1::bigint * interval '1 millisecond'";
        self.query(sql, &[ms(by).into()]).unwrap();
    }
}

/// The log is tried once a second: a server that is slow is soon asked again.
fn hasty(settings: &PostgresSettings) -> PostgresSettings {
    PostgresSettings {
        statement_timeout: settings.statement_timeout.min(STATEMENT_MAX),
        ..settings.clone()
    }
}

/// Whether the connection is gone, rather than the question refused.
fn is_broken(cause: &tokio_postgres::Error) -> bool {
    let refused = cause.as_db_error();
    refused.is_none_or(|refused| refused.code().code().starts_with(SHUTDOWN_CODES))
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const STATEMENT_MAX: Duration = Duration::from_secs(5);
/// `57P01` and its neighbours: the server ends, crashed or starts.
const SHUTDOWN_CODES: &str = "57P";

const CLAIM: &str = "
INSERT INTO alert_deliveries (id, outlet, kind, notice, ends, claimed_at, next_try_at)
VALUES ($1, $2, $3, $4, $5, $6, now()) ON CONFLICT (id, outlet) DO NOTHING
RETURNING 1";

const TAKE_DUE: &str = "
WITH due AS MATERIALIZED (
    SELECT id, outlet FROM alert_deliveries WHERE next_try_at <= now()
    ORDER BY next_try_at, claimed_at LIMIT $1::bigint FOR UPDATE SKIP LOCKED)
UPDATE alert_deliveries AS d
SET attempts = d.attempts + 1, next_try_at = now() + $2::bigint * interval '1 millisecond'
FROM due WHERE d.id = due.id AND d.outlet = due.outlet
RETURNING {columns}";

const DELIVERED: &str = "
UPDATE alert_deliveries
SET next_try_at = NULL, delivered_at = $3, failed_at = NULL, last_error = NULL
WHERE id = $1 AND outlet = $2 AND delivered_at IS NULL";

const AGAIN: &str = "
UPDATE alert_deliveries
SET next_try_at = now() + $4::bigint * interval '1 millisecond', last_error = $5
WHERE id = $1 AND outlet = $2 AND attempts = $3 AND next_try_at IS NOT NULL";

const GIVEN_UP: &str = "
UPDATE alert_deliveries SET next_try_at = NULL, failed_at = $4, last_error = $5
WHERE id = $1 AND outlet = $2 AND attempts = $3 AND next_try_at IS NOT NULL";

const WRITE_DOWN: &str = "
INSERT INTO alert_deliveries AS d (id, outlet, kind, notice, ends, claimed_at, attempts,
    delivered_at, failed_at, last_error, next_try_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
    CASE WHEN $8::bigint IS NULL AND $9::bigint IS NULL THEN now() END)
ON CONFLICT (id, outlet) DO UPDATE
SET next_try_at = NULL, delivered_at = excluded.delivered_at, failed_at = NULL, last_error = NULL
WHERE d.delivered_at IS NULL AND excluded.delivered_at IS NOT NULL";

const PENDING: &str = "SELECT count(*) FROM alert_deliveries WHERE next_try_at IS NOT NULL";

const LINES: &str = "
SELECT {columns} FROM alert_deliveries AS d
ORDER BY d.claimed_at DESC, d.id, d.outlet LIMIT $1::bigint";

const PRUNE: &str = "
DELETE FROM alert_deliveries WHERE next_try_at IS NULL AND ends < $1 AND claimed_at < $1";

//! The delivery log as a SQLite file. Several processes may have it open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row, TransactionBehavior};

use super::log::{Delivery, DeliveryLog, Line, Outcome, Standing};
use super::{AlertError, Notice};
use crate::domain::{Keyword as _, Timestamp};

/// The log, open.
#[derive(Debug)]
pub struct SqliteLog {
    connection: Connection,
}

impl SqliteLog {
    /// The file in the ledger's directory, where the settings name none.
    pub fn file_in(directory: &Path) -> PathBuf {
        directory.join("alerts.sqlite3")
    }

    /// Opens the file, making what does not exist.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer program.
    pub fn open(path: &Path) -> Result<Self, AlertError> {
        let opening = AlertError::sqlite("open the delivery log");
        let connection = Connection::open(path).map_err(&opening)?;
        connection.busy_timeout(BUSY_MAX).map_err(&opening)?;
        connection
            .pragma_update(None, "journal_mode", "wal")
            .map_err(&opening)?;
        migrated(connection, path)
    }

    /// A log that ends with the process: for when the file cannot be written.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn in_memory() -> Result<Self, AlertError> {
        let opening = AlertError::sqlite("make a delivery log in memory");
        let connection = Connection::open_in_memory().map_err(opening)?;
        migrated(connection, Path::new(":memory:"))
    }

    /// Opens the file to read it.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    pub fn open_to_read(path: &Path) -> Result<Self, AlertError> {
        let opening = AlertError::sqlite("open the delivery log");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(&opening)?;
        connection.busy_timeout(BUSY_MAX).map_err(&opening)?;
        Ok(Self { connection })
    }
}

impl DeliveryLog for SqliteLog {
    fn claim(&mut self, notice: &Notice, outlet: &str, now: Timestamp) -> Result<bool, AlertError> {
        let sql = "INSERT INTO deliveries (id, outlet, kind, notice, ends, claimed_at, next_try_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT DO NOTHING";
        let values = (
            &notice.id,
            outlet,
            notice.kind.name(),
            notice.json(),
            notice.ends.unix_ms(),
            now.unix_ms(),
        );
        let written = self.connection.execute(sql, values);
        let written = written.map_err(AlertError::sqlite("note a notice"))?;
        Ok(written == 1)
    }

    fn take_due(
        &mut self,
        most: usize,
        hold: Duration,
        now: Timestamp,
    ) -> Result<Vec<Delivery>, AlertError> {
        let taking = AlertError::sqlite("take what is due");
        let sql = "UPDATE deliveries SET attempts = attempts + 1, next_try_at = ?2
                   WHERE (id, outlet) IN (
                       SELECT id, outlet FROM deliveries WHERE next_try_at <= ?1
                       ORDER BY next_try_at, claimed_at LIMIT ?3)
                   RETURNING notice, outlet, attempts, claimed_at";
        let held_until = later(now, hold);
        let mut update = self.connection.prepare(sql).map_err(&taking)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let values = (now.unix_ms(), held_until.unix_ms(), most);
        let mut rows = update.query(values).map_err(&taking)?;
        let mut due = Vec::new();
        while let Some(row) = rows.next().map_err(&taking)? {
            let notice: String = row.get(0).map_err(&taking)?;
            due.push(Delivery {
                notice: Notice::of_json(&notice)?,
                outlet: row.get(1).map_err(&taking)?,
                attempts: row.get(2).map_err(&taking)?,
                claimed_at: Timestamp::from_unix_ms(row.get(3).map_err(&taking)?),
            });
        }
        Ok(due)
    }

    fn settle(
        &mut self,
        delivery: &Delivery,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<(), AlertError> {
        let (id, outlet) = (&delivery.notice.id, &delivery.outlet);
        let (attempt, now_ms) = (delivery.attempts, now.unix_ms());
        let written = match outcome {
            Outcome::Delivered => self.connection.execute(DELIVERED, (id, outlet, now_ms)),
            Outcome::Again(pause, why) => {
                let next = later(now, *pause).unix_ms();
                let values = (id, outlet, attempt, next, why);
                self.connection.execute(AGAIN, values)
            }
            Outcome::GivenUp(why) => {
                let values = (id, outlet, attempt, now_ms, why);
                self.connection.execute(GIVEN_UP, values)
            }
        };
        written.map_err(AlertError::sqlite("note how an attempt ended"))?;
        Ok(())
    }

    fn pending(&self) -> Result<u64, AlertError> {
        let sql = "SELECT count(*) FROM deliveries WHERE next_try_at IS NOT NULL";
        let counted: Result<i64, _> = self.connection.query_row(sql, (), |row| row.get(0));
        let counted = counted.map_err(AlertError::sqlite("count what is not delivered"));
        counted.map(i64::unsigned_abs)
    }

    fn prune(&mut self, ended_before: Timestamp) -> Result<(), AlertError> {
        let sql = "DELETE FROM deliveries
                   WHERE next_try_at IS NULL AND ends < ?1 AND claimed_at < ?1";
        let deleted = self.connection.execute(sql, [ended_before.unix_ms()]);
        deleted.map_err(AlertError::sqlite("forget old deliveries"))?;
        Ok(())
    }

    fn lines(&self, most: usize) -> Result<Vec<Line>, AlertError> {
        let reading = AlertError::sqlite("read the delivery log");
        let sql = "SELECT notice, outlet, attempts, claimed_at, next_try_at, delivered_at, \
                   failed_at, last_error FROM deliveries ORDER BY claimed_at DESC, id, outlet \
                   LIMIT ?1";
        let mut select = self.connection.prepare(sql).map_err(&reading)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = select.query([most]).map_err(&reading)?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next().map_err(&reading)? {
            let notice: String = row.get(0).map_err(&reading)?;
            lines.push(line(row, Notice::of_json(&notice)?).map_err(&reading)?);
        }
        Ok(lines)
    }

    fn write_down(&mut self, line: &Line) -> Result<(), AlertError> {
        let ended = |standing| line.ended_at.filter(|_| line.standing == standing);
        let ms = |at: Option<Timestamp>| at.map(Timestamp::unix_ms);
        let notice = &line.notice;
        let values = (
            &notice.id,
            &line.outlet,
            notice.kind.name(),
            notice.json(),
            notice.ends.unix_ms(),
            line.claimed_at.unix_ms(),
            line.attempts,
            ms(line.next_try_at),
            ms(ended(Standing::Delivered)),
            ms(ended(Standing::Failed)),
            &line.last_error,
        );
        let written = self.connection.execute(WRITE_DOWN, values);
        written.map_err(AlertError::sqlite("write down a delivery"))?;
        Ok(())
    }
}

fn later(than: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(than.unix_ms().saturating_add(by))
}

fn line(row: &Row<'_>, notice: Notice) -> Result<Line, rusqlite::Error> {
    let instant = |column| {
        let ms: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(ms.map(Timestamp::from_unix_ms))
    };
    let [next_try_at, delivered_at, failed_at] = [instant(4)?, instant(5)?, instant(6)?];
    let standing = match (delivered_at, failed_at) {
        (Some(_), _) => Standing::Delivered,
        (None, Some(_)) => Standing::Failed,
        (None, None) => Standing::Pending,
    };
    Ok(Line {
        notice,
        outlet: row.get(1)?,
        standing,
        attempts: row.get(2)?,
        claimed_at: Timestamp::from_unix_ms(row.get(3)?),
        ended_at: delivered_at.or(failed_at),
        next_try_at,
        last_error: row.get(7)?,
    })
}

/// Brings the file to the newest schema.
fn migrated(mut connection: Connection, path: &Path) -> Result<SqliteLog, AlertError> {
    let migrating = AlertError::sqlite("migrate the delivery log");
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(&migrating)?;
    let found: i64 = transaction
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .map_err(&migrating)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        let path = path.to_owned();
        return Err(AlertError::NewerSchema { path, found, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).skip_while(|(v, _)| *v <= found) {
        transaction.execute_batch(sql).map_err(&migrating)?;
        transaction
            .pragma_update(None, "user_version", version)
            .map_err(&migrating)?;
    }
    transaction.commit().map_err(&migrating)?;
    Ok(SqliteLog { connection })
}

const MIGRATIONS: [&str; 1] = [VERSION_1];

/// `next_try_at` is null once a delivery is done; while somebody holds it, the end of the hold.
const VERSION_1: &str = "
CREATE TABLE deliveries (
    id           TEXT NOT NULL,
    outlet       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    notice       TEXT NOT NULL,
    ends         INTEGER NOT NULL,
    claimed_at   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_try_at  INTEGER,
    delivered_at INTEGER,
    failed_at    INTEGER,
    last_error   TEXT,
    PRIMARY KEY (id, outlet)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (next_try_at) WHERE next_try_at IS NOT NULL;
";

const DELIVERED: &str = "
UPDATE deliveries SET next_try_at = NULL, delivered_at = ?3, failed_at = NULL, last_error = NULL
WHERE id = ?1 AND outlet = ?2 AND delivered_at IS NULL";

const AGAIN: &str = "
UPDATE deliveries SET next_try_at = ?4, last_error = ?5
WHERE id = ?1 AND outlet = ?2 AND attempts = ?3 AND next_try_at IS NOT NULL";

const GIVEN_UP: &str = "
UPDATE deliveries SET next_try_at = NULL, failed_at = ?4, last_error = ?5
WHERE id = ?1 AND outlet = ?2 AND attempts = ?3 AND next_try_at IS NOT NULL";

const WRITE_DOWN: &str = "
INSERT INTO deliveries (id, outlet, kind, notice, ends, claimed_at, attempts, next_try_at,
    delivered_at, failed_at, last_error)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
ON CONFLICT DO UPDATE
SET next_try_at = NULL, delivered_at = excluded.delivered_at, failed_at = NULL, last_error = NULL
WHERE deliveries.delivered_at IS NULL AND excluded.delivered_at IS NOT NULL";

/// Longer than anybody holds the file; what waits here is no call.
const BUSY_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_a_newer_program_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = SqliteLog::file_in(directory.path());
        drop(SqliteLog::open(&file).unwrap());
        let connection = Connection::open(&file).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refused = SqliteLog::open(&file).unwrap_err();
        assert!(matches!(refused, AlertError::NewerSchema { found: 99, .. }));
    }
}

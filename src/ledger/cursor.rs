//! Where somebody who follows the entries has come to, so that each row is read once.
//!
//! SQLite numbers rows in the order of their commits. PostgreSQL does not: of two transactions the
//! one that began first may end last. A row there carries its transaction, and one is passed only
//! when no transaction before it is open any more.

use super::database::{Database, Dialect, Fault, Row, Value};
use crate::domain::Timestamp;

/// The last row that was read.
#[derive(Debug)]
pub(super) struct Cursor {
    dialect: Dialect,
    /// SQLite's row id, or PostgreSQL's transaction.
    number: i64,
    /// Of the rows of one transaction.
    call_id: String,
}

impl Cursor {
    /// Before the first row that was opened at an instant or later.
    pub(super) fn before(database: &Database, from: Timestamp) -> Result<Self, Fault> {
        let dialect = database.dialect();
        let sql = match dialect {
            Dialect::Sqlite => FIRST_SQLITE,
            Dialect::Postgres => FIRST_POSTGRES,
        };
        let from = from.unix_ms().into();
        let number = database.first(sql, &[from], |row| row.integer(0))?;
        Ok(Self {
            dialect,
            number: number.unwrap_or_default(),
            call_id: String::new(),
        })
    }

    /// The rows after it, in their order.
    pub(super) const fn sql(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "WHERE rowid > ?1 ORDER BY rowid",
            Dialect::Postgres => {
                "WHERE (tx, call_id) > (?1, ?2) \
                 AND tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint \
                 ORDER BY tx, call_id"
            }
        }
    }

    /// The values of [`Self::sql`].
    pub(super) fn values(&self) -> Vec<Value<'static>> {
        let number = self.number.into();
        match self.dialect {
            Dialect::Sqlite => vec![number],
            Dialect::Postgres => vec![number, self.call_id.clone().into()],
        }
    }

    /// Moves on to a row, whose columns `number` and `call_id` come first.
    pub(super) fn pass(&mut self, row: &Row<'_, '_>) -> Result<(), Fault> {
        self.number = row.integer(0)?;
        if self.dialect == Dialect::Postgres {
            row.text(1)?.clone_into(&mut self.call_id);
        }
        Ok(())
    }
}

const FIRST_SQLITE: &str = "SELECT ifnull(min(rowid) - 1, (SELECT ifnull(max(rowid), 0) FROM entries)) \
     FROM entries WHERE opened_at >= ?1";

/// A transaction that is still open may write rows of that time too.
const FIRST_POSTGRES: &str = "SELECT least(min(tx), pg_snapshot_xmin(pg_current_snapshot())::text::bigint) \
     FROM entries WHERE opened_at >= ?1";

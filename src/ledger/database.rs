//! One of two databases behind the ledger, asked with one text of SQL.
//!
//! The SQL of this room is what both understand, with `?1` for values; where they differ,
//! [`Database::dialect`] says which one it is. Knows rows and values, not what they mean.

use std::borrow::Cow;
use std::fmt::Display;

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::postgres::Session;
use crate::domain::Timestamp;

/// An open database.
#[derive(Debug)]
pub(super) enum Database {
    /// The file of one process.
    Sqlite(rusqlite::Connection),
    /// The server that replicas share.
    Postgres(Box<Session>),
}

/// Whose SQL it is, where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// Why a database did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Postgres(#[from] super::postgres::Refusal),
    /// A value is not what this program writes.
    #[error("column {column} was not written by this program: {why}")]
    Damaged { column: &'static str, why: String },
    /// What is asked for was deleted.
    #[error("entries before {kept_from} are deleted")]
    Deleted { kept_from: Timestamp },
}

impl Database {
    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The file; `None` where a server keeps the ledger.
    pub(super) const fn sqlite(&self) -> Option<&rusqlite::Connection> {
        match self {
            Self::Sqlite(connection) => Some(connection),
            Self::Postgres(_) => None,
        }
    }

    /// Reads each row of the answer. On a failure a part of them was read.
    pub(super) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_, '_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    read(&Row::Sqlite(row))?;
                }
            }
            Self::Postgres(session) => {
                let rows = session.query(&sql.replace('?', "$"), values)?;
                for row in &rows {
                    read(&Row::Postgres(row))?;
                }
            }
        }
        Ok(())
    }

    /// The rows of the answer.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_, '_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut list = Vec::new();
        self.each(sql, values, |row| {
            list.push(read(row)?);
            Ok(())
        })?;
        Ok(list)
    }

    /// The first row of the answer.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_, '_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        Ok(self.list(sql, values, read)?.into_iter().next())
    }

    /// Answers several questions as of one instant.
    pub(super) fn snapshot<T>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        match self {
            Self::Sqlite(connection) => {
                let snapshot = connection.unchecked_transaction()?;
                let answer = ask(self)?;
                snapshot.finish()?;
                Ok(answer)
            }
            Self::Postgres(session) => {
                session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
                let answer = ask(self);
                match &answer {
                    Ok(_) => session.batch("COMMIT")?,
                    Err(_) => session.disconnect(),
                }
                answer
            }
        }
    }
}

/// A value of a question or of a row.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Flag(bool),
    Integer(i64),
    Text(Cow<'a, str>),
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u16> for Value<'_> {
    fn from(number: u16) -> Self {
        Self::Integer(number.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Flag(flag) => ValueRef::Integer((*flag).into()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// A row of an answer, as long as it is there. All integers have 64 bits.
pub(super) enum Row<'r, 's> {
    Sqlite(&'r rusqlite::Row<'s>),
    Postgres(&'r tokio_postgres::Row),
}

/// The number or the name of a column.
pub(super) trait Column:
    rusqlite::RowIndex + tokio_postgres::row::RowIndex + Display
{
}

impl Column for usize {}
impl Column for &str {}

impl<'r> Row<'r, '_> {
    pub(super) fn integer(&self, column: impl Column) -> Result<i64, Fault> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => Ok(row.try_get(column).map_err(super::postgres::refused)?),
        }
    }

    pub(super) fn integer_or_null(&self, column: impl Column) -> Result<Option<i64>, Fault> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => Ok(row.try_get(column).map_err(super::postgres::refused)?),
        }
    }

    pub(super) fn flag(&self, column: impl Column) -> Result<bool, Fault> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => Ok(row.try_get(column).map_err(super::postgres::refused)?),
        }
    }

    pub(super) fn text(&self, column: impl Column) -> Result<&'r str, Fault> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(column)?.as_str().map_err(not_text)?),
            Self::Postgres(row) => Ok(row.try_get(column).map_err(super::postgres::refused)?),
        }
    }

    pub(super) fn text_or_null(&self, column: impl Column) -> Result<Option<&'r str>, Fault> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(column)?.as_str_or_null().map_err(not_text)?),
            Self::Postgres(row) => Ok(row.try_get(column).map_err(super::postgres::refused)?),
        }
    }

    /// A count: no column of one is ever negative.
    pub(super) fn count(&self, column: impl Column) -> Result<u64, Fault> {
        self.integer(column).map(i64::unsigned_abs)
    }
}

fn not_text(cause: rusqlite::types::FromSqlError) -> rusqlite::Error {
    cause.into()
}

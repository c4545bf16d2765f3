//! Many entries in one statement: each column travels as one array.

use std::borrow::Cow;
use std::collections::HashSet;
use std::error::Error;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::{Refusal, Session, schema};
use crate::domain::Entry;
use crate::ledger::database::Value;
use crate::ledger::row::{self, COLUMNS, Kind};

/// Adds entries: all or, on an error, none. One whose call has its row already changes nothing.
/// How many were added.
///
/// # Errors
/// When the server refuses or does not answer. It may have done it all the same: the entries are
/// to be given again.
pub(in crate::ledger) fn append(session: &Session, entries: &[Entry]) -> Result<u64, Refusal> {
    make_partitions_if_due(session, entries);
    let columns = Columns::of(entries);
    session.run(async |live| {
        let statement = match &live.append {
            Some(prepared) => prepared.clone(),
            None => live.client.prepare(&insert()).await?,
        };
        let added = live.client.execute(&statement, &columns.values()).await;
        live.append = Some(statement);
        added
    })
}

/// The same for entries of which it is asked which were added: their calls.
///
/// # Errors
/// When the server refuses or does not answer.
pub(super) fn append_and_name(
    session: &Session,
    entries: &[Entry],
) -> Result<HashSet<String>, Refusal> {
    make_partitions_if_due(session, entries);
    let columns = Columns::of(entries);
    let sql = format!("{} RETURNING call_id", insert());
    let rows = session.run(async |live| live.client.query(&sql, &columns.values()).await)?;
    let names = rows.iter().map(|row| row.try_get(0));
    names.collect::<Result<_, _>>().map_err(Refusal::Refused)
}

/// The months to come have their tables long before they begin; one that has none yet is no reason
/// to keep entries waiting.
fn make_partitions_if_due(session: &Session, entries: &[Entry]) {
    let is_fresh = |made: Instant| made.elapsed() < PARTITIONS_EVERY;
    if session.partitions.get().is_some_and(is_fresh) {
        return;
    }
    session.partitions.set(Some(Instant::now()));
    let Some(now) = entries.iter().map(|entry| entry.settled_at).max() else {
        return;
    };
    if let Err(cause) = schema::make_partitions(session, now) {
        tracing::warn!(event = "ledger_partitions_failed", %cause, "partitions are not made ahead");
    }
}

/// Only a repeated call id is let pass. Columns are named, so that a newer schema takes it too.
fn insert() -> String {
    let names = COLUMNS.map(|(name, _)| format!("\"{name}\"")).join(", ");
    let arrays = COLUMNS.iter().zip(1..).map(|((_, kind), number)| {
        let element = match kind {
            Kind::Text => "text",
            Kind::Integer => "bigint",
            Kind::Flag => "boolean",
        };
        format!("${number}::{element}[]")
    });
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    format!(
        "INSERT INTO entries ({names}) SELECT * FROM unnest({arrays}) \
         ON CONFLICT (call_id, opened_at) DO NOTHING"
    )
}

/// The rows of entries, column by column.
struct Columns<'a>(Vec<Vec<Value<'a>>>);

impl<'a> Columns<'a> {
    fn of(entries: &'a [Entry]) -> Self {
        let mut columns: Vec<Vec<_>> = COLUMNS
            .iter()
            .map(|_| Vec::with_capacity(entries.len()))
            .collect();
        for entry in entries {
            for (column, value) in columns.iter_mut().zip(row::values(entry)) {
                column.push(value);
            }
        }
        Self(columns)
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        let columns = self.0.iter();
        columns
            .map(|column| column as &(dyn ToSql + Sync))
            .collect()
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        column: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Flag(flag) => flag.to_sql(column, out),
            Self::Integer(number) => number.to_sql(column, out),
            Self::Text(text) => without_nul(text).to_sql(column, out),
        }
    }

    fn accepts(column: &Type) -> bool {
        [Type::BOOL, Type::INT8, Type::TEXT].contains(column)
    }

    to_sql_checked!();
}

/// PostgreSQL keeps no zero byte in a text, and one entry must not hold up all others.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Partitions are made for three months ahead: there is time for many tries.
const PARTITIONS_EVERY: Duration = Duration::from_hours(1);

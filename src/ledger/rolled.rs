//! Sums over a span out of the roll-ups where it is whole, and out of the entries where it is not.
//!
//! A span is cut at whole days and whole hours (UTC): days come from `rollup_days`, the hours on
//! both sides from `rollup_hours`, and only what is left of the first and the last hour from
//! `entries`. Each part is summed by SQLite in 64 bits, the parts are joined exactly.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension};

use super::query::{self, Group, GroupBy, Summary, Sums};
use super::rollup::{DAY_MS, HOUR_MS, floor};
use super::{LedgerError, Span};
use crate::domain::{TenantId, Timestamp};

/// Where a part of a span is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Days,
    Hours,
    Entries,
}

impl Table {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Days => "rollup_days",
            Self::Hours => "rollup_hours",
            Self::Entries => "entries",
        }
    }

    /// The column that says when the calls of a row were admitted.
    pub(super) const fn instant(self) -> &'static str {
        match self {
            Self::Days | Self::Hours => "begins_at",
            Self::Entries => "opened_at",
        }
    }
}

/// The sums of all calls admitted in a span, in groups.
///
/// # Errors
/// When SQLite refuses, or the span cuts an hour whose entries are deleted.
pub(super) fn summary(
    connection: &Connection,
    of: Option<&TenantId>,
    by: &[GroupBy],
    span: Span,
) -> Result<Summary, LedgerError> {
    let failed = || LedgerError::sqlite("sum up calls");
    let rolled_up = has_rollups(connection).map_err(failed())?;
    let (kept_from, parts) = if rolled_up {
        (kept_from(connection).map_err(failed())?, parts(span))
    } else {
        (None, vec![(Table::Entries, span)])
    };
    let mut groups: HashMap<Vec<Option<String>>, Sums> = HashMap::new();
    let mut catalogues = BTreeSet::new();
    for (table, part) in parts {
        if table == Table::Entries && kept_from.is_some_and(|kept| part.from < kept) {
            refuse_if_any(connection, part, kept_from)?;
        }
        let found = query::groups(connection, table, of, by, part).map_err(failed())?;
        for Group { key, sums } in found {
            groups.entry(key).or_default().add(&sums);
        }
        let found = query::catalogues(connection, table, of, part).map_err(failed())?;
        catalogues.extend(found);
    }
    let groups = groups.into_iter();
    Ok(Summary {
        groups: groups.map(|(key, sums)| Group { key, sums }).collect(),
        catalogues: catalogues.into_iter().collect(),
    })
}

/// A backup that an older program made has none.
pub(super) fn has_rollups(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let any = "SELECT 1 FROM sqlite_schema WHERE name = 'retention'";
    let found = connection.query_row(any, (), |_row| Ok(()));
    Ok(found.optional()?.is_some())
}

/// The parts of a span, none of them empty.
pub(super) fn parts(span: Span) -> Vec<(Table, Span)> {
    let (from, to) = (span.from.unix_ms(), span.to.unix_ms());
    let first_hour = ceiling(from, HOUR_MS);
    let last_hour = floor(to, HOUR_MS);
    if first_hour > last_hour {
        return non_empty([(Table::Entries, from, to)]);
    }
    let first_day = ceiling(from, DAY_MS);
    let last_day = floor(to, DAY_MS);
    let hours_and_days = if first_day > last_day {
        [
            (Table::Hours, first_hour, last_hour),
            (Table::Days, 0, 0),
            (Table::Hours, 0, 0),
        ]
    } else {
        [
            (Table::Hours, first_hour, first_day),
            (Table::Days, first_day, last_day),
            (Table::Hours, last_day, last_hour),
        ]
    };
    let mut all = non_empty([(Table::Entries, from, first_hour)]);
    all.extend(non_empty(hours_and_days));
    all.extend(non_empty([(Table::Entries, last_hour, to)]));
    all
}

fn non_empty<const N: usize>(parts: [(Table, i64, i64); N]) -> Vec<(Table, Span)> {
    let parts = parts.into_iter().filter(|(_, from, to)| from < to);
    let span = |(table, from, to)| {
        let [from, to] = [from, to].map(Timestamp::from_unix_ms);
        (table, Span { from, to })
    };
    parts.map(span).collect()
}

fn ceiling(unix_ms: i64, length_ms: i64) -> i64 {
    let floor = floor(unix_ms, length_ms);
    if floor == unix_ms {
        floor
    } else {
        floor.saturating_add(length_ms)
    }
}

/// Since when every entry is there; `None` while none was deleted.
pub(super) fn kept_from(connection: &Connection) -> Result<Option<Timestamp>, rusqlite::Error> {
    let kept = "SELECT max(kept_from) FROM retention";
    let kept: Option<i64> = connection.query_row(kept, (), |row| row.get(0))?;
    Ok(kept.map(Timestamp::from_unix_ms))
}

/// A part of an hour whose entries are gone has no sums, unless the hour had no call at all.
fn refuse_if_any(
    connection: &Connection,
    part: Span,
    kept_from: Option<Timestamp>,
) -> Result<(), LedgerError> {
    let from = floor(part.from.unix_ms(), HOUR_MS);
    let any = "SELECT 1 FROM rollup_hours WHERE begins_at >= ?1 AND begins_at < ?2 LIMIT 1";
    let found = connection.query_row(any, (from, part.to.unix_ms()), |_row| Ok(()));
    let found = found
        .optional()
        .map_err(LedgerError::sqlite("look for deleted calls"))?;
    match (found, kept_from) {
        (Some(()), Some(kept_from)) => Err(LedgerError::EntriesDeleted { kept_from }),
        _ => Ok(()),
    }
}

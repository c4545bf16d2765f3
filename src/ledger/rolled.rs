//! Sums over a span out of the roll-ups where it is whole, and out of the entries where it is not.
//!
//! A span is cut at whole days and whole hours (UTC): days come from `rollup_days`, the hours on
//! both sides from `rollup_hours`, and only what is left of the first and the last hour from
//! `entries`. Each part is summed by the database in 64 bits, the parts are joined exactly. Nothing here
//! relies on one row for each key: on a server there are several until they are folded.

use std::collections::{BTreeSet, HashMap};

use super::Span;
use super::database::{Database, Dialect, Fault};
use super::query::{self, Group, GroupBy, Summary, Sums};
use super::rollup::{DAY_MS, HOUR_MS, floor};
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
/// When the database refuses, or the span cuts an hour whose entries are deleted.
pub(super) fn summary(
    database: &Database,
    of: Option<&TenantId>,
    by: &[GroupBy],
    span: Span,
) -> Result<Summary, Fault> {
    let (kept_from, parts) = if has_rollups(database)? {
        (kept_from(database)?, parts(span))
    } else {
        (None, vec![(Table::Entries, span)])
    };
    let mut groups: HashMap<Vec<Option<String>>, Sums> = HashMap::new();
    let mut catalogues = BTreeSet::new();
    for (table, part) in parts {
        if table == Table::Entries && kept_from.is_some_and(|kept| part.from < kept) {
            refuse_if_any(database, part, kept_from)?;
        }
        for Group { key, sums } in query::groups(database, table, of, by, part)? {
            groups.entry(key).or_default().add(&sums);
        }
        catalogues.extend(query::catalogues(database, table, of, part)?);
    }
    let groups = groups.into_iter();
    Ok(Summary {
        groups: groups.map(|(key, sums)| Group { key, sums }).collect(),
        catalogues: catalogues.into_iter().collect(),
    })
}

/// A backup that an older program made has none, nor has a server that is not migrated yet.
pub(super) fn has_rollups(database: &Database) -> Result<bool, Fault> {
    let any = match database.dialect() {
        Dialect::Sqlite => "SELECT 1 FROM sqlite_schema WHERE name = 'retention'",
        Dialect::Postgres => "SELECT 1 WHERE to_regclass('retention') IS NOT NULL",
    };
    let found = database.first(any, &[], |_row| Ok(()))?;
    Ok(found.is_some())
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
pub(super) fn kept_from(database: &Database) -> Result<Option<Timestamp>, Fault> {
    let kept = "SELECT max(kept_from) FROM retention";
    let kept = database.first(kept, &[], |row| row.integer_or_null(0))?;
    Ok(kept.flatten().map(Timestamp::from_unix_ms))
}

/// A part of an hour whose entries are gone has no sums, unless the hour had no call at all.
fn refuse_if_any(
    database: &Database,
    part: Span,
    kept_from: Option<Timestamp>,
) -> Result<(), Fault> {
    let from = floor(part.from.unix_ms(), HOUR_MS);
    let any = "SELECT 1 FROM rollup_hours WHERE begins_at >= ?1 AND begins_at < ?2 LIMIT 1";
    let span = [from.into(), part.to.unix_ms().into()];
    let found = database.first(any, &span, |_row| Ok(()))?;
    match (found, kept_from) {
        (Some(()), Some(kept_from)) => Err(Fault::Deleted { kept_from }),
        _ => Ok(()),
    }
}

//! Sums of whole hours and days, kept beside the entries in the same transaction.
//!
//! A row sums up the calls of one hour (or UTC day) that agree in everything a report can ask for.
//! So a report over a year adds up some thousand rows of days, not millions of entries, and entries
//! can be deleted one day while what they cost stays.
//!
//! Knows how rows come into the file, and how they are counted again in either store; a server makes
//! its rows itself (`postgres/rollups.sql`). `rolled.rs` asks them.

use std::borrow::Cow;
use std::collections::HashMap;

use rusqlite::{Transaction, params};

use super::row;
use crate::domain::{Dimension, Entry};

/// What a batch adds to the sums. Only entries that are new to the ledger belong here.
#[derive(Debug, Default)]
pub(super) struct Rollup<'a> {
    hours: HashMap<Key<'a>, Added>,
}

/// Everything by which calls are told apart in sums.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key<'a> {
    begins_at: i64,
    tenant: &'a str,
    application: &'a str,
    /// Empty for operations without one.
    model: Cow<'a, str>,
    operation: &'static str,
    region: &'a str,
    tier: &'a str,
    outcome: &'static str,
    usage_source: &'static str,
    price_status: &'static str,
    catalogue: &'a str,
}

/// What they add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Added {
    calls: u64,
    /// The two columns of amounts, each summed by itself: so the sums are those of SQL.
    micro: i64,
    femto: i64,
    tokens: [u64; 6],
}

impl Added {
    fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.micro = self.micro.saturating_add(other.micro);
        self.femto = self.femto.saturating_add(other.femto);
        for (mine, others) in self.tokens.iter_mut().zip(other.tokens) {
            *mine = mine.saturating_add(others);
        }
    }
}

impl<'a> Rollup<'a> {
    /// Counts an entry.
    pub(super) fn add(&mut self, entry: &'a Entry) {
        let model = entry.model.as_ref().map(|model| model.label());
        let tier = entry.reading.served_tier.as_ref();
        let tier = tier.or(entry.tier_asked.as_ref());
        let (price_status, cost) = row::stored_price(&entry.charge);
        let key = Key {
            begins_at: floor(entry.opened_at.unix_ms(), HOUR_MS),
            tenant: entry.tenant.as_str(),
            application: entry.application.as_str(),
            model: model.unwrap_or_default(),
            operation: entry.operation.name(),
            region: entry.region.as_str(),
            tier: tier.map_or("standard", |tier| tier.name()),
            outcome: entry.outcome.name(),
            usage_source: entry.reading.source.name(),
            price_status,
            catalogue: &entry.catalogue,
        };
        let quantity = |dimension: Dimension| entry.reading.usage.get(&dimension).unwrap_or(0);
        let (micro, femto) = cost.unwrap_or_default();
        let added = Added {
            calls: 1,
            micro,
            femto,
            tokens: super::Sums::TOKENS.map(quantity),
        };
        self.hours.entry(key).or_default().add(&added);
    }

    /// Adds all of it to the tables.
    pub(super) fn write(self, transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
        let mut days: HashMap<Key<'_>, Added> = HashMap::new();
        for (key, added) in &self.hours {
            let key = Key {
                begins_at: floor(key.begins_at, DAY_MS),
                ..key.clone()
            };
            days.entry(key).or_default().add(added);
        }
        upsert(transaction, UPSERT_HOUR, &self.hours)?;
        upsert(transaction, UPSERT_DAY, &days)
    }
}

fn upsert(
    transaction: &Transaction<'_>,
    sql: &str,
    rows: &HashMap<Key<'_>, Added>,
) -> Result<(), rusqlite::Error> {
    let mut statement = transaction.prepare(sql)?;
    for (key, added) in rows {
        let tokens = added.tokens.map(row::integer);
        let [input, output, cache_read, written_5m, long_30m, long_1h] = tokens;
        statement.execute(params![
            key.begins_at,
            key.tenant,
            key.application,
            key.model,
            key.operation,
            key.region,
            key.tier,
            key.outcome,
            key.usage_source,
            key.price_status,
            key.catalogue,
            row::integer(added.calls),
            added.micro,
            added.femto,
            input,
            output,
            cache_read,
            written_5m,
            long_30m,
            long_1h,
        ])?;
    }
    Ok(())
}

/// The latest whole multiple at or before an instant, also before 1970.
pub(super) const fn floor(unix_ms: i64, length_ms: i64) -> i64 {
    unix_ms.saturating_sub(unix_ms.rem_euclid(length_ms))
}

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

macro_rules! upsert {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                ?18, ?19, ?20)
            ON CONFLICT DO UPDATE SET
                calls = calls + excluded.calls,
                cost_microusd = cost_microusd + excluded.cost_microusd,
                cost_femtousd = cost_femtousd + excluded.cost_femtousd,
                input_tokens = input_tokens + excluded.input_tokens,
                output_tokens = output_tokens + excluded.output_tokens,
                cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
                cache_write_5m_tokens = cache_write_5m_tokens + excluded.cache_write_5m_tokens,
                cache_write_30m_tokens = cache_write_30m_tokens + excluded.cache_write_30m_tokens,
                cache_write_1h_tokens = cache_write_1h_tokens + excluded.cache_write_1h_tokens"
        )
    };
}

const UPSERT_HOUR: &str = upsert!("rollup_hours");
const UPSERT_DAY: &str = upsert!("rollup_days");

/// The columns of a roll-up table by which its rows are told apart; the rest are sums.
macro_rules! rollup_keys {
    () => {
        "begins_at, tenant, application, model, operation, region, tier, outcome, usage_source,
         price_status, catalogue"
    };
}

/// The sums of entries as a roll-up has them, under those keys; `$length` in milliseconds.
macro_rules! rollup_of_entries {
    ($length:literal) => {
        concat!(
            "SELECT opened_at - ((opened_at % ",
            $length,
            ") + ",
            $length,
            ") % ",
            $length,
            " AS begins_at, tenant, application, coalesce(model, '') AS model, operation, region,
            coalesce(tier_served, tier_asked, 'standard') AS tier, outcome, usage_source,
            price_status, catalogue, count(*) AS calls,
            coalesce(sum(cost_microusd), 0), coalesce(sum(cost_femtousd), 0),
            coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
            coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_5m_tokens), 0),
            coalesce(sum(cache_write_30m_tokens), 0), coalesce(sum(cache_write_1h_tokens), 0)
            FROM entries"
        )
    };
}

macro_rules! rollup_table {
    ($table:literal) => {
        concat!(
            "CREATE TABLE ",
            $table,
            " (
    begins_at              INTEGER NOT NULL,
    tenant                 TEXT    NOT NULL,
    application            TEXT    NOT NULL,
    model                  TEXT    NOT NULL,
    operation              TEXT    NOT NULL,
    region                 TEXT    NOT NULL,
    tier                   TEXT    NOT NULL,
    outcome                TEXT    NOT NULL,
    usage_source           TEXT    NOT NULL,
    price_status           TEXT    NOT NULL,
    catalogue              TEXT    NOT NULL,
    calls                  INTEGER NOT NULL,
    cost_microusd          INTEGER NOT NULL,
    cost_femtousd          INTEGER NOT NULL,
    input_tokens           INTEGER NOT NULL,
    output_tokens          INTEGER NOT NULL,
    cache_read_tokens      INTEGER NOT NULL,
    cache_write_5m_tokens  INTEGER NOT NULL,
    cache_write_30m_tokens INTEGER NOT NULL,
    cache_write_1h_tokens  INTEGER NOT NULL,
    PRIMARY KEY (",
            rollup_keys!(),
            ")
) WITHOUT ROWID;
"
        )
    };
}

/// The rows of a roll-up table as one for each key; a server has several until they are folded.
macro_rules! rollup_of_rows {
    ($begins_at:literal, $table:literal) => {
        concat!(
            "SELECT ",
            $begins_at,
            " AS begins_at, tenant, application, model, operation, region, tier, outcome,
            usage_source, price_status, catalogue, sum(calls) AS calls,
            sum(cost_microusd), sum(cost_femtousd), sum(input_tokens), sum(output_tokens),
            sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_30m_tokens),
            sum(cache_write_1h_tokens)
            FROM ",
            $table,
            " WHERE begins_at >= ?1 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
        )
    };
}

/// How many hours or days have other sums in one query than in the other, from an instant on.
macro_rules! recount {
    ($kept:expr, $counted:expr) => {
        concat!(
            "SELECT count(DISTINCT begins_at) FROM (
                SELECT * FROM (",
            $kept,
            " EXCEPT ",
            $counted,
            ") AS only_kept
                UNION ALL
                SELECT * FROM (",
            $counted,
            " EXCEPT ",
            $kept,
            ") AS only_counted) AS wrong"
        )
    };
}

/// Hours against the entries.
pub(super) const RECOUNT_HOURS: &str = recount!(
    rollup_of_rows!("begins_at", "rollup_hours"),
    concat!(
        rollup_of_entries!("3600000"),
        " WHERE opened_at >= ?1 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
    )
);

/// Days against the hours, which are kept for ever as well.
pub(super) const RECOUNT_DAYS: &str = recount!(
    rollup_of_rows!("begins_at", "rollup_days"),
    rollup_of_rows!(
        "begins_at - ((begins_at % 86400000) + 86400000) % 86400000",
        "rollup_hours"
    )
);

/// The tables, filled from the entries that are there.
pub(super) const MIGRATION: &str = concat!(
    rollup_table!("rollup_hours"),
    rollup_table!("rollup_days"),
    "INSERT INTO rollup_hours ",
    rollup_of_entries!("3600000"),
    " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
INSERT INTO rollup_days ",
    rollup_of_entries!("86400000"),
    " GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
CREATE TABLE retention (
    kept_from INTEGER NOT NULL
);
"
);

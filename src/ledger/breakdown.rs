//! What the current day and month are made of: by model and kind, by how sure the numbers are,
//! what was wasted, what changed. For gauges; `docs/metrics.md` defines each.
//!
//! Follows the ledger with a connection of its own, each row once, away from the calls and from
//! the settling thread. A call belongs to the period in which it was admitted, as in reports.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, Row};

use super::movers::Movers;
use super::row::StoredLine;
use super::waste::Waste;
use super::{LedgerError, LedgerReader, Period, Span};
use crate::domain::{Dimension, TenantId, Timestamp, Usd};
use crate::telemetry::{LedgerFamily, LedgerSum};

/// Rows of one read: a longer one would keep the write-ahead log from being folded back.
const ROWS_MAX: usize = 5000;

/// The sums of the current day and month, as of the last [`Self::refresh`].
#[derive(Debug)]
pub struct Breakdown {
    reader: LedgerReader,
    /// The last row that was read.
    cursor: i64,
    day: Span,
    month: Span,
    sums: HashMap<Key, Sum>,
    waste: Waste,
    movers: Movers,
}

/// Family, tenant, and the labels that follow, the period left out.
type Key = (LedgerFamily, Box<str>, Vec<Box<str>>);

/// Femtodollars, calls or tokens, as the family counts.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    day: i128,
    month: i128,
}

impl Breakdown {
    /// Finds where the current month begins; nothing is summed yet.
    ///
    /// # Errors
    /// When the ledger of that directory cannot be read.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, LedgerError> {
        let reader = LedgerReader::open(directory)?;
        let month = Period::Month.containing(now);
        let cursor = first_row(reader.connection(), month.from)
            .map_err(LedgerError::sqlite("find the current month"))?;
        Ok(Self {
            reader,
            cursor,
            day: Period::Day.containing(now),
            month,
            sums: HashMap::new(),
            waste: Waste::default(),
            movers: Movers::default(),
        })
    }

    /// Reads what was committed since the last time, at most some thousands of rows. `true`: there
    /// is more, and the sums are not whole yet.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row holds what this program never writes. The sums
    /// are of no use then.
    pub fn refresh(&mut self, now: Timestamp) -> Result<bool, LedgerError> {
        self.roll(now);
        let rows = rows_behind(self.reader.connection(), self.cursor)
            .map_err(LedgerError::sqlite("read new entries"))?;
        for row in &rows {
            self.cursor = row.number;
            self.add(row);
        }
        if rows.len() == ROWS_MAX {
            return Ok(true);
        }
        self.judge(now);
        self.movers
            .advance(self.reader.connection(), self.day, now)
            .map_err(LedgerError::sqlite("read the days to compare with"))?;
        Ok(false)
    }

    /// Every sum, in no order.
    ///
    /// # Errors
    /// When the ledger holds a name that this program never writes.
    pub fn sums(&self) -> Result<Vec<LedgerSum>, LedgerError> {
        let mut all = Vec::new();
        for ((family, tenant, labels), sum) in &self.sums {
            for (period, amount) in [(Period::Day, sum.day), (Period::Month, sum.month)] {
                let mut labels = labels.clone();
                labels.push(period.name().into());
                all.push(ledger_sum(*family, tenant, labels, amount)?);
            }
        }
        for (tenant, labels, amount) in self.movers.changes() {
            all.push(ledger_sum(
                LedgerFamily::CostChange,
                tenant,
                labels,
                amount,
            )?);
        }
        Ok(all)
    }

    fn add(&mut self, row: &EntryRow) {
        // The periods must have begun before the first of their calls is counted.
        self.roll(row.settled_at.max(row.opened_at));
        self.judge(row.settled_at);
        if self.day.contains(row.opened_at) {
            self.movers.add_today(row);
        }
        let trust = [&*row.source, &*row.status];
        self.count(LedgerFamily::Calls, row, &trust, 1);
        self.count(LedgerFamily::Tokens, row, &trust, row.tokens);
        if let Some(cost) = row.cost {
            self.count(LedgerFamily::SourceCost, row, &[&row.source], cost);
        }
        for line in &row.lines {
            let labels = [&*row.model, line.dimension.kind()];
            self.count(LedgerFamily::ModelCost, row, &labels, line.amount);
        }
        for wasted in self.waste.add(row) {
            let labels = [&*wasted.model, wasted.cause];
            self.put(
                LedgerFamily::Waste,
                &row.tenant,
                &labels,
                wasted.at,
                wasted.femto,
            );
        }
    }

    /// Cache writes whose life is over without a read become waste.
    fn judge(&mut self, now: Timestamp) {
        for (tenant, wasted) in self.waste.expired(now) {
            let labels = [&*wasted.model, wasted.cause];
            self.put(
                LedgerFamily::Waste,
                &tenant,
                &labels,
                wasted.at,
                wasted.femto,
            );
        }
    }

    fn count(&mut self, family: LedgerFamily, row: &EntryRow, labels: &[&str], amount: i128) {
        self.put(family, &row.tenant, labels, row.opened_at, amount);
    }

    fn put(
        &mut self,
        family: LedgerFamily,
        tenant: &str,
        labels: &[&str],
        at: Timestamp,
        amount: i128,
    ) {
        if !self.month.contains(at) {
            return;
        }
        let labels = labels.iter().map(|label| Box::from(*label)).collect();
        let sum = self
            .sums
            .entry((family, tenant.into(), labels))
            .or_default();
        sum.month = sum.month.saturating_add(amount);
        if self.day.contains(at) {
            sum.day = sum.day.saturating_add(amount);
        }
    }

    fn roll(&mut self, now: Timestamp) {
        if now >= self.month.to {
            self.month = Period::Month.containing(now);
            self.sums.clear();
        }
        if now >= self.day.to {
            self.day = Period::Day.containing(now);
            self.movers.new_day();
            for sum in self.sums.values_mut() {
                sum.day = 0;
            }
        }
    }
}

fn ledger_sum(
    family: LedgerFamily,
    tenant: &str,
    labels: Vec<Box<str>>,
    amount: i128,
) -> Result<LedgerSum, LedgerError> {
    let found = TenantId::new(tenant).map_err(|_rule| LedgerError::Damaged {
        column: "tenant",
        value: tenant.to_owned(),
    });
    Ok(LedgerSum {
        family,
        tenant: found?,
        labels,
        amount,
    })
}

/// The part of an entry that sums are made of.
#[derive(Debug)]
pub(super) struct EntryRow {
    number: i64,
    pub(super) opened_at: Timestamp,
    pub(super) settled_at: Timestamp,
    pub(super) tenant: Box<str>,
    pub(super) application: Box<str>,
    /// The label of reports, `none` without a model.
    pub(super) model: Box<str>,
    /// Region, tier and latency mode: with the model, what a rate depends on.
    pub(super) place: Box<str>,
    pub(super) outcome: Box<str>,
    pub(super) invocation: Option<Box<str>>,
    pub(super) attempt: i64,
    source: Box<str>,
    status: Box<str>,
    tokens: i128,
    pub(super) cache_read: bool,
    /// Femtodollars; `None`: unpriced.
    pub(super) cost: Option<i128>,
    pub(super) lines: Vec<CostLine>,
}

/// One line of a charge.
#[derive(Debug)]
pub(super) struct CostLine {
    pub(super) dimension: Dimension,
    pub(super) quantity: u64,
    /// Femtodollars.
    pub(super) amount: i128,
}

/// The columns of [`EntryRow::read`].
pub(super) const COLUMNS: &str = "
SELECT rowid, opened_at, settled_at, tenant, application, ifnull(model, 'none'),
    region || ' ' || coalesce(tier_served, tier_asked, 'standard') || ' '
        || ifnull(latency_served, ''),
    outcome, sdk_invocation_id, ifnull(sdk_attempt, 1), usage_source, price_status,
    ifnull(input_tokens, 0) + ifnull(output_tokens, 0) + ifnull(cache_read_tokens, 0)
        + ifnull(cache_write_5m_tokens, 0) + ifnull(cache_write_30m_tokens, 0)
        + ifnull(cache_write_1h_tokens, 0),
    ifnull(cache_read_tokens, 0) > 0, cost_microusd, cost_femtousd, lines
FROM entries ";

impl EntryRow {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let at = |column| Ok::<_, rusqlite::Error>(Timestamp::from_unix_ms(row.get(column)?));
        let (micro, femto): (Option<i64>, Option<i64>) = (row.get(14)?, row.get(15)?);
        let cost = micro
            .zip(femto)
            .map(|(micro, femto)| Usd::from_split(micro, femto));
        let lines: Option<String> = row.get(16)?;
        let priced = cost.is_some();
        Ok(Self {
            number: row.get(0)?,
            opened_at: at(1)?,
            settled_at: at(2)?,
            tenant: row.get(3)?,
            application: row.get(4)?,
            model: row.get(5)?,
            place: row.get(6)?,
            outcome: row.get(7)?,
            invocation: row.get(8)?,
            attempt: row.get(9)?,
            source: row.get(10)?,
            status: row.get(11)?,
            tokens: row.get::<_, i64>(12)?.into(),
            cache_read: row.get(13)?,
            cost: cost.map(Usd::femto),
            // The lines of an unpriced call are a part of an unknown amount.
            lines: match lines {
                Some(lines) if priced => cost_lines(&lines)?,
                Some(_) | None => Vec::new(),
            },
        })
    }

    /// Whether the client has, or may have, had its whole answer.
    pub(super) fn ended_well(&self) -> bool {
        &*self.outcome == "success"
    }
}

fn cost_lines(json: &str) -> Result<Vec<CostLine>, rusqlite::Error> {
    let damaged = |cause: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(16, rusqlite::types::Type::Text, cause)
    };
    let lines: Vec<StoredLine<'_>> = serde_json::from_str(json).map_err(|e| damaged(e.into()))?;
    let lines = lines.iter().map(|line| {
        let rate: i128 = line
            .femtousd_per_unit
            .parse()
            .map_err(|e: std::num::ParseIntError| damaged(e.into()))?;
        Ok(CostLine {
            dimension: Dimension::from_name(&line.dimension),
            quantity: line.quantity,
            amount: rate.saturating_mul(line.quantity.into()),
        })
    });
    lines.collect()
}

/// The row before the first that was opened in or after the month.
fn first_row(connection: &Connection, from: Timestamp) -> Result<i64, rusqlite::Error> {
    let sql = "SELECT ifnull(min(rowid) - 1, (SELECT ifnull(max(rowid), 0) FROM entries)) \
               FROM entries WHERE opened_at >= ?1";
    connection.query_row(sql, [from.unix_ms()], |row| row.get(0))
}

fn rows_behind(connection: &Connection, cursor: i64) -> Result<Vec<EntryRow>, rusqlite::Error> {
    let sql = format!("{COLUMNS} WHERE rowid > ?1 ORDER BY rowid LIMIT {ROWS_MAX}");
    let mut statement = connection.prepare(&sql)?;
    statement.query_map([cursor], EntryRow::read)?.collect()
}

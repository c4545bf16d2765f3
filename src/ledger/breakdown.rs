//! What the current day and month are made of: by model and kind, by how sure the numbers are,
//! what was wasted, what changed. For gauges; `docs/metrics.md` defines each.
//!
//! Follows the ledger with a connection of its own, each row once, away from the calls and from
//! the settling thread. A call belongs to the period in which it was admitted, as in reports.

use std::collections::HashMap;
use std::path::Path;

use super::cursor::Cursor;
use super::database::{Dialect, Fault, Row};
use super::movers::Movers;
use super::row::StoredLine;
use super::waste::{Waste, Wasted};
use super::{LedgerError, LedgerReader, Period, PeriodTotals, Settings, Span};
use crate::domain::{Dimension, TenantId, Timestamp, Usd};
use crate::telemetry::{LedgerFamily, LedgerSum};

/// Rows of one read: a longer one would keep the write-ahead log from being folded back.
const ROWS_MAX: usize = 5000;

/// The sums of the current day and month, as of the last [`Self::refresh`].
#[derive(Debug)]
pub struct Breakdown {
    reader: LedgerReader,
    /// What was read last.
    cursor: Cursor,
    sums: Sums,
    /// Of a ledger that others write to as well.
    totals: Option<PeriodTotals>,
}

/// What the rows add up to.
#[derive(Debug)]
struct Sums {
    day: Span,
    month: Span,
    by_tenant: HashMap<Box<str>, OfTenant>,
    waste: Waste,
    movers: Movers,
}

/// The sums of a tenant by their first label: a model or a usage source.
type OfTenant = HashMap<Box<str>, Vec<Sum>>;

/// Femtodollars, calls or tokens, as the family counts.
#[derive(Debug)]
struct Sum {
    family: LedgerFamily,
    /// The second label, where the family has one.
    label: Option<Box<str>>,
    day: i128,
    month: i128,
}

impl Breakdown {
    /// Finds where the current month begins; nothing is summed yet.
    ///
    /// # Errors
    /// When the ledger of that directory cannot be read.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, LedgerError> {
        Self::over(LedgerReader::open(directory)?, now)
    }

    /// The same of the ledger of these settings, wherever it is kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(settings: &Settings, now: Timestamp) -> Result<Self, LedgerError> {
        Self::over(LedgerReader::of(settings)?, now)
    }

    fn over(reader: LedgerReader, now: Timestamp) -> Result<Self, LedgerError> {
        let month = Period::Month.containing(now);
        let is_shared = reader.database().dialect() == Dialect::Postgres;
        let cursor = Cursor::before(reader.database(), month.from)
            .map_err(LedgerError::of("find the current month"))?;
        Ok(Self {
            reader,
            cursor,
            sums: Sums {
                day: Period::Day.containing(now),
                month,
                by_tenant: HashMap::new(),
                waste: Waste::default(),
                movers: Movers::default(),
            },
            totals: is_shared.then(|| PeriodTotals::nothing(now)),
        })
    }

    /// Reads what was committed since the last time, at most some thousands of rows. `true`: there
    /// is more, and the sums are not whole yet.
    ///
    /// # Errors
    /// When the ledger cannot be read, or a row holds what this program never writes. The sums
    /// are of no use then.
    pub fn refresh(&mut self, now: Timestamp) -> Result<bool, LedgerError> {
        self.sums.roll(now);
        let rows = self
            .add_new_rows()
            .map_err(LedgerError::of("read new entries"))?;
        if rows == ROWS_MAX {
            return Ok(true);
        }
        self.sums.judge(now);
        let day = self.sums.day;
        self.sums
            .movers
            .advance(self.reader.database(), day, now)
            .map_err(LedgerError::of("read the days to compare with"))
    }

    /// Adds each row as it is read: nothing of it is kept or copied.
    fn add_new_rows(&mut self) -> Result<usize, Fault> {
        let database = self.reader.database();
        let select = select(database.dialect());
        let sql = format!("{select} {} LIMIT {ROWS_MAX}", self.cursor.sql());
        let values = self.cursor.values();
        let mut count = 0;
        let (sums, cursor, totals) = (&mut self.sums, &mut self.cursor, &mut self.totals);
        database.each(&sql, &values, |row| {
            let entry = EntryRow::read(row)?;
            if let Some(totals) = totals {
                totals.add_row(&entry)?;
            }
            sums.add(&entry);
            cursor.pass(row)?;
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// What each application cost, where other processes write to the ledger too.
    pub const fn totals(&self) -> Option<&PeriodTotals> {
        self.totals.as_ref()
    }

    /// Every sum, in no order.
    ///
    /// # Errors
    /// When the ledger holds a name that this program never writes.
    pub fn sums(&self) -> Result<Vec<LedgerSum>, LedgerError> {
        let mut all = Vec::new();
        for (tenant, of_tenant) in &self.sums.by_tenant {
            let sums = of_tenant
                .iter()
                .flat_map(|(first, sums)| sums.iter().map(move |sum| (first, sum)));
            for (first, sum) in sums {
                for (period, amount) in [(Period::Day, sum.day), (Period::Month, sum.month)] {
                    let labels = [Some(first), sum.label.as_ref()].into_iter().flatten();
                    let labels = labels.cloned().chain([period.name().into()]).collect();
                    all.push(ledger_sum(sum.family, tenant, labels, amount)?);
                }
            }
        }
        for (tenant, labels, amount) in self.sums.movers.changes() {
            all.push(ledger_sum(
                LedgerFamily::CostChange,
                tenant,
                labels,
                amount,
            )?);
        }
        Ok(all)
    }
}

impl Sums {
    fn add(&mut self, row: &EntryRow<'_>) {
        // The periods must have begun before the first of their calls is counted.
        self.roll(row.settled_at.max(row.opened_at));
        self.judge(row.settled_at);
        if self.day.contains(row.opened_at) {
            self.movers.add_today(row);
        }
        let wasted = self.waste.add(row);
        let at = row.opened_at;
        self.put(row.tenant, row.source, |sums| {
            sums.add(LedgerFamily::Calls, Some(row.status), at, 1);
            sums.add(LedgerFamily::Tokens, Some(row.status), at, row.tokens);
            if let Some(cost) = row.cost {
                sums.add(LedgerFamily::SourceCost, None, at, cost);
            }
        });
        if row.lines.is_empty() && wasted.is_empty() {
            return;
        }
        self.put(row.tenant, row.model, |sums| {
            for line in &row.lines {
                let kind = Some(line.dimension.kind());
                sums.add(LedgerFamily::ModelCost, kind, at, line.amount);
            }
        });
        for wasted in wasted {
            self.put_wasted(row.tenant, &wasted);
        }
    }

    /// Cache writes whose life is over without a read become waste.
    fn judge(&mut self, now: Timestamp) {
        for (tenant, wasted) in self.waste.expired(now) {
            self.put_wasted(&tenant, &wasted);
        }
    }

    fn put_wasted(&mut self, tenant: &str, wasted: &Wasted) {
        self.put(tenant, &wasted.model, |sums| {
            let cause = Some(wasted.cause);
            sums.add(LedgerFamily::Waste, cause, wasted.at, wasted.femto);
        });
    }

    /// Adds to a tenant's sums of one first label.
    fn put(&mut self, tenant: &str, label: &str, add: impl FnOnce(&mut Adding<'_>)) {
        let (day, month) = (self.day, self.month);
        with(&mut self.by_tenant, tenant, |of_tenant| {
            with(of_tenant, label, |sums| {
                add(&mut Adding { sums, day, month });
            });
        });
    }

    fn roll(&mut self, now: Timestamp) {
        if now >= self.month.to {
            self.month = Period::Month.containing(now);
            self.by_tenant.clear();
        }
        if now >= self.day.to {
            self.day = Period::Day.containing(now);
            self.movers.new_day();
            let of_tenants = self.by_tenant.values_mut();
            for sum in of_tenants.flat_map(HashMap::values_mut).flatten() {
                sum.day = 0;
            }
        }
    }
}

/// The sums of one first label, and the periods that they are of.
struct Adding<'a> {
    sums: &'a mut Vec<Sum>,
    day: Span,
    month: Span,
}

impl Adding<'_> {
    fn add(&mut self, family: LedgerFamily, label: Option<&str>, at: Timestamp, amount: i128) {
        if !self.month.contains(at) {
            return;
        }
        let is_it = |sum: &&mut Sum| sum.family == family && sum.label.as_deref() == label;
        let today = if self.day.contains(at) { amount } else { 0 };
        if let Some(sum) = self.sums.iter_mut().find(is_it) {
            sum.month = sum.month.saturating_add(amount);
            sum.day = sum.day.saturating_add(today);
        } else {
            self.sums.push(Sum {
                family,
                label: label.map(Box::from),
                day: today,
                month: amount,
            });
        }
    }
}

/// Changes the value of a name. Only a new name is copied: `entry` would want one each time.
pub(super) fn with<V: Default>(
    map: &mut HashMap<Box<str>, V>,
    name: &str,
    change: impl FnOnce(&mut V),
) {
    if let Some(value) = map.get_mut(name) {
        change(value);
    } else {
        let mut value = V::default();
        change(&mut value);
        map.insert(name.into(), value);
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

/// The part of an entry that sums are made of, as long as its row is there.
#[derive(Debug)]
pub(super) struct EntryRow<'r> {
    pub(super) opened_at: Timestamp,
    pub(super) settled_at: Timestamp,
    pub(super) tenant: &'r str,
    pub(super) application: &'r str,
    /// The label of reports, `none` without a model.
    pub(super) model: &'r str,
    /// Region, tier and latency mode: with the model, what a rate depends on.
    pub(super) place: &'r str,
    pub(super) outcome: &'r str,
    pub(super) invocation: Option<&'r str>,
    pub(super) attempt: i64,
    pub(super) source: &'r str,
    pub(super) status: &'r str,
    tokens: i128,
    pub(super) cache_read: bool,
    /// Femtodollars; `None`: unpriced.
    pub(super) cost: Option<i128>,
    pub(super) lines: Vec<CostLine>,
    /// It has a model, and Bedrock answered with success.
    pub(super) is_served: bool,
}

/// One line of a charge.
#[derive(Debug)]
pub(super) struct CostLine {
    pub(super) dimension: Dimension,
    pub(super) quantity: u64,
    /// Femtodollars.
    pub(super) amount: i128,
}

/// The columns of [`EntryRow::read`] and of [`Cursor::pass`].
pub(super) fn select(dialect: Dialect) -> String {
    let number = match dialect {
        Dialect::Sqlite => "rowid",
        Dialect::Postgres => "tx",
    };
    format!("SELECT {number} AS number, call_id, {COLUMNS} FROM entries ")
}

const COLUMNS: &str = "
    opened_at, settled_at, tenant, application, coalesce(model, 'none') AS model,
    region || ' ' || coalesce(tier_served, tier_asked, 'standard') || ' '
        || coalesce(latency_served, '') AS place,
    outcome, sdk_invocation_id, coalesce(sdk_attempt, 1) AS attempt, usage_source, price_status,
    coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_read_tokens, 0)
        + coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_30m_tokens, 0)
        + coalesce(cache_write_1h_tokens, 0) AS tokens,
    coalesce(cache_read_tokens, 0) > 0 AS cache_read, cost_microusd, cost_femtousd, lines,
    model IS NOT NULL AND coalesce(status, 0) BETWEEN 200 AND 299 AS is_served";

impl<'r> EntryRow<'r> {
    pub(super) fn read(row: &Row<'r, '_>) -> Result<Self, Fault> {
        let at = |column| Ok::<_, Fault>(Timestamp::from_unix_ms(row.integer(column)?));
        let (micro, femto) = (row.integer_or_null(15)?, row.integer_or_null(16)?);
        let cost = micro
            .zip(femto)
            .map(|(micro, femto)| Usd::from_split(micro, femto));
        Ok(Self {
            opened_at: at(2)?,
            settled_at: at(3)?,
            tenant: row.text(4)?,
            application: row.text(5)?,
            model: row.text(6)?,
            place: row.text(7)?,
            outcome: row.text(8)?,
            invocation: row.text_or_null(9)?,
            attempt: row.integer(10)?,
            source: row.text(11)?,
            status: row.text(12)?,
            tokens: row.integer(13)?.into(),
            cache_read: row.flag(14)?,
            cost: cost.map(Usd::femto),
            // The lines of an unpriced call are a part of an unknown amount.
            lines: match row.text_or_null(17)?.filter(|_| cost.is_some()) {
                Some(lines) => cost_lines(lines)?,
                None => Vec::new(),
            },
            is_served: row.flag(18)?,
        })
    }

    /// Whether the client has, or may have, had its whole answer.
    pub(super) fn ended_well(&self) -> bool {
        self.outcome == "success"
    }
}

fn cost_lines(json: &str) -> Result<Vec<CostLine>, Fault> {
    let damaged = |why: String| Fault::Damaged {
        column: "lines",
        why,
    };
    let lines: Vec<StoredLine<'_>> =
        serde_json::from_str(json).map_err(|e| damaged(e.to_string()))?;
    let lines = lines.iter().map(|line| {
        let rate: i128 = line
            .femtousd_per_unit
            .parse()
            .map_err(|e: std::num::ParseIntError| damaged(e.to_string()))?;
        Ok(CostLine {
            dimension: Dimension::from_name(&line.dimension),
            quantity: line.quantity,
            amount: rate.saturating_mul(line.quantity.into()),
        })
    });
    lines.collect()
}

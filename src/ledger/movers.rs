//! What changed since yesterday and last week: today so far against the same hours of that day,
//! each change split into volume, price and mix that add up to it exactly.
//!
//! `docs/metrics.md` has the definition in words.

use std::collections::HashMap;

use rusqlite::Connection;

use super::Span;
use super::breakdown::{COLUMNS, EntryRow};
use crate::domain::{Dimension, Timestamp};

const DAY_MS: i64 = 86_400_000;
/// What is read at once: the rows of five minutes are held in memory.
const SLICE_MS: i64 = 300_000;

/// Today, and the days that it is compared with.
#[derive(Debug)]
pub(super) struct Movers {
    today: HashMap<Payer, Spend>,
    days: [Before; 2],
}

/// Tenant and application.
type Payer = (Box<str>, Box<str>);

/// The same hours of an earlier day.
#[derive(Debug)]
struct Before {
    since: &'static str,
    days_ago: i64,
    /// Everything opened before is read; `None` at the start of a day.
    read_to: Option<i64>,
    spend: HashMap<Payer, Spend>,
    /// The ledger begins before that day: what it does not have did not happen.
    known: bool,
}

/// What one application bought.
#[derive(Clone, Debug, Default)]
pub(super) struct Spend {
    /// Calls with a price.
    calls: i128,
    femto: i128,
    lines: HashMap<Line, (i128, i128)>,
}

/// What a rate depends on: model, place and what is counted. The value is quantity and
/// femtodollars.
type Line = (Box<str>, Box<str>, Dimension);

impl Default for Movers {
    fn default() -> Self {
        let before = |since, days_ago| Before {
            since,
            days_ago,
            read_to: None,
            spend: HashMap::new(),
            known: false,
        };
        Self {
            today: HashMap::new(),
            days: [before("yesterday", 1), before("last_week", 7)],
        }
    }
}

impl Movers {
    pub(super) fn new_day(&mut self) {
        *self = Self::default();
    }

    pub(super) fn add_today(&mut self, row: &EntryRow) {
        add(&mut self.today, row);
    }

    /// Reads the earlier days up to the time of day that it is now, each row once.
    pub(super) fn advance(
        &mut self,
        connection: &Connection,
        day: Span,
        now: Timestamp,
    ) -> Result<(), rusqlite::Error> {
        for before in &mut self.days {
            while before.advance(connection, day.from.unix_ms(), now.unix_ms())? {}
        }
        Ok(())
    }

    /// Tenant; application, since and effect; femtodollars.
    pub(super) fn changes(&self) -> Vec<(&str, Vec<Box<str>>, i128)> {
        let mut changes = Vec::new();
        let nothing = Spend::default();
        for before in self.days.iter().filter(|before| before.known) {
            let gone = before
                .spend
                .keys()
                .filter(|payer| !self.today.contains_key(*payer));
            for payer in self.today.keys().chain(gone) {
                let then = before.spend.get(payer).unwrap_or(&nothing);
                let now = self.today.get(payer).unwrap_or(&nothing);
                for (effect, femto) in change(then, now) {
                    let labels = vec![payer.1.clone(), before.since.into(), effect.into()];
                    changes.push((&*payer.0, labels, femto));
                }
            }
        }
        changes
    }
}

impl Before {
    /// Reads the next slice; whether there was one.
    fn advance(
        &mut self,
        connection: &Connection,
        today: i64,
        now: i64,
    ) -> Result<bool, rusqlite::Error> {
        let ago = self.days_ago.saturating_mul(DAY_MS);
        let (begin, to) = (today.saturating_sub(ago), now.saturating_sub(ago));
        let from = self.read_to.unwrap_or(begin);
        if to <= from {
            return Ok(false);
        }
        let to = to.min(from.saturating_add(SLICE_MS));
        let sql = format!("{COLUMNS} WHERE opened_at >= ?1 AND opened_at < ?2");
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([from, to], EntryRow::read)?;
        // Kept apart until all are read, so that a failure adds nothing twice.
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let sql = "SELECT ifnull(min(opened_at) < ?1, 0) FROM entries";
        self.known = connection.query_row(sql, [begin], |row| row.get(0))?;
        for row in &rows {
            add(&mut self.spend, row);
        }
        self.read_to = Some(to);
        Ok(true)
    }
}

fn add(spends: &mut HashMap<Payer, Spend>, row: &EntryRow) {
    let Some(cost) = row.cost else { return };
    let payer = (row.tenant.clone(), row.application.clone());
    let spend = spends.entry(payer).or_default();
    spend.calls = spend.calls.saturating_add(1);
    spend.femto = spend.femto.saturating_add(cost);
    for line in &row.lines {
        let key = (row.model.clone(), row.place.clone(), line.dimension.clone());
        let (quantity, femto) = spend.lines.entry(key).or_default();
        *quantity = quantity.saturating_add(line.quantity.into());
        *femto = femto.saturating_add(line.amount);
    }
}

/// The change in three parts, in femtodollars. Each quotient is rounded down once; what is left
/// over falls to the mix, so the parts add up to the change.
fn change(then: &Spend, now: &Spend) -> [(&'static str, i128); 3] {
    let whole = now.femto.saturating_sub(then.femto);
    let volume = if then.calls == 0 {
        whole
    } else {
        share(then.femto, now.calls, then.calls).saturating_sub(then.femto)
    };
    let mut price = 0_i128;
    for (line, (quantity, femto)) in &now.lines {
        if let Some((quantity_then, femto_then)) = then.lines.get(line)
            && *quantity_then > 0
        {
            let at_old_price = share(*femto_then, *quantity, *quantity_then);
            price = price.saturating_add(femto.saturating_sub(at_old_price));
        }
    }
    let mix = whole.saturating_sub(volume).saturating_sub(price);
    [("volume", volume), ("price", price), ("mix", mix)]
}

/// `amount * part / of`, rounded down; `of` is not zero. A day of a million dollars and 10^17
/// tokens still fits.
fn share(amount: i128, part: i128, of: i128) -> i128 {
    amount.saturating_mul(part).div_euclid(of)
}

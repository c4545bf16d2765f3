//! What changed since yesterday and last week: today so far against the same hours of that day,
//! each change split into volume, price and mix that add up to it exactly.
//!
//! `docs/metrics.md` has the definition in words.

use std::collections::HashMap;

use super::Span;
use super::breakdown::{EntryRow, select, with};
use super::database::{Database, Fault};
use crate::domain::{Dimension, Timestamp};

const DAY_MS: i64 = 86_400_000;
/// What is read at once: the rows of five minutes are held in memory.
const SLICE_MS: i64 = 300_000;
/// How many of them one turn reads: an hour of a day.
const SLICES_AT_ONCE: u32 = 12;

/// Today, and the days that it is compared with.
#[derive(Debug)]
pub(super) struct Movers {
    today: Spends,
    days: [Before; 2],
}

/// By tenant, then by application.
type Spends = HashMap<Box<str>, HashMap<Box<str>, Spend>>;

/// The same hours of an earlier day.
#[derive(Debug)]
struct Before {
    since: &'static str,
    days_ago: i64,
    /// Everything opened before is read; `None` at the start of a day.
    read_to: Option<i64>,
    spend: Spends,
    /// The ledger begins before that day: what it does not have did not happen.
    known: bool,
}

/// What one application bought.
#[derive(Clone, Debug, Default)]
pub(super) struct Spend {
    /// Calls with a price.
    calls: i128,
    femto: i128,
    /// By model.
    lines: HashMap<Box<str>, Vec<Bought>>,
}

/// What was bought at one rate, which depends on the model, the place and what is counted.
#[derive(Clone, Debug)]
struct Bought {
    place: Box<str>,
    dimension: Dimension,
    quantity: i128,
    femto: i128,
}

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

    pub(super) fn add_today(&mut self, row: &EntryRow<'_>) {
        add(&mut self.today, row);
    }

    /// Reads the earlier days on, up to the time of day that it is now, each row once: whether
    /// something of them is left to read. Late in the day they are hundreds of questions, and whoever
    /// asks may be told to stop between two turns.
    pub(super) fn advance(
        &mut self,
        database: &Database,
        day: Span,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let mut slices = 0;
        for before in &mut self.days {
            while before.advance(database, day.from.unix_ms(), now.unix_ms())? {
                slices += 1;
                if slices == SLICES_AT_ONCE {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Tenant; application, since and effect; femtodollars.
    pub(super) fn changes(&self) -> Vec<(&str, Vec<Box<str>>, i128)> {
        let mut changes = Vec::new();
        let nothing = Spend::default();
        for before in self.days.iter().filter(|before| before.known) {
            let then = payers(&before.spend);
            let gone = then.filter(|(tenant, application, _)| {
                spend(&self.today, tenant, application).is_none()
            });
            for (tenant, application, _) in payers(&self.today).chain(gone) {
                let then = spend(&before.spend, tenant, application).unwrap_or(&nothing);
                let now = spend(&self.today, tenant, application).unwrap_or(&nothing);
                for (effect, femto) in change(then, now) {
                    let labels = vec![application.into(), before.since.into(), effect.into()];
                    changes.push((tenant, labels, femto));
                }
            }
        }
        changes
    }
}

impl Before {
    /// Reads the next slice; whether there is another.
    fn advance(&mut self, database: &Database, today: i64, now: i64) -> Result<bool, Fault> {
        let ago = self.days_ago.saturating_mul(DAY_MS);
        let (begin, end) = (today.saturating_sub(ago), now.saturating_sub(ago));
        let from = self.read_to.unwrap_or(begin);
        if end <= from {
            return Ok(false);
        }
        let to = end.min(from.saturating_add(SLICE_MS));
        let sql = select(database.dialect());
        let sql = format!("{sql} WHERE opened_at >= ?1 AND opened_at < ?2");
        // A failure leaves a part of them added: who sees it begins anew.
        database.each(&sql, &[from.into(), to.into()], |row| {
            add(&mut self.spend, &EntryRow::read(row)?);
            Ok(())
        })?;
        self.read_to = Some(to);
        if to < end {
            return Ok(true);
        }
        let sql = "SELECT count(*) > 0 FROM (SELECT 1 FROM entries WHERE opened_at < ?1 LIMIT 1) AS first";
        let known = database.first(sql, &[begin.into()], |row| row.flag(0))?;
        self.known = known.unwrap_or_default();
        Ok(false)
    }
}

fn add(spends: &mut Spends, row: &EntryRow<'_>) {
    let Some(cost) = row.cost else { return };
    with(spends, row.tenant, |of_tenant| {
        with(of_tenant, row.application, |spend| spend.add(row, cost));
    });
}

fn payers(spends: &Spends) -> impl Iterator<Item = (&str, &str, &Spend)> {
    spends.iter().flat_map(|(tenant, of_tenant)| {
        let spends = of_tenant.iter();
        spends.map(|(application, spend)| (&**tenant, &**application, spend))
    })
}

fn spend<'a>(spends: &'a Spends, tenant: &str, application: &str) -> Option<&'a Spend> {
    spends.get(tenant)?.get(application)
}

impl Spend {
    fn add(&mut self, row: &EntryRow<'_>, cost: i128) {
        self.calls = self.calls.saturating_add(1);
        self.femto = self.femto.saturating_add(cost);
        with(&mut self.lines, row.model, |bought| {
            for line in &row.lines {
                let is_it =
                    |one: &&mut Bought| one.dimension == line.dimension && *one.place == *row.place;
                let (quantity, femto) = (line.quantity.into(), line.amount);
                if let Some(one) = bought.iter_mut().find(is_it) {
                    one.quantity = one.quantity.saturating_add(quantity);
                    one.femto = one.femto.saturating_add(femto);
                } else {
                    bought.push(Bought {
                        place: row.place.into(),
                        dimension: line.dimension.clone(),
                        quantity,
                        femto,
                    });
                }
            }
        });
    }

    /// What was bought at the same rate.
    fn like(&self, model: &str, bought: &Bought) -> Option<&Bought> {
        let of_model = self.lines.get(model)?;
        let is_it = |one: &&Bought| one.dimension == bought.dimension && one.place == bought.place;
        of_model.iter().find(is_it)
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
    let bought = now.lines.iter();
    for (model, now) in bought.flat_map(|(model, all)| all.iter().map(move |one| (model, one))) {
        if let Some(then) = then.like(model, now)
            && then.quantity > 0
        {
            let at_old_price = share(then.femto, now.quantity, then.quantity);
            price = price.saturating_add(now.femto.saturating_sub(at_old_price));
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

//! What each application cost this UTC day and this UTC month: kept in memory for live gauges,
//! read from the ledger at start, fed with each committed entry after that.
//!
//! A call belongs to the period in which it was admitted, as in reports.

use std::collections::HashMap;

use super::breakdown::EntryRow;
use super::database::{Dialect, Fault, Row};
use super::{Ledger, LedgerError, ModelsSeen, Period, Span};
use crate::domain::{ApplicationId, Entry, InvalidName, TenantId, Timestamp, UsageSource, Usd};

/// The totals of all applications that had a call this month.
#[derive(Debug)]
pub struct PeriodTotals {
    day: Span,
    month: Span,
    totals: HashMap<(TenantId, ApplicationId), Totals>,
    models: ModelsSeen,
    /// Others write to the ledger as well, so that it has to be followed.
    is_shared: bool,
}

/// The totals of one application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Of the current UTC day.
    pub day: PeriodTotal,
    /// Of the current UTC calendar month, the day included.
    pub month: PeriodTotal,
}

impl Totals {
    /// The total of one kind of period.
    pub const fn of(&self, period: Period) -> PeriodTotal {
        match period {
            Period::Day => self.day,
            Period::Month => self.month,
        }
    }
}

/// The total of one application in one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeriodTotal {
    /// The cost of the calls that have a price: with unpriced calls, a lower bound.
    pub cost: Usd,
    /// Settled calls.
    pub calls: u64,
    /// Those of them without a price.
    pub unpriced: u64,
    /// Those of them whose usage is an estimate.
    pub estimated: u64,
}

impl PeriodTotal {
    fn of(entry: &Entry) -> Self {
        let estimated = entry.reading.source == UsageSource::Estimated;
        Self {
            cost: entry.charge.total.unwrap_or_default(),
            calls: 1,
            unpriced: u64::from(entry.charge.total.is_none()),
            estimated: u64::from(estimated),
        }
    }

    fn of_row(row: &EntryRow<'_>) -> Self {
        Self {
            cost: row.cost.map(Usd::from_femto).unwrap_or_default(),
            calls: 1,
            unpriced: u64::from(row.cost.is_none()),
            estimated: u64::from(row.source == UsageSource::Estimated.name()),
        }
    }

    fn read(row: &Row<'_, '_>) -> Result<Self, Fault> {
        Ok(Self {
            cost: Usd::from_split(row.integer(3)?, row.integer(4)?),
            calls: row.count(5)?,
            unpriced: row.count(6)?,
            estimated: row.count(7)?,
        })
    }

    const fn add(&mut self, other: Self) {
        self.cost = self.cost.saturating_add(other.cost);
        self.calls = self.calls.saturating_add(other.calls);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        self.estimated = self.estimated.saturating_add(other.estimated);
    }
}

impl PeriodTotals {
    /// The totals of the current day and month, from the ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read, or holds a name that this program never writes.
    pub fn seed(ledger: &Ledger, now: Timestamp) -> Result<Self, LedgerError> {
        let mut totals = Self {
            day: Period::Day.containing(now),
            month: Period::Month.containing(now),
            models: ModelsSeen::seed(ledger, now)?,
            is_shared: ledger.database().dialect() == Dialect::Postgres,
            ..Self::nothing(now)
        };
        for (tenant, application, today, total) in totals.stored(ledger)? {
            let key = (
                name("tenant", &tenant, TenantId::new)?,
                name("application", &application, ApplicationId::new)?,
            );
            totals.count(key, today, total);
        }
        Ok(totals)
    }

    /// The totals of no call at all.
    pub(super) fn nothing(now: Timestamp) -> Self {
        Self {
            day: Period::Day.containing(now),
            month: Period::Month.containing(now),
            totals: HashMap::new(),
            models: ModelsSeen::default(),
            is_shared: false,
        }
    }

    /// Counts an entry that was just committed, once. In a ledger that others write to as well it
    /// is not counted: it comes with theirs, through [`Self::take`].
    pub fn add(&mut self, entry: &Entry) {
        self.models.add(entry);
        if self.is_shared {
            return;
        }
        // The periods must have begun before the first of their calls is counted.
        self.roll(entry.settled_at.max(entry.opened_at));
        if self.month.contains(entry.opened_at) {
            let key = (entry.tenant.clone(), entry.application.clone());
            let today = self.day.contains(entry.opened_at);
            self.count(key, today, PeriodTotal::of(entry));
        }
    }

    /// Counts a row of a ledger that is followed.
    ///
    /// # Errors
    /// When it holds a name that this program never writes.
    pub(super) fn add_row(&mut self, row: &EntryRow<'_>) -> Result<(), Fault> {
        if row.is_served {
            self.models.add_served(row.model, row.opened_at);
        }
        self.roll(row.settled_at.max(row.opened_at));
        if self.month.contains(row.opened_at) {
            let damaged = |column| {
                move |why: InvalidName| Fault::Damaged {
                    column,
                    why: why.to_string(),
                }
            };
            let key = (
                TenantId::new(row.tenant).map_err(damaged("tenant"))?,
                ApplicationId::new(row.application).map_err(damaged("application"))?,
            );
            let today = self.day.contains(row.opened_at);
            self.count(key, today, PeriodTotal::of_row(row));
        }
        Ok(())
    }

    /// Takes the totals of somebody who has followed the whole ledger.
    pub fn take(&mut self, followed: &Self) {
        self.day = followed.day;
        self.month = followed.month;
        self.totals.clone_from(&followed.totals);
        for (model, first) in followed.models.iter() {
            self.models.add_served(model, first);
        }
    }

    /// Ends the periods that are over: called before reading, so that a day without calls shows
    /// as nothing spent. Time that steps back ends nothing.
    pub fn roll(&mut self, now: Timestamp) {
        if now >= self.month.to {
            self.month = Period::Month.containing(now);
            self.totals.clear();
        }
        if now >= self.day.to {
            self.day = Period::Day.containing(now);
            for totals in self.totals.values_mut() {
                totals.day = PeriodTotal::default();
            }
        }
    }

    /// Every application that had a call this month, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, &ApplicationId, &Totals)> {
        let all = self.totals.iter();
        all.map(|((tenant, application), totals)| (tenant, application, totals))
    }

    /// When each model was first called.
    pub const fn models(&self) -> &ModelsSeen {
        &self.models
    }

    fn count(&mut self, key: (TenantId, ApplicationId), today: bool, total: PeriodTotal) {
        let totals = self.totals.entry(key).or_default();
        totals.month.add(total);
        if today {
            totals.day.add(total);
        }
    }

    fn stored(&self, ledger: &Ledger) -> Result<Vec<StoredTotal>, LedgerError> {
        let (day, month) = (self.day, self.month);
        let spans = [day.from, day.to, month.from, month.to].map(|at| at.unix_ms().into());
        let database = ledger.database();
        let rows = database.list(SEED, &spans, |row| {
            let total = PeriodTotal::read(row)?;
            let [tenant, application] = [row.text(0)?, row.text(1)?].map(str::to_owned);
            Ok((tenant, application, row.flag(2)?, total))
        });
        rows.map_err(LedgerError::of("sum the current month"))
    }
}

/// Tenant, application, whether of today, total.
type StoredTotal = (String, String, bool, PeriodTotal);

const SEED: &str = "
SELECT tenant, application, begins_at >= ?1 AND begins_at < ?2 AS today,
    CAST(sum(cost_microusd) AS bigint), CAST(sum(cost_femtousd) AS bigint),
    CAST(sum(calls) AS bigint),
    CAST(coalesce(sum(calls) FILTER (WHERE price_status = 'unpriced'), 0) AS bigint),
    CAST(coalesce(sum(calls) FILTER (WHERE usage_source = 'estimated'), 0) AS bigint)
FROM rollup_days
WHERE begins_at >= ?3 AND begins_at < ?4
GROUP BY tenant, application, today";

fn name<N, E>(
    column: &'static str,
    value: &str,
    parse: impl FnOnce(&str) -> Result<N, E>,
) -> Result<N, LedgerError> {
    let value_as_found = value.to_owned();
    parse(value).map_err(|_rule| LedgerError::Damaged {
        column,
        value: value_as_found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CallId;
    use crate::ledger::StoreKind;
    use crate::ledger::store::tests::entry;
    use crate::ledger::test_stores::{filled, stores};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry_at(opened_at: &str, femto: i128) -> Entry {
        let mut entry = entry();
        entry.call_id = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000));
        entry.opened_at = at(opened_at);
        entry.settled_at = entry.opened_at;
        entry.charge.total = Some(Usd::from_femto(femto));
        entry
    }

    fn costs(totals: &PeriodTotals) -> Option<(i128, i128)> {
        let mut all = totals.iter();
        all.next()
            .map(|(_, _, totals)| (totals.day.cost.femto(), totals.month.cost.femto()))
    }

    #[test]
    fn seeding_and_feeding_give_the_same() {
        for store in stores() {
            let entries = [
                entry_at("2028-01-31T23:59:59.999Z", 1),
                entry_at("2028-02-01", 10),
                entry_at("2028-02-28T23:59:59.999Z", 100),
                entry_at("2028-02-29", 1_000_000_007),
                entry_at("2028-02-29T12:00:00Z", 3_000_000_000),
            ];
            let (_fresh, full) = filled(store, &entries);
            let now = at("2028-02-29T12:00:01Z");
            let seeded = PeriodTotals::seed(&full, now).unwrap();
            let (_fresh, empty) = filled(StoreKind::Sqlite, &[]);
            let mut fed = PeriodTotals::seed(&empty, now).unwrap();
            for entry in &entries {
                fed.add(entry);
            }
            assert_eq!(costs(&seeded), Some((4_000_000_007, 4_000_000_117)));
            assert_eq!(seeded.totals, fed.totals);
        }
    }

    #[test]
    fn periods_end_where_the_calendar_says() {
        let (_fresh, empty) = filled(StoreKind::Sqlite, &[]);
        let mut totals = PeriodTotals::seed(&empty, at("2028-02-28T10:00:00Z")).unwrap();
        totals.add(&entry_at("2028-02-28T10:00:00Z", 5));
        assert_eq!(costs(&totals), Some((5, 5)));
        totals.add(&entry_at("2028-02-29T00:00:00Z", 7));
        assert_eq!(costs(&totals), Some((7, 12)));
        totals.roll(at("2028-02-29T23:59:59.999Z"));
        assert_eq!(costs(&totals), Some((7, 12)));
        totals.roll(at("2028-03-01"));
        assert_eq!(costs(&totals), None);
        totals.roll(at("2028-02-29"));
        totals.add(&entry_at("2028-03-01T00:00:01Z", 9));
        assert_eq!(costs(&totals), Some((9, 9)));
    }

    #[test]
    fn a_call_settled_after_midnight_belongs_to_the_day_it_began() {
        let (_fresh, empty) = filled(StoreKind::Sqlite, &[]);
        let mut totals = PeriodTotals::seed(&empty, at("2026-11-22T23:00:00Z")).unwrap();
        let mut late = entry_at("2026-11-22T23:59:59Z", 5);
        late.settled_at = at("2026-11-23T00:00:03Z");
        totals.add(&late);
        assert_eq!(costs(&totals), Some((0, 5)));
    }

    #[test]
    fn unpriced_and_estimated_calls_are_counted_not_zeroed() {
        for store in stores() {
            let mut unpriced = entry_at("2026-11-22", 0);
            unpriced.charge.total = None;
            unpriced.charge.status =
                crate::domain::PriceStatus::Unpriced(crate::domain::UnpricedReason::UnknownModel);
            unpriced.reading.source = UsageSource::Estimated;
            let (_fresh, full) = filled(store, &[unpriced, entry_at("2026-11-22", 3)]);
            let totals = PeriodTotals::seed(&full, at("2026-11-22")).unwrap();
            let (_, _, found) = totals.iter().next().unwrap();
            let expected = PeriodTotal {
                cost: Usd::from_femto(3),
                calls: 2,
                unpriced: 1,
                estimated: 1,
            };
            assert_eq!(found.of(Period::Day), expected);
            assert_eq!(found.of(Period::Month), expected);
        }
    }
}

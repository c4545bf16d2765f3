//! Budgets that history suggests: what nearly all days and months stay below, and a margin.
//!
//! Whole UTC days and whole calendar months count, from somebody's first call on; days without a
//! call count as nothing spent. The amount is the nearest rank: one that was really spent.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::domain::{Facet, Usd};

/// What somebody spent, day by day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Who: a value for each facet.
    pub whose: Vec<(Facet, String)>,
    /// Days that had calls, such as `2026-11-14`, and their sums.
    pub days: BTreeMap<Date, Usd>,
    /// Calls without a price: they are in no sum.
    pub unpriced: u64,
}

/// What history suggests for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// Who.
    pub whose: Vec<(Facet, String)>,
    /// A limit for a day; `None` where no whole day is known.
    pub day: Option<Basis>,
    /// A limit for a month; `None` where no whole month is known.
    pub month: Option<Basis>,
    /// Calls without a price: what was spent is more than the limits rest on.
    pub unpriced: u64,
}

/// A limit, and what it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// How many days or months there are.
    pub count: usize,
    /// The first day.
    pub first: Date,
    /// The last day.
    pub last: Date,
    /// What 95 of 100 do not pass.
    pub nearly_all: Usd,
    /// The most.
    pub most: Usd,
    /// The day (or first day of the month) of the most.
    pub most_on: Date,
    /// The limit: what nearly all stay below and the margin, up to whole cents.
    pub limit: Usd,
    /// Whether there are too few to go by.
    pub is_short: bool,
}

/// What a history suggests, up to the last whole day.
pub fn suggest(history: History, last: Date, margin_percent: u16) -> Suggestion {
    let History {
        whose,
        days,
        unpriced,
    } = history;
    let first = days.keys().next().copied();
    let days = match first {
        Some(first) => every_day(&days, first, last),
        None => Vec::new(),
    };
    let months = whole_months(&days);
    let end = |(first, _): &(Date, Usd)| first.last_of_month();
    let last_of_months = months.last().map(end);
    Suggestion {
        whose,
        day: basis(&days, last, margin_percent, DAYS_MIN),
        month: last_of_months.and_then(|last| basis(&months, last, margin_percent, MONTHS_MIN)),
        unpriced,
    }
}

fn every_day(days: &BTreeMap<Date, Usd>, first: Date, last: Date) -> Vec<(Date, Usd)> {
    let all = first.series(1.day()).take_while(|day| *day <= last);
    let spent = |day: Date| (day, days.get(&day).copied().unwrap_or_default());
    all.map(spent).collect()
}

/// The months that begin and end inside.
fn whole_months(days: &[(Date, Usd)]) -> Vec<(Date, Usd)> {
    let mut months: BTreeMap<Date, (Usd, usize)> = BTreeMap::new();
    for (day, amount) in days {
        let (sum, count) = months.entry(day.first_of_month()).or_default();
        *sum = sum.saturating_add(*amount);
        *count = count.saturating_add(1);
    }
    let whole = |month: &Date, count: usize| {
        usize::try_from(month.days_in_month()).is_ok_and(|all| count == all)
    };
    let months = months.into_iter();
    let months = months.filter(|(month, (_, count))| whole(month, *count));
    months.map(|(month, (sum, _))| (month, sum)).collect()
}

fn basis(amounts: &[(Date, Usd)], last: Date, margin_percent: u16, enough: usize) -> Option<Basis> {
    let (first, _) = *amounts.first()?;
    let (most_on, most) = amounts.iter().copied().max_by_key(|(_, amount)| *amount)?;
    let mut sorted: Vec<Usd> = amounts.iter().map(|(_, amount)| *amount).collect();
    sorted.sort_unstable();
    // The nearest rank: the least that 95 of 100 do not pass.
    let rank = sorted.len().saturating_mul(95).div_ceil(100);
    let nearly_all = *sorted.get(rank.saturating_sub(1))?;
    Some(Basis {
        count: amounts.len(),
        first,
        last,
        nearly_all,
        most,
        most_on,
        limit: with_margin(nearly_all, margin_percent),
        is_short: amounts.len() < enough,
    })
}

/// An amount and so many percent, up to the next cent; a cent at least.
fn with_margin(amount: Usd, percent: u16) -> Usd {
    let hundredths = amount.femto().saturating_mul(i128::from(percent) + 100);
    let unit = CENT.saturating_mul(100);
    let cents = hundredths.saturating_add(unit - 1).div_euclid(unit).max(1);
    Usd::from_femto(cents.saturating_mul(CENT))
}

/// In femtodollars.
const CENT: i128 = 10_000_000_000_000;
/// Two weeks have each day of the week twice.
const DAYS_MIN: usize = 14;
/// Of one or two months nobody knows which was the unusual one.
const MONTHS_MIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn history(days: &[(&str, &str)]) -> History {
        let days = days.iter().map(|(day, amount)| (date(day), usd(amount)));
        History {
            whose: vec![(Facet::Tenant, "search".to_owned())],
            days: days.collect(),
            unpriced: 0,
        }
    }

    #[test]
    fn the_limit_is_what_nearly_all_days_stay_below_and_a_margin() {
        // 40 days: the 38th of them in order of their amounts is the one that counts.
        let days: Vec<(String, String)> = (0..40)
            .map(|n: i64| {
                let day = date("2026-09-01") + n.days();
                (day.to_string(), (n + 1).to_string())
            })
            .collect();
        let days: Vec<_> = days.iter().map(|(d, a)| (d.as_str(), a.as_str())).collect();
        let found = suggest(history(&days), date("2026-10-10"), 20);
        let day = found.day.unwrap();
        assert_eq!(
            (day.count, day.nearly_all, day.most),
            (40, usd("38"), usd("40"))
        );
        assert_eq!((day.limit, day.is_short), (usd("45.6"), false));
        assert_eq!(day.most_on, date("2026-10-10"));
        // September is whole: 1 + 2 + ... + 30 dollars.
        let month = found.month.unwrap();
        assert_eq!((month.count, month.nearly_all), (1, usd("465")));
        assert_eq!(
            (month.first, month.last),
            (date("2026-09-01"), date("2026-09-30"))
        );
        assert!(month.is_short);
    }

    #[test]
    fn days_without_calls_count_and_a_month_that_began_late_does_not() {
        let found = suggest(
            history(&[("2026-10-02", "1.001"), ("2026-10-05", "0.5")]),
            date("2026-10-31"),
            0,
        );
        let day = found.day.unwrap();
        assert_eq!((day.count, day.nearly_all), (30, usd("0.5")));
        assert_eq!(day.most, usd("1.001"));
        assert_eq!(found.month, None);
        assert_eq!(with_margin(usd("1.001"), 0), usd("1.01"));
        assert_eq!(with_margin(Usd::ZERO, 20), usd("0.01"));
    }

    #[test]
    fn a_history_of_today_alone_suggests_nothing() {
        let found = suggest(history(&[("2026-11-26", "3")]), date("2026-11-25"), 20);
        assert_eq!((found.day, found.month), (None, None));
    }
}

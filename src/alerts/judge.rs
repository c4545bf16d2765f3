//! Which notices stand, given where budgets stand. A level: asked again, the same answer.

use std::sync::Arc;

use super::forecast::{forecast, is_rolling};
use super::id;
use super::notice::{Kind, Notice};
use crate::domain::{BudgetStanding, Keyword as _, Timestamp, Usd};

/// A notice that stands, and who is to hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// What stands.
    pub notice: Notice,
    /// The names of the outlets.
    pub outlets: Arc<[Arc<str>]>,
}

/// Every notice that stands about these budgets.
///
/// Thresholds look at what was spent. What is held comes and goes, and mostly goes.
pub fn crossings(standings: &[BudgetStanding], now: Timestamp) -> Vec<Firing> {
    let told = standings.iter().filter(|one| !one.outlets.is_empty());
    told.flat_map(|standing| of_one(standing, now)).collect()
}

fn of_one(standing: &BudgetStanding, now: Timestamp) -> Vec<Firing> {
    let ladder = standing.thresholds.iter().copied();
    // That calls are refused from now on is news, whoever asked for it.
    let full = standing.blocks && !standing.thresholds.contains(&FULL);
    let ladder = ladder.chain(full.then_some(FULL));
    let reached = ladder.filter(|percent| is_reached(standing, *percent));
    let mut notices: Vec<Notice> = reached
        .map(|percent| notice_of(standing, kind_of(percent), Some(percent), now))
        .collect();
    if is_too_fast(standing, now) {
        notices.push(notice_of(standing, Kind::Forecast, None, now));
    }
    let firing = |notice| Firing {
        notice,
        outlets: Arc::clone(&standing.outlets),
    };
    notices.into_iter().map(firing).collect()
}

const fn kind_of(percent: u32) -> Kind {
    if percent == FULL {
        Kind::Exhausted
    } else {
        Kind::Threshold
    }
}

/// A budget of nothing, of which nothing was spent, has reached nothing.
fn is_reached(standing: &BudgetStanding, percent: u32) -> bool {
    let hundredths = standing.spent.femto().saturating_mul(i128::from(FULL));
    let asked = standing.limit.femto().saturating_mul(i128::from(percent));
    standing.spent > Usd::ZERO && hundredths >= asked
}

/// Once all is spent there is nothing left to foretell.
fn is_too_fast(standing: &BudgetStanding, now: Timestamp) -> bool {
    standing.forecast
        && standing.spent < standing.limit
        && forecast(standing, now).is_some_and(|end| end > standing.limit)
}

fn notice_of(
    standing: &BudgetStanding,
    kind: Kind,
    percent: Option<u32>,
    now: Timestamp,
) -> Notice {
    let anchor = id::anchor(standing.begins, standing.ends, is_rolling(standing));
    let step = percent.map_or_else(|| kind.name().to_owned(), |percent| percent.to_string());
    let id = id::of(&[
        "budget",
        &standing.budget,
        &standing.subject,
        &standing.period,
        &step,
        &anchor.to_string(),
    ]);
    let forecast = forecast(standing, now);
    Notice {
        budget: Some(standing.budget.to_string()),
        subject: standing.subject.to_string(),
        tenant: standing.tenant.clone(),
        period: standing.period.to_string(),
        begins: standing.begins,
        ends: standing.ends,
        threshold_percent: percent,
        limit_usd: Some(standing.limit),
        spent_usd: Some(standing.spent),
        held_usd: Some(standing.held),
        forecast_usd: forecast,
        owner: standing.owner.as_ref().map(ToString::to_string),
        ..Notice::plain(kind, id, summary(standing, kind, percent, forecast), now)
    }
}

fn summary(
    standing: &BudgetStanding,
    kind: Kind,
    percent: Option<u32>,
    forecast: Option<Usd>,
) -> String {
    let BudgetStanding { budget, period, .. } = standing;
    let of = match &*standing.subject {
        "" => String::new(),
        subject => format!(" ({subject})"),
    };
    let [limit, spent] = [standing.limit, standing.spent].map(cents);
    if kind == Kind::Forecast {
        let end = forecast.map(cents).unwrap_or_default();
        return format!(
            "Budget {budget}{of} would reach {end} by the end of the {period}, over its limit of \
             {limit}; {spent} are spent"
        );
    }
    let consequence = match (kind, standing.blocks) {
        (Kind::Exhausted, true) => "; further calls are refused",
        (Kind::Exhausted, false) => "; calls go on",
        _ => "",
    };
    let percent = percent.unwrap_or_default();
    format!(
        "Budget {budget}{of} has reached {percent} % of its limit for the {period}: {spent} of \
         {limit} are spent{consequence}"
    )
}

/// For people: dollars and cents, the rest cut off.
pub(super) fn cents(amount: Usd) -> String {
    let cents = amount.femto().div_euclid(FEMTO_PER_CENT);
    let (dollars, cents) = (cents.div_euclid(100), cents.rem_euclid(100));
    format!("${dollars}.{cents:02}")
}

const FULL: u32 = 100;
const FEMTO_PER_CENT: i128 = 10_000_000_000_000;

#[cfg(test)]
pub(in crate::alerts) mod tests {
    use super::*;

    /// A budget of 1970-01-01 that tells `ops` at 50, 80 and 100 percent.
    pub(in crate::alerts) fn standing(limit: &str, spent: &str) -> BudgetStanding {
        BudgetStanding {
            budget: "search-day".into(),
            subject: "tenant=search".into(),
            tenant: None,
            period: "day".into(),
            begins: Timestamp::from_unix_ms(0),
            ends: Timestamp::from_unix_ms(86_400_000),
            limit: limit.parse().unwrap(),
            spent: spent.parse().unwrap(),
            held: Usd::ZERO,
            blocks: false,
            thresholds: [50, 80, 100].into(),
            forecast: false,
            outlets: ["ops".into()].into(),
            owner: None,
        }
    }

    fn told(standing: BudgetStanding, hour: i64) -> Vec<(Kind, Option<u32>)> {
        let now = Timestamp::from_unix_ms(hour * 3_600_000);
        let firing = crossings(&[standing], now);
        let told = firing.iter().map(|one| &one.notice);
        told.map(|one| (one.kind, one.threshold_percent)).collect()
    }

    #[test]
    fn what_is_spent_decides_which_steps_of_the_ladder_stand() {
        let check = |spent: &str, expected: &[u32]| {
            let found = told(standing("10", spent), 12);
            let percents: Vec<u32> = found.iter().filter_map(|(_, percent)| *percent).collect();
            assert_eq!(percents, expected, "{spent}");
        };
        check("0", &[]);
        check("4.999999999999999", &[]);
        check("5", &[50]);
        check("8", &[50, 80]);
        check("10", &[50, 80, 100]);
        check("1000", &[50, 80, 100]);
    }

    #[test]
    fn what_is_held_crosses_nothing() {
        let held = BudgetStanding {
            held: "100".parse().unwrap(),
            ..standing("10", "1")
        };
        assert_eq!(told(held, 12), []);
    }

    #[test]
    fn a_budget_that_blocks_tells_when_it_is_full_without_being_asked() {
        let full = |blocks| BudgetStanding {
            blocks,
            thresholds: [].into(),
            ..standing("10", "10")
        };
        assert_eq!(told(full(true), 12), [(Kind::Exhausted, Some(100))]);
        assert_eq!(told(full(false), 12), []);
    }

    #[test]
    fn a_budget_of_nothing_tells_nothing_until_something_is_spent() {
        assert_eq!(told(standing("0", "0"), 12), []);
        assert_eq!(told(standing("0", "0.01"), 12).len(), 3);
    }

    #[test]
    fn a_forecast_is_told_where_it_is_asked_for_and_still_of_use() {
        let forecast = |spent| BudgetStanding {
            forecast: true,
            thresholds: [].into(),
            ..standing("10", spent)
        };
        assert_eq!(told(forecast("3"), 6), [(Kind::Forecast, None)]);
        assert_eq!(told(forecast("3"), 12), []);
        // Exactly the limit is within it.
        assert_eq!(told(forecast("5"), 12), []);
        assert_eq!(told(forecast("10"), 12), []);
        assert_eq!(told(standing("10", "3"), 6), []);
    }

    #[test]
    fn a_budget_without_outlets_tells_nobody() {
        let silent = BudgetStanding {
            outlets: [].into(),
            ..standing("10", "10")
        };
        assert_eq!(told(silent, 12), []);
    }

    #[test]
    fn ids_stay_within_a_period_and_differ_by_budget_subject_step_and_period() {
        let ids = |standing: &BudgetStanding, hour: i64| -> Vec<String> {
            let now = Timestamp::from_unix_ms(hour * 3_600_000);
            let firing = crossings(std::slice::from_ref(standing), now);
            firing.into_iter().map(|one| one.notice.id).collect()
        };
        let first = standing("10", "10");
        let raised = BudgetStanding {
            spent: "11".parse().unwrap(),
            ..standing("11", "11")
        };
        assert_eq!(ids(&first, 1), ids(&raised, 23));
        let mut all = ids(&first, 1);
        for other in [
            BudgetStanding {
                budget: "other".into(),
                ..standing("10", "10")
            },
            BudgetStanding {
                subject: "tenant=support".into(),
                ..standing("10", "10")
            },
            BudgetStanding {
                period: "month".into(),
                ..standing("10", "10")
            },
            BudgetStanding {
                begins: Timestamp::from_unix_ms(1),
                ..standing("10", "10")
            },
        ] {
            all.extend(ids(&other, 1));
        }
        assert_eq!(all.len(), 15);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 15);
    }

    #[test]
    fn a_moving_window_has_one_id_while_its_ends_move() {
        let at = |ms: i64| {
            let ends = 240 * 3_600_000 + ms;
            let rolling = BudgetStanding {
                period: "rolling 24h".into(),
                begins: Timestamp::from_unix_ms(ends - 86_400_000),
                ends: Timestamp::from_unix_ms(ends),
                thresholds: [50].into(),
                ..standing("10", "6")
            };
            crossings(&[rolling], Timestamp::from_unix_ms(ends))[0]
                .notice
                .id
                .clone()
        };
        assert_eq!(at(0), at(1_000));
        assert_ne!(at(0), at(86_400_000));
    }

    #[test]
    fn people_read_dollars_and_cents() {
        let firing = crossings(&[standing("10", "8.019")], Timestamp::from_unix_ms(1));
        assert_eq!(
            firing[1].notice.summary,
            "Budget search-day (tenant=search) has reached 80 % of its limit for the day: $8.01 \
             of $10.00 are spent"
        );
    }
}

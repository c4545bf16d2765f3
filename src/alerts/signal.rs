//! What is worth a notice and is about no budget: sudden spend, unpriced spend, a store in trouble.

use super::id;
use super::judge::cents;
use super::notice::{Kind, Notice};
use super::settings::SuddenSettings;
use crate::domain::{Keyword as _, TenantId, Timestamp, Usd};

/// Something that stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A tenant spends much more than usual.
    Sudden {
        /// Who.
        tenant: TenantId,
        /// Today so far.
        today: Usd,
        /// The most of the same hours of the days before.
        usual: Usd,
    },
    /// Calls of today have no price.
    Unpriced {
        /// Whose.
        tenant: TenantId,
        /// How many, so far.
        calls: u64,
    },
    /// A store cannot take what it must.
    Trouble {
        /// Which one: `ledger`, `budgets`, `alerts`.
        store: &'static str,
        /// What it does meanwhile, in a few words.
        mode: &'static str,
    },
}

impl Signal {
    /// The notice of it. A day (UTC) has one for each tenant; an hour has one for each trouble of a
    /// store, so that one that comes back is told again.
    pub fn notice(&self, now: Timestamp) -> Notice {
        match self {
            Self::Sudden {
                tenant,
                today,
                usual,
            } => Notice {
                spent_usd: Some(*today),
                ..of_tenant(Kind::Sudden, tenant, now, |tenant| {
                    let [today, usual] = [*today, *usual].map(cents);
                    format!(
                        "Tenant {tenant} has spent {today} today, in the same hours of the days \
                         before at most {usual}"
                    )
                })
            },
            Self::Unpriced { tenant, calls } => of_tenant(Kind::Unpriced, tenant, now, |tenant| {
                format!(
                    "{calls} calls of tenant {tenant} have no price today: no budget and no \
                         report has their cost"
                )
            }),
            Self::Trouble { store, mode } => {
                let (begins, ends) = around(now, HOUR_MS);
                let id = id::of(&[Kind::Store.name(), store, mode, &begins.to_string()]);
                let summary = format!("The store {store} is in trouble: {mode}");
                Notice {
                    subject: format!("store={store}"),
                    period: "hour".to_owned(),
                    begins,
                    ends,
                    ..Notice::plain(Kind::Store, id, summary, now)
                }
            }
        }
    }
}

fn of_tenant(
    kind: Kind,
    tenant: &TenantId,
    now: Timestamp,
    summary: impl FnOnce(&TenantId) -> String,
) -> Notice {
    let (begins, ends) = around(now, DAY_MS);
    let id = id::of(&[kind.name(), tenant.as_str(), &begins.to_string()]);
    Notice {
        subject: format!("tenant={tenant}"),
        tenant: Some(tenant.clone()),
        period: "day".to_owned(),
        begins,
        ends,
        ..Notice::plain(kind, id, summary(tenant), now)
    }
}

/// The hour or day in UTC that holds the instant.
fn around(now: Timestamp, length_ms: i64) -> (Timestamp, Timestamp) {
    let begins = now
        .unix_ms()
        .div_euclid(length_ms)
        .saturating_mul(length_ms);
    let ends = begins.saturating_add(length_ms);
    (
        Timestamp::from_unix_ms(begins),
        Timestamp::from_unix_ms(ends),
    )
}

/// What a tenant has spent today so far, and in the same hours of earlier days that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayOfTenant {
    /// Who.
    pub tenant: TenantId,
    /// Today so far.
    pub today: Usd,
    /// The same hours of earlier days; empty where nothing is known of any.
    pub before: Vec<Usd>,
}

/// The tenants whose spending is sudden: today is above the floor, and above so many percent of
/// the same hours of each of the days before.
pub fn sudden(days: &[DayOfTenant], settings: &SuddenSettings) -> Vec<Signal> {
    if settings.percent == 0 {
        return Vec::new();
    }
    let floor = i128::from(settings.floor_usd).saturating_mul(FEMTO);
    let judged = days.iter().filter_map(|day| {
        let usual = day.before.iter().copied().max()?;
        let percent = i128::from(settings.percent);
        let most = usual.femto().saturating_mul(percent);
        let today = day.today.femto();
        let is_sudden = today > floor && today.saturating_mul(100) > most;
        is_sudden.then(|| Signal::Sudden {
            tenant: day.tenant.clone(),
            today: day.today,
            usual,
        })
    });
    judged.collect()
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const FEMTO: i128 = 1_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    fn tenant() -> TenantId {
        TenantId::new("search").unwrap()
    }

    #[test]
    fn today_is_sudden_above_the_floor_and_every_day_before() {
        let settings = SuddenSettings {
            percent: 300,
            floor_usd: 50,
        };
        let check = |today: &str, before: &[&str], expected: bool| {
            let day = DayOfTenant {
                tenant: tenant(),
                today: usd(today),
                before: before.iter().map(|text| usd(text)).collect(),
            };
            let found = sudden(&[day], &settings);
            assert_eq!(!found.is_empty(), expected, "{today} {before:?}");
        };
        check("60.01", &["20"], true);
        check("60", &["20"], false);
        check("60.01", &["1", "20.01"], false);
        check("50", &["0"], false);
        check("50.01", &["0"], true);
        // Nothing is known of any day before.
        check("5000", &[], false);
    }

    #[test]
    fn nothing_is_sudden_where_that_is_switched_off() {
        let settings = SuddenSettings {
            percent: 0,
            floor_usd: 0,
        };
        let day = DayOfTenant {
            tenant: tenant(),
            today: usd("5"),
            before: vec![Usd::ZERO],
        };
        assert_eq!(sudden(&[day], &settings), []);
    }

    #[test]
    fn a_day_has_one_notice_of_a_tenant_and_an_hour_one_of_a_trouble() {
        let at = |hour: i64| Timestamp::from_unix_ms(hour * HOUR_MS + 1);
        let unpriced = |calls| Signal::Unpriced {
            tenant: tenant(),
            calls,
        };
        let id = |signal: &Signal, hour| signal.notice(at(hour)).id;
        assert_eq!(id(&unpriced(1), 0), id(&unpriced(9), 23));
        assert_ne!(id(&unpriced(1), 0), id(&unpriced(1), 24));
        let trouble = |store| Signal::Trouble {
            store,
            mode: "full",
        };
        assert_eq!(id(&trouble("ledger"), 5), id(&trouble("ledger"), 5));
        assert_ne!(id(&trouble("ledger"), 5), id(&trouble("ledger"), 6));
        assert_ne!(id(&trouble("ledger"), 5), id(&trouble("budgets"), 5));
    }
}

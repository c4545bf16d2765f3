//! What a configuration that is good is to be warned of.

use super::problem::Problem;
use super::settings::Settings;
use crate::ledger::{KeepEntries, StoreKind};

/// What works, and may not do what it was meant for.
pub fn warnings(settings: &Settings) -> Vec<Problem> {
    let mut found: Vec<_> = shared_without_a_ledger(settings).into_iter().collect();
    found.extend(longer_than_entries(settings));
    found
}

fn shared_without_a_ledger(settings: &Settings) -> Option<Problem> {
    let shares = settings.budget_store.redis_url.is_some();
    let is_alone = shares && settings.ledger.store == StoreKind::Sqlite;
    is_alone.then(|| {
        Problem::new(
            "budget_store",
            "replicas share budgets, and each has a ledger of its own: when the store lost its memory, what a \
             replica spent that is away is missing until it is back",
            "share the ledger too (ledger.store = \"postgres\")",
        )
    })
}

/// Counters are rebuilt from entries: the sums of hours and days know neither keys, users and
/// sessions nor what was held for calls of unknown usage.
fn longer_than_entries(settings: &Settings) -> Vec<Problem> {
    let KeepEntries::Days(kept) = settings.ledger.keep_entries else {
        return Vec::new();
    };
    let forgets = settings.budgets.iter().filter(|budget| {
        // Not so many: the last day of a period may end an hour late.
        budget.calendar.period.days_max() >= i64::from(kept)
    });
    let warn = |budget: &crate::budgets::Budget| {
        let days = budget.calendar.period.days_max();
        Problem::new(
            &format!("budgets.{}.period", budget.name),
            format!(
                "entries are deleted after {kept} days and it lasts up to {days}: a start late in it counts too \
                 little as spent"
            ),
            format!("keep entries for more than {days} days (ledger.keep_entries)"),
        )
    };
    forgets.map(warn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    #[test]
    fn replicas_that_share_budgets_and_no_ledger_are_warned_of() {
        let mut settings = Settings::default();
        assert!(warnings(&settings).is_empty());
        settings.budget_store.redis_url = Some(Secret::new("redis://127.0.0.1"));
        let found = warnings(&settings);
        assert_eq!(found.len(), 1);
        settings.ledger.store = StoreKind::Postgres;
        assert!(warnings(&settings).is_empty());
    }

    #[test]
    fn a_budget_that_lasts_longer_than_entries_is_warned_of() {
        let text = |period: &str, keep: &str| {
            let budget = format!("[budgets.all]\nlimit_usd = \"1\"\nperiod = \"{period}\"\n");
            let all = format!("{budget}[ledger]\nkeep_entries = \"{keep}\"\n");
            warnings(&crate::config::tests::settings(&all))
        };
        for (period, keep, warned) in [
            ("month", "62d", false),
            ("quarter", "93d", false),
            ("quarter", "92d", true),
            ("year", "366d", true),
            ("year", "367d", false),
            ("year", "forever", false),
            ("rolling 61d", "62d", false),
            ("rolling 1470h", "62d", true),
        ] {
            let found = text(period, keep);
            let paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
            let expected: &[&str] = if warned { &["budgets.all.period"] } else { &[] };
            assert_eq!(paths, expected, "{period}, {keep}");
        }
    }
}

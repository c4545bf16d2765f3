//! What a configuration that is good is to be warned of.

use super::problem::Problem;
use super::settings::Settings;
use crate::ledger::StoreKind;

/// What works, and may not do what it was meant for.
pub fn warnings(settings: &Settings) -> Vec<Problem> {
    let shares = settings.budget_store.redis_url.is_some();
    if shares && settings.ledger.store == StoreKind::Sqlite {
        return vec![Problem::new(
            "budget_store",
            "replicas share budgets, and each has a ledger of its own: when the store lost its memory, what a \
             replica spent that is away is missing until it is back",
            "share the ledger too (ledger.store = \"postgres\")",
        )];
    }
    Vec::new()
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
}

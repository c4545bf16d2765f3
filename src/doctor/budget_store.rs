//! Does the store that replicas share budgets through answer, and does it keep what it is told?

use super::finding::Finding;
use crate::replicas::{Condition, Settings, inspect};

const CHECK: &str = "budget_store";

/// Nothing where there is none.
pub(super) async fn check(settings: &Settings) -> Option<Finding> {
    settings.redis_url.as_ref()?;
    Some(match inspect(settings).await {
        Ok(condition) => judged(&condition, settings),
        Err(error) => Finding::failed(CHECK, error.to_string(), MEND),
    })
}

fn judged(condition: &Condition, settings: &Settings) -> Finding {
    let Condition {
        server,
        round_trip,
        evicts,
        replicas,
    } = condition;
    let seen = format!("{server}: answers within {round_trip:.1?}, {replicas} replicas share");
    if let Some(policy) = evicts {
        return Finding::warning(
            CHECK,
            format!("{seen}; it may forget what was spent (maxmemory-policy {policy})"),
            "set maxmemory-policy noeviction",
        );
    }
    if *round_trip > settings.timeout {
        return Finding::warning(
            CHECK,
            format!("{seen}: calls do not wait that long"),
            "bring it nearer, or raise budget_store.timeout",
        );
    }
    Finding::ok(CHECK, seen)
}

const MEND: &str = "look at budget_store: redis_url, ca_file; whether its user may run scripts and INFO; and \
                    whether the network lets this process through";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::State;
    use crate::domain::Secret;

    fn condition() -> Condition {
        Condition {
            server: "Redis 7.0.15".to_owned(),
            round_trip: Duration::from_micros(300),
            evicts: None,
            replicas: 2,
        }
    }

    #[test]
    fn a_store_that_may_forget_or_is_slow_is_warned_of() {
        let judge = |condition: &Condition| judged(condition, &Settings::default()).state;
        let good = condition();
        assert_eq!(judge(&good), State::Ok);
        let forgets = Condition {
            evicts: Some("allkeys-lru".to_owned()),
            ..condition()
        };
        assert_eq!(judge(&forgets), State::Warning);
        let slow = Condition {
            round_trip: Duration::from_secs(1),
            ..condition()
        };
        assert_eq!(judge(&slow), State::Warning);
    }

    #[test]
    fn a_store_that_is_not_there_has_failed_and_its_url_is_not_told() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        assert!(runtime.block_on(check(&Settings::default())).is_none());
        let directory = tempfile::tempdir().unwrap();
        let url = format!("unix://{}/hidden.sock", directory.path().display());
        let settings = Settings {
            redis_url: Some(Secret::new(&url)),
            ..Settings::default()
        };
        let found = runtime.block_on(check(&settings)).unwrap();
        assert_eq!(found.state, State::Failed);
        assert!(!found.seen.contains("hidden"), "{}", found.seen);
    }
}

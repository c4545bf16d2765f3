//! When each model was first called within the last month: tells a new model from a usual one.
//!
//! Only calls that Bedrock answered with success count, as the name of any other is whatever its
//! client wrote.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Ledger, LedgerError};
use crate::domain::{Entry, Timestamp};

/// The first call of each model.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ModelsSeen {
    first: HashMap<Arc<str>, Timestamp>,
}

impl ModelsSeen {
    /// Reads the last 31 days of the ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(super) fn seed(ledger: &Ledger, now: Timestamp) -> Result<Self, LedgerError> {
        let from = now.unix_ms().saturating_sub(WINDOW_MS);
        let seen = ledger.database().list(SEED, &[from.into()], |row| {
            let first = Timestamp::from_unix_ms(row.integer(1)?);
            Ok((row.text(0)?.into(), first))
        });
        let seen = seen.map_err(LedgerError::of("look for the models of the month"))?;
        Ok(Self {
            first: seen.into_iter().take(MODELS_MAX).collect(),
        })
    }

    /// Counts an entry that was just committed.
    pub(super) fn add(&mut self, entry: &Entry) {
        let served = entry
            .status
            .is_some_and(|status| (200..300).contains(&status));
        let Some(model) = entry.model.as_ref().filter(|_| served) else {
            return;
        };
        self.add_served(&model.label(), entry.opened_at);
    }

    /// Counts a call that Bedrock answered with success.
    pub(super) fn add_served(&mut self, label: &str, opened_at: Timestamp) {
        if let Some(first) = self.first.get_mut(label) {
            *first = (*first).min(opened_at);
        } else if self.first.len() < MODELS_MAX {
            self.first.insert(Arc::from(label), opened_at);
        }
    }

    /// Each model with its first call, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Timestamp)> {
        self.first.iter().map(|(model, first)| (model, *first))
    }
}

/// Far more than Bedrock has; imported models count each.
const MODELS_MAX: usize = 1_000;
const WINDOW_MS: i64 = 31 * 24 * 3600 * 1000;

const SEED: &str = "
SELECT model, min(opened_at) FROM entries
WHERE opened_at >= ?1 AND model IS NOT NULL AND status >= 200 AND status < 300
GROUP BY model";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::parse_model_ref;
    use crate::domain::CallId;
    use crate::ledger::store::tests::entry;
    use crate::ledger::test_stores::{filled, stores};

    fn call(opened_at: &str, model: &str, status: u16) -> Entry {
        let mut entry = entry();
        entry.call_id = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000));
        entry.opened_at = opened_at.parse().unwrap();
        entry.status = Some(status);
        entry.model = Some(parse_model_ref(model));
        entry
    }

    #[test]
    fn seeding_and_feeding_find_the_first_served_call_of_a_model() {
        for store in stores() {
            let entries = [
                call("2028-01-01", "vendor.too-long-ago", 200),
                call("2028-02-20T11:00:00Z", "vendor.usual", 200),
                call("2028-02-20T10:00:00Z", "vendor.usual", 200),
                call("2028-02-21", "vendor.usual", 200),
                call("2028-02-22", "vendor.refused", 400),
            ];
            let (_fresh, ledger) = filled(store, &entries);
            let seeded = ModelsSeen::seed(&ledger, "2028-02-28".parse().unwrap()).unwrap();
            let mut fed = ModelsSeen::default();
            entries.iter().skip(1).for_each(|entry| fed.add(entry));
            assert_eq!(seeded, fed);
            let found: Vec<_> = seeded.iter().collect();
            let [(model, first)] = found[..] else {
                panic!("{found:?}")
            };
            assert_eq!(&**model, "vendor.usual");
            assert_eq!(first, "2028-02-20T10:00:00Z".parse().unwrap());
        }
    }
}

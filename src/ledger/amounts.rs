//! What budgets count, read from the entries: by whom and in which minute.
//!
//! The sum that `domain::Entry::counted` makes of an entry, made by SQL of rows: an entry whose
//! usage is not reported, or that has no price, counts at what was held for it, if that is more.

use super::database::{Fault, Row};
use super::{LedgerError, LedgerReader};
use crate::domain::{TenantId, Timestamp, Usd};

/// What was spent by somebody in one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerAmount {
    /// Who paid.
    pub tenant: TenantId,
    /// Which workload.
    pub application: Box<str>,
    /// The model's label.
    pub model: Option<Box<str>>,
    /// The issued key.
    pub key: Option<Box<str>>,
    /// The user.
    pub user: Option<Box<str>>,
    /// The session or run.
    pub session: Option<Box<str>>,
    /// The minute of admission, at its beginning.
    pub at: Timestamp,
    /// How much.
    pub amount: Usd,
}

impl LedgerReader {
    /// All amounts above zero of calls that were admitted at that instant or after it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn amounts_since(&self, begins: Timestamp) -> Result<Vec<LedgerAmount>, LedgerError> {
        let begins = begins.unix_ms().into();
        let amounts = self.database().list(AMOUNTS, &[begins], amount);
        amounts.map_err(LedgerError::of("sum up what budgets count"))
    }
}

fn amount(row: &Row<'_, '_>) -> Result<LedgerAmount, Fault> {
    let tenant = TenantId::new(row.text(0)?).map_err(|why| Fault::Damaged {
        column: "tenant",
        why: why.to_string(),
    })?;
    let or_null = |column: usize| Ok::<_, Fault>(row.text_or_null(column)?.map(Box::from));
    Ok(LedgerAmount {
        tenant,
        application: row.text(1)?.into(),
        model: or_null(2)?,
        key: or_null(3)?,
        user: or_null(4)?,
        session: or_null(5)?,
        at: Timestamp::from_unix_ms(row.integer(6)?.saturating_mul(60_000)),
        amount: Usd::from_split(row.integer(7)?, row.integer(8)?),
    })
}

/// A hold is whole microdollars: one that is larger than the whole part of a cost is larger.
const AMOUNTS: &str = r#"
SELECT * FROM (
    SELECT tenant, application, model, key_id, "user", session, opened_at / 60000,
        CAST(sum(CASE WHEN known OR held <= micro THEN micro ELSE held END) AS bigint) AS whole,
        CAST(sum(CASE WHEN known OR held <= micro THEN femto ELSE 0 END) AS bigint) AS rest
    FROM (
        SELECT tenant, application, model, key_id, "user", session, opened_at,
            coalesce(cost_microusd, 0) AS micro, coalesce(cost_femtousd, 0) AS femto,
            coalesce(reserved_microusd, 0) AS held,
            usage_source = 'reported' AND price_status <> 'unpriced' AS known
        FROM entries WHERE opened_at >= ?1
    ) AS calls
    GROUP BY 1, 2, 3, 4, 5, 6, 7
) AS amounts
WHERE whole > 0 OR rest > 0"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, Charge, Entry, Reading, UnpricedReason, UsageReason};
    use crate::ledger::store::tests::entry;
    use crate::ledger::test_stores::{filled, stores};
    use crate::ledger::{Ledger, Settings};

    /// Entries of all kinds, each in a minute of its own: SQL counts what the entry itself counts.
    #[test]
    fn rows_count_what_their_entries_count() {
        for store in stores() {
            let (fresh, ledger) = filled(store, &[]);
            counts_what_entries_count(&fresh.settings, ledger);
        }
    }

    fn counts_what_entries_count(settings: &Settings, mut ledger: Ledger) {
        let missing = Reading::missing(UsageReason::NotInAnswer);
        let unpriced = Charge::unpriced(UnpricedReason::UnknownModel);
        let held = |amount: &str| Some(amount.parse::<Usd>().unwrap());
        // entry() costs 0.00411, reported.
        let mut estimated = entry();
        estimated.reading.source = crate::domain::UsageSource::Estimated;
        let entries = [
            (entry(), "0.00411"),
            (
                Entry {
                    reserved: held("5"),
                    ..entry()
                },
                "0.00411",
            ),
            (
                Entry {
                    reserved: held("0.004109"),
                    ..estimated.clone()
                },
                "0.00411",
            ),
            (
                Entry {
                    reserved: held("0.00411"),
                    ..estimated.clone()
                },
                "0.00411",
            ),
            (
                Entry {
                    reserved: held("0.004111"),
                    ..estimated
                },
                "0.004111",
            ),
            (
                Entry {
                    reserved: held("2"),
                    reading: missing,
                    charge: unpriced.clone(),
                    ..entry()
                },
                "2",
            ),
            (
                Entry {
                    reserved: held("3"),
                    charge: unpriced,
                    ..entry()
                },
                "3",
            ),
        ];
        let begins = entry().opened_at.unix_ms();
        let mut expected = Vec::new();
        for (minute, (entry, counted)) in (0_i64..).zip(entries) {
            let opened_at = Timestamp::from_unix_ms(begins + minute * 60_000);
            let entry = Entry {
                call_id: CallId::generate(opened_at),
                opened_at,
                ..entry
            };
            assert_eq!(entry.counted().to_string(), counted);
            ledger.append(std::slice::from_ref(&entry)).unwrap();
            expected.push(counted.to_owned());
        }
        let reader = LedgerReader::of(settings).unwrap();
        let amounts = reader.amounts_since(Timestamp::from_unix_ms(begins));
        let mut amounts = amounts.unwrap();
        amounts.sort_by_key(|one| one.at);
        let found: Vec<_> = amounts.iter().map(|one| one.amount.to_string()).collect();
        assert_eq!(found, expected);
        let first = &amounts[0];
        let whose = (
            first.tenant.as_str(),
            &*first.application,
            first.user.as_deref(),
        );
        assert_eq!(whose, ("search", "indexer", Some("u-1")));
        assert!(first.at <= entry().opened_at);
        let later = Timestamp::from_unix_ms(begins + 4 * 60_000);
        assert_eq!(reader.amounts_since(later).unwrap().len(), 3);
    }
}

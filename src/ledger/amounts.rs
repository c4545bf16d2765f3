//! What budgets count, read from the entries: by whom and in which minute.
//!
//! The sum that `domain::Entry::counted` makes of an entry, made by SQL of rows: an entry whose
//! usage is not reported, or that has no price, counts at what was held for it, if that is more.

use rusqlite::Row;

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
        let read = || {
            let mut statement = self.connection().prepare(AMOUNTS)?;
            let rows = statement.query_map([begins.unix_ms()], amount)?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        read().map_err(LedgerError::sqlite("sum up what budgets count"))
    }
}

fn amount(row: &Row<'_>) -> Result<LedgerAmount, rusqlite::Error> {
    let tenant: String = row.get(0)?;
    let tenant = TenantId::new(&tenant).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    })?;
    let minute: i64 = row.get(6)?;
    Ok(LedgerAmount {
        tenant,
        application: row.get(1)?,
        model: row.get(2)?,
        key: row.get(3)?,
        user: row.get(4)?,
        session: row.get(5)?,
        at: Timestamp::from_unix_ms(minute.saturating_mul(60_000)),
        amount: Usd::from_split(row.get(7)?, row.get(8)?),
    })
}

/// A hold is whole microdollars: one that is larger than the whole part of a cost is larger.
const AMOUNTS: &str = "
SELECT tenant, application, model, key_id, user, session, opened_at / 60000,
    sum(CASE WHEN known OR held <= micro THEN micro ELSE held END) AS whole,
    sum(CASE WHEN known OR held <= micro THEN femto ELSE 0 END) AS rest
FROM (
    SELECT tenant, application, model, key_id, user, session, opened_at,
        ifnull(cost_microusd, 0) AS micro, ifnull(cost_femtousd, 0) AS femto,
        ifnull(reserved_microusd, 0) AS held,
        usage_source = 'reported' AND price_status <> 'unpriced' AS known
    FROM entries WHERE opened_at >= ?1
)
GROUP BY 1, 2, 3, 4, 5, 6, 7
HAVING whole > 0 OR rest > 0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, Charge, Entry, Reading, UnpricedReason, UsageReason};
    use crate::ledger::store::tests::entry;
    use crate::ledger::{Ledger, Settings};

    /// Entries of all kinds, each in a minute of its own: SQL counts what the entry itself counts.
    #[test]
    fn rows_count_what_their_entries_count() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&Settings::in_directory(directory.path())).unwrap();
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
        let reader = LedgerReader::open(directory.path()).unwrap();
        let amounts = reader
            .amounts_since(Timestamp::from_unix_ms(begins))
            .unwrap();
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

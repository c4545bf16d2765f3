//! Past calls in the order in which they were admitted, for those who replay them.
//!
//! One row after another: however long the ledger is, one call is in memory.

use std::fmt::Display;

use rusqlite::Row;
use rusqlite::types::Type;

use super::rolled::{has_rollups, kept_from};
use super::{LedgerError, LedgerReader, Span};
use crate::domain::{CallId, Operation, Outcome, TenantId, Timestamp, Usd};

/// What a replay needs to know of one settled call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastCall {
    /// Identifies the call.
    pub call_id: CallId,
    /// When it was admitted.
    pub opened_at: Timestamp,
    /// When it was settled.
    pub settled_at: Timestamp,
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
    /// Whether budgets let it pass without a look: AWS charges nothing for it.
    pub is_free: bool,
    /// Whether a budget refused it then.
    pub was_refused: bool,
    /// What budgets held for it; `None` where none applied.
    pub reserved: Option<Usd>,
    /// What it cost; zero where it has no price.
    pub cost: Usd,
    /// What budgets count for it, as `domain::Entry::counted` says.
    pub counted: Usd,
}

impl LedgerReader {
    /// The instant before which entries are deleted; `None` while all are kept.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn entries_kept_from(&self) -> Result<Option<Timestamp>, LedgerError> {
        let read = || {
            let connection = self.connection();
            // A backup that an older program made has no such table.
            if has_rollups(connection)? {
                kept_from(connection)
            } else {
                Ok(None)
            }
        };
        read().map_err(LedgerError::sqlite("read what is deleted"))
    }

    /// Hands over each call that was admitted in a span: the earliest first, those of one
    /// millisecond by their ids. Stops where `each` fails.
    ///
    /// # Errors
    /// When the ledger cannot be read, or what `each` returns.
    pub fn past_calls<E: From<LedgerError>>(
        &self,
        span: Span,
        mut each: impl FnMut(PastCall) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = || LedgerError::sqlite("read past calls");
        let prepared = self.connection().prepare(PAST);
        let mut statement = prepared.map_err(failed())?;
        let asked = [span.from.unix_ms(), span.to.unix_ms()];
        let rows = statement.query_map(asked, read).map_err(failed())?;
        for row in rows {
            each(row.map_err(failed())?)?;
        }
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<PastCall, rusqlite::Error> {
    let text = |column: &str| row.get::<_, String>(column);
    let instant = |column: &str| row.get(column).map(Timestamp::from_unix_ms);
    let micro: Option<i64> = row.get("cost_microusd")?;
    let femto: Option<i64> = row.get("cost_femtousd")?;
    let cost = Usd::from_split(micro.unwrap_or(0), femto.unwrap_or(0));
    let reserved: Option<i64> = row.get("reserved_microusd")?;
    let reserved = reserved.map(|micro| Usd::from_split(micro, 0));
    let is_known = row.get("is_known")?;
    let counted = if is_known {
        cost
    } else {
        cost.max(reserved.unwrap_or_default())
    };
    let operation = Operation::from_name(&text("operation")?);
    Ok(PastCall {
        call_id: text("call_id")?.parse().map_err(damaged)?,
        opened_at: instant("opened_at")?,
        settled_at: instant("settled_at")?,
        tenant: TenantId::new(&text("tenant")?).map_err(damaged)?,
        application: row.get("application")?,
        model: row.get("model")?,
        key: row.get("key_id")?,
        user: row.get("user")?,
        session: row.get("session")?,
        is_free: operation.is_some_and(Operation::is_free),
        was_refused: text("outcome")? == Outcome::BudgetRefused.name(),
        reserved,
        cost,
        counted,
    })
}

fn damaged(cause: impl Display) -> rusqlite::Error {
    let cause = format!("a row was not written by this program: {cause}");
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, cause.into())
}

const PAST: &str = "
SELECT call_id, opened_at, settled_at, tenant, application, model, key_id, user, session,
    operation, outcome, cost_microusd, cost_femtousd, reserved_microusd,
    usage_source = 'reported' AND price_status <> 'unpriced' AS is_known
FROM entries WHERE opened_at >= ?1 AND opened_at < ?2
ORDER BY opened_at, call_id";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Charge, Entry, Reading, UnpricedReason, UsageReason};
    use crate::ledger::store::tests::entry;
    use crate::ledger::{Ledger, Settings};

    /// Each row counts what its entry counts, and comes when it was admitted.
    #[test]
    fn calls_come_in_the_order_of_admission_and_count_as_their_entries() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&Settings::in_directory(directory.path())).unwrap();
        let begins = entry().opened_at.unix_ms();
        let at = |ms: i64| Timestamp::from_unix_ms(begins + ms);
        let of = |ms: i64, entry: Entry| Entry {
            call_id: CallId::generate(at(ms)),
            opened_at: at(ms),
            ..entry
        };
        let unpriced = Charge::unpriced(UnpricedReason::UsageMissing);
        let missing = Entry {
            reserved: Some("2".parse().unwrap()),
            reading: Reading::missing(UsageReason::NotInAnswer),
            charge: unpriced,
            ..entry()
        };
        let refused = Entry {
            outcome: Outcome::BudgetRefused,
            ..entry()
        };
        let entries = [
            of(2, missing),
            of(0, entry()),
            of(1, refused),
            of(3, entry()),
        ];
        ledger.append(&entries).unwrap();
        let reader = LedgerReader::open(directory.path()).unwrap();
        let span = Span {
            from: at(0),
            to: at(3),
        };
        let mut found = Vec::new();
        let kept = reader.past_calls::<LedgerError>(span, |call| {
            found.push(call);
            Ok(())
        });
        kept.unwrap();
        let order = [&entries[1], &entries[2], &entries[0]];
        let ids = |entry: &&Entry| (entry.call_id, entry.counted(), entry.reserved);
        let expected: Vec<_> = order.iter().map(ids).collect();
        let seen = found
            .iter()
            .map(|call| (call.call_id, call.counted, call.reserved));
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        let refused: Vec<_> = found.iter().map(|call| call.was_refused).collect();
        assert_eq!(refused, [false, true, false]);
        assert_eq!(found[0].tenant.as_str(), "search");
        assert!(!found[0].is_free);
    }
}

//! Past calls in the order in which they were admitted, for those who replay them.
//!
//! However long the ledger is, some thousands of calls are in memory.

use std::fmt::Display;

use super::database::{Fault, Row};
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
            let database = self.database();
            // A backup that an older program made has no such table.
            if has_rollups(database)? {
                kept_from(database)
            } else {
                Ok(None)
            }
        };
        read().map_err(LedgerError::of("read what is deleted"))
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
        let sql = format!("{PAST} LIMIT {CALLS_MAX}");
        let to = span.to.unix_ms();
        let mut after = (span.from.unix_ms(), String::new());
        loop {
            let asked = [after.0.into(), to.into(), after.1.as_str().into()];
            let calls = self.database().list(&sql, &asked, read);
            let calls = calls.map_err(LedgerError::of("read past calls"))?;
            let is_last = calls.len() < CALLS_MAX;
            if let Some(last) = calls.last() {
                after = (last.opened_at.unix_ms(), last.call_id.to_string());
            }
            for call in calls {
                each(call)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

fn read(row: &Row<'_, '_>) -> Result<PastCall, Fault> {
    let instant = |column: &str| row.integer(column).map(Timestamp::from_unix_ms);
    let or_null = |column: &str| Ok::<_, Fault>(row.text_or_null(column)?.map(Box::from));
    let micro = row.integer_or_null("cost_microusd")?;
    let femto = row.integer_or_null("cost_femtousd")?;
    let cost = Usd::from_split(micro.unwrap_or(0), femto.unwrap_or(0));
    let reserved = row.integer_or_null("reserved_microusd")?;
    let reserved = reserved.map(|micro| Usd::from_split(micro, 0));
    let counted = if row.flag("is_known")? {
        cost
    } else {
        cost.max(reserved.unwrap_or_default())
    };
    let operation = Operation::from_name(row.text("operation")?);
    let call_id = row.text("call_id")?.parse();
    let tenant = TenantId::new(row.text("tenant")?);
    Ok(PastCall {
        call_id: call_id.map_err(|why| damaged("call_id", &why))?,
        opened_at: instant("opened_at")?,
        settled_at: instant("settled_at")?,
        tenant: tenant.map_err(|why| damaged("tenant", &why))?,
        application: row.text("application")?.into(),
        model: or_null("model")?,
        key: or_null("key_id")?,
        user: or_null("user")?,
        session: or_null("session")?,
        is_free: operation.is_some_and(Operation::is_free),
        was_refused: row.text("outcome")? == Outcome::BudgetRefused.name(),
        reserved,
        cost,
        counted,
    })
}

fn damaged(column: &'static str, why: &dyn Display) -> Fault {
    let why = why.to_string();
    Fault::Damaged { column, why }
}

/// The calls behind one, in their order.
const PAST: &str = r#"
SELECT call_id, opened_at, settled_at, tenant, application, model, key_id, "user", session,
    operation, outcome, cost_microusd, cost_femtousd, reserved_microusd,
    usage_source = 'reported' AND price_status <> 'unpriced' AS is_known
FROM entries WHERE opened_at >= ?1 AND opened_at < ?2 AND (opened_at > ?1 OR call_id > ?3)
ORDER BY opened_at, call_id"#;

/// Of one read. Tests see more than one.
const CALLS_MAX: usize = if cfg!(test) { 2 } else { 5_000 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Charge, Entry, Reading, UnpricedReason, UsageReason};
    use crate::ledger::store::tests::entry;
    use crate::ledger::test_stores::{filled, stores};
    use crate::ledger::{Ledger, Settings};

    /// Each row counts what its entry counts, and comes when it was admitted.
    #[test]
    fn calls_come_in_the_order_of_admission_and_count_as_their_entries() {
        for store in stores() {
            let (fresh, ledger) = filled(store, &[]);
            come_in_order(&fresh.settings, ledger);
        }
    }

    fn come_in_order(settings: &Settings, mut ledger: Ledger) {
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
        let reader = LedgerReader::of(settings).unwrap();
        assert_eq!(reader.entries_kept_from().unwrap(), None);
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

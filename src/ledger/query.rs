//! Questions to the ledger: sums by group over a span of time.
//!
//! Opens the file read-only, beside the server that writes it. Sums are exact: an amount is
//! stored as microdollars and femtodollars, each summed by SQLite in 64 bits (which fails rather
//! than wrap) and joined here.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::database::{Database, Dialect, Fault, Row, Value};
use super::rolled::Table;
use super::{
    LedgerError, Settings, Span, StoreKind, StoredCall, elsewhere, ledger_file, postgres, rolled,
    stored_call,
};
use crate::domain::{CallId, Dimension, TenantId, Usd};

/// The ledger, open for reading.
#[derive(Debug)]
pub struct LedgerReader {
    database: Database,
}

impl LedgerReader {
    /// Opens the ledger of a directory; the server may be running.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let path = ledger_file(directory);
        if !path.exists() {
            return Err(elsewhere::missing(directory));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            Ok(connection)
        };
        let connection = open().map_err(LedgerError::sqlite("open the file"))?;
        Ok(Self {
            database: Database::Sqlite(connection),
        })
    }

    /// Opens the ledger of these settings, wherever it is kept.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn of(settings: &Settings) -> Result<Self, LedgerError> {
        match settings.store {
            StoreKind::Sqlite => Self::open(&settings.directory),
            StoreKind::Postgres => Ok(Self {
                database: Database::Postgres(Box::new(postgres::open_to_read(&settings.postgres)?)),
            }),
        }
    }

    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    /// The sums of all calls admitted in a span, in groups, as of one instant.
    ///
    /// # Errors
    /// When SQLite refuses, a sum of tokens passes 63 bits, or the span cuts an hour whose entries
    /// are deleted.
    pub fn summary(&self, by: &[GroupBy], span: Span) -> Result<Summary, LedgerError> {
        self.summary_of(None, by, span)
    }

    /// The same of one tenant's calls, where one is named.
    ///
    /// # Errors
    /// As of [`Self::summary`].
    pub fn summary_of(
        &self,
        of: Option<&TenantId>,
        by: &[GroupBy],
        span: Span,
    ) -> Result<Summary, LedgerError> {
        let summary = self
            .database
            .snapshot(|database| rolled::summary(database, of, by, span));
        summary.map_err(LedgerError::of("sum up calls"))
    }

    /// One call in full.
    ///
    /// # Errors
    /// When the ledger has no such call, or cannot be read.
    pub fn call(&self, call_id: CallId) -> Result<StoredCall, LedgerError> {
        self.call_of(None, call_id)
    }

    /// The same where it is one of that tenant's: another's is as if it were not there.
    ///
    /// # Errors
    /// As of [`Self::call`].
    pub fn call_of(
        &self,
        of: Option<&TenantId>,
        call_id: CallId,
    ) -> Result<StoredCall, LedgerError> {
        let sql = "SELECT * FROM entries \
                   WHERE call_id = ?1 AND (CAST(?2 AS text) IS NULL OR tenant = ?2)";
        let values = [call_id.to_string().into(), of.map(TenantId::as_str).into()];
        let found = self.database.first(sql, &values, stored_call::read);
        found
            .map_err(LedgerError::of("read a call"))?
            .ok_or(LedgerError::NoSuchCall(call_id))
    }
}

/// The UTC day of a column.
macro_rules! day {
    (sqlite $column:literal) => {
        concat!("strftime('%Y-%m-%d', ", $column, " / 1000, 'unixepoch')")
    };
    (postgres $column:literal) => {
        concat!(
            "to_char(timestamp '1970-01-01' + ",
            $column,
            " * interval '1 millisecond', 'YYYY-MM-DD')"
        )
    };
}

/// What calls can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupBy {
    /// Who pays.
    Tenant,
    /// The workload.
    Application,
    /// The model's label.
    Model,
    /// The operation.
    Operation,
    /// The region that was called.
    Region,
    /// The tier served, else asked for, else standard.
    Tier,
    /// How the call ended.
    Outcome,
    /// The UTC day of admission.
    Day,
}

impl GroupBy {
    /// Every grouping.
    pub const ALL: [Self; 8] = [
        Self::Tenant,
        Self::Application,
        Self::Model,
        Self::Operation,
        Self::Region,
        Self::Tier,
        Self::Outcome,
        Self::Day,
    ];

    /// The word on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Application => "application",
            Self::Model => "model",
            Self::Operation => "operation",
            Self::Region => "region",
            Self::Tier => "tier",
            Self::Outcome => "outcome",
            Self::Day => "day",
        }
    }

    const fn sql(self, table: Table, dialect: Dialect) -> &'static str {
        match (self, table) {
            (Self::Tenant, _) => "tenant",
            (Self::Application, _) => "application",
            (Self::Model, Table::Entries) => "model",
            (Self::Model, Table::Days | Table::Hours) => "nullif(model, '')",
            (Self::Operation, _) => "operation",
            (Self::Region, _) => "region",
            (Self::Tier, Table::Entries) => "coalesce(tier_served, tier_asked, 'standard')",
            (Self::Tier, Table::Days | Table::Hours) => "tier",
            (Self::Outcome, _) => "outcome",
            (Self::Day, Table::Entries) => match dialect {
                Dialect::Sqlite => day!(sqlite "opened_at"),
                Dialect::Postgres => day!(postgres "opened_at"),
            },
            (Self::Day, Table::Days | Table::Hours) => match dialect {
                Dialect::Sqlite => day!(sqlite "begins_at"),
                Dialect::Postgres => day!(postgres "begins_at"),
            },
        }
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no grouping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected tenant, application, model, operation, region, tier, outcome or day")]
pub struct UnknownGroup;

impl FromStr for GroupBy {
    type Err = UnknownGroup;

    fn from_str(word: &str) -> Result<Self, UnknownGroup> {
        let found = Self::ALL.into_iter().find(|by| by.name() == word);
        found.ok_or(UnknownGroup)
    }
}

/// What calls of a span sum up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The groups that had a call, in no order.
    pub groups: Vec<Group>,
    /// The price catalogues that charged these calls.
    pub catalogues: Vec<String>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// One value for each grouping; `None` where calls have none (an operation without a model).
    pub key: Vec<Option<String>>,
    /// Its sums.
    pub sums: Sums,
}

/// Sums over calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Settled calls.
    pub calls: u64,
    /// Those without a price.
    pub unpriced: u64,
    /// Those whose usage is an estimate.
    pub estimated: u64,
    /// Those whose usage is unknown.
    pub missing: u64,
    /// The cost of the calls that have a price.
    pub cost: Usd,
    /// The part of it that rests on estimates.
    pub estimated_cost: Usd,
    /// Tokens, in the order of [`Sums::TOKENS`].
    pub tokens: [u64; 6],
}

impl Sums {
    /// The dimensions of [`Sums::tokens`].
    pub const TOKENS: [Dimension; 6] = [
        Dimension::InputTokens,
        Dimension::OutputTokens,
        Dimension::CacheReadTokens,
        Dimension::CacheWrite5mTokens,
        Dimension::CacheWrite30mTokens,
        Dimension::CacheWrite1hTokens,
    ];

    /// Adds other sums to these.
    pub fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.unpriced = self.unpriced.saturating_add(other.unpriced);
        self.estimated = self.estimated.saturating_add(other.estimated);
        self.missing = self.missing.saturating_add(other.missing);
        self.cost = self.cost.saturating_add(other.cost);
        self.estimated_cost = self.estimated_cost.saturating_add(other.estimated_cost);
        for (mine, others) in self.tokens.iter_mut().zip(other.tokens) {
            *mine = mine.saturating_add(others);
        }
    }

    fn read(row: &Row<'_, '_>) -> Result<Self, Fault> {
        let count = |name: &str| row.count(name);
        let money = |micro: &str, femto: &str| {
            Ok::<_, Fault>(Usd::from_split(row.integer(micro)?, row.integer(femto)?))
        };
        let mut tokens = [0; 6];
        for (sum, dimension) in tokens.iter_mut().zip(Self::TOKENS) {
            *sum = count(dimension.name())?;
        }
        Ok(Self {
            calls: count("calls")?,
            unpriced: count("unpriced")?,
            estimated: count("estimated")?,
            missing: count("missing")?,
            cost: money("micro", "femto")?,
            estimated_cost: money("estimated_micro", "estimated_femto")?,
            tokens,
        })
    }
}

/// The groups of one table's part of a span.
pub(super) fn groups(
    database: &Database,
    table: Table,
    of: Option<&TenantId>,
    by: &[GroupBy],
    span: Span,
) -> Result<Vec<Group>, Fault> {
    let sql = group_sql(table, by, database.dialect());
    database.list(&sql, &asked(of, span), |row| {
        let columns = 0..by.len();
        let key = columns.map(|column| Ok(row.text_or_null(column)?.map(str::to_owned)));
        Ok(Group {
            key: key.collect::<Result<_, Fault>>()?,
            sums: Sums::read(row)?,
        })
    })
}

fn group_sql(table: Table, by: &[GroupBy], dialect: Dialect) -> String {
    let columns = by.iter().map(|by| by.sql(table, dialect));
    let keys: String = columns.flat_map(|column| [column, ", "]).collect();
    let numbers: Vec<String> = (1..=by.len()).map(|column| column.to_string()).collect();
    // Without a GROUP BY one row would come back even where there is no call.
    let group = if numbers.is_empty() {
        "HAVING count(*) > 0".to_owned()
    } else {
        format!("GROUP BY {}", numbers.join(", "))
    };
    // A row of an entry is one call, one of a roll-up many.
    let calls = match table {
        Table::Entries => "1",
        Table::Days | Table::Hours => "calls",
    };
    let sums = SUMS.replace("CALLS", calls);
    let (name, asked) = (table.name(), asked_sql(table));
    format!("SELECT {keys}{sums} FROM {name} WHERE {asked} {group}")
}

/// The price catalogues of one table's part of a span.
pub(super) fn catalogues(
    database: &Database,
    table: Table,
    of: Option<&TenantId>,
    span: Span,
) -> Result<Vec<String>, Fault> {
    let (name, asked_sql) = (table.name(), asked_sql(table));
    let sql = format!("SELECT DISTINCT catalogue FROM {name} WHERE {asked_sql}");
    database.list(&sql, &asked(of, span), |row| row.text(0).map(str::to_owned))
}

/// Which rows are asked for.
fn asked_sql(table: Table) -> String {
    let at = table.instant();
    format!("{at} >= ?1 AND {at} < ?2 AND (CAST(?3 AS text) IS NULL OR tenant = ?3)")
}

/// The values of [`asked_sql`].
fn asked(of: Option<&TenantId>, span: Span) -> [Value<'_>; 3] {
    let (from, to) = (span.from.unix_ms(), span.to.unix_ms());
    [from.into(), to.into(), of.map(TenantId::as_str).into()]
}

/// PostgreSQL sums in a wider type, and fails where the sum does not fit into 64 bits.
const SUMS: &str = "
    CAST(sum(CALLS) AS bigint) AS calls,
    CAST(coalesce(sum(CALLS) FILTER (WHERE price_status = 'unpriced'), 0) AS bigint) AS unpriced,
    CAST(coalesce(sum(CALLS) FILTER (WHERE usage_source = 'estimated'), 0) AS bigint) AS estimated,
    CAST(coalesce(sum(CALLS) FILTER (WHERE usage_source = 'missing'), 0) AS bigint) AS missing,
    CAST(coalesce(sum(cost_microusd), 0) AS bigint) AS micro,
    CAST(coalesce(sum(cost_femtousd), 0) AS bigint) AS femto,
    CAST(coalesce(sum(cost_microusd) FILTER (WHERE usage_source = 'estimated'), 0) AS bigint)
        AS estimated_micro,
    CAST(coalesce(sum(cost_femtousd) FILTER (WHERE usage_source = 'estimated'), 0) AS bigint)
        AS estimated_femto,
    CAST(coalesce(sum(input_tokens), 0) AS bigint) AS input_tokens,
    CAST(coalesce(sum(output_tokens), 0) AS bigint) AS output_tokens,
    CAST(coalesce(sum(cache_read_tokens), 0) AS bigint) AS cache_read_tokens,
    CAST(coalesce(sum(cache_write_5m_tokens), 0) AS bigint) AS cache_write_5m_tokens,
    CAST(coalesce(sum(cache_write_30m_tokens), 0) AS bigint) AS cache_write_30m_tokens,
    CAST(coalesce(sum(cache_write_1h_tokens), 0) AS bigint) AS cache_write_1h_tokens";

/// The writer blocks readers only while the file is migrated.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        CallId, Charge, Entry, PriceStatus, TenantId, Timestamp, UnpricedReason, UsageSource,
    };
    use crate::ledger::Ledger;
    use crate::ledger::store::tests::entry;
    use crate::ledger::test_stores::{Fresh, filled, stores};

    /// Tenant, day, femtodollars (`None` is unpriced), input tokens, estimated.
    type Drawn = (u8, i64, Option<i128>, u64, bool);

    const DAY_MS: i64 = 86_400_000;

    fn drawn() -> impl Strategy<Value = Drawn> {
        let amount = prop::option::weighted(0.8, 0..4_000_000_000_000_000_000_i128);
        (0..4_u8, 0..3_i64, amount, 0..1_000_000_u64, any::<bool>())
    }

    fn entry_of((tenant, day, femto, tokens, estimated): Drawn) -> Entry {
        let mut entry = entry();
        entry.call_id = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000));
        entry.tenant = TenantId::new(&format!("t{tenant}")).unwrap();
        entry.opened_at = Timestamp::from_unix_ms(day * DAY_MS + 17);
        entry.reading.usage.set(Dimension::InputTokens, tokens);
        if estimated {
            entry.reading.source = UsageSource::Estimated;
        }
        entry.charge = match femto {
            Some(femto) => Charge {
                status: PriceStatus::Priced,
                lines: Vec::new(),
                total: Some(Usd::from_femto(femto)),
            },
            None => Charge::unpriced(UnpricedReason::UnknownModel),
        };
        entry
    }

    fn ledger_of(store: StoreKind, entries: &[Entry]) -> (Fresh, Ledger, LedgerReader) {
        let (fresh, ledger) = filled(store, entries);
        let reader = LedgerReader::of(&fresh.settings).unwrap();
        (fresh, ledger, reader)
    }

    fn days(from: i64, to: i64) -> Span {
        Span {
            from: Timestamp::from_unix_ms(from * DAY_MS),
            to: Timestamp::from_unix_ms(to * DAY_MS),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn sums_equal_a_count_by_hand(calls in prop::collection::vec(drawn(), 0..40), to in 0..4_i64) {
            for store in stores() {
            let entries: Vec<Entry> = calls.iter().copied().map(entry_of).collect();
            let (_fresh, _ledger, reader) = ledger_of(store, &entries);
            // tenant -> calls, unpriced, femtodollars, femtodollars of estimates, input tokens
            let mut expected: BTreeMap<String, (u64, u64, i128, i128, u64)> = BTreeMap::new();
            for &(tenant, day, femto, tokens, estimated) in &calls {
                if day >= to {
                    continue;
                }
                let sums = expected.entry(format!("t{tenant}")).or_default();
                sums.0 += 1;
                sums.1 += u64::from(femto.is_none());
                sums.2 += femto.unwrap_or(0);
                sums.3 += if estimated { femto.unwrap_or(0) } else { 0 };
                sums.4 += tokens;
            }
            let found = reader.summary(&[GroupBy::Tenant], days(0, to)).unwrap();
            let found = found.groups.into_iter().map(|group| {
                let sums = group.sums;
                let costs = (sums.cost.femto(), sums.estimated_cost.femto());
                let key = group.key[0].clone().unwrap();
                (key, (sums.calls, sums.unpriced, costs.0, costs.1, sums.tokens[0]))
            });
            prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
            }
        }
    }

    #[test]
    fn every_grouping_adds_up_to_the_same_total() {
        for store in stores() {
            let entries: Vec<Entry> = (0..20_u8)
                .map(|n| entry_of((n % 3, i64::from(n % 2), Some(i128::from(n) + 1), 5, n == 7)))
                .collect();
            let (_fresh, _ledger, reader) = ledger_of(store, &entries);
            for by in GroupBy::ALL {
                let groups = reader.summary(&[by], days(0, 3)).unwrap().groups;
                let mut total = Sums::default();
                for group in &groups {
                    total.add(&group.sums);
                }
                assert_eq!((total.calls, total.cost.femto()), (20, 210), "{by}");
                assert_eq!(by.name().parse(), Ok(by));
            }
        }
    }

    #[test]
    fn one_tenant_sees_its_own_calls_and_no_others() {
        for store in stores() {
            let entries = [0, 1, 1].map(|tenant| entry_of((tenant, 0, Some(7), 5, false)));
            let (_fresh, _ledger, reader) = ledger_of(store, &entries);
            let tenant = |name: &str| TenantId::new(name).unwrap();
            for by in GroupBy::ALL {
                let found = reader.summary_of(Some(&tenant("t1")), &[by], days(0, 1));
                let groups = found.unwrap().groups;
                assert_eq!(
                    groups.iter().map(|group| group.sums.calls).sum::<u64>(),
                    2,
                    "{by}"
                );
            }
            let nobody = reader.summary_of(Some(&tenant("t")), &[], days(0, 1));
            assert_eq!(nobody.unwrap(), Summary::default());
            let id = entries[0].call_id;
            assert!(reader.call_of(Some(&tenant("t0")), id).is_ok());
            let hidden = reader.call_of(Some(&tenant("t1")), id);
            assert!(matches!(hidden, Err(LedgerError::NoSuchCall(_))));
        }
    }

    #[test]
    fn sums_past_nine_million_dollars_neither_wrap_nor_round() {
        for store in stores() {
            let nine_million = Some(9_000_000_000_000_000_000_000_i128 + 1);
            let entries: Vec<Entry> = (0..50)
                .map(|_| entry_of((0, 0, nine_million, 0, false)))
                .collect();
            let (_fresh, _ledger, reader) = ledger_of(store, &entries);
            let groups = reader.summary(&[], days(0, 1)).unwrap().groups;
            assert_eq!(groups[0].sums.cost.to_string(), "450000000.00000000000005");
        }
    }

    #[test]
    fn a_span_without_calls_has_no_group() {
        for store in stores() {
            let (_fresh, _ledger, reader) = ledger_of(store, &[entry_of((0, 0, None, 0, false))]);
            for by in [&[][..], &[GroupBy::Tenant]] {
                assert_eq!(reader.summary(by, days(5, 6)).unwrap(), Summary::default());
            }
        }
    }

    #[test]
    fn a_ledger_whose_writer_is_gone_can_be_read() {
        for store in stores() {
            let (fresh, ledger, reader) = ledger_of(store, &[entry_of((0, 0, Some(1), 0, false))]);
            drop((reader, ledger));
            let reader = LedgerReader::of(&fresh.settings).unwrap();
            assert_eq!(reader.summary(&[], days(0, 1)).unwrap().groups.len(), 1);
        }
    }

    #[test]
    fn no_ledger_and_no_call_are_told_apart() {
        for store in stores() {
            let (fresh, _ledger, reader) = ledger_of(store, &[]);
            let missing = reader.call(CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)));
            assert!(matches!(missing, Err(LedgerError::NoSuchCall(_))));
            let nowhere = LedgerReader::open(&fresh.settings.directory.join("nowhere"));
            assert!(matches!(nowhere, Err(LedgerError::NoLedger { .. })));
        }
    }
}

//! Roll-ups against the entries they are made of, drawn at random, and by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;

use super::database::{Database, Dialect, Row};
use super::rolled::{Table, parts};
use super::store::tests::entry;
use super::test_stores::{Fresh, filled, stores};
use super::{GroupBy, Ledger, LedgerReader, Settings, Span, StoreKind, Sums, ledger_file, verify};
use crate::domain::{
    CallId, Charge, Dimension, Entry, PriceStatus, ServiceTier, TenantId, Timestamp,
    UnpricedReason, UsageSource, Usd,
};

/// Calls, unpriced, estimated, femtodollars, those of estimates, input tokens.
type Counted = (u64, u64, u64, i128, i128, u64);

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn span(from: i64, to: i64) -> Span {
    Span {
        from: Timestamp::from_unix_ms(from),
        to: Timestamp::from_unix_ms(to),
    }
}

/// Tenant, instant, femtodollars (`None` is unpriced), tokens, estimated, tier served.
type Drawn = (u8, i64, Option<i128>, u64, bool, Option<bool>);

fn drawn() -> impl Strategy<Value = Drawn> {
    let amount = prop::option::weighted(0.8, 0..4_000_000_000_000_000_000_i128);
    (
        0..3_u8,
        // Three days around 1970, so that instants before it count as well.
        -DAY..2 * DAY,
        amount,
        0..1_000_000_u64,
        any::<bool>(),
        any::<Option<bool>>(),
    )
}

fn entry_of((tenant, at, femto, tokens, estimated, tier): Drawn) -> Entry {
    let mut entry = entry();
    entry.call_id = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000));
    entry.tenant = TenantId::new(&format!("t{tenant}")).unwrap();
    entry.opened_at = Timestamp::from_unix_ms(at);
    entry.reading.usage.set(Dimension::InputTokens, tokens);
    entry.reading.served_tier = tier.map(|flex| {
        if flex {
            ServiceTier::Flex
        } else {
            ServiceTier::Standard
        }
    });
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

fn ledger_of(store: StoreKind, batches: &[Vec<Entry>]) -> (Fresh, Ledger, LedgerReader) {
    let (fresh, mut ledger) = filled(store, &[]);
    for batch in batches {
        ledger.append(batch).unwrap();
    }
    let reader = LedgerReader::of(&fresh.settings).unwrap();
    (fresh, ledger, reader)
}

/// One row for each key, where the store has several.
fn fold(database: &Database) {
    if database.dialect() == Dialect::Postgres {
        let fold = "SELECT fold_sums(1)";
        database.each(fold, &[], |_row| Ok(())).unwrap();
    }
}

/// Every row of a roll-up, and what the entries sum up to under its keys: written out here once more,
/// with a floor by comparison, not by remainder.
fn compare(database: &Database, table: &str, length: i64) {
    let rows = |keys: &str, calls: &str, from: &str| -> Vec<String> {
        let sums = [
            "cost_microusd",
            "cost_femtousd",
            "input_tokens",
            "output_tokens",
        ];
        let sums = sums.map(|column| format!("|| ' ' || coalesce(sum({column}), 0)"));
        let words = keys.replace(", ", " || ' ' || ");
        let sums = sums.concat();
        let sql = format!("SELECT {words} || ' ' || {calls} {sums} FROM {from} GROUP BY {keys}");
        let read = |row: &Row<'_, '_>| row.text(0).map(str::to_owned);
        let mut rows = database.list(&sql, &[], read).unwrap();
        rows.sort();
        rows
    };
    let kept = rows(
        "begins_at, tenant, tier, usage_source, price_status",
        "sum(calls)",
        table,
    );
    let counted = rows(
        "at, tenant, tier, usage_source, price_status",
        "count(*)",
        &format!(
            "(WITH RECURSIVE period(at) AS (
                SELECT -{DAY} UNION ALL SELECT at + {length} FROM period WHERE at < {DAY} * 2)
             SELECT *, CASE WHEN tier_served IS NULL THEN 'standard' ELSE tier_served END AS tier
             FROM entries JOIN period ON opened_at >= at AND opened_at < at + {length}) AS calls"
        ),
    );
    assert_eq!(kept, counted, "{table}");
}

fn by_tenant_and_tier(reader: &LedgerReader, span: Span) -> BTreeMap<(String, String), Counted> {
    let by = [GroupBy::Tenant, GroupBy::Tier];
    let found = reader.summary(&by, span).unwrap().groups.into_iter();
    let found = found.map(|group| {
        let Sums {
            calls,
            unpriced,
            estimated,
            cost,
            estimated_cost,
            tokens,
            ..
        } = group.sums;
        let mut key = group.key.into_iter().flatten();
        let key = (key.next().unwrap(), key.next().unwrap());
        let (cost, estimates) = (cost.femto(), estimated_cost.femto());
        (
            key,
            (calls, unpriced, estimated, cost, estimates, tokens[0]),
        )
    });
    found.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_over_any_span_equal_a_count_by_hand(
        calls in prop::collection::vec(drawn(), 0..60),
        ends in (-DAY..2 * DAY, -DAY..2 * DAY),
        whole in prop::option::of(prop_oneof![Just(HOUR), Just(DAY)]),
        cut in 1..20_usize,
    ) {
        let (mut from, mut to) = (ends.0.min(ends.1), ends.0.max(ends.1));
        if let Some(length) = whole {
            from = from.div_euclid(length) * length;
            to = to.div_euclid(length) * length;
        }
        let entries: Vec<Entry> = calls.iter().copied().map(entry_of).collect();
        let mut batches: Vec<Vec<Entry>> = entries.chunks(cut).map(<[Entry]>::to_vec).collect();
        // What is given again changes nothing.
        batches.extend(batches.first().cloned());
        let mut expected: BTreeMap<(String, String), Counted> = BTreeMap::new();
        for (tenant, at, femto, tokens, estimated, tier) in calls {
            if at < from || at >= to {
                continue;
            }
            let tier = if tier == Some(true) { "flex" } else { "standard" };
            let sums = expected.entry((format!("t{tenant}"), tier.to_owned())).or_default();
            sums.0 += 1;
            sums.1 += u64::from(femto.is_none());
            sums.2 += u64::from(estimated);
            sums.3 += femto.unwrap_or(0);
            sums.4 += if estimated { femto.unwrap_or(0) } else { 0 };
            sums.5 += tokens;
        }
        for store in stores() {
            let (_fresh, ledger, reader) = ledger_of(store, &batches);
            for _ in ["as they came", "folded"] {
                compare(ledger.database(), "rollup_hours", HOUR);
                compare(ledger.database(), "rollup_days", DAY);
                prop_assert_eq!(&by_tenant_and_tier(&reader, span(from, to)), &expected);
                fold(ledger.database());
            }
        }
    }

    #[test]
    fn the_parts_of_a_span_are_the_span(from in -DAY..3 * DAY, length in 0..3 * DAY) {
        let to = from + length;
        let mut end = from;
        for (table, part) in parts(span(from, to)) {
            prop_assert_eq!(part.from.unix_ms(), end);
            end = part.to.unix_ms();
            prop_assert!(part.from < part.to);
            let whole = match table {
                Table::Days => DAY,
                Table::Hours => HOUR,
                Table::Entries => 1,
            };
            prop_assert_eq!((part.from.unix_ms() % whole, end % whole), (0, 0));
            // Nothing is read from entries that a roll-up has.
            prop_assert!(table != Table::Entries || end - part.from.unix_ms() < 2 * HOUR);
            prop_assert!(table != Table::Hours || end - part.from.unix_ms() < 2 * DAY);
        }
        prop_assert_eq!(end, to.max(from));
    }
}

/// Entries made by SQL in a ledger of the schema before, one each minute from 1970 on.
const FILL: &str = "
    WITH RECURSIVE call(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM call WHERE n < 199999)
    INSERT INTO entries (call_id, opened_at, settled_at, tenant, application, operation, model,
        region, outcome, request_bytes, response_bytes, duration_ms, usage_source, read_from,
        disagreement, input_tokens, price_status, cost_microusd, cost_femtousd, catalogue)
    SELECT printf('%032x', n), n * 60000, n * 60000, 't' || (n % 7), 'app', 'Converse', 'm' || (n % 2),
        'us-east-1', 'success', 1, 1, 1, 'reported', 'body', 0, n % 1000, 'priced', n % 1000,
        999999999, 'c' FROM call";

#[test]
fn two_hundred_thousand_entries_of_an_older_ledger_are_summed_up_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    drop(Ledger::open(&settings).unwrap());
    let older = Connection::open(ledger_file(directory.path())).unwrap();
    older.execute_batch(TAKE_BACK).unwrap();
    assert_eq!(older.execute(FILL, ()).unwrap(), 200_000);
    drop(older);
    drop(Ledger::open(&settings).unwrap());
    let reader = LedgerReader::open(directory.path()).unwrap();
    let all = span(0, 200_000 * MINUTE);
    let groups = reader.summary(&[GroupBy::Tenant], all).unwrap().groups;
    assert_eq!(groups.len(), 7);
    let mut total = Sums::default();
    for group in &groups {
        // Every seventh call: 28,572 of four tenants, 28,571 of three.
        assert!((28_571..=28_572).contains(&group.sums.calls));
        total.add(&group.sums);
    }
    // The numbers 0 to 999 two hundred times.
    let (calls, tokens) = (200_000, 200 * 499_500);
    assert_eq!((total.calls, total.tokens[0]), (calls, tokens));
    let femto = i128::from(tokens) * 1_000_000_000 + i128::from(calls) * 999_999_999;
    assert_eq!(total.cost.femto(), femto);
    assert!(verify(&settings, &mut |_, _| {}).unwrap().is_sound());
}

const TAKE_BACK: &str = "
    DROP TABLE rollup_hours; DROP TABLE rollup_days; DROP TABLE retention;
    DELETE FROM schema WHERE version > 2; PRAGMA user_version = 2;";

#[test]
fn a_month_is_read_from_days_alone() {
    let tables: Vec<_> = parts(span(0, 30 * DAY))
        .into_iter()
        .map(|part| part.0)
        .collect();
    assert_eq!(tables, [Table::Days]);
    let ragged: Vec<_> = parts(span(DAY - HOUR - 1, 2 * DAY + HOUR + 1))
        .into_iter()
        .map(|part| part.0)
        .collect();
    let (entries, hours, days) = (Table::Entries, Table::Hours, Table::Days);
    assert_eq!(ragged, [entries, hours, days, hours, entries]);
}

#[test]
fn an_older_ledger_gets_its_sums_when_it_is_opened() {
    let entries: Vec<Entry> = (0..50_u8)
        .map(|n| {
            let at = i64::from(n) * 37 * MINUTE - DAY;
            let femto = (n % 5 != 0).then_some(1_000_000_007_i128 * i128::from(n));
            entry_of((n % 3, at, femto, 5, n % 2 == 0, Some(n % 4 == 0)))
        })
        .collect();
    let (fresh, ledger, reader) = ledger_of(StoreKind::Sqlite, &[entries]);
    let all = || {
        let by = [GroupBy::Tenant, GroupBy::Model, GroupBy::Day];
        let mut groups = reader.summary(&by, span(-DAY, 2 * DAY)).unwrap().groups;
        groups.sort_by(|one, other| one.key.cmp(&other.key));
        groups
    };
    let before = all();
    drop(ledger);
    let older = Connection::open(ledger_file(&fresh.settings.directory)).unwrap();
    older.execute_batch(TAKE_BACK).unwrap();
    drop(older);
    // As it lies, such as a backup, it can be read all the same.
    assert_eq!(all(), before);
    let ledger = Ledger::open(&fresh.settings).unwrap();
    assert!(before.len() > 3);
    assert_eq!(all(), before);
    compare(ledger.database(), "rollup_hours", HOUR);
}

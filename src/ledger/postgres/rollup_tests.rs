//! Sums on a server: whoever writes, whatever its version, and what stays of months that are gone.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use super::tests::{as_role, entry_at, number, of_owner, session, text};
use super::*;
use crate::domain::{Entry, Timestamp};
use crate::ledger::test_stores::{Fresh, filled, fresh, servers};
use crate::ledger::{GroupBy, KeepEntries, Ledger, LedgerReader, Span, Summary, verify};

/// How many keys of hours, and of days, have other sums than the entries: written out here once
/// more, with the calendar of the server.
fn wrong(session: &Session) -> i64 {
    let wrong = |table: &str, unit: &str| {
        let keys = "tenant, application, operation, region, outcome, usage_source, price_status, \
                    catalogue";
        let sums = [
            "cost_microusd",
            "cost_femtousd",
            "input_tokens",
            "output_tokens",
        ];
        let sums = sums.map(|column| format!(", coalesce(sum({column}), 0) AS {column}"));
        let (sums, begin) = (sums.concat(), "timestamp '1970-01-01'");
        let sql = format!(
            "WITH kept AS (
                SELECT {begin} + begins_at * interval '1 millisecond' AS at, {keys}, model, tier,
                    sum(calls) AS calls {sums}
                FROM {table} GROUP BY 1, {keys}, model, tier
            ), counted AS (
                SELECT date_trunc('{unit}', {begin} + opened_at * interval '1 millisecond') AS at,
                    {keys}, coalesce(model, '') AS model,
                    coalesce(tier_served, tier_asked, 'standard') AS tier, count(*) AS calls {sums}
                FROM entries GROUP BY 1, {keys}, 10, 11
            )
            SELECT count(*) FROM (
                (SELECT * FROM kept EXCEPT SELECT * FROM counted)
                UNION ALL (SELECT * FROM counted EXCEPT SELECT * FROM kept)) AS wrong"
        );
        number(session, &sql)
    };
    wrong("rollup_hours", "hour") + wrong("rollup_days", "day")
}

/// What the version before, which knows of no sums, adds entries with: some calls from a number on.
const INSERT_OF_VERSION_1: &str = "
    INSERT INTO entries (call_id, opened_at, settled_at, tenant, application, operation, model,
        region, outcome, request_bytes, response_bytes, duration_ms, usage_source, read_from,
        disagreement, input_tokens, price_status, cost_microusd, cost_femtousd, catalogue)
    SELECT lpad(n::text, 32, '0'), n * 60000, n * 60000, 't' || (n % 7), 'app', 'Converse',
        'm' || (n % 2), 'us-east-1', 'success', 1, 1, 1, 'reported', 'body', false, n % 1000,
        'priced', n % 1000, 999999999, 'c'
    FROM generate_series($1::bigint, $2::bigint) AS n
    ON CONFLICT (call_id, opened_at) DO NOTHING";

fn at_version_1(server: crate::ledger::StoreKind) -> (Fresh, Session) {
    let fresh = fresh(server);
    let before = session(&fresh.settings);
    schema::migrate_to(&before, 1).unwrap();
    before
        .batch(&format!("PREPARE old AS {INSERT_OF_VERSION_1}"))
        .unwrap();
    (fresh, before)
}

#[test]
fn entries_of_the_version_before_are_in_the_sums_whenever_they_come() {
    for server in servers() {
        let (fresh, old) = at_version_1(server);
        old.batch("EXECUTE old(-5000, 5000)").unwrap();
        let mut ledger = Ledger::open(&fresh.settings).unwrap();
        let of_both = session(&fresh.settings);
        assert_eq!(wrong(&of_both), 0);
        // It goes on beside the new one, and gives some again.
        old.batch("EXECUTE old(4000, 6000)").unwrap();
        ledger.append(&[entry_at("2026-11-22")]).unwrap();
        old.batch("EXECUTE old(5500, 6500)").unwrap();
        assert_eq!(
            number(&of_both, "SELECT sum(calls)::bigint FROM rollup_hours"),
            11_502
        );
        assert_eq!(wrong(&of_both), 0);
    }
}

#[test]
fn the_version_before_writes_on_while_the_sums_are_made() {
    for server in servers() {
        let (fresh, old) = at_version_1(server);
        let begun = Barrier::new(2);
        let last = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                // A session is of one thread.
                let old = session(&fresh.settings);
                old.batch(&format!("PREPARE old AS {INSERT_OF_VERSION_1}"))
                    .unwrap();
                for batch in 0..200 {
                    if batch == 50 {
                        begun.wait();
                    }
                    let (from, to) = (batch * 20, batch * 20 + 19);
                    old.batch(&format!("EXECUTE old({from}, {to})")).unwrap();
                }
                4_000
            });
            begun.wait();
            schema::migrate(&session(&fresh.settings)).unwrap();
            writing.join().unwrap()
        });
        assert_eq!(number(&old, "SELECT count(*) FROM entries"), last);
        assert_eq!(wrong(&old), 0);
    }
}

#[test]
fn two_hundred_thousand_entries_of_the_version_before_are_summed_up_exactly() {
    for server in servers() {
        let (fresh, old) = at_version_1(server);
        old.batch("EXECUTE old(0, 199999)").unwrap();
        drop(Ledger::open(&fresh.settings).unwrap());
        let reader = LedgerReader::of(&fresh.settings).unwrap();
        let all = span("1970-01-01", "1971-01-01");
        let summary = reader.summary(&[GroupBy::Tenant], all).unwrap();
        assert_eq!(summary.groups.len(), 7);
        let mut total = crate::ledger::Sums::default();
        for group in &summary.groups {
            total.add(&group.sums);
        }
        // The numbers 0 to 999 two hundred times.
        let (calls, tokens) = (200_000, 200 * 499_500);
        assert_eq!((total.calls, total.tokens[0]), (calls, tokens));
        let femto = i128::from(tokens) * 1_000_000_000 + i128::from(calls) * 999_999_999;
        assert_eq!(total.cost.femto(), femto);
        assert!(verify(&fresh.settings, &mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn two_who_write_at_once_beside_one_who_folds_lose_no_sum() {
    for server in servers() {
        let fresh = fresh(server);
        drop(Ledger::open(&fresh.settings).unwrap());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let write = || {
                let own = session(&fresh.settings);
                for hour in 0..40 {
                    let at = format!("2026-11-22T{:02}:30:00Z", hour % 4);
                    let batch: Vec<_> = (0..10).map(|_| entry_at(&at)).collect();
                    assert_eq!(append(&own, &batch).unwrap(), 10);
                    assert_eq!(append(&own, &batch).unwrap(), 0, "given again");
                }
            };
            let writing = [scope.spawn(write), scope.spawn(write)];
            let folding = scope.spawn(|| {
                let own = session(&fresh.settings);
                let mut folded = 0;
                // Once more when all is written, so that something was folded for sure.
                loop {
                    let last = is_over.load(Ordering::SeqCst);
                    folded += sums::fold(&own, 1).unwrap();
                    if last {
                        return folded;
                    }
                }
            });
            let reading = scope.spawn(|| {
                let own = session(&fresh.settings);
                // One statement sees one instant.
                let same = "SELECT (n = hours AND n = days)::int::bigint FROM
                    (SELECT count(*) AS n FROM entries) AS a,
                    (SELECT coalesce(sum(calls), 0) AS hours FROM rollup_hours) AS b,
                    (SELECT coalesce(sum(calls), 0) AS days FROM rollup_days) AS c";
                while !is_over.load(Ordering::SeqCst) {
                    assert_eq!(number(&own, same), 1);
                }
            });
            for writer in writing {
                writer.join().unwrap();
            }
            is_over.store(true, Ordering::SeqCst);
            assert!(folding.join().unwrap() > 0);
            reading.join().unwrap();
        });
        let session = session(&fresh.settings);
        assert_eq!(wrong(&session), 0);
        let rows = |table| number(&session, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(
            [rows("entries"), rows("rollup_hours"), rows("rollup_days")],
            [800, 4, 1]
        );
    }
}

#[test]
fn few_rows_are_not_folded() {
    for server in servers() {
        let (fresh, mut ledger) = filled(server, &[entry_at("2026-11-22")]);
        ledger.append(&[entry_at("2026-11-22")]).unwrap();
        let session = session(&fresh.settings);
        assert_eq!(sums::fold(&session, 3).unwrap(), 0);
        // One of hours and one of days.
        assert_eq!(sums::fold(&session, 2).unwrap(), 2);
        assert_eq!(sums::fold(&session, 1).unwrap(), 0, "all are folded");
        assert_eq!(wrong(&session), 0);
    }
}

#[test]
fn a_transaction_that_is_taken_back_leaves_no_sum() {
    for server in servers() {
        let (fresh, _ledger) = filled(server, &[entry_at("2026-11-22")]);
        let other = session(&fresh.settings);
        other.batch("BEGIN").unwrap();
        append(&other, &[entry_at("2026-11-22")]).unwrap();
        other.batch("ROLLBACK").unwrap();
        assert_eq!(
            number(&other, "SELECT sum(calls)::bigint FROM rollup_hours"),
            1
        );
        assert_eq!(wrong(&other), 0);
    }
}

fn span(from: &str, to: &str) -> Span {
    Span {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
    }
}

/// Months of 2020, with their partitions, and what none took.
fn of_2020(server: crate::ledger::StoreKind, keep: KeepEntries) -> (Fresh, Ledger) {
    let mut fresh = fresh(server);
    fresh.settings.keep_entries = keep;
    fresh.settings.keep_until_backup = false;
    let mut ledger = Ledger::open(&fresh.settings).unwrap();
    let make = "SELECT make_partitions((extract(epoch FROM date '2020-02-01') * 1000)::bigint)";
    session(&fresh.settings).query(make, &[]).unwrap();
    let of_month = |day: &str| [entry_at(day), entry_at(day)];
    let mut entries: Vec<Entry> = (0..1_005).map(|_| entry_at("1999-12-31")).collect();
    entries.extend(of_month("2020-01-31T23:59:59.999Z"));
    entries.extend(of_month("2020-03-15T10:30:00Z"));
    entries.extend(of_month("2020-03-31T23:59:59.999Z"));
    entries.extend(of_month("2020-04-01"));
    ledger.append(&entries).unwrap();
    (fresh, ledger)
}

fn sorted(mut summary: Summary) -> Summary {
    summary.groups.sort_by(|one, other| one.key.cmp(&other.key));
    summary
}

#[test]
fn old_months_go_one_by_one_and_their_sums_stay() {
    for server in servers() {
        let (fresh, mut ledger) = of_2020(server, KeepEntries::Days(62));
        let session = session(&fresh.settings);
        let left = || number(&session, "SELECT count(*) FROM entries");
        let reader = LedgerReader::of(&fresh.settings).unwrap();
        let all = span("1999-01-01", "2021-01-01");
        let before = sorted(reader.summary(&[GroupBy::Day], all).unwrap());
        // 62 days before are the 14th of April: March is over by then.
        let now: Timestamp = "2020-06-15T12:00:00Z".parse().unwrap();
        let mut steps = vec![left()];
        while ledger.trim(now).unwrap() {
            steps.push(left());
        }
        // February was empty; what no month took goes last.
        assert_eq!(steps, [1_013, 1_011, 1_011, 1_007, 7, 2]);
        assert!(!ledger.trim(now).unwrap());
        assert_eq!(
            sorted(reader.summary(&[GroupBy::Day], all).unwrap()),
            before
        );
        let cut = span("2020-03-15T10:15:00Z", "2021-01-01");
        let refused = reader.summary(&[], cut).unwrap_err();
        assert!(
            matches!(refused, LedgerError::EntriesDeleted { kept_from }
                if kept_from == "2020-04-01".parse().unwrap()),
            "{refused}"
        );
        let idle = span("2020-03-15T12:15:00Z", "2021-01-01");
        assert_eq!(reader.summary(&[], idle).unwrap().groups[0].sums.calls, 4);
        assert!(verify(&fresh.settings, &mut |_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn entries_are_kept_for_ever_or_until_somebody_sees_to_backups() {
    for server in servers() {
        let now: Timestamp = "2020-06-15T12:00:00Z".parse().unwrap();
        let (fresh, mut ledger) = of_2020(server, KeepEntries::Forever);
        assert!(!ledger.trim(now).unwrap());
        drop(ledger);
        let mut settings = fresh.settings.clone();
        settings.keep_entries = KeepEntries::Days(62);
        settings.keep_until_backup = true;
        assert!(!Ledger::open(&settings).unwrap().trim(now).unwrap());
        let left = "SELECT count(*) FROM entries";
        assert_eq!(number(&session(&settings), left), 1_013);
    }
}

#[test]
fn the_server_keeps_the_last_days_whatever_it_is_asked() {
    for server in servers() {
        let (fresh, mut ledger) = of_2020(server, KeepEntries::Forever);
        let session = session(&fresh.settings);
        let ago = "SELECT (extract(epoch FROM now() - interval '61 days') * 1000)::bigint";
        let recent = Entry {
            opened_at: Timestamp::from_unix_ms(number(&session, ago)),
            ..entry_at("2026-11-22")
        };
        ledger.append(&[recent]).unwrap();
        while forget(&session, "2999-01-01".parse().unwrap()).unwrap() {}
        assert_eq!(number(&session, "SELECT count(*) FROM entries"), 1);
    }
}

#[test]
fn a_writer_adds_to_sums_and_changes_none() {
    for server in servers() {
        let fresh = of_owner(server);
        let mut owner = as_role(&fresh.settings, "owner");
        migrate(&owner).unwrap();
        let writer = as_role(&fresh.settings, "writer");
        let mut ledger = Ledger::open(&writer).unwrap();
        ledger.append(&[entry_at("2026-11-22")]).unwrap();
        ledger.append(&[entry_at("2026-11-22")]).unwrap();
        let session = session(&writer);
        assert_eq!(sums::fold(&session, 1).unwrap(), 2);
        assert_eq!(wrong(&session), 0);
        for forbidden in [
            "INSERT INTO rollup_hours SELECT * FROM rollup_hours",
            "UPDATE rollup_days SET calls = 0",
            "DELETE FROM rollup_hours",
            "INSERT INTO retention VALUES (1)",
            "ALTER TABLE entries DISABLE TRIGGER entries_sums",
            "SET session_replication_role = replica",
            "SELECT forget_entries(0)",
        ] {
            let refused = session.batch(forbidden).unwrap_err().to_string();
            assert!(refused.contains("(42501)"), "{forbidden}: {refused}");
        }
        // The owner decides whether old entries go.
        let may_forget = || inspect_shared(&writer.postgres).unwrap().may_forget;
        owner.keep_entries = KeepEntries::Days(400);
        migrate(&owner).unwrap();
        assert!(may_forget());
        assert!(!forget(&session, Timestamp::from_unix_ms(0)).unwrap());
        owner.keep_entries = KeepEntries::Forever;
        migrate(&owner).unwrap();
        assert!(!may_forget());
    }
}

#[test]
fn a_reader_sees_sums() {
    for server in servers() {
        let fresh = of_owner(server);
        migrate(&as_role(&fresh.settings, "owner")).unwrap();
        let mut ledger = Ledger::open(&as_role(&fresh.settings, "writer")).unwrap();
        ledger.append(&[entry_at("2026-11-22")]).unwrap();
        let reader = as_role(&fresh.settings, "reader");
        assert_eq!(wrong(&session(&reader)), 0);
        assert!(verify(&reader, &mut |_, _| {}).unwrap().is_sound());
        let refused = session(&reader).batch("SELECT fold_sums(1)").unwrap_err();
        assert!(refused.to_string().contains("(42501)"), "{refused}");
    }
}

#[test]
fn a_ledger_that_is_not_migrated_yet_is_read_from_its_entries() {
    for server in servers() {
        let (fresh, old) = at_version_1(server);
        old.batch("EXECUTE old(0, 99)").unwrap();
        let reader = LedgerReader::of(&fresh.settings).unwrap();
        let day = span("1970-01-01", "1970-01-02");
        assert_eq!(reader.summary(&[], day).unwrap().groups[0].sums.calls, 100);
        assert_eq!(reader.entries_kept_from().unwrap(), None);
    }
}

#[test]
fn the_printed_schema_makes_what_migrating_makes() {
    for server in servers() {
        let (migrated, printed) = (fresh(server), fresh(server));
        drop(Ledger::open(&migrated.settings).unwrap());
        let schema = &printed.settings.postgres.schema;
        let sql = postgres_schema().replace("bedrock_meter", schema);
        session(&printed.settings).batch(&sql).unwrap();
        let made = |fresh: &Fresh| {
            text(
                &session(&fresh.settings),
                "SELECT string_agg(name, ' ' ORDER BY name) FROM (
                    SELECT relkind::text || relname::text AS name FROM pg_class
                        WHERE relnamespace = current_schema()::regnamespace
                    UNION ALL SELECT proname::text FROM pg_proc
                        WHERE pronamespace = current_schema()::regnamespace
                    UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'entries'::regclass
                ) AS names",
            )
        };
        assert_eq!(made(&printed), made(&migrated));
    }
}

#[test]
fn the_page_names_every_column_of_the_server() {
    const PAGES: [&str; 2] = [
        include_str!("../../../docs/ledger.md"),
        include_str!("../../../docs/replicas.md"),
    ];
    for server in servers() {
        let (fresh, _ledger) = filled(server, &[]);
        let sql = "SELECT string_agg(DISTINCT column_name, ' ') FROM information_schema.columns
                   WHERE table_schema = current_schema()
                   AND table_name IN ('entries', 'calls', 'charge_lines', 'rollup_hours',
                       'rollup_days', 'retention')";
        let names = text(&session(&fresh.settings), sql);
        for name in names.split(' ') {
            let is_named = |page: &str| page.contains(&format!("`{name}`"));
            assert!(PAGES.into_iter().any(is_named), "{name}");
        }
    }
}

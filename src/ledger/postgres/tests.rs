//! What only a server has: partitions, roles, versions side by side, and going away.

use std::slice;

use super::*;
use crate::domain::{CallId, Entry, Secret, Timestamp};
use crate::ledger::database::Database;
use crate::ledger::store::tests::{call_ids, entry};
use crate::ledger::test_stores::{Fresh, await_readers, filled, fresh, servers};
use crate::ledger::{Breakdown, GroupBy, Ledger, LedgerReader, PeriodTotals, Span};

pub(super) fn session(settings: &Settings) -> Session {
    Session::open(&settings.postgres).unwrap()
}

pub(super) fn number(session: &Session, sql: &str) -> i64 {
    session.query(sql, &[]).unwrap()[0].get(0)
}

pub(super) fn text(session: &Session, sql: &str) -> String {
    session.query(sql, &[]).unwrap()[0].get(0)
}

pub(super) fn entry_at(opened_at: &str) -> Entry {
    Entry {
        call_id: CallId::generate(Timestamp::from_unix_ms(1)),
        opened_at: opened_at.parse().unwrap(),
        settled_at: opened_at.parse().unwrap(),
        ..entry()
    }
}

#[test]
fn months_have_partitions_ahead_and_any_other_time_has_a_place() {
    for server in servers() {
        let last_of_january = entry_at("2098-01-31T23:59:59.999Z");
        let entries = [entry_at("1969-12-31"), last_of_january];
        let (fresh, _ledger) = filled(server, &entries);
        let session = session(&fresh.settings);
        let places = text(
            &session,
            "SELECT string_agg(tableoid::regclass::text, ' ' ORDER BY opened_at) FROM entries",
        );
        assert_eq!(places, "entries_other entries_2098_01");
        let partitions = text(
            &session,
            "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
             WHERE relkind = 'r' AND relname ~ '^entries_209[78]' \
                AND relnamespace = current_schema()::regnamespace",
        );
        assert_eq!(
            partitions,
            "entries_2097_12 entries_2098_01 entries_2098_02 entries_2098_03 entries_2098_04"
        );
        let again =
            "SELECT make_partitions((extract(epoch FROM date '2098-01-31') * 1000)::bigint)";
        assert_eq!(number(&session, again), 0);
    }
}

#[test]
fn rows_that_came_before_their_partition_stay_where_they_are() {
    for server in servers() {
        let (fresh, mut ledger) = filled(server, &[entry_at("2026-11-22")]);
        let session = session(&fresh.settings);
        // Appended within the hour, so that no partition is made for it.
        ledger.append(&[entry_at("2040-05-05")]).unwrap();
        let made = "SELECT make_partitions((extract(epoch FROM date '2040-05-01') * 1000)::bigint)";
        assert_eq!(number(&session, made), 4);
        ledger.append(&[entry_at("2040-05-06")]).unwrap();
        assert_eq!(call_ids(&ledger).len(), 3);
    }
}

#[test]
fn a_connection_that_broke_is_made_again() {
    for server in servers() {
        let (fresh, mut ledger) = filled(server, &[entry_at("2026-11-22")]);
        let Database::Postgres(own) = ledger.database() else {
            panic!("{server:?}")
        };
        let pid = number(own, "SELECT pg_backend_pid()::bigint");
        let end = format!("SELECT pg_terminate_backend({pid})");
        session(&fresh.settings).query(&end, &[]).unwrap();
        let next = [entry_at("2026-11-23")];
        ledger.append(&next).unwrap_err();
        ledger.append(&next).unwrap();
        assert_eq!(call_ids(&ledger).len(), 2);
    }
}

#[test]
fn a_server_that_is_there_and_silent_is_not_waited_for() {
    // Takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = Settings::default().postgres;
    let address = silent.local_addr().unwrap();
    settings.url = Some(Secret::new(&format!(
        "postgres://meter:hunter2@{address}/meter"
    )));
    settings.sslmode = SslMode::Disable;
    settings.connect_timeout = Duration::from_millis(50);
    let refused = open(&settings).unwrap_err().to_string();
    assert!(refused.contains("did not answer within 50 ms"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_lock_that_is_held_too_long_ends_the_statement_and_not_the_connection() {
    for server in servers() {
        let mut fresh = fresh(server);
        fresh.settings.postgres.statement_timeout = Duration::from_millis(100);
        let mut ledger = Ledger::open(&fresh.settings).unwrap();
        let other = session(&fresh.settings);
        other.batch("BEGIN; LOCK TABLE entries").unwrap();
        let refused = ledger.append(&[entry()]).unwrap_err().to_string();
        assert!(refused.contains("(57014)"), "{refused}");
        other.batch("ROLLBACK").unwrap();
        ledger.append(&[entry()]).unwrap();
    }
}

#[test]
fn a_text_with_a_zero_byte_holds_up_nobody() {
    for server in servers() {
        let odd = Entry {
            session: Some("a\0b".into()),
            ..entry()
        };
        let (fresh, _ledger) = filled(server, slice::from_ref(&odd));
        let reader = LedgerReader::of(&fresh.settings).unwrap();
        let stored = reader.call(odd.call_id).unwrap();
        assert_eq!(stored.caller.session.as_deref(), Some("a\u{fffd}b"));
    }
}

#[test]
fn a_sum_past_sixty_four_bits_fails_and_does_not_wrap() {
    for server in servers() {
        let huge = || {
            let mut entry = entry_at("2026-11-22");
            let tokens = crate::domain::Dimension::InputTokens;
            entry.reading.usage.set(tokens, u64::MAX);
            entry
        };
        // They come in all the same, and can be told apart by call.
        let (fresh, ledger) = filled(server, &[huge(), huge(), huge()]);
        assert_eq!(call_ids(&ledger).len(), 3);
        let session = session(&fresh.settings);
        session.query("SELECT fold_sums(1)", &[]).unwrap();
        let sum = text(&session, "SELECT sum(input_tokens)::text FROM rollup_hours");
        assert_eq!(sum, "27670116110564327421");
        let reader = LedgerReader::of(&fresh.settings).unwrap();
        // Of the whole day, and of half an hour.
        for to in ["2026-11-23", "2026-11-22T00:30:00Z"] {
            let span = Span {
                from: "2026-11-22".parse().unwrap(),
                to: to.parse().unwrap(),
            };
            let refused = reader.summary(&[GroupBy::Tenant], span).unwrap_err();
            assert!(refused.to_string().contains("(22003)"), "{refused}");
        }
    }
}

#[test]
fn programs_of_two_versions_write_side_by_side() {
    for server in servers() {
        let (fresh, mut ledger) = filled(server, &[entry_at("2026-11-22")]);
        let newer = session(&fresh.settings);
        newer
            .batch(
                "ALTER TABLE entries ADD COLUMN of_tomorrow text; \
                 INSERT INTO \"schema\" VALUES (99, now(), 'bedrock-meter 9', 1)",
            )
            .unwrap();
        ledger.append(&[entry_at("2026-11-23")]).unwrap();
        drop(ledger);
        let mut again = Ledger::open(&fresh.settings).unwrap();
        again.append(&[entry_at("2026-11-24")]).unwrap();
        assert_eq!(call_ids(&again).len(), 3);
        drop(again);
        newer
            .batch("UPDATE \"schema\" SET min_program_schema = 99 WHERE version = 99")
            .unwrap();
        let refused = Ledger::open(&fresh.settings);
        assert!(matches!(
            refused,
            Err(LedgerError::NewerSchema { found: 99, .. })
        ));
    }
}

#[test]
fn two_programs_that_start_at_once_migrate_once() {
    for server in servers() {
        let fresh = fresh(server);
        let settings = &fresh.settings;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| open(&settings.postgres).map(drop).unwrap());
            }
        });
        let versions = number(&session(settings), "SELECT count(*) FROM \"schema\"");
        assert_eq!(versions, schema::known());
    }
}

/// The settings of a role that `roles.sql` made.
pub(super) fn as_role(settings: &Settings, role: &str) -> Settings {
    let mut settings = settings.clone();
    let url = settings.postgres.url.as_ref().unwrap().as_str();
    let url = url.replace("//postgres@", &format!("//meter_{role}@"));
    settings.postgres.url = Some(Secret::new(&url));
    settings
}

/// A schema that belongs to the owner of `roles.sql`, migrated by it.
pub(super) fn of_owner(server: crate::ledger::StoreKind) -> Fresh {
    let fresh = fresh(server);
    let schema = &fresh.settings.postgres.schema;
    let admin = session(&fresh.settings);
    // Other tests do the same at the same time.
    admin
        .batch("BEGIN; SELECT pg_advisory_xact_lock(1)")
        .unwrap();
    admin
        .batch(&ROLES_SQL.replace("bedrock_meter ", &format!("{schema} ")))
        .unwrap();
    admin.batch("COMMIT").unwrap();
    fresh
}

#[test]
fn a_writer_may_add_and_read_entries_and_nothing_else() {
    for server in servers() {
        let fresh = of_owner(server);
        let writer = as_role(&fresh.settings, "writer");
        let refused = Ledger::open(&writer).unwrap_err().to_string();
        assert!(refused.contains("ledger migrate"), "{refused}");
        let migrated = migrate(&as_role(&fresh.settings, "owner")).unwrap();
        assert_eq!(migrated, schema::known());
        let mut ledger = Ledger::open(&writer).unwrap();
        ledger.append(&[entry_at("2031-03-01")]).unwrap();
        assert_eq!(call_ids(&ledger).len(), 1);
        let session = session(&writer);
        let place = "SELECT tableoid::regclass::text FROM entries";
        assert_eq!(text(&session, place), "entries_2031_03");
        for forbidden in [
            "UPDATE entries SET tenant = 'other'",
            "DELETE FROM entries",
            "TRUNCATE entries",
            "DROP TABLE entries_other",
            "INSERT INTO \"schema\" VALUES (77, now(), 'me', 1)",
            "CREATE TABLE mine ()",
        ] {
            let refused = session.batch(forbidden).unwrap_err().to_string();
            assert!(refused.contains("(42501)"), "{forbidden}: {refused}");
        }
    }
}

#[test]
fn the_delivery_log_is_kept_by_the_writer_and_read_by_the_reader() {
    for server in servers() {
        let fresh = of_owner(server);
        migrate(&as_role(&fresh.settings, "owner")).unwrap();
        let row = SharedDelivery {
            id: "id".to_owned(),
            outlet: "ops".to_owned(),
            kind: "test".to_owned(),
            notice: "{}".to_owned(),
            ends: Timestamp::from_unix_ms(0),
            claimed_at: Timestamp::from_unix_ms(0),
            attempts: 0,
            next_try_at: None,
            delivered_at: None,
            failed_at: None,
            last_error: None,
        };
        let now = Timestamp::from_unix_ms(7);
        let writer = as_role(&fresh.settings, "writer").postgres;
        let writer = SharedDeliveries::open(&writer).unwrap();
        assert!(writer.claim(&row).unwrap());
        let taken = writer.take_due(9, Duration::from_mins(1)).unwrap();
        writer.delivered(&taken[0], now).unwrap();
        let reader = as_role(&fresh.settings, "reader").postgres;
        let reader = SharedDeliveries::open_to_read(&reader).unwrap();
        assert_eq!(reader.lines(9).unwrap()[0].delivered_at, Some(now));
        let refused = reader.prune(now).unwrap_err().to_string();
        assert!(refused.contains("read-only"), "{refused}");
        writer.prune(now).unwrap();
        assert_eq!(reader.lines(9).unwrap(), []);
    }
}

#[test]
fn a_delivery_log_whose_connection_broke_asks_once_more() {
    for server in servers() {
        let fresh = fresh(server);
        let log = SharedDeliveries::open(&fresh.settings.postgres).unwrap();
        let pid = number(&log.session, "SELECT pg_backend_pid()::bigint");
        let end = format!("SELECT pg_terminate_backend({pid})");
        session(&fresh.settings).query(&end, &[]).unwrap();
        assert_eq!(log.pending().unwrap(), 0);
    }
}

#[test]
fn a_schema_of_the_first_version_gains_the_newer_tables_and_still_takes_its_programs() {
    for server in servers() {
        let fresh = fresh(server);
        let schema = &fresh.settings.postgres.schema;
        let session = session(&fresh.settings);
        session
            .batch(&format!("CREATE SCHEMA \"{schema}\""))
            .unwrap();
        session
            .batch(&include_str!("version_1.sql").replace("{schema}", schema))
            .unwrap();
        session
            .batch("INSERT INTO \"schema\" VALUES (1, now(), 'bedrock-meter 0', 1)")
            .unwrap();
        append(&session, &[entry_at("2026-11-22")]).unwrap();
        let log = SharedDeliveries::open(&fresh.settings.postgres).unwrap();
        assert_eq!(log.pending().unwrap(), 0);
        // The program of version 1 looks at no more than this, and at its own tables.
        let takes = "SELECT min_program_schema FROM \"schema\" ORDER BY version DESC LIMIT 1";
        assert_eq!(number(&session, takes), 1);
        append(&session, &[entry_at("2026-11-23")]).unwrap();
        assert_eq!(number(&session, "SELECT count(*) FROM entries"), 2);
    }
}

#[test]
fn the_doctor_sees_tables_and_rights() {
    for server in servers() {
        let fresh = of_owner(server);
        let seen = |role: &str| {
            let condition = inspect_shared(&as_role(&fresh.settings, role).postgres).unwrap();
            (condition.tables, condition.may_serve)
        };
        assert_eq!(seen("writer"), (Tables::Older, false));
        migrate(&as_role(&fresh.settings, "owner")).unwrap();
        assert_eq!(seen("writer"), (Tables::Fit, true));
        assert_eq!(seen("reader"), (Tables::Fit, false));
        let newer = "INSERT INTO \"schema\" VALUES (99, now(), 'bedrock-meter 9', 99)";
        session(&fresh.settings).batch(newer).unwrap();
        assert_eq!(seen("writer"), (Tables::TooNew, false));
    }
}

#[test]
fn a_reader_reports_and_writes_nothing() {
    for server in servers() {
        let fresh = of_owner(server);
        migrate(&as_role(&fresh.settings, "owner")).unwrap();
        let call = entry();
        let mut ledger = Ledger::open(&as_role(&fresh.settings, "writer")).unwrap();
        ledger.append(slice::from_ref(&call)).unwrap();
        let settings = as_role(&fresh.settings, "reader");
        let reader = LedgerReader::of(&settings).unwrap();
        assert!(reader.call(call.call_id).is_ok());
        let session = session(&settings);
        assert_eq!(number(&session, "SELECT count(*) FROM calls"), 1);
        assert_eq!(number(&session, "SELECT count(*) FROM charge_lines"), 2);
        let insert = "INSERT INTO entries SELECT * FROM entries";
        session.batch(insert).unwrap_err();
        session
            .batch("SET default_transaction_read_only = off")
            .unwrap();
        let refused = session.batch(insert).unwrap_err().to_string();
        assert!(refused.contains("(42501)"), "{refused}");
    }
}

/// Dollars of the month, in femtodollars.
fn month(totals: &PeriodTotals) -> i128 {
    totals
        .iter()
        .map(|(_, _, all)| all.month.cost.femto())
        .sum()
}

#[test]
fn totals_of_a_replica_hold_what_the_others_wrote() {
    for server in servers() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let (fresh, mut one) = filled(server, &[entry_at("2026-11-22")]);
        let elsewhere = tempfile::tempdir().unwrap();
        let mut settings = fresh.settings.clone();
        settings.directory = elsewhere.path().to_owned();
        let mut other = Ledger::open(&settings).unwrap();
        let mut totals = PeriodTotals::seed(&one, now).unwrap();
        assert_eq!(month(&totals), 4_110_000_000_000);
        let mut followed = Breakdown::of(&settings, now).unwrap();
        let own = entry_at("2026-11-22T09:00:00Z");
        one.append(slice::from_ref(&own)).unwrap();
        totals.add(&own);
        other.append(&[entry_at("2026-11-22T09:30:00Z")]).unwrap();
        await_readers(&one);
        while followed.refresh(now).unwrap() {}
        totals.take(followed.totals().unwrap());
        assert_eq!(month(&totals), 3 * 4_110_000_000_000);
    }
}

#[test]
fn a_row_of_a_transaction_that_ended_late_is_not_passed_over() {
    for server in servers() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let (fresh, mut ledger) = filled(server, &[]);
        let mut followed = Breakdown::of(&fresh.settings, now).unwrap();
        let slow = session(&fresh.settings);
        slow.batch("BEGIN").unwrap();
        append(&slow, &[entry_at("2026-11-22")]).unwrap();
        ledger.append(&[entry_at("2026-11-22T09:00:00Z")]).unwrap();
        while followed.refresh(now).unwrap() {}
        assert_eq!(month(followed.totals().unwrap()), 0);
        slow.batch("COMMIT").unwrap();
        await_readers(&ledger);
        while followed.refresh(now).unwrap() {}
        assert_eq!(month(followed.totals().unwrap()), 2 * 4_110_000_000_000);
    }
}

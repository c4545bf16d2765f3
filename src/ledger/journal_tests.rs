//! The journal over a store that another program locks, and over one that takes nothing at all.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::database::Database;
use super::store::tests::{call_ids, entry};
use super::test_stores::{fresh, servers};
use super::{
    Journal, Ledger, LedgerReader, OpenCalls, Settings, Spill, SpillState, ledger_file, recover,
    replay,
};
use crate::domain::{CallId, Entry, Timestamp};
use crate::ledger::open_record::tests::open_call;
use crate::ledger::store::tests::entry_of;
use crate::telemetry::{KnownNames, Metrics, Observed};

struct Running {
    settings: Settings,
    journal: Journal,
    state: Arc<SpillState>,
    metrics: Arc<Metrics>,
}

fn start(settings: Settings) -> Running {
    let mut ledger = Ledger::open(&settings).unwrap();
    let mut spill = Spill::open(&settings).unwrap();
    replay(&mut ledger, &mut spill).unwrap();
    let state = Arc::<SpillState>::default();
    let telemetry = crate::telemetry::Settings::default();
    let metrics = Metrics::new(&telemetry, &KnownNames::default()).unwrap();
    let metrics = Arc::new(metrics);
    let journal = Journal::start(ledger, spill, Arc::clone(&state), Arc::clone(&metrics));
    Running {
        settings,
        journal: journal.unwrap(),
        state,
        metrics,
    }
}

/// One entry; ids of later ones sort later.
fn batch(number: i64) -> Arc<Vec<Entry>> {
    let at = Timestamp::from_unix_ms(1_800_000_000_000 + number);
    Arc::new(vec![Entry {
        call_id: CallId::generate(at),
        ..entry()
    }])
}

fn ids(batches: &[Arc<Vec<Entry>>]) -> Vec<String> {
    let entries = batches.iter().flat_map(|batch| batch.iter());
    entries.map(|entry| entry.call_id.to_string()).collect()
}

/// Locks the file as another program would.
fn lock(settings: &Settings) -> Connection {
    let other = Connection::open(ledger_file(&settings.directory)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    other
}

/// The call ids in the order of their rows.
fn rows(settings: &Settings) -> Vec<String> {
    let connection = Connection::open(ledger_file(&settings.directory)).unwrap();
    let mut statement = connection
        .prepare("SELECT call_id FROM entries ORDER BY rowid")
        .unwrap();
    let ids = statement.query_map((), |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

fn caught_up(running: &mut Running) {
    while running.journal.is_behind() {
        running.journal.advance(Duration::from_secs(1));
    }
}

#[test]
fn while_the_file_is_locked_entries_wait_in_the_spill_and_come_back_in_order_once() {
    let home = tempfile::tempdir().unwrap();
    let mut running = start(Settings::in_directory(home.path()));
    let batches: Vec<_> = (0..6).map(batch).collect();
    running.journal.append(&batches[0]).unwrap();
    assert_eq!(
        (running.state.entries(), running.state.is_full()),
        (0, false)
    );
    let other = lock(&running.settings);
    for waiting in &batches[1..4] {
        running.journal.append(waiting).unwrap();
    }
    assert_eq!(running.state.entries(), 3);
    assert!(running.state.bytes() > 0);
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    // Behind the others, whether they are in the store by now or not.
    running.journal.append(&batches[4]).unwrap();
    caught_up(&mut running);
    running.journal.append(&batches[5]).unwrap();
    assert_eq!((running.state.entries(), running.state.bytes()), (0, 0));
    assert_eq!(rows(&running.settings), ids(&batches));
    let shown = running.metrics.render(&Observed::default()).unwrap();
    assert!(
        shown.contains("bedrock_meter_ledger_entries_total 6"),
        "{shown}"
    );
    assert!(
        shown.contains(r#"ledger_errors_total{kind="slow"} 1"#),
        "{shown}"
    );
    running.journal.close();
    assert!(Ledger::open(&running.settings).is_ok());
}

#[test]
fn an_append_that_finds_the_spill_brought_in_shows_it_empty() {
    let home = tempfile::tempdir().unwrap();
    let mut running = start(Settings::in_directory(home.path()));
    let other = lock(&running.settings);
    running.journal.append(&batch(0)).unwrap();
    assert_eq!(running.state.entries(), 1);
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    let mut appended = 1;
    while running.journal.is_behind() {
        running.journal.advance(Duration::ZERO);
        // The store answers between the two, so that the append takes the answer.
        std::thread::sleep(Duration::from_millis(20));
        running.journal.append(&batch(appended)).unwrap();
        appended += 1;
    }
    assert_eq!((running.state.entries(), running.state.bytes()), (0, 0));
    assert_eq!(
        i64::try_from(rows(&running.settings).len()).unwrap(),
        appended
    );
}

/// A statement on another connection to the server of the ledger, which stays open.
fn on_the_server(settings: &Settings, sql: &str) -> LedgerReader {
    let other = LedgerReader::of(settings).unwrap();
    match other.database() {
        Database::Postgres(session) => session.batch(sql).unwrap(),
        Database::Sqlite(_) => panic!("no server"),
    }
    other
}

#[test]
fn while_a_server_does_not_answer_entries_wait_in_the_spill_and_come_back_in_order_once() {
    for store in servers() {
        let fresh = fresh(store);
        let mut running = start(fresh.settings.clone());
        let batches: Vec<_> = (0..4).map(batch).collect();
        running.journal.append(&batches[0]).unwrap();
        assert_eq!(running.state.entries(), 0);
        let other = on_the_server(&running.settings, "BEGIN; LOCK TABLE entries");
        for waiting in &batches[1..3] {
            running.journal.append(waiting).unwrap();
        }
        assert_eq!(running.state.entries(), 2);
        drop(other);
        running.journal.append(&batches[3]).unwrap();
        caught_up(&mut running);
        assert_eq!((running.state.entries(), running.state.bytes()), (0, 0));
        running.journal.close();
        let ledger = Ledger::open(&fresh.settings).unwrap();
        assert_eq!(call_ids(&ledger), ids(&batches));
    }
}

#[test]
fn when_neither_takes_entries_calls_are_to_be_refused_until_one_does() {
    let home = tempfile::tempdir().unwrap();
    let mut running = start(Settings {
        spill_bytes_max: 0,
        ..Settings::in_directory(home.path())
    });
    let other = lock(&running.settings);
    let only = batch(0);
    assert!(running.journal.append(&only).is_err());
    assert!(running.state.is_full());
    other.execute_batch("COMMIT").unwrap();
    while running.journal.append(&only).is_err() {
        running.journal.advance(Duration::from_secs(1));
    }
    assert!(!running.state.is_full());
    caught_up(&mut running);
    assert_eq!(rows(&running.settings), ids(&[only]));
}

#[test]
fn a_process_that_dies_with_a_full_spill_loses_nothing_and_doubles_nothing() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(home.path());
    let mut running = start(settings.clone());
    let log = OpenCalls::open(&settings).unwrap();
    let (spilled, lost) = (open_call(true), open_call(true));
    // Neither ticket is closed: the process dies before.
    let tickets = [&spilled, &lost].map(|call| log.append(call).unwrap());
    let other = lock(&settings);
    let exact = Entry {
        call_id: spilled.call_id,
        ..entry()
    };
    running.journal.append(&Arc::new(vec![exact])).unwrap();
    drop(tickets);
    drop(log);
    // The ledger goes with its thread; what is in the spill stays.
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    let Running { journal, .. } = running;
    drop(journal);
    let mut ledger = loop {
        match Ledger::open(&settings) {
            Ok(ledger) => break ledger,
            Err(_still_held) => std::thread::yield_now(),
        }
    };
    let mut spill = Spill::open(&settings).unwrap();
    assert_eq!(replay(&mut ledger, &mut spill).unwrap().entries, 1);
    let recovered = recover(&mut ledger, |call| entry_of(&call), &mut ()).unwrap();
    assert_eq!((recovered.settled, recovered.already_settled), (1, 1));
    assert_eq!(call_ids(&ledger).len(), 2);
    let source: String = ledger
        .database()
        .sqlite()
        .unwrap()
        .query_row(
            "SELECT usage_source FROM entries WHERE call_id = ?1",
            [spilled.call_id.to_string()],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(source, "reported", "what was settled is no estimate");
}

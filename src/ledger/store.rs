//! The store open for writing: who may write it, and how entries get in.
//!
//! Blocking: it belongs on the writer's own thread. Knows no queue; batches are its caller's.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::database::{Database, Fault};
use super::retention::Retention;
use super::rollup::Rollup;
use super::{
    Durability, LedgerError, OpenCall, SYNC_INTERVAL, Settings, StoreKind, elsewhere, open_calls,
    postgres, row, schema,
};
use crate::domain::{Entry, Timestamp};

/// The ledger, open for writing. One process at a time.
#[derive(Debug)]
pub struct Ledger {
    database: Database,
    /// SQLite's write-ahead log: asking the disk to keep it keeps every commit.
    log_file: PathBuf,
    /// When what was appended since was last on disk; `None` when nothing is outstanding.
    unsynced_since: Option<Instant>,
    durability: Durability,
    retention: Retention,
    /// Segments of the open-calls log that the process before left.
    left_open: Vec<PathBuf>,
    /// Held, not read: the lock on the directory ends with it.
    _lock: File,
}

impl Ledger {
    /// Opens the ledger in the directory of the settings, making what does not exist and
    /// migrating what is older.
    ///
    /// # Errors
    /// When the directory cannot be written, another process owns it, the file was written by a
    /// newer program, or SQLite refuses.
    pub fn open(settings: &Settings) -> Result<Self, LedgerError> {
        let directory = &settings.directory;
        fs::create_dir_all(directory).map_err(LedgerError::file("create", directory))?;
        let lock = lock(settings)?;
        let database = match settings.store {
            StoreKind::Sqlite => Database::Sqlite(open_file(settings)?),
            StoreKind::Postgres => {
                Database::Postgres(Box::new(postgres::open(&settings.postgres)?))
            }
        };
        elsewhere::note(settings)?;
        let left_open = open_calls::segments(&settings.open_calls_directory())?;
        Ok(Self {
            database,
            log_file: write_ahead_log(&settings.ledger_file()),
            unsynced_since: None,
            durability: settings.durability,
            retention: Retention::of(settings),
            left_open: left_open.into_iter().map(|(_, path)| path).collect(),
            _lock: lock,
        })
    }

    /// Adds entries in one transaction: all or, on an error, none. An entry whose call has its
    /// row already changes nothing, so a batch may be given again.
    ///
    /// # Errors
    /// When SQLite refuses; the entries are to be given again.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.insert(entries)
            .map_err(LedgerError::of("append entries"))?;
        if matches!(self.database, Database::Sqlite(_)) && self.durability == Durability::Default {
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        self.sync_if_due()
    }

    /// Asks the disk to keep what was appended, when that is [`SYNC_INTERVAL`] old. Appending
    /// does it by itself; a writer that has nothing to append calls it on its tick.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync_if_due(&mut self) -> Result<(), LedgerError> {
        match self.unsynced_since {
            Some(since) if since.elapsed() >= SYNC_INTERVAL => self.sync(),
            Some(_) | None => Ok(()),
        }
    }

    /// Asks the disk to keep everything that was appended: at shutdown, and before anything is
    /// deleted that could replace it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        if self.unsynced_since.is_some() {
            File::open(&self.log_file)
                .and_then(|log| log.sync_data())
                .map_err(LedgerError::file("sync", &self.log_file))?;
            self.unsynced_since = None;
        }
        Ok(())
    }

    /// Deletes entries that are older than they are kept, at most a thousand, or on a server a
    /// month; `true` when there are more. Their sums stay.
    ///
    /// # Errors
    /// When the database refuses, or the note of the last backup cannot be read.
    pub fn trim(&mut self, now: Timestamp) -> Result<bool, LedgerError> {
        self.retention.trim(&mut self.database, now)
    }

    /// Which of these calls have their entry. Many at a time: each question is a round trip where
    /// the ledger is a server's.
    ///
    /// # Errors
    /// When the store refuses.
    pub(super) fn settled_of(&self, calls: &[OpenCall]) -> Result<HashSet<String>, LedgerError> {
        let mut settled = HashSet::new();
        for some in calls.chunks(LOOKED_UP_AT_ONCE) {
            let places: Vec<String> = (1..=some.len()).map(|n| format!("?{n}")).collect();
            let places = places.join(", ");
            let sql = format!("SELECT call_id FROM entries WHERE call_id IN ({places})");
            let ids = some.iter().map(|call| call.call_id.to_string().into());
            let ids: Vec<_> = ids.collect();
            let found = self
                .database
                .list(&sql, &ids, |row| Ok(row.text(0)?.to_owned()));
            settled.extend(found.map_err(LedgerError::of("look up calls"))?);
        }
        Ok(settled)
    }

    /// The segments that the process before left; none the second time.
    pub(super) fn take_left_open(&mut self) -> Vec<PathBuf> {
        mem::take(&mut self.left_open)
    }

    /// The database, for queries of this room.
    pub(super) const fn database(&self) -> &Database {
        &self.database
    }

    fn insert(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        match &mut self.database {
            Database::Sqlite(connection) => Ok(insert(connection, entries)?),
            Database::Postgres(session) => {
                postgres::append(session, entries)?;
                Ok(())
            }
        }
    }
}

fn insert(connection: &mut Connection, entries: &[Entry]) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare(&row::insert_sql())?;
        let mut rollup = Rollup::default();
        for entry in entries {
            if row::insert(&mut statement, entry)? {
                rollup.add(entry);
            }
        }
        rollup.write(&transaction)?;
    }
    transaction.commit()
}

fn open_file(settings: &Settings) -> Result<Connection, LedgerError> {
    let path = settings.ledger_file();
    let mut connection = Connection::open(&path).map_err(LedgerError::sqlite("open the file"))?;
    prepare(&connection, settings.durability)
        .map_err(LedgerError::sqlite("set the journal mode"))?;
    schema::migrate(&mut connection, &path)?;
    Ok(connection)
}

/// Readers never block the writer in WAL mode; the writer waits for another tool's short lock.
fn prepare(connection: &Connection, durability: Durability) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", synchronous(durability))?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_KEPT)
}

/// `FULL` syncs the write-ahead log at each commit, `NORMAL` only before a checkpoint; between
/// checkpoints [`Ledger::sync_if_due`] does.
const fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Default => "normal",
        Durability::Strict => "full",
    }
}

fn write_ahead_log(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Takes the lock of the directory and writes into it who holds it.
pub(super) fn lock(settings: &Settings) -> Result<File, LedgerError> {
    let path = settings.lock_file();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options
        .open(&path)
        .map_err(LedgerError::file("open", &path))?;
    match lock_patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(LedgerError::Locked {
                directory: settings.directory.clone(),
                owner: owner(&mut file),
            });
        }
        Err(TryLockError::Error(source)) => return Err(LedgerError::file("lock", path)(source)),
    }
    let note = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.write_all(note.as_bytes()))
        .map_err(LedgerError::file("write", path))?;
    Ok(file)
}

/// A process that is just ending, or a child of one that has not begun its own program yet, lets go
/// within moments.
fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT_MAX => {
                std::thread::sleep(LOCK_PAUSE);
            }
            locked => return locked,
        }
    }
}

/// ` (pid N)`, from what the owner wrote into the lock file.
pub(super) fn owner(file: &mut File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!(" (pid {})", pid.trim()),
        Ok(_) | Err(_) => String::new(),
    }
}

/// Of a new file. Batches of 100 rows of 1 KB took 9.1 us of CPU a row with SQLite's 4 KiB, 7.9 with
/// 8 KiB and 7.3 with 16 KiB (one quiet run); small batches pay for every page they touch.
const PAGE_BYTES: i64 = 8192;

const LOCK_WAIT_MAX: Duration = Duration::from_millis(250);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Far below what SQLite and PostgreSQL take in one question.
const LOOKED_UP_AT_ONCE: usize = 500;

/// A backup or a checkpoint by another tool holds the lock for moments.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// After a checkpoint the write-ahead log is cut back to this size.
const JOURNAL_BYTES_KEPT: i64 = 64 << 20;

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{
        ApplicationId, CallId, Charge, ChargeLine, Dimension, Operation, Outcome, Rate, Reading,
        Region, TenantId, Timestamp, Usage, UsageReason, Usd,
    };
    use crate::ledger::database::Row;
    use crate::ledger::open_record::tests::open_call;
    use crate::ledger::test_stores::{filled, fresh, stores};

    /// A priced call of 1,200 input and 34 output tokens: 1200 x 0.000003 + 34 x 0.000015.
    pub(in crate::ledger) fn entry() -> Entry {
        let usage: Usage = [
            (Dimension::InputTokens, 1200),
            (Dimension::OutputTokens, 34),
        ]
        .into_iter()
        .collect();
        let line = |dimension: Dimension, quantity, femto| {
            let per_unit = Usd::from_femto(femto);
            let amount = per_unit.checked_mul(quantity).unwrap();
            let id = Arc::from("rate-1");
            ChargeLine {
                dimension,
                quantity,
                rate: Rate { id, per_unit },
                amount,
            }
        };
        let lines = vec![
            line(Dimension::InputTokens, 1200, 3_000_000_000),
            line(Dimension::OutputTokens, 34, 15_000_000_000),
        ];
        Entry {
            call_id: CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)),
            opened_at: Timestamp::from_unix_ms(1_795_300_000_123),
            settled_at: Timestamp::from_unix_ms(1_795_300_001_456),
            tenant: TenantId::new("search").unwrap(),
            application: ApplicationId::new("indexer").unwrap(),
            user: Some("u-1".into()),
            session: None,
            operation: Operation::Converse,
            model: None,
            region: Region::new("us-east-1").unwrap(),
            tier_asked: None,
            outcome: Outcome::Success,
            status: Some(200),
            error_class: None,
            aws_request_id: Some("aws-1".into()),
            sdk_invocation_id: None,
            sdk_attempt: Some(1),
            request_bytes: 800,
            response_bytes: 900,
            first_byte_ms: Some(40),
            duration_ms: 1333,
            reading: Reading::reported(usage, "body"),
            charge: Charge::of(lines),
            catalogue: "2026-11-01".into(),
            key: None,
            reserved: None,
            downgraded_from: None,
        }
    }

    /// What an open call becomes: an estimate without a price.
    pub(in crate::ledger) fn entry_of(call: &OpenCall) -> Entry {
        Entry {
            call_id: call.call_id,
            opened_at: call.opened_at,
            model: call.model.clone(),
            reading: Reading::missing(UsageReason::ProcessDied),
            charge: Charge::unpriced(crate::domain::UnpricedReason::UsageMissing),
            ..entry()
        }
    }

    /// Every call id in the ledger, sorted.
    pub(in crate::ledger) fn call_ids(ledger: &Ledger) -> Vec<String> {
        let sql = "SELECT call_id FROM entries ORDER BY call_id";
        let read = |row: &Row<'_, '_>| row.text(0).map(str::to_owned);
        ledger.database().list(sql, &[], read).unwrap()
    }

    fn text(ledger: &Ledger, sql: &str) -> Option<String> {
        let read = |row: &Row<'_, '_>| Ok(row.text_or_null(0)?.map(str::to_owned));
        ledger.database().first(sql, &[], read).unwrap().flatten()
    }

    #[test]
    fn an_entry_is_readable_by_people() {
        for store in stores() {
            let (_fresh, ledger) = filled(store, &[entry()]);
            let check = |sql: &str, expected: Option<&str>| {
                assert_eq!(text(&ledger, sql).as_deref(), expected, "{store:?} {sql}");
            };
            check(
                "SELECT opened_at FROM calls",
                Some("2026-11-21T22:26:40.123Z"),
            );
            check("SELECT tenant FROM calls", Some("search"));
            check(
                "SELECT cost_usd || '' FROM calls",
                Some("0.004110000000000"),
            );
            check("SELECT cache_read_tokens || '' FROM calls", None);
            check("SELECT sum(quantity) || '' FROM charge_lines", Some("1234"));
            check(
                "SELECT femtousd_per_unit || '' FROM charge_lines WHERE dimension = 'output_tokens'",
                Some("15000000000"),
            );
        }
    }

    #[test]
    fn readers_of_the_file_do_not_block_its_writer() {
        let (_fresh, ledger) = filled(StoreKind::Sqlite, &[]);
        assert_eq!(text(&ledger, "PRAGMA journal_mode").as_deref(), Some("wal"));
    }

    #[test]
    fn appending_again_changes_nothing() {
        for store in stores() {
            let (_fresh, mut ledger) = filled(store, &[]);
            let first = entry();
            let mut second = entry();
            ledger.append(&[first.clone(), first.clone()]).unwrap();
            second.call_id = first.call_id;
            second.tenant = TenantId::new("other").unwrap();
            ledger.append(&[second]).unwrap();
            assert_eq!(call_ids(&ledger), [first.call_id.to_string()]);
            let tenant = text(&ledger, "SELECT tenant FROM entries");
            assert_eq!(tenant.as_deref(), Some("search"));
        }
    }

    #[test]
    fn calls_with_an_entry_are_told_from_those_without_in_any_number() {
        for store in stores() {
            let calls: Vec<_> = (0..1_001).map(|_| open_call(false)).collect();
            let settled: Vec<_> = calls.iter().step_by(3).collect();
            let entries = settled.iter().map(|call| Entry {
                call_id: call.call_id,
                ..entry()
            });
            let (_fresh, ledger) = filled(store, &entries.collect::<Vec<_>>());
            let found = ledger.settled_of(&calls).unwrap();
            let expected = settled.iter().map(|call| call.call_id.to_string());
            assert_eq!(found, expected.collect());
            assert_eq!(found.len(), 334);
            assert!(ledger.settled_of(&[]).unwrap().is_empty());
        }
    }

    #[test]
    fn entries_outlive_the_process() {
        for store in stores() {
            let fresh = fresh(store);
            let settings = &fresh.settings;
            Ledger::open(settings).unwrap().append(&[entry()]).unwrap();
            assert_eq!(call_ids(&Ledger::open(settings).unwrap()).len(), 1);
        }
    }

    #[test]
    fn a_directory_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::in_directory(directory.path());
        let owner = Ledger::open(&settings).unwrap();
        let refused = Ledger::open(&settings).unwrap_err().to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(refused.contains(&pid), "{refused}");
        drop(owner);
        assert!(Ledger::open(&settings).is_ok());
    }

    #[test]
    fn an_amount_past_the_columns_is_unpriced_not_wrong() {
        for store in stores() {
            let (_fresh, mut ledger) = filled(store, &[]);
            let mut huge = entry();
            huge.charge.total = Some(Usd::from_femto(i128::MAX));
            ledger.append(&[huge]).unwrap();
            let reason = text(
                &ledger,
                "SELECT price_reason FROM entries WHERE cost_microusd IS NULL",
            );
            assert_eq!(reason.as_deref(), Some("out_of_range"));
        }
    }

    #[test]
    fn units_without_a_column_are_kept_by_name() {
        for store in stores() {
            let (_fresh, mut ledger) = filled(store, &[]);
            let mut search = entry();
            search
                .reading
                .usage
                .set(Dimension::from_name("search_unit"), 2);
            ledger.append(&[search]).unwrap();
            let units = text(&ledger, "SELECT units FROM entries");
            assert_eq!(units.as_deref(), Some(r#"{"search_unit":2}"#));
        }
    }

    #[test]
    fn syncing_works_under_both_durabilities() {
        for durability in [Durability::Default, Durability::Strict] {
            let directory = tempfile::tempdir().unwrap();
            let mut settings = Settings::in_directory(directory.path());
            settings.durability = durability;
            let mut ledger = Ledger::open(&settings).unwrap();
            ledger.append(&[entry()]).unwrap();
            ledger.sync().unwrap();
            assert!(ledger.unsynced_since.is_none());
        }
    }
}

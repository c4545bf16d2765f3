//! Copies of the database: made while a server writes, checked, and put back.
//!
//! A backup is one read transaction: it has what was committed when it began, and the server goes
//! on. Nothing is replaced before the copy in its place was checked, and nothing is deleted: what a
//! restore replaces is kept beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::retention::BackupNote;
use super::{LedgerError, Settings, elsewhere, schema, store};
use crate::domain::Timestamp;

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Entries in it.
    pub entries: u64,
    /// When the newest of them was settled; `None` where there is none.
    pub settled_to: Option<Timestamp>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Is told how many of how many pages are copied.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Copies the database of a ledger into a new file and checks the copy. The server may be running.
///
/// Leaves a note of it in the ledger's directory: entries that no backup has are not deleted.
///
/// # Errors
/// When there is no ledger, the file exists, it cannot be written, or the copy is not whole.
pub fn back_up(
    settings: &Settings,
    to: &Path,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<Copied, LedgerError> {
    let from = settings.ledger_file();
    if !from.exists() {
        return Err(elsewhere::missing(&settings.directory));
    }
    if to.exists() {
        let cause = std::io::ErrorKind::AlreadyExists.into();
        return Err(LedgerError::file("back up to", to)(cause));
    }
    let partial = with_suffix(to, ".partial");
    let source = read_only(&from)?;
    let copied = copy(&source, &partial, progress).and_then(|()| check(&partial));
    let (copied, rows_to) = copied.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    fs::rename(&partial, to).map_err(LedgerError::file("rename", &partial))?;
    let note = BackupNote {
        rows_to,
        made_at: now.to_string(),
        path: to.display().to_string(),
    };
    note.write(&settings.last_backup_file())?;
    Ok(copied)
}

/// Puts a backup in the place of the database. The one that was there is kept beside it, its path
/// is returned.
///
/// # Errors
/// When a process writes the ledger, the backup is not whole or of a newer program, or the ledger
/// has calls that the backup lacks and `force` is not given. Nothing is changed then.
pub fn restore(
    settings: &Settings,
    from: &Path,
    force: bool,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<(Copied, Option<PathBuf>), LedgerError> {
    let directory = &settings.directory;
    elsewhere::refuse(directory)?;
    fs::create_dir_all(directory).map_err(LedgerError::file("create", directory))?;
    let _lock = store::lock(settings)?;
    let place = settings.ledger_file();
    let partial = with_suffix(&place, ".restoring");
    let source = read_only(from)?;
    let backup = state(&source)?;
    if place.exists() && !force {
        let there = read_only(&place).and_then(|there| state(&there));
        refuse_loss(&place, there, &backup)?;
    }
    if partial.exists() {
        fs::remove_file(&partial).map_err(LedgerError::file("delete", &partial))?;
    }
    let copied = copy(&source, &partial, progress).and_then(|()| check(&partial));
    let (copied, rows_to) = copied.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    let aside = put_aside(&place, now)?;
    fs::rename(&partial, &place).map_err(LedgerError::file("rename", &partial))?;
    let note = BackupNote {
        rows_to,
        made_at: now.to_string(),
        path: from.display().to_string(),
    };
    note.write(&settings.last_backup_file())?;
    Ok((copied, aside))
}

/// A ledger that cannot be asked is not taken to be older.
fn refuse_loss(
    place: &Path,
    there: Result<State, LedgerError>,
    backup: &State,
) -> Result<(), LedgerError> {
    let lost = match there {
        Ok(there) if there.settled_to <= backup.settled_to && there.rows_to <= backup.rows_to => {
            return Ok(());
        }
        Ok(there) => {
            let settled_to = there.settled_to.unwrap_or_default();
            format!("has calls up to {settled_to} that the backup may lack")
        }
        Err(error) => format!("cannot be read ({error})"),
    };
    Err(LedgerError::NewerLedger {
        path: place.to_owned(),
        lost,
    })
}

/// Moves the database and its write-ahead log aside; `None` where there is no database.
fn put_aside(place: &Path, now: Timestamp) -> Result<Option<PathBuf>, LedgerError> {
    let was_there = place.exists();
    let aside = with_suffix(place, &format!(".before-restore-{}", now.unix_ms()));
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(place, suffix), with_suffix(&aside, suffix));
        if from.exists() {
            fs::rename(&from, to).map_err(LedgerError::file("rename", &from))?;
        }
    }
    Ok(was_there.then_some(aside))
}

/// What a database says of itself.
#[derive(Debug)]
struct State {
    entries: i64,
    rows_to: i64,
    settled_to: Option<Timestamp>,
}

fn state(connection: &Connection) -> Result<State, LedgerError> {
    let sql = "SELECT count(*), ifnull(max(rowid), 0), max(settled_at) FROM entries";
    let state = connection.query_row(sql, (), |row| {
        let settled_to: Option<i64> = row.get(2)?;
        Ok(State {
            entries: row.get(0)?,
            rows_to: row.get(1)?,
            settled_to: settled_to.map(Timestamp::from_unix_ms),
        })
    });
    state.map_err(LedgerError::sqlite("read what is there"))
}

fn read_only(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    };
    open().map_err(LedgerError::sqlite("open the file"))
}

/// Copies in one read transaction, so that a server's commits do not make it begin again.
fn copy(source: &Connection, to: &Path, progress: Progress<'_>) -> Result<(), LedgerError> {
    let mut copied = || {
        let snapshot = source.unchecked_transaction()?;
        snapshot.query_row("SELECT count(*) FROM sqlite_schema", (), |_row| Ok(()))?;
        let mut target = Connection::open(to)?;
        let backup = Backup::new(source, &mut target)?;
        loop {
            let step = backup.step(PAGES_OF_A_STEP)?;
            let pages = backup.progress();
            let [left, all] =
                [pages.remaining, pages.pagecount].map(|n| u64::try_from(n).unwrap_or(0));
            progress(all.saturating_sub(left), all);
            match step {
                StepResult::Done => return Ok(()),
                StepResult::More => {}
                StepResult::Busy | StepResult::Locked | _ => std::thread::sleep(PAUSE),
            }
        }
    };
    copied().map_err(LedgerError::sqlite("copy the database"))
}

/// Whether the copy is whole; what it holds and its last row.
fn check(copy: &Path) -> Result<(Copied, i64), LedgerError> {
    let path = copy.to_owned();
    let connection = Connection::open(copy).map_err(LedgerError::sqlite("open the copy"))?;
    let found = integrity(&connection)?;
    if let Some(found) = found {
        return Err(LedgerError::NotWhole { path, found });
    }
    let (found, known) = (schema::version(&connection)?, schema::newest());
    if found > known {
        return Err(LedgerError::NewerSchema { path, found, known });
    }
    // One file that needs no others beside it; the server chooses its own mode.
    connection
        .pragma_update(None, "journal_mode", "delete")
        .map_err(LedgerError::sqlite("finish the copy"))?;
    let state = state(&connection)?;
    let file = fs::File::open(copy).map_err(LedgerError::file("open", copy))?;
    file.sync_all().map_err(LedgerError::file("sync", copy))?;
    let bytes = file
        .metadata()
        .map_err(LedgerError::file("look at", copy))?;
    let copied = Copied {
        entries: state.entries.unsigned_abs(),
        settled_to: state.settled_to,
        bytes: bytes.len(),
    };
    Ok((copied, state.rows_to))
}

/// What SQLite finds wrong; `None` when the file is whole.
pub(super) fn integrity(connection: &Connection) -> Result<Option<String>, LedgerError> {
    let found = connection.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0));
    let found: String = found.map_err(LedgerError::sqlite("check the file"))?;
    Ok((found != "ok").then_some(found))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Eight megabytes: a step is over in some tens of milliseconds.
const PAGES_OF_A_STEP: std::ffi::c_int = 1_000;
const PAUSE: Duration = Duration::from_millis(20);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, Entry};
    use crate::ledger::store::tests::{call_ids, entry};
    use crate::ledger::{Ledger, verify};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    fn entries(count: usize) -> Vec<Entry> {
        let one = |_| Entry {
            call_id: CallId::generate(NOW),
            ..entry()
        };
        (0..count).map(one).collect()
    }

    fn settings(home: &tempfile::TempDir) -> Settings {
        Settings::in_directory(home.path().join("ledger"))
    }

    fn quietly(_done: u64, _all: u64) {}

    #[test]
    fn a_backup_of_a_ledger_in_use_is_whole_and_goes_back() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(&home);
        let mut ledger = Ledger::open(&settings).unwrap();
        ledger.append(&entries(3_000)).unwrap();
        let to = home.path().join("backup.sqlite3");
        let mut steps = Vec::new();
        // The server goes on while it is copied.
        let mut progress = |done, all| {
            ledger.append(&entries(1)).unwrap();
            steps.push((done, all));
        };
        let copied = back_up(&settings, &to, NOW, &mut progress).unwrap();
        assert_eq!(copied.entries, 3_000);
        let (done, all) = *steps.last().unwrap();
        assert!(done == all && all > 0, "{steps:?}");
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            2,
            "no rest of it"
        );
        let again = back_up(&settings, &to, NOW, &mut quietly);
        assert!(again.unwrap_err().to_string().contains("backup.sqlite3"));
        let before = call_ids(&ledger);
        assert!(before.len() > 3_000);

        let running = restore(&settings, &to, true, NOW, &mut quietly).unwrap_err();
        let pid = format!("(pid {})", std::process::id());
        assert!(running.to_string().contains(&pid), "{running}");
        drop(ledger);
        let newer = restore(&settings, &to, false, NOW, &mut quietly);
        assert!(
            matches!(newer, Err(LedgerError::NewerLedger { .. })),
            "{newer:?}"
        );
        assert_eq!(call_ids(&Ledger::open(&settings).unwrap()), before);

        let (copied, aside) = restore(&settings, &to, true, NOW, &mut quietly).unwrap();
        assert_eq!(copied.entries, 3_000);
        let ledger = Ledger::open(&settings).unwrap();
        assert_eq!(call_ids(&ledger).len(), 3_000);
        assert_eq!(
            state(&read_only(&aside.unwrap()).unwrap()).unwrap().entries,
            i64::try_from(before.len()).unwrap()
        );
        assert!(verify(&settings, &mut quietly).unwrap().is_sound());
    }

    #[test]
    fn a_backup_goes_into_an_empty_place() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(&home);
        Ledger::open(&settings)
            .unwrap()
            .append(&entries(3))
            .unwrap();
        let to = home.path().join("backup.sqlite3");
        back_up(&settings, &to, NOW, &mut quietly).unwrap();
        let elsewhere = Settings::in_directory(home.path().join("other"));
        let (copied, aside) = restore(&elsewhere, &to, false, NOW, &mut quietly).unwrap();
        assert_eq!((copied.entries, aside), (3, None));
        assert_eq!(call_ids(&Ledger::open(&elsewhere).unwrap()).len(), 3);
        // The same once more: nothing would be lost.
        assert!(restore(&elsewhere, &to, false, NOW, &mut quietly).is_ok());
    }

    #[test]
    fn what_is_no_backup_replaces_nothing() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(&home);
        Ledger::open(&settings)
            .unwrap()
            .append(&entries(3))
            .unwrap();
        let to = home.path().join("backup.sqlite3");
        back_up(&settings, &to, NOW, &mut quietly).unwrap();
        let mut bytes = fs::read(&to).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0xa5);
        let damaged = home.path().join("damaged.sqlite3");
        fs::write(&damaged, bytes).unwrap();
        for path in [damaged, home.path().join("nothing.sqlite3")] {
            assert!(restore(&settings, &path, true, NOW, &mut quietly).is_err());
        }
        assert_eq!(call_ids(&Ledger::open(&settings).unwrap()).len(), 3);
    }
}

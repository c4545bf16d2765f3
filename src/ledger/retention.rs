//! Deletes entries that are older than they are kept, a few at a time. Their sums stay.
//!
//! Of a file whole UTC days only, and by default nothing that no backup has. The newest row always
//! stays, so that row numbers go on growing: what follows the ledger reads on behind the last number
//! it saw. On a server whole months, as it keeps them in tables of their own; its backups are not
//! known here.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::database::Database;
use super::rollup::{DAY_MS, floor};
use super::{KeepEntries, LedgerError, Settings, postgres};
use crate::domain::Timestamp;

/// What is kept how long.
#[derive(Clone, Debug)]
pub(super) struct Retention {
    keep: KeepEntries,
    until_backup: bool,
    last_backup: PathBuf,
}

impl Retention {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            keep: settings.keep_entries,
            until_backup: settings.keep_until_backup,
            last_backup: settings.last_backup_file(),
        }
    }

    /// Deletes what is due, at most [`ROWS_MAX`] entries or a month; `true` when there is more.
    pub(super) fn trim(
        &self,
        database: &mut Database,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let KeepEntries::Days(days) = self.keep else {
            return Ok(false);
        };
        let kept = i64::from(days).saturating_mul(DAY_MS);
        let before = floor(now.unix_ms().saturating_sub(kept), DAY_MS);
        match database {
            Database::Sqlite(connection) => self.trim_file(connection, before),
            Database::Postgres(_) if self.until_backup => Ok(false),
            Database::Postgres(session) => {
                postgres::forget(session, Timestamp::from_unix_ms(before))
                    .map_err(postgres::failed("delete old entries"))
            }
        }
    }

    fn trim_file(&self, connection: &mut Connection, before: i64) -> Result<bool, LedgerError> {
        let rows_to = match BackupNote::read(&self.last_backup)? {
            _ if !self.until_backup => i64::MAX,
            Some(note) => note.rows_to,
            None => return Ok(false),
        };
        let deleted = delete(connection, before, rows_to);
        let deleted = deleted.map_err(LedgerError::sqlite("delete old entries"))?;
        Ok(deleted >= ROWS_MAX)
    }
}

fn delete(
    connection: &mut Connection,
    before: i64,
    rows_to: i64,
) -> Result<usize, rusqlite::Error> {
    let transaction = connection.transaction()?;
    let deleted = transaction.execute(DELETE, (before, rows_to))?;
    if deleted > 0 {
        let known: Option<i64> =
            transaction.query_row("SELECT max(kept_from) FROM retention", (), |row| row.get(0))?;
        if known.is_none_or(|known| known < before) {
            transaction.execute("DELETE FROM retention", ())?;
            transaction.execute("INSERT INTO retention VALUES (?1)", [before])?;
        }
    }
    transaction.commit()?;
    Ok(deleted)
}

/// What the last backup of a ledger has, in a file beside it: a backup is made by a process that
/// may not write the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackupNote {
    /// The last row of `entries` in it.
    pub(super) rows_to: i64,
    /// When it was made, RFC 3339.
    pub(super) made_at: String,
    /// Where it was written.
    pub(super) path: String,
}

impl BackupNote {
    /// The note of the last backup; `None` when there was none.
    pub(super) fn read(file: &Path) -> Result<Option<Self>, LedgerError> {
        let text = match fs::read_to_string(file) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(LedgerError::file("read", file))?,
        };
        let note = serde_json::from_str(&text).map_err(std::io::Error::from);
        note.map(Some).map_err(LedgerError::file("read", file))
    }

    /// Takes the place of the last note at once.
    pub(super) fn write(&self, file: &Path) -> Result<(), LedgerError> {
        let made = file.with_extension("new");
        let text = serde_json::to_string(self).map_err(std::io::Error::from);
        let written = text.and_then(|text| fs::write(&made, text));
        written.map_err(LedgerError::file("write", &made))?;
        fs::rename(&made, file).map_err(LedgerError::file("rename", &made))
    }
}

/// Rows of one transaction: some tens of milliseconds.
pub(super) const ROWS_MAX: usize = 1_000;

const DELETE: &str = "
DELETE FROM entries WHERE rowid IN (
    SELECT rowid FROM entries
    WHERE opened_at < ?1 AND rowid <= ?2 AND rowid < (SELECT max(rowid) FROM entries)
    ORDER BY opened_at LIMIT 1000)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, Entry};
    use crate::ledger::store::tests::entry;
    use crate::ledger::{GroupBy, Ledger, LedgerReader, Span};

    const NOW: &str = "2027-06-15T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry_at(opened_at: Timestamp) -> Entry {
        Entry {
            call_id: CallId::generate(at(NOW)),
            opened_at,
            ..entry()
        }
    }

    /// Two thousand and ten calls of a hundred days ago, a few around the limit, one of today.
    fn filled(settings: &Settings) -> Ledger {
        let mut ledger = Ledger::open(settings).unwrap();
        let old = at("2027-03-07T10:30:00Z");
        let mut entries: Vec<_> = (0..2_010).map(|_| entry_at(old)).collect();
        entries.push(entry_at(at("2027-04-13T23:59:59.999Z")));
        entries.push(entry_at(at("2027-04-14T00:00:00Z")));
        entries.push(entry_at(at(NOW)));
        ledger.append(&entries).unwrap();
        ledger
    }

    fn settings(home: &tempfile::TempDir) -> Settings {
        Settings {
            keep_entries: KeepEntries::Days(62),
            ..Settings::in_directory(home.path())
        }
    }

    fn left(ledger: &Ledger) -> i64 {
        let count = "SELECT count(*) FROM entries";
        let file = ledger.database().sqlite().unwrap();
        let left = file.query_row(count, (), |row| row.get(0));
        left.unwrap()
    }

    #[test]
    fn old_entries_go_in_small_batches_and_their_sums_stay() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            keep_until_backup: false,
            ..settings(&home)
        };
        let mut ledger = filled(&settings);
        let reader = LedgerReader::open(home.path()).unwrap();
        let year = Span {
            from: at("2027-01-01"),
            to: at("2028-01-01"),
        };
        let before = reader.summary(&[GroupBy::Day], year).unwrap();
        let mut batches = vec![left(&ledger)];
        while ledger.trim(at(NOW)).unwrap() {
            batches.push(left(&ledger));
        }
        assert_eq!(batches, [2_013, 1_013, 13]);
        // The last of a whole day is gone, the first of the next is there.
        assert_eq!(left(&ledger), 2);
        let mut after = reader.summary(&[GroupBy::Day], year).unwrap();
        after.groups.sort_by(|one, other| one.key.cmp(&other.key));
        let mut before = before;
        before.groups.sort_by(|one, other| one.key.cmp(&other.key));
        assert_eq!(after, before);
        let cut = Span {
            from: at("2027-03-07T10:15:00Z"),
            ..year
        };
        let refused = reader.summary(&[], cut).unwrap_err();
        assert!(
            matches!(refused, LedgerError::EntriesDeleted { kept_from } if kept_from == at("2027-04-14"))
        );
        let idle = Span {
            from: at("2027-03-07T12:15:00Z"),
            ..year
        };
        assert_eq!(reader.summary(&[], idle).unwrap().groups[0].sums.calls, 3);
    }

    #[test]
    fn nothing_goes_that_no_backup_has() {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(&home);
        let mut ledger = filled(&settings);
        assert!(!ledger.trim(at(NOW)).unwrap());
        assert_eq!(left(&ledger), 2_013);
        let note = BackupNote {
            rows_to: 7,
            made_at: NOW.to_owned(),
            path: "/backup".to_owned(),
        };
        note.write(&settings.last_backup_file()).unwrap();
        assert!(!ledger.trim(at(NOW)).unwrap());
        assert_eq!(left(&ledger), 2_006);
    }

    #[test]
    fn the_newest_row_stays_however_old_it_is() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            keep_until_backup: false,
            ..settings(&home)
        };
        let mut ledger = Ledger::open(&settings).unwrap();
        let old = at("2020-01-01");
        ledger.append(&[entry_at(old), entry_at(old)]).unwrap();
        assert!(!ledger.trim(at(NOW)).unwrap());
        assert_eq!(left(&ledger), 1);
    }

    #[test]
    fn by_default_entries_are_kept_for_ever() {
        let home = tempfile::tempdir().unwrap();
        let mut ledger = filled(&Settings::in_directory(home.path()));
        assert!(!ledger.trim(at(NOW)).unwrap());
        assert_eq!(left(&ledger), 2_013);
    }
}

//! Whether a ledger is sound: its file, its sums, and what waits beside it.

use std::path::Path;
use std::{fs, io};

use rusqlite::Connection;

use super::backup::{Progress, integrity};
use super::rolled::{has_rollups, kept_from};
use super::rollup::{RECOUNT_DAYS, RECOUNT_HOURS};
use super::{LedgerError, LedgerReader, Settings, elsewhere};
use crate::domain::Timestamp;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that are there.
    pub entries: u64,
    /// What SQLite finds wrong with the file.
    pub damage: Option<String>,
    /// Hours whose sums are not those of their entries.
    pub wrong_hours: u64,
    /// Days whose sums are not those of their hours.
    pub wrong_days: u64,
    /// Bytes that wait in the spill: not wrong, but a server brings them in.
    pub spill_bytes: u64,
    /// Segments of spill and open-calls log that were put aside as damaged.
    pub damaged_segments: u64,
}

impl Verified {
    /// Whether everything is as it must be, and nothing waits.
    pub const fn is_sound(&self) -> bool {
        self.damage.is_none()
            && self.wrong_hours == 0
            && self.wrong_days == 0
            && self.spill_bytes == 0
            && self.damaged_segments == 0
    }
}

/// Looks at all of it, in one snapshot. The server may be running.
///
/// # Errors
/// When there is no ledger, or it cannot be read.
pub fn verify(settings: &Settings, progress: Progress<'_>) -> Result<Verified, LedgerError> {
    let reader = LedgerReader::open(&settings.directory)?;
    let failed = || LedgerError::sqlite("verify");
    let database = reader.database();
    let Some(connection) = database.sqlite() else {
        return Err(elsewhere::missing(&settings.directory));
    };
    let snapshot = connection.unchecked_transaction().map_err(failed())?;
    let mut verified = Verified {
        entries: count(&snapshot, "SELECT count(*) FROM entries").map_err(failed())?,
        spill_bytes: bytes_of(&settings.spill_directory(), ".spill")?
            .iter()
            .sum(),
        damaged_segments: damaged(settings)?,
        ..Verified::default()
    };
    progress(0, STEPS);
    verified.damage = integrity(&snapshot)?;
    progress(1, STEPS);
    if !has_rollups(database).map_err(LedgerError::of("verify"))? {
        progress(STEPS, STEPS);
        return Ok(verified);
    }
    // Sums of what was deleted cannot be counted again.
    let kept_from = kept_from(database).map_err(LedgerError::of("verify"))?;
    let kept_from = kept_from.map_or(i64::MIN, Timestamp::unix_ms);
    verified.wrong_hours = wrong(&snapshot, RECOUNT_HOURS, kept_from).map_err(failed())?;
    progress(2, STEPS);
    verified.wrong_days = wrong(&snapshot, RECOUNT_DAYS, i64::MIN).map_err(failed())?;
    progress(STEPS, STEPS);
    Ok(verified)
}

/// How many hours or days differ from an instant on.
fn wrong(connection: &Connection, recount: &str, from: i64) -> Result<u64, rusqlite::Error> {
    connection.query_row(recount, [from], |row| {
        row.get::<_, i64>(0).map(i64::unsigned_abs)
    })
}

fn count(connection: &Connection, sql: &str) -> Result<u64, rusqlite::Error> {
    connection.query_row(sql, (), |row| row.get::<_, i64>(0).map(i64::unsigned_abs))
}

fn damaged(settings: &Settings) -> Result<u64, LedgerError> {
    let spill = bytes_of(&settings.spill_directory(), ".damaged")?;
    let open_calls = bytes_of(&settings.open_calls_directory(), ".damaged")?;
    let found = spill.len().saturating_add(open_calls.len());
    Ok(u64::try_from(found).unwrap_or(u64::MAX))
}

/// The sizes of the files whose names end so.
fn bytes_of(directory: &Path, end: &str) -> Result<Vec<u64>, LedgerError> {
    let listed = || {
        let files = match fs::read_dir(directory) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut found = Vec::new();
        for file in files {
            let file = file?;
            if file
                .file_name()
                .as_encoded_bytes()
                .ends_with(end.as_bytes())
            {
                found.push(file.metadata()?.len());
            }
        }
        Ok(found)
    };
    listed().map_err(LedgerError::file("list", directory))
}

/// Integrity, hours, days.
const STEPS: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallId, Entry};
    use crate::ledger::store::tests::entry;
    use crate::ledger::{Ledger, Spill, ledger_file};

    fn filled(home: &tempfile::TempDir) -> Settings {
        let settings = Settings::in_directory(home.path());
        let entries: Vec<Entry> = (0..100)
            .map(|n| Entry {
                call_id: CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)),
                opened_at: Timestamp::from_unix_ms(1_795_300_000_000 + n * 1_000_000),
                ..entry()
            })
            .collect();
        let mut ledger = Ledger::open(&settings).unwrap();
        ledger.append(&entries).unwrap();
        settings
    }

    fn verified(settings: &Settings) -> Verified {
        verify(settings, &mut |_done, _all| {}).unwrap()
    }

    #[test]
    fn a_ledger_that_was_let_alone_is_sound() {
        let home = tempfile::tempdir().unwrap();
        let found = verified(&filled(&home));
        assert!(found.is_sound(), "{found:?}");
        assert_eq!(found.entries, 100);
    }

    #[test]
    fn whatever_was_changed_by_hand_is_found() {
        let changes = [
            (
                "UPDATE entries SET cost_microusd = cost_microusd + 1 WHERE rowid = 7",
                1,
                0,
            ),
            ("UPDATE entries SET tenant = 'other' WHERE rowid = 7", 1, 0),
            ("DELETE FROM entries WHERE rowid = 7", 1, 0),
            ("UPDATE rollup_hours SET input_tokens = 0", 28, 3),
            ("DELETE FROM rollup_days", 0, 3),
        ];
        for (change, hours, days) in changes {
            let home = tempfile::tempdir().unwrap();
            let settings = filled(&home);
            let other = Connection::open(ledger_file(home.path())).unwrap();
            assert!(other.execute(change, ()).unwrap() > 0);
            let found = verified(&settings);
            assert!(!found.is_sound());
            assert_eq!(
                (found.wrong_hours, found.wrong_days),
                (hours, days),
                "{change}"
            );
        }
    }

    #[test]
    fn what_waits_in_the_spill_is_said() {
        let home = tempfile::tempdir().unwrap();
        let settings = filled(&home);
        Spill::open(&settings).unwrap().append(&[entry()]).unwrap();
        let found = verified(&settings);
        assert!(found.spill_bytes > 0 && !found.is_sound());
    }
}

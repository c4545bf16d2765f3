//! A note in a replica's directory that its ledger is in PostgreSQL: commands that are for the file
//! say so, where they would otherwise find nothing, or put a file there that nobody reads.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{LedgerError, Settings, StoreKind};

/// The note in a directory.
pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join("ledger.postgres")
}

/// Writes the note, or takes it away, as the settings say.
pub(super) fn note(settings: &Settings) -> Result<(), LedgerError> {
    let path = settings.elsewhere_file();
    match settings.store {
        StoreKind::Postgres => {
            let text = format!("{}\n", settings.postgres.schema);
            fs::write(&path, text).map_err(LedgerError::file("write", path))
        }
        StoreKind::Sqlite => match fs::remove_file(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(LedgerError::file("delete", path)),
        },
    }
}

/// Refuses what is for the file where the ledger is in PostgreSQL.
pub(super) fn refuse(directory: &Path) -> Result<(), LedgerError> {
    match fs::read_to_string(file(directory)) {
        Ok(schema) => Err(LedgerError::InPostgres {
            directory: directory.to_owned(),
            schema: schema.trim().to_owned(),
        }),
        Err(_none) => Ok(()),
    }
}

/// Why a directory has no ledger file.
pub(super) fn missing(directory: &Path) -> LedgerError {
    let directory = directory.to_owned();
    refuse(&directory)
        .err()
        .unwrap_or(LedgerError::NoLedger { directory })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::ledger::test_stores::{fresh, servers};
    use crate::ledger::{Ledger, back_up, restore, verify};

    #[test]
    fn commands_for_the_file_say_where_the_ledger_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(directory.path());
        let now = Timestamp::from_unix_ms(0);
        let copy = directory.path().join("copy");
        settings.store = StoreKind::Postgres;
        note(&settings).unwrap();
        let quiet = &mut |_done, _all| {};
        let directory_alone = Settings::in_directory(directory.path());
        let said = [
            back_up(&settings, &copy, now, quiet).unwrap_err(),
            restore(&settings, &copy, true, now, quiet).unwrap_err(),
            verify(&directory_alone, quiet).unwrap_err(),
        ];
        for error in said {
            assert!(matches!(error, LedgerError::InPostgres { .. }), "{error}");
            assert!(error.to_string().contains("pg_dump"), "{error}");
        }
        settings.store = StoreKind::Sqlite;
        note(&settings).unwrap();
        assert!(matches!(
            missing(directory.path()),
            LedgerError::NoLedger { .. }
        ));
    }

    #[test]
    fn a_replica_leaves_the_note() {
        for store in servers() {
            let fresh = fresh(store);
            drop(Ledger::open(&fresh.settings).unwrap());
            assert!(refuse(&fresh.settings.directory).is_err());
        }
    }
}

//! Whether a ledger is sound: its file, its sums, and what waits beside it.

use std::path::Path;
use std::{fs, io};

use super::backup::{Progress, integrity};
use super::database::{Database, Fault};
use super::rolled::{has_rollups, kept_from};
use super::rollup::{RECOUNT_DAYS, RECOUNT_HOURS};
use super::{LedgerError, LedgerReader, Settings};
use crate::domain::Timestamp;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that are there.
    pub entries: u64,
    /// What SQLite finds wrong with the file; a server looks after its own.
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

/// Looks at all of it, at the entries and sums in one snapshot. Servers may be running.
///
/// # Errors
/// When there is no ledger, or it cannot be read.
pub fn verify(settings: &Settings, progress: Progress<'_>) -> Result<Verified, LedgerError> {
    let mut patient = settings.clone();
    patient.postgres = settings.postgres.patient();
    let reader = LedgerReader::of(&patient)?;
    let database = reader.database();
    let mut verified = Verified {
        spill_bytes: bytes_of(&settings.spill_directory(), ".spill")?
            .iter()
            .sum(),
        damaged_segments: damaged(settings)?,
        ..Verified::default()
    };
    progress(0, STEPS);
    if let Some(file) = database.sqlite() {
        verified.damage = integrity(file)?;
    }
    progress(1, STEPS);
    let recounted = database.snapshot(|database| recount(database, &mut verified, progress));
    recounted.map_err(LedgerError::of("verify"))?;
    progress(STEPS, STEPS);
    Ok(verified)
}

fn recount(
    database: &Database,
    verified: &mut Verified,
    progress: Progress<'_>,
) -> Result<(), Fault> {
    let first = |sql, values: &[_]| database.first(sql, values, |row| row.count(0));
    let entries = first("SELECT count(*) FROM entries", &[])?;
    verified.entries = entries.unwrap_or_default();
    if !has_rollups(database)? {
        return Ok(());
    }
    // Sums of what was deleted cannot be counted again.
    let kept_from = kept_from(database)?.map_or(i64::MIN, Timestamp::unix_ms);
    let wrong_hours = first(RECOUNT_HOURS, &[kept_from.into()])?;
    verified.wrong_hours = wrong_hours.unwrap_or_default();
    progress(2, STEPS);
    let wrong_days = first(RECOUNT_DAYS, &[i64::MIN.into()])?;
    verified.wrong_days = wrong_days.unwrap_or_default();
    Ok(())
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
    use crate::ledger::test_stores::{Fresh, change_by_hand, filled, stores};
    use crate::ledger::{Spill, StoreKind};

    /// A hundred calls in 28 hours of three days.
    fn hundred(store: StoreKind) -> Fresh {
        let entries: Vec<Entry> = (0..100)
            .map(|n| Entry {
                call_id: CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)),
                opened_at: Timestamp::from_unix_ms(1_795_300_000_000 + n * 1_000_000),
                ..entry()
            })
            .collect();
        filled(store, &entries).0
    }

    fn verified(fresh: &Fresh) -> Verified {
        verify(&fresh.settings, &mut |_done, _all| {}).unwrap()
    }

    #[test]
    fn a_ledger_that_was_let_alone_is_sound() {
        for store in stores() {
            let found = verified(&hundred(store));
            assert!(found.is_sound(), "{found:?}");
            assert_eq!(found.entries, 100);
        }
    }

    #[test]
    fn whatever_was_changed_by_hand_is_found() {
        let changes = [
            (
                "UPDATE entries SET cost_microusd = cost_microusd + 1 WHERE call_id = FIRST",
                1,
                0,
            ),
            (
                "UPDATE entries SET tenant = 'other' WHERE call_id = FIRST",
                1,
                0,
            ),
            ("DELETE FROM entries WHERE call_id = FIRST", 1, 0),
            ("UPDATE rollup_hours SET input_tokens = 0", 28, 3),
            ("DELETE FROM rollup_days", 0, 3),
        ];
        for (store, (change, hours, days)) in stores()
            .into_iter()
            .flat_map(|store| changes.map(|change| (store, change)))
        {
            let fresh = hundred(store);
            let first = "(SELECT min(call_id) FROM entries)";
            change_by_hand(&fresh.settings, &change.replace("FIRST", first));
            let found = verified(&fresh);
            assert!(!found.is_sound());
            assert_eq!(
                (found.wrong_hours, found.wrong_days),
                (hours, days),
                "{store:?} {change}"
            );
        }
    }

    #[test]
    fn what_waits_in_the_spill_is_said() {
        for store in stores() {
            let fresh = hundred(store);
            let mut spill = Spill::open(&fresh.settings).unwrap();
            spill.append(&[entry()]).unwrap();
            let found = verified(&fresh);
            assert!(found.spill_bytes > 0 && !found.is_sound());
        }
    }
}

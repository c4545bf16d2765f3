//! Settles what a dead process left open.
//!
//! Every record in a segment that the process before left behind, and whose call has no entry,
//! becomes an entry. Killed in the middle it starts again: entries are idempotent by call id, and
//! segments go only after everything in them is in the ledger and on disk.
//!
//! How a call of unknown end is estimated and priced is the caller's.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::open_record::scan;
use super::{Ledger, LedgerError, OpenCall, Witness};
use crate::domain::{CallId, Entry};

/// What [`recover`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segments that were left.
    pub segments: u64,
    /// Calls without an entry: each has one now.
    pub settled: u64,
    /// Calls that had their entry already.
    pub already_settled: u64,
    /// Stretches of bytes that are no record this version reads: a torn or damaged one. Segments
    /// with such are kept beside the log, with `.damaged` after their name.
    pub unreadable: u64,
}

/// Makes an entry of every call that was open when the ledger's directory changed hands.
///
/// Reads the segments that existed when the ledger was opened: the log of this process is not
/// touched, whenever it was begun.
///
/// # Errors
/// When a segment cannot be read or deleted, or an entry cannot be committed. Nothing is lost:
/// the next start begins again.
pub fn recover(
    ledger: &mut Ledger,
    mut settle: impl FnMut(OpenCall) -> Entry,
    witness: &mut impl Witness,
) -> Result<Recovered, LedgerError> {
    let mut recovered = Recovered::default();
    let mut seen = HashSet::new();
    let mut done = Vec::new();
    for path in ledger.take_left_open() {
        let bytes = fs::read(&path).map_err(LedgerError::file("read", &path))?;
        let scan = scan(&bytes);
        recovered.segments += 1;
        recovered.unreadable += scan.unreadable;
        done.push((path, scan.unreadable > 0));
        let total = count(scan.records.len());
        let settled = settle_segment(ledger, scan.records, &mut seen, &mut settle, witness)?;
        recovered.settled += settled;
        recovered.already_settled += total.saturating_sub(settled);
    }
    ledger.sync()?;
    for (path, damaged) in done {
        put_away(&path, damaged)?;
    }
    Ok(recovered)
}

/// Appends the entries that are missing, in batches; says how many.
fn settle_segment(
    ledger: &mut Ledger,
    calls: Vec<OpenCall>,
    seen: &mut HashSet<CallId>,
    settle: &mut impl FnMut(OpenCall) -> Entry,
    witness: &mut impl Witness,
) -> Result<u64, LedgerError> {
    let known = ledger.settled_of(&calls)?;
    let is_open =
        |call: &OpenCall| seen.insert(call.call_id) && !known.contains(&call.call_id.to_string());
    let open: Vec<_> = calls.into_iter().filter(is_open).collect();
    let settled = count(open.len());
    let mut open = open.into_iter().map(settle).peekable();
    while open.peek().is_some() {
        let batch: Vec<Entry> = open.by_ref().take(BATCH_ENTRIES).collect();
        witness.about_to_commit(&batch);
        let appended = ledger.append(&batch);
        witness.ended();
        appended?;
    }
    Ok(settled)
}

fn put_away(path: &Path, damaged: bool) -> Result<(), LedgerError> {
    if damaged {
        let aside = with_suffix(path, ".damaged");
        return fs::rename(path, aside).map_err(LedgerError::file("rename", path));
    }
    fs::remove_file(path).map_err(LedgerError::file("delete", path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Bounds what a transaction holds in memory.
const BATCH_ENTRIES: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::ledger::open_record::tests::open_call;
    use crate::ledger::store::tests::{call_ids, entry, entry_of};
    use crate::ledger::test_stores::{fresh, stores};
    use crate::ledger::{OpenCalls, Settings};

    /// Opens calls in a log and lets the process "die": every ticket is dropped open.
    fn die_with_open_calls(settings: &Settings, count: usize) -> Vec<OpenCall> {
        let log = OpenCalls::open(settings).unwrap();
        let open = |_| {
            let call = open_call(true);
            drop(log.append(&call).unwrap());
            call
        };
        (0..count).map(open).collect()
    }

    fn recover_all(settings: &Settings) -> Recovered {
        let mut ledger = Ledger::open(settings).unwrap();
        recover(&mut ledger, |call| entry_of(&call), &mut ()).unwrap()
    }

    fn files(settings: &Settings) -> usize {
        fs::read_dir(settings.open_calls_directory())
            .unwrap()
            .count()
    }

    #[test]
    fn calls_without_an_entry_get_one_and_the_others_keep_theirs() {
        for store in stores() {
            let fresh = fresh(store);
            let settings = &fresh.settings;
            let calls = die_with_open_calls(settings, 3);
            Ledger::open(settings)
                .unwrap()
                .append(&[entry_of(&calls[1])])
                .unwrap();
            let recovered = recover_all(settings);
            assert_eq!((recovered.settled, recovered.already_settled), (2, 1));
            let mut expected: Vec<_> = calls.iter().map(|call| call.call_id.to_string()).collect();
            expected.sort();
            assert_eq!(call_ids(&Ledger::open(settings).unwrap()), expected);
            assert_eq!(files(settings), 0);
            assert_eq!(recover_all(settings), Recovered::default());
        }
    }

    #[test]
    fn a_recovery_that_was_interrupted_is_finished_by_the_next() {
        for store in stores() {
            let fresh = fresh(store);
            let settings = &fresh.settings;
            die_with_open_calls(settings, 5);
            let mut calls = 0;
            let interrupted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut ledger = Ledger::open(settings).unwrap();
                let settle = |call: OpenCall| {
                    calls += 1;
                    assert!(calls < 3, "dies here");
                    entry_of(&call)
                };
                recover(&mut ledger, settle, &mut ())
            }));
            assert!(interrupted.is_err());
            assert_eq!(recover_all(settings).settled, 5);
            assert_eq!(call_ids(&Ledger::open(settings).unwrap()).len(), 5);
        }
    }

    #[test]
    fn the_log_of_this_process_is_left_alone() {
        for store in stores() {
            let fresh = fresh(store);
            let settings = &fresh.settings;
            die_with_open_calls(settings, 2);
            let mut ledger = Ledger::open(settings).unwrap();
            let log = OpenCalls::open(settings).unwrap();
            let ticket = log.append(&open_call(true)).unwrap();
            let recovered = recover(&mut ledger, |call| entry_of(&call), &mut ()).unwrap();
            assert_eq!((recovered.settled, files(settings)), (2, 1));
            ticket.close();
        }
    }

    #[test]
    fn a_torn_tail_costs_one_record_and_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::in_directory(directory.path());
        die_with_open_calls(&settings, 2);
        let segments = crate::ledger::open_calls::segments(&settings.open_calls_directory());
        let (_, path) = segments.unwrap().remove(0);
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&open_call(true).encode()[..40]).unwrap();
        let recovered = recover_all(&settings);
        assert_eq!((recovered.settled, recovered.unreadable), (2, 1));
        assert_eq!(files(&settings), 1);
        assert_eq!(recover_all(&settings), Recovered::default());
    }

    #[test]
    fn more_calls_than_a_batch_are_all_settled() {
        for store in stores() {
            let fresh = fresh(store);
            let settings = &fresh.settings;
            die_with_open_calls(settings, BATCH_ENTRIES + 1);
            let expected = count(BATCH_ENTRIES + 1);
            assert_eq!(recover_all(settings).settled, expected);
        }
    }

    #[test]
    fn an_entry_of_another_call_is_no_answer() {
        for store in stores() {
            let fresh = fresh(store);
            let settings = &fresh.settings;
            die_with_open_calls(settings, 1);
            Ledger::open(settings).unwrap().append(&[entry()]).unwrap();
            assert_eq!(recover_all(settings).settled, 1);
        }
    }
}

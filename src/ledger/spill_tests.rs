//! The files of the spill: their order, their room, and what is left of them after damage.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::spill_record::encode;
use super::store::tests::{call_ids, entry};
use super::{Durability, Ledger, LedgerError, Replayed, Settings, Spill, replay};
use crate::domain::{CallId, Entry, Timestamp};

fn entries(count: usize) -> Vec<Entry> {
    let one = |_| Entry {
        call_id: CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000)),
        ..entry()
    };
    (0..count).map(one).collect()
}

fn settings(home: &tempfile::TempDir) -> Settings {
    Settings::in_directory(home.path())
}

fn files(settings: &Settings) -> Vec<PathBuf> {
    let listed = fs::read_dir(settings.spill_directory()).unwrap();
    let mut paths: Vec<_> = listed.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Everything that waits, oldest first, taking it out.
fn drain(spill: &mut Spill) -> Vec<Entry> {
    let mut all = Vec::new();
    while let Some(batch) = spill.oldest().unwrap() {
        all.extend(batch.entries);
        spill.done(batch.unreadable > 0).unwrap();
    }
    all
}

#[test]
fn what_waits_comes_out_in_order_also_for_the_next_process() {
    for durability in [Durability::Default, Durability::Strict] {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            segment_bytes_max: 2_000,
            durability,
            ..settings(&home)
        };
        let all = entries(40);
        let mut spill = Spill::open(&settings).unwrap();
        for batch in all[..30].chunks(3) {
            spill.append(batch).unwrap();
        }
        assert_eq!(spill.entries(), 30);
        assert!(files(&settings).len() > 3);
        drop(spill);
        let mut spill = Spill::open(&settings).unwrap();
        spill.append(&all[30..]).unwrap();
        assert_eq!(drain(&mut spill), all);
        assert!(spill.is_empty() && files(&settings).is_empty());
        assert_eq!((spill.entries(), spill.bytes()), (0, 0));
    }
}

#[test]
fn what_is_read_is_never_written_again() {
    let home = tempfile::tempdir().unwrap();
    let mut spill = Spill::open(&settings(&home)).unwrap();
    let all = entries(2);
    spill.append(&all[..1]).unwrap();
    assert_eq!(spill.oldest().unwrap().unwrap().entries, all[..1]);
    spill.append(&all[1..]).unwrap();
    spill.done(false).unwrap();
    assert_eq!(drain(&mut spill), all[1..]);
}

#[test]
fn a_full_spill_takes_all_or_nothing_and_has_room_again() {
    let home = tempfile::tempdir().unwrap();
    let mut record = Vec::new();
    encode(&entry(), &mut record);
    let settings = Settings {
        spill_bytes_max: 3 * u64::try_from(record.len()).unwrap(),
        ..settings(&home)
    };
    let mut spill = Spill::open(&settings).unwrap();
    let all = entries(4);
    spill.append(&all[..2]).unwrap();
    let refused = spill.append(&all[2..]);
    assert!(matches!(refused, Err(LedgerError::SpillFull { .. })));
    assert_eq!(drain(&mut spill), all[..2]);
    spill.append(&all[2..]).unwrap();
    assert_eq!(drain(&mut spill), all[2..]);
}

#[test]
fn a_damaged_segment_gives_what_it_can_and_is_kept_aside() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(&home);
    let mut spill = Spill::open(&settings).unwrap();
    let all = entries(3);
    spill.append(&all).unwrap();
    drop(spill);
    let mut torn = Vec::new();
    encode(&entry(), &mut torn);
    let path = files(&settings).remove(0);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&torn[..50]).unwrap();

    let mut ledger = Ledger::open(&settings).unwrap();
    let mut spill = Spill::open(&settings).unwrap();
    let replayed = replay(&mut ledger, &mut spill).unwrap();
    let expected = Replayed {
        segments: 1,
        entries: 3,
        unreadable: 1,
    };
    assert_eq!(replayed, expected);
    let left = files(&settings);
    assert_eq!(left.len(), 1);
    assert!(left[0].to_str().unwrap().ends_with(".spill.damaged"));
    assert!(Spill::open(&settings).unwrap().is_empty());
}

#[test]
fn a_replay_that_ended_in_the_middle_is_finished_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(&home);
    let all = entries(5);
    let mut spill = Spill::open(&settings).unwrap();
    spill.append(&all).unwrap();
    let mut ledger = Ledger::open(&settings).unwrap();
    // The store took two of them before the process died.
    ledger.append(&all[..2]).unwrap();
    drop((spill, ledger));
    for replayed in [5, 0] {
        let mut ledger = Ledger::open(&settings).unwrap();
        let mut spill = Spill::open(&settings).unwrap();
        let found = replay(&mut ledger, &mut spill).unwrap();
        assert_eq!(found.entries, replayed);
        let mut expected: Vec<_> = all.iter().map(|entry| entry.call_id.to_string()).collect();
        expected.sort();
        assert_eq!(call_ids(&ledger), expected);
    }
}

//! Replicas that live, die, freeze and come back, on one server.

use std::path::Path;
use std::time::Duration;

use super::tests::{number, session};
use super::*;
use crate::domain::{Entry, ReplicaId};
use crate::ledger::open_record::tests::open_call;
use crate::ledger::store::tests::{call_ids, entry_of};
use crate::ledger::test_stores::{fresh, servers};
use crate::ledger::{Ledger, OpenCall, OpenCalls, Witness};

/// One of several processes, with a directory of its own.
struct Replica {
    settings: Settings,
    log: OpenCalls,
    leases: Leases,
}

fn settings(shared: &Settings, directory: &Path, id: &str, lease: Duration) -> Settings {
    let mut settings = shared.clone();
    settings.directory = directory.join(id);
    std::fs::create_dir_all(&settings.directory).unwrap();
    settings.replica.id = Some(ReplicaId::new(id).unwrap());
    settings.replica.lease = lease;
    settings
}

impl Replica {
    fn start(settings: &Settings) -> Self {
        let leases = Leases::join(settings).unwrap().unwrap();
        let log = OpenCalls::open(settings).unwrap().told_by(Some(&leases));
        let settings = settings.clone();
        Self {
            settings,
            log,
            leases,
        }
    }

    /// A call that is still open when the test says that the process is gone.
    fn open(&self) -> OpenCall {
        let call = open_call(true);
        drop(self.log.append(&call).unwrap());
        call
    }

    fn settle_for_the_gone(&mut self) -> u64 {
        let settle = |call: OpenCall| entry_of(&call);
        self.leases.settle_for_the_gone(settle, &mut ()).unwrap()
    }
}

/// Runs the lease of a replica out, as if that much time had passed on the server.
fn expire(shared: &Settings, id: &str) {
    let sql = format!("UPDATE replicas SET lease_until = now() - interval '1 s' WHERE id = '{id}'");
    session(shared).batch(&sql).unwrap();
}

/// As if no replica had been heard of for an hour.
fn miss_beats(shared: &Settings) {
    let sql = "UPDATE replicas SET heartbeat_at = now() - interval '1 h'";
    session(shared).batch(sql).unwrap();
}

/// So short that it has passed between two looks.
const AT_ONCE: Duration = Duration::ZERO;
/// Longer than a test.
const LONG: Duration = Duration::from_hours(1);

fn check(lease: Duration, test: impl Fn(&Settings, Replica, Replica)) {
    for server in servers() {
        let shared = fresh(server);
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|id| {
            let settings = settings(&shared.settings, directory.path(), id, lease);
            Replica::start(&settings)
        });
        test(&shared.settings, one, two);
    }
}

#[test]
fn open_calls_of_a_replica_that_is_gone_are_settled_once_by_another() {
    check(AT_ONCE, |shared, mut one, mut two| {
        let calls = [two.open(), two.open()];
        two.leases.beat().unwrap();
        drop(two);
        expire(shared, "two");
        assert_eq!(
            one.settle_for_the_gone(),
            0,
            "it is heard of for the first time"
        );
        assert_eq!(one.settle_for_the_gone(), 2);
        assert_eq!(one.settle_for_the_gone(), 0);
        let ledger = Ledger::open(&one.settings).unwrap();
        let mut expected = calls.map(|call| call.call_id.to_string());
        expected.sort();
        assert_eq!(call_ids(&ledger), expected);
        let left = "SELECT (SELECT count(*) FROM open_calls) + (SELECT count(*) FROM replicas)";
        assert_eq!(number(&session(shared), left), 1, "only the one that lives");
    });
}

/// Hears of entries, and looks at each time what another connection sees of them.
struct Hears<'a> {
    shared: &'a Settings,
    told: Vec<String>,
    seen: Vec<i64>,
}

impl Hears<'_> {
    fn look(&mut self) {
        let seen = number(&session(self.shared), "SELECT count(*) FROM entries");
        self.seen.push(seen);
    }
}

impl Witness for Hears<'_> {
    fn about_to_commit(&mut self, added: &[Entry]) {
        let calls = added.iter().map(|entry| entry.call_id.to_string());
        self.told.extend(calls);
        self.look();
    }

    fn ended(&mut self) {
        self.look();
    }
}

#[test]
fn of_entries_for_another_the_new_ones_are_told_before_they_are_committed() {
    check(AT_ONCE, |shared, mut one, mut two| {
        let calls = [two.open(), two.open()];
        two.leases.beat().unwrap();
        let mut ledger = Ledger::open(&two.settings).unwrap();
        ledger.append(&[entry_of(&calls[0])]).unwrap();
        drop((two, ledger));
        expire(shared, "two");
        let (told, seen) = (Vec::new(), Vec::new());
        let mut hears = Hears { shared, told, seen };
        let settle = |call: OpenCall| entry_of(&call);
        for expected in [0, 1] {
            let settled = one.leases.settle_for_the_gone(settle, &mut hears);
            assert_eq!(settled.unwrap(), expected);
        }
        assert_eq!(hears.told, [calls[1].call_id.to_string()]);
        assert_eq!(hears.seen, [1, 2]);
    });
}

#[test]
fn a_call_that_had_its_entry_keeps_it() {
    check(AT_ONCE, |shared, mut one, mut two| {
        let call = two.open();
        two.leases.beat().unwrap();
        let mut ledger = Ledger::open(&two.settings).unwrap();
        let settled = Entry {
            outcome: crate::domain::Outcome::ClientLeft,
            ..entry_of(&call)
        };
        ledger.append(&[settled]).unwrap();
        drop((two, ledger));
        expire(shared, "two");
        one.settle_for_the_gone();
        assert_eq!(one.settle_for_the_gone(), 0, "nothing is added");
        let kept = "SELECT count(*) FROM entries WHERE outcome = 'client_left'";
        assert_eq!(number(&session(shared), kept), 1);
    });
}

#[test]
fn the_owner_that_comes_back_settles_nothing_twice() {
    check(AT_ONCE, |shared, mut one, mut two| {
        let call = two.open();
        two.leases.beat().unwrap();
        expire(shared, "two");
        one.settle_for_the_gone();
        assert_eq!(one.settle_for_the_gone(), 1);
        // It was only frozen: it learns of it, and its own settlement changes nothing.
        assert_eq!(two.leases.beat().unwrap(), Beat::Returned);
        assert_eq!(two.leases.beat().unwrap(), Beat::Renewed);
        let mut ledger = Ledger::open(&two.settings).unwrap();
        ledger.append(&[entry_of(&call)]).unwrap();
        // Or it died after all, and reads its own log.
        let recovered =
            crate::ledger::recover(&mut ledger, |call| entry_of(&call), &mut ()).unwrap();
        assert_eq!((recovered.settled, recovered.already_settled), (0, 1));
        assert_eq!(call_ids(&ledger), [call.call_id.to_string()]);
    });
}

#[test]
fn two_that_find_one_gone_settle_its_calls_once() {
    check(AT_ONCE, |shared, mut one, mut two| {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(shared, directory.path(), "three", AT_ONCE);
        let mut three = Replica::start(&settings);
        for _ in 0..50 {
            three.open();
        }
        three.leases.beat().unwrap();
        drop(three);
        expire(shared, "three");
        // Both live, so that neither settles for the other.
        let renew = "UPDATE replicas SET lease_until = now() + interval '1 h' WHERE id <> 'three'";
        session(shared).batch(renew).unwrap();
        one.settle_for_the_gone();
        two.settle_for_the_gone();
        let settled: u64 = std::thread::scope(|scope| {
            let both = [&mut one, &mut two];
            let both = both.map(|replica| scope.spawn(move || replica.settle_for_the_gone()));
            both.into_iter().map(|done| done.join().unwrap()).sum()
        });
        assert_eq!(settled, 50);
        let entries = "SELECT count(*) FROM entries";
        assert_eq!(number(&session(shared), entries), 50);
    });
}

#[test]
fn nobody_is_gone_for_one_who_has_not_listened_for_a_lease() {
    check(LONG, |shared, mut one, mut two| {
        two.open();
        two.leases.beat().unwrap();
        // The server was away for longer than any lease, and this one is the first to be back.
        expire(shared, "two");
        assert_eq!(one.settle_for_the_gone(), 0);
        assert_eq!(one.settle_for_the_gone(), 0);
        assert_eq!(two.leases.beat().unwrap(), Beat::Renewed);
    });
}

#[test]
fn a_replica_that_lives_is_left_alone() {
    check(AT_ONCE, |shared, mut one, mut two| {
        two.open();
        two.leases.beat().unwrap();
        let alive = "UPDATE replicas SET lease_until = now() + interval '1 h'";
        session(shared).batch(alive).unwrap();
        assert_eq!(one.settle_for_the_gone(), 0);
        assert_eq!(one.settle_for_the_gone(), 0);
    });
}

#[test]
fn calls_that_ended_are_no_more_told_and_who_leaves_is_forgotten() {
    check(LONG, |shared, _one, mut two| {
        let count = |sql: &str| number(&session(shared), sql);
        let ticket = two.log.append(&open_call(true)).unwrap();
        two.log.append(&open_call(true)).unwrap().close();
        two.leases.beat().unwrap();
        assert_eq!(count("SELECT count(*) FROM open_calls"), 1);
        ticket.close();
        two.leases.leave().unwrap();
        assert_eq!(count("SELECT count(*) FROM open_calls"), 0);
        assert_eq!(count("SELECT count(*) FROM replicas WHERE id = 'two'"), 0);
    });
}

#[test]
fn a_replica_whose_disk_is_gone_settles_what_it_told_when_it_starts_again() {
    check(LONG, |shared, _one, mut two| {
        let call = two.open();
        two.leases.beat().unwrap();
        let mut again = two.settings.clone();
        drop(two);
        miss_beats(shared);
        let new_disk = tempfile::tempdir().unwrap();
        again.directory = new_disk.path().to_owned();
        let mut ledger = Ledger::open(&again).unwrap();
        let recovered =
            crate::ledger::recover(&mut ledger, |call| entry_of(&call), &mut ()).unwrap();
        assert_eq!(recovered.settled, 0);
        let mut leases = Leases::join(&again).unwrap().unwrap();
        assert_eq!(
            leases.settle_own(|call| entry_of(&call), &mut ()).unwrap(),
            1
        );
        assert_eq!(
            leases.settle_own(|call| entry_of(&call), &mut ()).unwrap(),
            0
        );
        assert_eq!(call_ids(&ledger), [call.call_id.to_string()]);
        let lives = "SELECT count(*) FROM replicas WHERE id = 'two'";
        assert_eq!(number(&session(shared), lives), 1);
    });
}

#[test]
fn a_process_whose_id_lives_elsewhere_does_not_join() {
    check(LONG, |_, _one, mut two| {
        let settings = two.settings.clone();
        let joined = std::thread::scope(|scope| {
            let joining = scope.spawn(|| Leases::join(&settings));
            while !joining.is_finished() {
                two.leases.beat().unwrap();
            }
            joining.join().unwrap()
        });
        assert!(matches!(joined, Err(LedgerError::ReplicaLives(_))));
        assert_eq!(two.leases.beat().unwrap(), Beat::Renewed);
    });
}

#[test]
fn two_processes_of_one_id_are_told() {
    check(LONG, |shared, _one, mut two| {
        miss_beats(shared);
        let usurper = Leases::join(&two.settings).unwrap().unwrap();
        assert_eq!(two.leases.beat().unwrap(), Beat::Doubled);
        drop(usurper);
    });
}

#[test]
fn what_could_not_be_told_is_told_when_the_server_is_back() {
    check(LONG, |shared, _one, mut two| {
        two.leases.beat().unwrap();
        let call = two.open();
        let own = two.leases.backend();
        let kill = format!("SELECT pg_terminate_backend({own})");
        session(shared).query(&kill, &[]).unwrap();
        two.leases.beat().unwrap_err();
        two.leases.beat().unwrap();
        let told = format!(
            "SELECT count(*) FROM open_calls WHERE call_id = '{}'",
            call.call_id
        );
        assert_eq!(number(&session(shared), &told), 1);
    });
}

#[test]
fn a_record_of_a_newer_program_is_left_to_it() {
    check(AT_ONCE, |shared, mut one, mut two| {
        let mut record = two.open().encode();
        two.leases.beat().unwrap();
        record[8] = 9;
        let end = record.len() - 4;
        let checksum = crc32fast::hash(&record[4..end]).to_le_bytes();
        record[end..].copy_from_slice(&checksum);
        two.leases.replace_records(&record);
        expire(shared, "two");
        one.settle_for_the_gone();
        assert_eq!(one.settle_for_the_gone(), 0);
        assert_eq!(
            number(&session(shared), "SELECT count(*) FROM open_calls"),
            1
        );
        assert_eq!(number(&session(shared), "SELECT count(*) FROM replicas"), 2);
    });
}

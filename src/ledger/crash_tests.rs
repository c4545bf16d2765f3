//! What the death of a process leaves, shown with a real second process and a real SIGKILL.
//!
//! The second process is this test binary again, running one "test" that is the victim when the
//! environment names a directory, and nothing otherwise.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;

use super::open_record::tests::open_call;
use super::store::tests::{call_ids, entry_of};
use super::{Ledger, LedgerError, OpenCalls, Settings, recover};

const DIRECTORY: &str = "BEDROCK_METER_TEST_LEDGER";

/// Opens calls and settles every other one until it is killed. Says `opened ID` after each open.
#[test]
fn victim() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let mut settings = Settings::in_directory(directory);
    settings.segment_bytes_max = 2_000;
    let mut ledger = Ledger::open(&settings).unwrap();
    let log = OpenCalls::open(&settings).unwrap();
    let mut kept = Vec::new();
    loop {
        let (left, settled) = (open_call(true), open_call(false));
        kept.push(log.append(&left).unwrap());
        let ticket = log.append(&settled).unwrap();
        println!("\nopened {}", left.call_id);
        println!("opened {}", settled.call_id);
        ledger.append(&[entry_of(&settled)]).unwrap();
        ticket.close();
    }
}

fn start_victim(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ledger::crash_tests::victim", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The ids the victim says it opened: at least so many, then it is killed, then the rest.
fn opened_before_kill(victim: &mut Child, at_least: usize) -> BTreeSet<String> {
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut opened = BTreeSet::new();
    while opened.len() < at_least {
        let line = lines.next().unwrap().unwrap();
        opened.extend(line.strip_prefix("opened ").map(str::to_owned));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    let rest = lines.map_while(Result::ok);
    // The last line may be cut short: an id has 36 characters.
    let rest = rest.filter_map(|line| line.strip_prefix("opened ").map(str::to_owned));
    opened.extend(rest.filter(|id| id.len() == 36));
    opened
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn every_call_opened_before_a_kill_has_one_entry_after(at_least in 1_usize..400) {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::in_directory(directory.path());
        let opened = opened_before_kill(&mut start_victim(directory.path()), at_least);
        let mut ledger = Ledger::open(&settings).unwrap();
        recover(&mut ledger, |call| entry_of(&call), &mut ()).unwrap();
        let entries: BTreeSet<String> = call_ids(&ledger).into_iter().collect();
        prop_assert!(opened.is_subset(&entries));
        // At most the pair that was opened and not yet said.
        prop_assert!(entries.len() <= opened.len() + 2);
    }
}

#[test]
fn two_processes_never_write_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    let mut victim = start_victim(directory.path());
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().starts_with("opened "));
    let refused = Ledger::open(&settings);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let pid = format!(" (pid {})", victim.id());
    assert!(matches!(refused, Err(LedgerError::Locked { owner, .. }) if owner == pid));
    assert!(Ledger::open(&settings).is_ok());
}

//! Can the ledger be written: directory, lock, room on its disk?

use super::finding::Finding;
use crate::ledger::{Condition, Settings, inspect};

const CHECK: &str = "ledger";

pub(super) fn check(settings: &Settings) -> Finding {
    match inspect(settings) {
        Ok(condition) => judged(settings, &condition),
        Err(error) => Finding::failed(CHECK, error.to_string(), MEND),
    }
}

fn judged(settings: &Settings, condition: &Condition) -> Finding {
    let directory = settings.directory.display();
    let free = condition.bytes_free / MIB;
    let state = match &condition.owner {
        Some(owner) => format!("written by a running process{owner}"),
        None if condition.is_there => "writable, and nobody writes it now".to_owned(),
        None => "not there yet; it can be made".to_owned(),
    };
    let seen = format!("{directory}: {state}; {free} MiB free");
    if condition.bytes_free < ROOM_MIN {
        let mend = "make room or move ledger.directory: when the disk is full, calls are refused";
        return Finding::failed(CHECK, seen, mend);
    }
    if condition.bytes_free < ROOM_GOOD {
        let mend = "a million calls take about 1 GiB: plan for more room";
        return Finding::warning(CHECK, seen, mend);
    }
    Finding::ok(CHECK, seen)
}

const MEND: &str =
    "let this process's user write there, or set ledger.directory to a directory of its own";
const MIB: u64 = 1 << 20;
const ROOM_MIN: u64 = 64 * MIB;
const ROOM_GOOD: u64 = 1024 * MIB;

//! Brings what waits in the spill into the store.
//!
//! Exactly once, whatever ends it: a segment goes only after the store has all of it on disk, and
//! an entry that is given again changes nothing.

use super::{Ledger, LedgerError, Spill};
use crate::domain::Entry;

/// What [`replay`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Segments that were left.
    pub segments: u64,
    /// Entries in them: each is in the ledger now.
    pub entries: u64,
    /// Stretches of bytes that are no record this version reads. Segments with such are kept
    /// beside the spill, with `.damaged` after their name.
    pub unreadable: u64,
}

/// Gives the store everything that an earlier process left in the spill. To be called before
/// [`super::recover`], which would take those calls for lost ones.
///
/// # Errors
/// When a segment cannot be read or deleted, or the store does not take its entries. Nothing is
/// lost: the next start begins again.
pub fn replay(ledger: &mut Ledger, spill: &mut Spill) -> Result<Replayed, LedgerError> {
    let mut replayed = Replayed::default();
    while let Some(batch) = spill.oldest()? {
        append_all(ledger, &batch.entries)?;
        let entries = u64::try_from(batch.entries.len()).unwrap_or(u64::MAX);
        replayed.segments = replayed.segments.saturating_add(1);
        replayed.entries = replayed.entries.saturating_add(entries);
        replayed.unreadable = replayed.unreadable.saturating_add(batch.unreadable);
        spill.done(batch.unreadable > 0)?;
    }
    Ok(replayed)
}

/// Appends entries in transactions of a bounded size, and has the disk keep them.
pub(super) fn append_all(ledger: &mut Ledger, entries: &[Entry]) -> Result<(), LedgerError> {
    for batch in entries.chunks(BATCH_ENTRIES) {
        ledger.append(batch)?;
    }
    ledger.sync()
}

/// Bounds what a transaction holds.
const BATCH_ENTRIES: usize = 2_000;

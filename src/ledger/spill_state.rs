//! What others see of the spill: the gauges, readiness, and whether new calls may pass.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Written by the thread that settles, read by all.
#[derive(Debug, Default)]
pub struct SpillState {
    entries: AtomicU64,
    bytes: AtomicU64,
    full: AtomicBool,
}

impl SpillState {
    /// Entries that wait in the spill.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes of the spill's files.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether neither the store nor the spill took the last entries: no new call may pass.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn show(&self, entries: u64, bytes: u64) {
        self.entries.store(entries, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }
}

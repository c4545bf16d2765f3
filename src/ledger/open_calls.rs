//! The log of open calls: one small write before the first upstream byte, so that a call which
//! its process does not live to settle is known to the next one.
//!
//! A record (`open_record.rs`) is appended by ONE `write` to a file opened with `O_APPEND`: the
//! kernel orders the writes of all threads, and what was written survives the death of the
//! process. Threads share no lock, only a reference to the current segment.
//!
//! The log is never rewritten. It goes on in a new segment when the current one is full, and a
//! segment is deleted when it is no longer current and each of its calls is closed: the last
//! reference to a segment does it. A call that is dropped without being closed (a panic, a
//! shutdown that ran out of time) keeps its segment on disk for [`super::recover`].
//!
//! Blocking, but for microseconds (under strict durability: for as long as the disk takes).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;

use super::mirror::Mirror;
use super::{Durability, Leases, LedgerError, OpenCall, Settings};
use crate::domain::CallId;

/// The log of open calls; shared by all workers.
#[derive(Debug)]
pub struct OpenCalls {
    directory: PathBuf,
    durability: Durability,
    segment_bytes_max: u64,
    current: ArcSwap<Segment>,
    /// One thread makes the next segment; the others go on writing to the full one.
    rotating: AtomicBool,
    /// Full segments that may not be on disk yet. Locked only by rotation and the writer's tick.
    full: Mutex<Vec<Weak<Segment>>>,
    /// Where the calls are told to other replicas from.
    mirror: Option<Arc<Mirror>>,
}

impl OpenCalls {
    /// Begins a new segment. Older ones are left alone: they are [`super::recover`]'s.
    ///
    /// The directory must belong to this process: open the [`super::Ledger`] first.
    ///
    /// # Errors
    /// When the segment cannot be created.
    pub fn open(settings: &Settings) -> Result<Self, LedgerError> {
        let directory = settings.open_calls_directory();
        fs::create_dir_all(&directory).map_err(LedgerError::file("create", &directory))?;
        let newest = segments(&directory)?
            .last()
            .map_or(0, |(number, _)| *number);
        let segment = Segment::create(&directory, newest.saturating_add(1))?;
        sync_directory(&directory)?;
        Ok(Self {
            directory,
            durability: settings.durability,
            segment_bytes_max: settings.segment_bytes_max,
            current: ArcSwap::from_pointee(segment),
            rotating: AtomicBool::new(false),
            full: Mutex::default(),
            mirror: None,
        })
    }

    /// Tells what is opened and closed from here on to the other replicas, where there are such.
    #[must_use]
    pub fn told_by(self, leases: Option<&Leases>) -> Self {
        Self {
            mirror: leases.map(Leases::mirror),
            ..self
        }
    }

    /// Writes down that a call is about to be sent upstream.
    ///
    /// # Errors
    /// When the record cannot be written: the call must then not be sent.
    pub fn append(&self, call: &OpenCall) -> Result<OpenTicket, LedgerError> {
        let segment = self.current.load_full();
        let record = call.encode();
        let written = segment.append(&record, self.durability);
        if let Err(source) = written {
            // What was torn must not grow: the next call starts a clean segment.
            self.rotate(&segment);
            return Err(LedgerError::file("append to", &segment.path)(source));
        }
        let told = self.mirror.as_ref().map(|mirror| {
            mirror.opened(call.call_id, &record);
            (Arc::clone(mirror), call.call_id)
        });
        let ticket = OpenTicket {
            segment: Arc::clone(&segment),
            told,
            closed: false,
        };
        if segment.is_longer_than(self.segment_bytes_max) {
            self.rotate(&segment);
        }
        Ok(ticket)
    }

    /// Asks the disk to keep what was appended: the writer's tick does it each
    /// [`super::SYNC_INTERVAL`] under default durability.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), LedgerError> {
        let current = self.current.load_full();
        // A segment that is gone has no open call.
        let full = mem::take(&mut *self.full_segments());
        let mut any = false;
        for segment in full.iter().filter_map(Weak::upgrade).chain([current]) {
            if segment.unsynced.swap(false, Ordering::AcqRel) {
                let synced = segment.sync();
                synced.map_err(LedgerError::file("sync", &segment.path))?;
                any = true;
            }
        }
        if any {
            sync_directory(&self.directory)?;
        }
        Ok(())
    }

    /// Goes on in a new segment, unless another thread already did or does. When none can be
    /// made the full one serves on, and the next append tries again.
    fn rotate(&self, full: &Arc<Segment>) {
        if self.rotating.swap(true, Ordering::Acquire) {
            return;
        }
        if Arc::ptr_eq(&self.current.load(), full)
            && let Err(cause) = self.replace(full)
        {
            tracing::warn!(%cause, "open-calls log goes on in a full segment");
        }
        self.rotating.store(false, Ordering::Release);
    }

    fn replace(&self, full: &Arc<Segment>) -> Result<(), LedgerError> {
        let next = Segment::create(&self.directory, full.number.saturating_add(1))?;
        match self.durability {
            Durability::Default => self.full_segments().push(Arc::downgrade(full)),
            Durability::Strict => sync_directory(&self.directory)?,
        }
        self.current.store(Arc::new(next));
        Ok(())
    }

    fn full_segments(&self) -> MutexGuard<'_, Vec<Weak<Segment>>> {
        // A panic elsewhere leaves the list whole.
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call that is open. Kept until its entry is committed, then closed.
#[derive(Debug)]
#[must_use = "dropping a ticket says that the call was lost; close it when its entry is committed"]
pub struct OpenTicket {
    segment: Arc<Segment>,
    told: Option<(Arc<Mirror>, CallId)>,
    closed: bool,
}

impl OpenTicket {
    /// The call's entry is in the ledger, or nothing was sent upstream: there is nothing to
    /// recover.
    pub fn close(mut self) {
        self.closed = true;
        if let Some((mirror, call)) = self.told.take() {
            mirror.ended(call);
        }
    }
}

impl Drop for OpenTicket {
    fn drop(&mut self) {
        if !self.closed {
            self.segment.keep.store(true, Ordering::Relaxed);
        }
    }
}

/// The segments of a directory with their numbers, oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn segments(directory: &Path) -> Result<Vec<(u64, PathBuf)>, LedgerError> {
    let listed = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = match listed {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(LedgerError::file("list", directory))?,
    };
    let numbered = listed.into_iter().filter_map(|file| {
        let path = file.path();
        let name = path.file_name()?.to_str()?;
        let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
        Some((number, path))
    });
    let mut numbered: Vec<(u64, PathBuf)> = numbered.collect();
    numbered.sort();
    Ok(numbered)
}

/// One file of the log. It lives as long as it is current or a call in it is open.
#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    bytes: AtomicU64,
    /// Something was written since it was last synced.
    unsynced: AtomicBool,
    /// A call in it was lost: the file stays for the next start.
    keep: AtomicBool,
}

impl Segment {
    fn create(directory: &Path, number: u64) -> Result<Self, LedgerError> {
        // Twenty digits hold any u64, so that names sort as numbers do.
        let path = directory.join(format!("{number:020}{SUFFIX}"));
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.map_err(LedgerError::file("create", &path))?;
        Ok(Self {
            number,
            path,
            file,
            bytes: AtomicU64::new(0),
            unsynced: AtomicBool::new(false),
            keep: AtomicBool::new(false),
        })
    }

    fn append(&self, record: &[u8], durability: Durability) -> io::Result<()> {
        let written = loop {
            match (&self.file).write(record) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let added = u64::try_from(written).unwrap_or(u64::MAX);
        self.bytes.fetch_add(added, Ordering::Relaxed);
        if written < record.len() {
            // A second write could interleave with another thread's: the record is torn.
            return Err(io::ErrorKind::WriteZero.into());
        }
        match durability {
            Durability::Default => {
                self.unsynced.store(true, Ordering::Release);
                Ok(())
            }
            Durability::Strict => self.sync(),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn is_longer_than(&self, bytes: u64) -> bool {
        self.bytes.load(Ordering::Relaxed) >= bytes
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.keep.load(Ordering::Relaxed)
            && let Err(cause) = fs::remove_file(&self.path)
        {
            // Harmless: its calls are in the ledger, and the next start deletes it.
            tracing::debug!(%cause, path = %self.path.display(), "segment not deleted");
        }
    }
}

/// Makes the name of a new file last through a loss of power.
fn sync_directory(directory: &Path) -> Result<(), LedgerError> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(LedgerError::file("sync", directory))
}

const SUFFIX: &str = ".open-calls";

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::ledger::open_record::scan;
    use crate::ledger::open_record::tests::open_call;

    fn log(directory: &Path, segment_bytes_max: u64) -> OpenCalls {
        let mut settings = Settings::in_directory(directory);
        settings.segment_bytes_max = segment_bytes_max;
        OpenCalls::open(&settings).unwrap()
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let segments = segments(&directory.join("open-calls")).unwrap();
        segments.into_iter().map(|(_, path)| path).collect()
    }

    #[test]
    fn records_of_many_threads_stay_whole() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path(), u64::MAX);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        drop(log.append(&open_call(true)).unwrap());
                    }
                });
            }
        });
        let scan = scan(&fs::read(&files(directory.path())[0]).unwrap());
        assert_eq!((scan.records.len(), scan.unreadable), (1600, 0));
    }

    #[test]
    fn a_segment_goes_when_it_is_full_and_its_calls_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path(), 1);
        let first = log.append(&open_call(true)).unwrap();
        let second = log.append(&open_call(true)).unwrap();
        assert_eq!(files(directory.path()).len(), 3);
        first.close();
        assert_eq!(files(directory.path()).len(), 2);
        second.close();
        assert_eq!(files(directory.path()).len(), 1);
        drop(log);
        assert_eq!(files(directory.path()).len(), 0);
    }

    #[test]
    fn a_ticket_that_is_dropped_open_keeps_its_segment() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path(), u64::MAX);
        log.append(&open_call(true)).unwrap().close();
        drop(log.append(&open_call(true)).unwrap());
        drop(log);
        assert_eq!(files(directory.path()).len(), 1);
    }

    #[test]
    fn rotation_under_load_loses_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let log = log(directory.path(), 1000);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        drop(log.append(&open_call(true)).unwrap());
                    }
                });
            }
        });
        log.sync().unwrap();
        let scans = files(directory.path());
        let scans = scans.iter().map(|path| scan(&fs::read(path).unwrap()));
        assert_eq!(scans.map(|scan| scan.records.len()).sum::<usize>(), 400);
    }

    #[test]
    fn strict_durability_writes_the_same_records() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(directory.path());
        settings.durability = Durability::Strict;
        let log = OpenCalls::open(&settings).unwrap();
        let call = open_call(true);
        let ticket = log.append(&call).unwrap();
        let scan = scan(&fs::read(&files(directory.path())[0]).unwrap());
        assert_eq!(scan.records, [call]);
        ticket.close();
    }
}

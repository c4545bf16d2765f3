//! Where settled calls wait while the store does not take them: whole entries in append-only,
//! checksummed files.
//!
//! The spill is a queue of segments in `spill/`. Entries are appended to the newest; the oldest is
//! read whole, given to the store, and deleted once the store has it on disk. A segment that is
//! read is never written again: appending goes on in a new one. Entries are idempotent by call id,
//! so a segment that was given to the store only in part is simply given once more.
//!
//! What cannot be read is kept beside the spill, with `.damaged` after its name.
//!
//! Blocking; it belongs to the thread that settles. Knows no store.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::frame::Scan;
use super::spill_record;
use super::{Durability, LedgerError, Settings};
use crate::domain::Entry;

/// The spill of one ledger.
#[derive(Debug)]
pub struct Spill {
    directory: PathBuf,
    durability: Durability,
    segment_bytes_max: u64,
    bytes_max: u64,
    /// The segments that hold entries, oldest first.
    segments: VecDeque<Segment>,
    /// The newest of them while it can still grow.
    current: Option<File>,
    /// Whether something was written since it was last synced.
    unsynced: bool,
    next_number: u64,
}

/// One file of the spill.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
    /// How many entries; unknown, and 0, for one that another process left.
    entries: u64,
}

impl Spill {
    /// The spill of that ledger with what an earlier process left in it.
    ///
    /// # Errors
    /// When its directory cannot be made or listed.
    pub fn open(settings: &Settings) -> Result<Self, LedgerError> {
        let directory = settings.spill_directory();
        fs::create_dir_all(&directory).map_err(LedgerError::file("create", &directory))?;
        let mut segments = VecDeque::new();
        let mut next_number = 1;
        for (number, path) in listed(&directory)? {
            let metadata = fs::metadata(&path).map_err(LedgerError::file("look at", &path))?;
            let bytes = metadata.len();
            segments.push_back(Segment {
                path,
                bytes,
                entries: 0,
            });
            next_number = number.saturating_add(1);
        }
        Ok(Self {
            directory,
            durability: settings.durability,
            segment_bytes_max: settings.segment_bytes_max,
            bytes_max: settings.spill_bytes_max,
            segments,
            current: None,
            unsynced: false,
            next_number,
        })
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Entries that wait.
    pub fn entries(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries).sum()
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Writes entries down behind all others: all or, on an error, none. After that they survive
    /// what an open-calls record survives.
    ///
    /// # Errors
    /// When the spill is full, or its disk refuses; the entries are to be given again.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let mut records = Vec::with_capacity(entries.len().saturating_mul(RECORD_BYTES));
        for entry in entries {
            spill_record::encode(entry, &mut records);
        }
        let more = bytes_of(&records);
        let bytes = self.bytes();
        if bytes.saturating_add(more) > self.bytes_max {
            return Err(LedgerError::SpillFull {
                bytes,
                bytes_max: self.bytes_max,
            });
        }
        self.seal_if_full()?;
        let file = self.current()?;
        let written = write_whole(&file, &records, self.durability);
        let Some(segment) = self.segments.back_mut() else {
            return Ok(());
        };
        if let Err(cause) = written {
            let path = segment.path.clone();
            self.undo(&file);
            return Err(LedgerError::file("append to", path)(cause));
        }
        segment.bytes = segment.bytes.saturating_add(more);
        segment.entries = segment.entries.saturating_add(count(entries.len()));
        self.unsynced |= self.durability == Durability::Default;
        Ok(())
    }

    /// Asks the disk to keep what was appended.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        if self.unsynced
            && let (Some(file), Some(segment)) = (&self.current, self.segments.back())
        {
            let synced = file.sync_data();
            synced.map_err(LedgerError::file("sync", &segment.path))?;
        }
        self.unsynced = false;
        Ok(())
    }

    /// What the oldest segment holds; `None` when nothing waits. It stays until [`Self::done`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn oldest(&mut self) -> Result<Option<Batch>, LedgerError> {
        // What is read must not grow.
        if self.segments.len() == 1 {
            self.seal()?;
        }
        let Some(segment) = self.segments.front_mut() else {
            return Ok(None);
        };
        let path = segment.path.clone();
        let bytes = fs::read(&path).map_err(LedgerError::file("read", &path))?;
        let Scan {
            records: entries,
            unreadable,
        } = spill_record::scan(&bytes);
        segment.entries = count(entries.len());
        Ok(Some(Batch {
            entries,
            unreadable,
        }))
    }

    /// The store has everything of [`Self::oldest`] on disk: its segment goes, or is put aside
    /// where it is damaged.
    ///
    /// # Errors
    /// When the file cannot be deleted or renamed: it is then given to the store once more.
    pub fn done(&mut self, damaged: bool) -> Result<(), LedgerError> {
        let Some(segment) = self.segments.front() else {
            return Ok(());
        };
        let path = &segment.path;
        if damaged {
            let mut aside = path.clone().into_os_string();
            aside.push(".damaged");
            fs::rename(path, aside).map_err(LedgerError::file("rename", path))?;
        } else {
            fs::remove_file(path).map_err(LedgerError::file("delete", path))?;
        }
        self.segments.pop_front();
        Ok(())
    }

    /// The file to append to, a new one where there is none.
    fn current(&mut self) -> Result<File, LedgerError> {
        if let (Some(file), Some(segment)) = (&self.current, self.segments.back()) {
            return file
                .try_clone()
                .map_err(LedgerError::file("open", &segment.path));
        }
        // Twenty digits hold any u64, so that names sort as numbers do.
        let path = self
            .directory
            .join(format!("{:020}{SUFFIX}", self.next_number));
        let made = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = made.map_err(LedgerError::file("create", &path))?;
        let kept = file.try_clone().and_then(|file| {
            File::open(&self.directory)?.sync_all()?;
            Ok(file)
        });
        let kept = kept.map_err(LedgerError::file("create", &path))?;
        self.next_number = self.next_number.saturating_add(1);
        self.current = Some(kept);
        self.segments.push_back(Segment {
            path,
            bytes: 0,
            entries: 0,
        });
        Ok(file)
    }

    /// The newest segment is long enough: the next append begins another.
    fn seal_if_full(&mut self) -> Result<(), LedgerError> {
        let newest = self.segments.back();
        if newest.is_some_and(|segment| segment.bytes >= self.segment_bytes_max) {
            self.seal()?;
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), LedgerError> {
        self.sync()?;
        self.current = None;
        Ok(())
    }

    /// Takes back what was written in part. Where that fails the torn end stays, is passed over
    /// by readers, and the next append begins a new segment.
    fn undo(&mut self, file: &File) {
        let Some(segment) = self.segments.back() else {
            return;
        };
        if let Err(cause) = file.set_len(segment.bytes) {
            tracing::warn!(%cause, path = %segment.path.display(), "a torn record stays in the spill");
            self.current = None;
        }
        if segment.bytes == 0 && fs::remove_file(&segment.path).is_ok() {
            self.current = None;
            self.segments.pop_back();
        }
    }
}

/// What a segment holds.
#[derive(Debug)]
pub struct Batch {
    /// The entries, in the order they were written.
    pub entries: Vec<Entry>,
    /// Stretches of bytes that are no record this version reads.
    pub unreadable: u64,
}

/// The segments of a directory with their numbers, oldest first.
fn listed(directory: &Path) -> Result<Vec<(u64, PathBuf)>, LedgerError> {
    let files = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let files = files.map_err(LedgerError::file("list", directory))?;
    let mut numbered: Vec<_> = files
        .into_iter()
        .filter_map(|file| {
            let path = file.path();
            let name = path.file_name()?.to_str()?;
            let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    numbered.sort();
    Ok(numbered)
}

fn write_whole(mut file: &File, records: &[u8], durability: Durability) -> io::Result<()> {
    file.write_all(records)?;
    match durability {
        Durability::Default => Ok(()),
        Durability::Strict => file.sync_data(),
    }
}

fn bytes_of(records: &[u8]) -> u64 {
    count(records.len())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const SUFFIX: &str = ".spill";
/// Of a usual entry.
const RECORD_BYTES: usize = 600;

//! Whether a ledger could be opened here, found out without opening or changing one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{LedgerError, Settings, store};

/// What a directory says of itself.
#[derive(Debug)]
pub struct Condition {
    /// The directory, or where it will be made: the nearest parent that exists.
    pub existing: PathBuf,
    /// Whether the directory itself is there.
    pub is_there: bool,
    /// Who writes it now: ` (pid N)` or empty; `None` when nobody does.
    pub owner: Option<String>,
    /// Bytes that this process may still write on its disk.
    pub bytes_free: u64,
}

/// Looks at the directory of the settings. A file is made beside the ledger and removed at once.
///
/// # Errors
/// When the directory cannot be written or its disk not be asked.
pub fn inspect(settings: &Settings) -> Result<Condition, LedgerError> {
    let directory = &settings.directory;
    let existing = nearest(directory);
    let failed = |action| LedgerError::file(action, &existing);
    try_writing(&existing).map_err(failed("write into"))?;
    let disk = rustix::fs::statvfs(&existing).map_err(io::Error::from);
    let disk = disk.map_err(failed("ask for the free space of"))?;
    Ok(Condition {
        is_there: existing == *directory,
        owner: owner(&settings.lock_file()).map_err(failed("read the lock in"))?,
        bytes_free: disk.f_bavail.saturating_mul(disk.f_frsize),
        existing,
    })
}

/// The directory or its nearest parent that exists.
fn nearest(directory: &Path) -> PathBuf {
    let mut parents = directory.ancestors();
    let found = parents.find(|parent| parent.is_dir());
    let found = found.unwrap_or_else(|| Path::new("."));
    found.to_owned()
}

fn try_writing(directory: &Path) -> io::Result<()> {
    let probe = directory.join(format!(".bedrock-meter-probe-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.and_then(|_file| std::fs::remove_file(&probe))
}

fn owner(lock_file: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(lock_file) {
        Ok(file) => file,
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(store::owner(&mut file))),
        Err(TryLockError::Error(cause)) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    #[test]
    fn a_directory_that_is_not_there_yet_is_left_unmade() {
        let home = tempfile::TempDir::new().unwrap();
        let settings = Settings::in_directory(home.path().join("a/b"));
        let condition = inspect(&settings).unwrap();
        assert!(!condition.is_there && condition.owner.is_none());
        assert!(condition.bytes_free > 0);
        assert_eq!(condition.existing, home.path());
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_running_ledger_names_its_owner_and_is_not_disturbed() {
        let home = tempfile::TempDir::new().unwrap();
        let settings = Settings::in_directory(home.path());
        let ledger = Ledger::open(&settings).unwrap();
        let pid = format!(" (pid {})", std::process::id());
        assert_eq!(inspect(&settings).unwrap().owner, Some(pid));
        drop(ledger);
        // Another test may be starting a process at this moment, which holds the lock until then.
        let begun = std::time::Instant::now();
        while inspect(&settings).unwrap().owner.is_some() {
            assert!(begun.elapsed().as_secs() < 10, "the lock is still held");
            std::thread::yield_now();
        }
        Ledger::open(&settings).unwrap();
    }
}

//! What an older program, or one without replicas, kept in a file of its directory moves into the
//! log that replicas share: what was told is not told anew by a newer program.

use std::path::{Path, PathBuf};

use crate::alerts::{DeliveryLog, SqliteLog};

/// Brings the lines of that file into the log, once, and renames it. What cannot be brought in now
/// is tried at the next start; it must not keep the log from being used.
pub(super) fn bring_in(file: &Path, log: &mut dyn DeliveryLog) {
    if !file.exists() {
        return;
    }
    match bring_in_all(file, log) {
        Ok(lines) => tracing::info!(
            event = "alerts_log_moved",
            lines,
            "the delivery log is in PostgreSQL now"
        ),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(event = "alerts_log_failed", error, "move the delivery log");
        }
    }
}

fn bring_in_all(file: &Path, log: &mut dyn DeliveryLog) -> anyhow::Result<usize> {
    let before = SqliteLog::open(file)?;
    let lines = before.lines(LINES_MAX)?;
    lines.iter().try_for_each(|line| log.write_down(line))?;
    drop(before);
    std::fs::rename(file, moved(file))?;
    Ok(lines.len())
}

/// Its name afterwards.
pub(super) fn moved(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".moved");
    name.into()
}

/// More than stand at once; what ended long ago nobody asks for.
const LINES_MAX: usize = 10_000;

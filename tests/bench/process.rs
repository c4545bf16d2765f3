//! What the kernel says of a process and its descendants: CPU time and memory.

use std::fs;

use anyhow::{Context as _, ensure};

/// The process and all its descendants.
fn tree(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && let Some(fields) = stat(pid)
        {
            parents.push((pid, fields[PARENT].parse::<u32>()?));
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(
            parents
                .iter()
                .filter(|(_, its)| *its == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    Ok(tree)
}

// Positions after the command's name in /proc/PID/stat, proc(5).
const PARENT: usize = 1;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

/// The fields of /proc/PID/stat behind the name, which may hold blanks and brackets itself.
/// A process that has just ended has none.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// CPU seconds that the tree has used so far, all its threads, in the kernel and outside.
pub(crate) fn cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in tree(root)? {
        if let Some(fields) = stat(pid) {
            ticks += fields[USER_TICKS].parse::<u64>()? + fields[SYSTEM_TICKS].parse::<u64>()?;
        }
    }
    ensure!(ticks > 0 || stat(root).is_some(), "process {root} is gone");
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Memory of the tree in MB (10^6 bytes); pages shared with others count in parts.
pub(crate) fn pss_mb(root: u32) -> anyhow::Result<f64> {
    let mut kib = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let value = line
            .and_then(|line| line.split_whitespace().next())
            .context(path)?;
        kib += value.parse::<u64>()?;
    }
    Ok(kib as f64 * 1024.0 / 1e6)
}

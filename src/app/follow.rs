//! Follows the configuration: looks at it on SIGHUP and every few seconds, and has it reloaded
//! when it changed.
//!
//! A look reads the configuration anew, so that secrets in files of their own are seen as well;
//! of the large files that it names only the stamps are looked at.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;

use super::reload::Reloader;
use crate::config::{Problems, Settings};

/// Reads the configuration.
pub type Load = Arc<dyn Fn() -> Result<Settings, Problems> + Send + Sync>;

/// What was seen at one look.
#[derive(Clone, PartialEq)]
struct Look {
    settings: Result<Settings, Problems>,
    stamps: Vec<Option<Stamp>>,
}

/// Tells two versions of a file apart: device, inode, length and time of change in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

/// Follows until dropped. `started` is what is in force.
pub(super) async fn follow(
    reloader: Arc<Reloader>,
    load: Load,
    started: Settings,
    mut hangup: Signal,
) {
    let mut handled = Look {
        stamps: stamps(&started),
        settings: Ok(started),
    };
    let mut before = handled.clone();
    let mut beat = tokio::time::interval(LOOK_INTERVAL);
    loop {
        let asked = tokio::select! {
            Some(()) = hangup.recv() => true,
            _ = beat.tick() => false,
        };
        let load = Arc::clone(&load);
        let Ok(seen) = tokio::task::spawn_blocking(move || look(&load)).await else {
            continue; // never: reading a configuration does not panic
        };
        // Twice the same: whoever writes the files has finished.
        if asked || (seen != handled && seen == before) {
            reloader.reload(seen.settings.clone()).await;
            handled = seen.clone();
        }
        before = seen;
    }
}

fn look(load: &Load) -> Look {
    let settings = load();
    Look {
        stamps: settings.as_ref().map(stamps).unwrap_or_default(),
        settings,
    }
}

fn stamps(settings: &Settings) -> Vec<Option<Stamp>> {
    let tls = settings.listener.tls.as_ref();
    let files = [
        settings.prices.catalogue_file.as_deref(),
        tls.map(|tls| tls.certificate_file.as_path()),
        tls.map(|tls| tls.key_file.as_path()),
        tls.and_then(|tls| tls.clients.ca_file.as_deref()),
    ];
    files.map(|file| stamp(file?)).to_vec()
}

fn stamp(file: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(file).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.len(),
        file.ctime(),
        file.ctime_nsec(),
    ))
}

const LOOK_INTERVAL: Duration = Duration::from_secs(2);

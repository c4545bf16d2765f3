//! The thread that follows the registry: a change made by a command is in force within a second,
//! and when keys were used is written down now and then.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::keyring::{master_keys, open_registry};
use crate::config::Settings;
use crate::domain::Timestamp;
use crate::proxy::Gates;
use crate::registry::{Callers, MasterKeys, Registry, RegistryError};

/// The registry and what secrets are derived from.
pub(super) struct Known {
    registry: Registry,
    masters: MasterKeys,
}

impl Known {
    /// Opens both, and loads everybody.
    pub(super) fn open(settings: &Settings) -> anyhow::Result<(Self, Callers)> {
        let registry = open_registry(settings)?;
        let masters = master_keys(settings)?;
        let callers = registry.load(masters.clone()).context("load the callers")?;
        Ok((Self { registry, masters }, callers))
    }
}

/// Follows until it is dropped.
pub(super) struct CallersThread {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CallersThread {
    /// Starts to follow.
    pub(super) fn start(known: Known, gates: Arc<Gates>) -> anyhow::Result<Self> {
        let Known { registry, masters } = known;
        let (stop, stopped) = sync_channel::<()>(0);
        let mut follower = Follower {
            registry,
            masters,
            noted_until: gates.clock.now(),
            gates,
            last_noted: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("callers".to_owned());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                follower.look();
            }
            follower.note_uses();
        });
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread.context("start the callers thread")?),
        })
    }
}

impl Drop for CallersThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(event = "thread_panicked", "the callers thread panicked");
        }
    }
}

struct Follower {
    registry: Registry,
    masters: MasterKeys,
    gates: Arc<Gates>,
    noted_until: Timestamp,
    last_noted: Instant,
}

impl Follower {
    /// While the file cannot be read, the callers known so far stay as they are.
    fn look(&mut self) {
        if let Err(error) = self.reload_if_changed() {
            tracing::error!(event = "callers_not_read", %error, "the registry cannot be read");
        }
        if self.last_noted.elapsed() >= NOTE_INTERVAL {
            self.note_uses();
        }
    }

    fn reload_if_changed(&self) -> Result<(), RegistryError> {
        let current = self.gates.callers.load_full();
        if self.registry.generation()? == current.generation() {
            return Ok(());
        }
        let newer = self.registry.load(self.masters.clone())?;
        newer.take_uses_of(&current);
        let (keys, generation) = (newer.len(), newer.generation());
        self.gates.callers.store(Arc::new(newer));
        tracing::info!(
            event = "callers_reloaded",
            keys,
            generation,
            "the registry changed"
        );
        Ok(())
    }

    fn note_uses(&mut self) {
        let until = self.gates.clock.now();
        let uses = self.gates.callers.load().used_since(self.noted_until);
        self.last_noted = Instant::now();
        if uses.is_empty() {
            return;
        }
        match self.registry.note_uses(&uses) {
            // A call that noted its use while we read is read again next time.
            Ok(()) => self.noted_until = Timestamp::from_unix_ms(until.unix_ms() - OVERLAP_MS),
            Err(error) => {
                tracing::warn!(event = "key_uses_not_noted", %error, "the registry cannot be written");
            }
        }
    }
}

/// One look is one read of a number; a revoked key must not be served for a second.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
const NOTE_INTERVAL: Duration = Duration::from_secs(30);
const OVERLAP_MS: i64 = 1_000;

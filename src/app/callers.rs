//! The registry of the running proxy: what the admin listener changes is in force at once, what a
//! command changes within a second, and when keys were used is written down now and then.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::keyring::{client_url, master_keys, open_registry};
use crate::admin::{Done, Office, PageError, Work};
use crate::config::Settings;
use crate::domain::{Secret, Timestamp};
use crate::proxy::Gates;
use crate::registry::{Callers, MasterKeys, Registry, RegistryError, Tenant};
use crate::telemetry::KnownNames;

/// The registry and what secrets are derived from.
pub(super) struct Known {
    registry: Registry,
    masters: MasterKeys,
    endpoint_url: String,
}

impl Known {
    /// Opens both, and loads everybody.
    pub(super) fn open(settings: &Settings) -> anyhow::Result<(Self, Callers)> {
        let registry = open_registry(settings)?;
        let masters = master_keys(settings)?;
        let callers = registry.load(masters.clone()).context("load the callers")?;
        let known = Self {
            registry,
            masters,
            endpoint_url: client_url(settings),
        };
        Ok((known, callers))
    }
}

impl Known {
    /// What sessions of people are signed with.
    pub(super) fn login_secret(&self) -> anyhow::Result<Secret> {
        self.masters
            .login_secret()
            .context("derive the sessions' key")
    }
}

/// Everybody we know: changed by the admin listener, followed by a thread. One at a time, so that an
/// older snapshot never takes the place of a newer one.
pub(super) struct Roster {
    known: Mutex<Known>,
    gates: Arc<Gates>,
}

impl Roster {
    /// Does work with the registry; what it changed is in force for calls when this returns.
    /// Blocking.
    ///
    /// # Errors
    /// Those of the work. A change that was written and cannot be read again is an error too: it
    /// will be in force once it can.
    pub(super) fn work(&self, work: Work<'_>) -> Result<Done, PageError> {
        let mut known = self.lock();
        let Known {
            registry,
            masters,
            endpoint_url,
        } = &mut *known;
        let done = work(Office {
            registry,
            masters,
            endpoint_url,
            now: self.gates.clock.now(),
        })?;
        self.reload_if_changed(&known)?;
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reload_if_changed(&self, known: &Known) -> Result<(), RegistryError> {
        let current = self.gates.callers.load_full();
        if known.registry.generation()? == current.generation() {
            return Ok(());
        }
        let newer = known.registry.load(known.masters.clone())?;
        newer.take_uses_of(&current);
        let (keys, generation) = (newer.len(), newer.generation());
        self.gates.metrics.know(&names(&newer));
        self.gates.callers.store(Arc::new(newer));
        tracing::info!(
            event = "callers_reloaded",
            keys,
            generation,
            "the registry changed"
        );
        Ok(())
    }
}

/// Follows until it is dropped.
pub(super) struct CallersThread {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CallersThread {
    /// Starts to follow.
    pub(super) fn start(known: Known, gates: &Arc<Gates>) -> anyhow::Result<(Arc<Roster>, Self)> {
        gates.metrics.know(&names(&gates.callers.load()));
        let roster = Arc::new(Roster {
            known: Mutex::new(known),
            gates: Arc::clone(gates),
        });
        let shared = Arc::clone(&roster);
        let (stop, stopped) = sync_channel::<()>(0);
        let mut follower = Follower {
            noted_until: gates.clock.now(),
            roster: shared,
            last_noted: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("callers".to_owned());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                follower.look();
            }
            follower.note_uses();
        });
        let following = Self {
            stop: Some(stop),
            thread: Some(thread.context("start the callers thread")?),
        };
        Ok((roster, following))
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

/// The tenants and the applications that they list: names that always have series of their own.
fn names(callers: &Callers) -> KnownNames {
    let named = |tenant: &Arc<Tenant>| {
        let policy = &tenant.policy;
        let listed = policy
            .applications
            .iter()
            .chain(&policy.default_application);
        (tenant.name.clone(), listed.cloned().collect())
    };
    KnownNames {
        tenants: callers.tenants().map(named).collect(),
    }
}

struct Follower {
    roster: Arc<Roster>,
    noted_until: Timestamp,
    last_noted: Instant,
}

impl Follower {
    /// While the file cannot be read, the callers known so far stay as they are.
    fn look(&mut self) {
        if let Err(error) = self.roster.reload_if_changed(&self.roster.lock()) {
            tracing::error!(event = "callers_not_read", %error, "the registry cannot be read");
        }
        if self.last_noted.elapsed() >= NOTE_INTERVAL {
            self.note_uses();
        }
    }

    fn note_uses(&mut self) {
        let gates = &self.roster.gates;
        let until = gates.clock.now();
        let uses = gates.callers.load().used_since(self.noted_until);
        self.last_noted = Instant::now();
        if uses.is_empty() {
            return;
        }
        let noted = self.roster.lock().registry.note_uses(&uses);
        match noted {
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

//! The keys of all issuers, shared between those who check tokens and the task that reads keys.
//! It outlives a reload of the configuration, so that a reload leaves no issuer without keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use super::key_set::{InvalidKeySet, KeySet};
use super::settings::{IssuerSettings, JwksUrl};
use crate::domain::Timestamp;

/// The keys of every issuer that was configured since the start.
#[derive(Debug, Default)]
pub struct KeyRing {
    of_places: Mutex<HashMap<Place, Arc<IssuerKeys>>>,
}

/// Keys are an issuer's, from one place: those of another place are not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    issuer: String,
    url: Option<String>,
    file: Option<PathBuf>,
}

impl Place {
    fn of(settings: &IssuerSettings) -> Self {
        let url = settings.jwks_url.as_ref().map(JwksUrl::uri);
        Self {
            issuer: settings.issuer.clone(),
            url: url.map(ToString::to_string),
            file: settings.jwks_file.clone(),
        }
    }
}

impl KeyRing {
    /// The keys of an issuer, from the place that its settings name.
    pub fn keys(&self, settings: &IssuerSettings) -> Arc<IssuerKeys> {
        let mut of_places = self.lock();
        Arc::clone(of_places.entry(Place::of(settings)).or_default())
    }

    /// Forgets the keys of issuers that are not among these.
    pub fn retain(&self, issuers: &[IssuerSettings]) {
        let places: Vec<_> = issuers.iter().map(Place::of).collect();
        self.lock().retain(|place, _keys| places.contains(place));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Arc<IssuerKeys>>> {
        self.of_places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of one issuer, as last read.
#[derive(Debug, Default)]
pub struct IssuerKeys {
    current: ArcSwapOption<KeySet>,
    wanted: Notify,
    /// Whether an attempt to read them is under way, or would begin as soon as somebody asks.
    answers_soon: AtomicBool,
    /// How many attempts have ended.
    attempts: watch::Sender<u64>,
}

impl IssuerKeys {
    /// The keys as last read, however long ago.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Asks for the keys to be read again; whoever reads them decides how soon.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Tells the end of attempts to read the keys, from now on.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts(self.attempts.subscribe())
    }

    /// Whether who asks for the keys need not wait for long.
    pub(super) fn answers_soon(&self) -> bool {
        self.answers_soon.load(Ordering::Relaxed)
    }

    /// Says whether who asks for the keys need not wait for long.
    pub fn set_answers_soon(&self, soon: bool) {
        self.answers_soon.store(soon, Ordering::Relaxed);
    }

    /// Waits until somebody asks for the keys to be read again.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Puts newly read keys in the place of the old ones, which stay when the new are no keys.
    ///
    /// # Errors
    /// Why the text is no set of keys.
    pub fn read(&self, text: &[u8], now: Timestamp) -> Result<(), InvalidKeySet> {
        self.current.store(Some(Arc::new(KeySet::read(text, now)?)));
        Ok(())
    }

    /// Tells those who wait that an attempt to read the keys has ended, well or not.
    pub fn attempted(&self) {
        self.attempts
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The attempts to read an issuer's keys.
pub(super) struct Attempts(watch::Receiver<u64>);

impl Attempts {
    /// Waits for the end of an attempt that has not ended when this value was made.
    pub(super) async fn next(&mut self) {
        // An error would say that the issuer is gone, and then nothing is to be waited for.
        let _ended = self.0.changed().await;
    }
}

//! The keys of all issuers, shared between those who check tokens and the task that reads keys.
//! It outlives a reload of the configuration, so that a reload leaves no issuer without keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use super::key_set::{InvalidKeySet, KeySet};
use super::settings::{IssuerSettings, JwksUrl};
use crate::domain::Timestamp;

/// The keys of every issuer that somebody uses.
#[derive(Debug, Default)]
pub struct KeyRing {
    of_places: Mutex<HashMap<Place, Weak<IssuerKeys>>>,
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
    /// The keys of an issuer, from the place that its settings name. They live as long as somebody
    /// holds them.
    pub fn keys(&self, settings: &IssuerSettings) -> Arc<IssuerKeys> {
        let place = Place::of(settings);
        let mut of_places = self
            .of_places
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = of_places.get(&place).and_then(Weak::upgrade) {
            return keys;
        }
        of_places.retain(|_place, keys| keys.strong_count() > 0);
        let keys = Arc::new(IssuerKeys::default());
        of_places.insert(place, Arc::downgrade(&keys));
        keys
    }
}

/// The keys of one issuer, as last read.
#[derive(Debug, Default)]
pub struct IssuerKeys {
    current: ArcSwapOption<KeySet>,
    wanted: Notify,
    /// Whether an attempt to read them has just ended, and nobody who asks gets another one soon.
    resting: AtomicBool,
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

    /// Whether who asks for the keys would wait in vain.
    pub(super) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    /// Says whether who asks for the keys would wait in vain.
    pub fn set_resting(&self, resting: bool) {
        self.resting.store(resting, Ordering::Relaxed);
    }

    /// Waits until somebody asks for the keys to be read again.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Puts newly read keys in the place of the old ones, and says whether they differ; the old ones
    /// stay when the new are no keys.
    ///
    /// # Errors
    /// Why the text is no set of keys.
    pub fn read(&self, text: &[u8], now: Timestamp) -> Result<bool, InvalidKeySet> {
        let new = Arc::new(KeySet::read(text, now)?);
        let fingerprint = new.fingerprint;
        let old = self.current.swap(Some(new));
        Ok(old.is_none_or(|old| old.fingerprint != fingerprint))
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

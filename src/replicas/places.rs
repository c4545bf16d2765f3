//! Calls at once that replicas share: asked for with rates, told of beside calls.

use std::sync::{Arc, MutexGuard, PoisonError};

use redis::{Cmd, Pipeline};

use super::error::StoreError;
use super::link::{Link, evalsha};
use super::store::{Inner, Store};
use super::told::{Change, Counters, Told};
use crate::domain::{SharedPlace, SharedPlaceWant, SharedPlaces};

impl SharedPlaces for Store {
    fn opened(&self, counters: Vec<Arc<str>>) -> u64 {
        let id = self.inner.places().opened(counters.into());
        self.inner.work.notify_one();
        id
    }

    fn left(&self, id: u64) {
        self.inner.places().left(id);
        self.inner.work.notify_one();
    }
}

/// Places that the store is asked for. Dropped without an answer it may have given them: they come
/// back all the same.
pub(super) struct Asked<'a> {
    store: &'a Store,
    pub(super) id: Option<u64>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(store: &'a Store, wants: &[SharedPlaceWant]) -> Self {
        let counters: Counters = wants.iter().map(|want| Arc::clone(&want.counter)).collect();
        let id = (!wants.is_empty()).then(|| store.inner.places().ask(counters));
        Self { store, id }
    }

    /// They were given.
    pub(super) fn taken(mut self) -> Option<SharedPlace> {
        let id = self.id.take()?;
        self.store.inner.places().taken(id);
        Some(SharedPlace::new(id, Arc::new(self.store.clone())))
    }

    /// They were not.
    pub(super) fn refused(mut self) {
        if let Some(id) = self.id.take() {
            self.store.left(id);
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.store.inner.places().taken(id);
            self.store.left(id);
        }
    }
}

impl Inner {
    pub(super) fn places(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells with a new connection of all calls that may be open: before any call uses it.
    pub(super) async fn tell_all_places(&self, link: &Link) -> Result<(), StoreError> {
        let open = self.places().begin();
        for some in open.chunks(BATCH_MAX) {
            link.tell_places(some).await?;
        }
        link.told_all_places().await
    }

    /// Tells what has changed since.
    pub(super) async fn tell_places(&self, link: &Link) -> Result<(), StoreError> {
        loop {
            let changes = self.places().next(BATCH_MAX);
            if changes.is_empty() {
                return Ok(());
            }
            link.tell_places(&changes).await?;
            self.places().done(changes.len());
            self.tell();
        }
    }
}

impl Link {
    /// The keys of places that a call wants: they come first.
    pub(super) fn wanted_keys(&self, places: &[SharedPlaceWant]) -> Vec<String> {
        if places.is_empty() {
            return Vec::new();
        }
        let mut keys = Vec::from(self.place_keys());
        keys.extend(places.iter().map(|want| self.place_key(&want.counter)));
        keys
    }

    /// The arguments of them, which come first too.
    pub(super) fn want_places(
        &self,
        command: &mut Cmd,
        call: Option<u64>,
        places: &[SharedPlaceWant],
    ) {
        command.arg(places.len());
        if !places.is_empty() {
            self.say_who(command);
            command.arg(call);
        }
        for want in places {
            command.arg(want.most.min(MOST)).arg(want.limit);
            command.arg(u8::from(want.enforces));
        }
    }

    async fn tell_places(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(changes.len());
        for change in changes {
            pipeline.add_command(match change {
                Change::Open(id, counters) => self.told("open", Some(*id), counters),
                Change::Left(id) => self.told("left", Some(*id), &[]),
            });
        }
        self.confirm_all(&pipeline).await
    }

    async fn told_all_places(&self) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(self.told("all", None, &[]));
        self.confirm_all(&pipeline).await
    }

    fn told(&self, kind: &str, id: Option<u64>, counters: &[Arc<str>]) -> Cmd {
        let [epoch, replica, _leases, calls] = self.place_keys();
        let mut keys = vec![epoch, replica, calls];
        keys.extend(counters.iter().map(|counter| self.place_key(counter)));
        let mut command = evalsha(&self.scripts().told, &keys);
        self.say_who(&mut command);
        command.arg(kind).arg(id);
        command
    }
}

/// More than a set ever holds, and exact in a script.
const MOST: u64 = 10_000_000_000;
/// One pipeline: the store works on it for a few milliseconds.
const BATCH_MAX: usize = 200;

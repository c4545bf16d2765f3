//! Calls at once that replicas share: a place of a counter, from a call's admission to its end.
//!
//! Plain values between `limits`, which knows what they mean, and `replicas`, which knows where
//! they are kept.

use std::fmt::Debug;
use std::sync::Arc;

/// What a call wants of one counter of calls at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPlaceWant {
    /// Whose counter, of which limit.
    pub counter: Arc<str>,
    /// How many calls may be open.
    pub most: u64,
    /// Which of the call's limits it is of: nothing is taken of a limit that has no room.
    pub limit: usize,
    /// Whether a call that does not fit is refused.
    pub enforces: bool,
}

/// The places of one call. However the call ends, they come back with this value.
#[derive(Debug)]
#[must_use = "places are given back on drop"]
pub struct SharedPlace {
    id: u64,
    of: Arc<dyn SharedPlaces>,
}

/// Who is told of places.
pub trait SharedPlaces: Debug + Send + Sync {
    /// A call was let in without the store, and has a place of each of these counters: the store
    /// is told when it answers. Says under which number.
    fn opened(&self, counters: Vec<Arc<str>>) -> u64;

    /// That call has ended.
    fn left(&self, id: u64);
}

impl SharedPlace {
    /// The places that somebody knows under a number.
    pub fn new(id: u64, of: Arc<dyn SharedPlaces>) -> Self {
        Self { id, of }
    }

    /// Places that were taken without the store.
    pub fn open(counters: Vec<Arc<str>>, of: &Arc<dyn SharedPlaces>) -> Self {
        Self::new(of.opened(counters), Arc::clone(of))
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        self.of.left(self.id);
    }
}

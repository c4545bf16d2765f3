//! Rates that replicas share: what a call takes of a bucket, or of a quota that tenants share, and
//! what comes back of it.
//!
//! Plain values between `limits`, which knows what they mean, and `replicas`, which knows where
//! they are kept.

use std::fmt::Debug;
use std::sync::Arc;

use super::{SharedPlace, SharedPlaceWant};

/// All that one call wants: it gets what it is held to at once, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedWants {
    /// Of requests and tokens per minute.
    pub rates: Vec<SharedRate>,
    /// Of calls at once.
    pub places: Vec<SharedPlaceWant>,
}

/// What is said to it, in the order of the wants.
#[derive(Debug, Default)]
pub struct SharedSaid {
    /// Of each bucket.
    pub rates: Vec<SharedRateAnswer>,
    /// Whether each counter of calls at once has room.
    pub places: Vec<bool>,
    /// The places that were taken.
    pub place: Option<SharedPlace>,
}

impl SharedWants {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.places.is_empty()
    }

    /// Whether a call that does not fit may be refused.
    pub fn enforce(&self) -> bool {
        let rates = self.rates.iter().any(|want| want.enforces);
        rates || self.places.iter().any(|want| want.enforces)
    }
}

/// What a call wants of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRate {
    /// Whose bucket, of which limit.
    pub bucket: Arc<str>,
    /// What it gives per minute.
    pub rate: u64,
    /// What it gives at once.
    pub burst: u64,
    /// How much is wanted.
    pub amount: u64,
    /// Which of the call's limits it is of: nothing is taken of a limit that has no room.
    pub limit: usize,
    /// Whether a call that does not fit is refused.
    pub enforces: bool,
    /// Whose share, where it is a quota that tenants share fairly.
    pub share: Option<SharedShare>,
}

/// A tenant's share of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedShare {
    /// Whose.
    pub tenant: Arc<str>,
    /// How large beside those of others.
    pub weight: u64,
}

/// What a bucket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRateAnswer {
    /// In how many milliseconds it would fit; 0: now; `None`: never.
    pub wait_ms: Option<u64>,
    /// What was taken.
    pub lot: Option<SharedLot>,
}

/// Something that was taken of a bucket: where it lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLot {
    /// The bucket.
    pub bucket: Arc<str>,
    /// What it gives per minute.
    pub rate: u64,
    /// How much was taken.
    pub amount: u64,
    /// What was in the bucket with it, in the bucket's units; of a quota: when it is paid.
    pub end: u64,
    /// What had left it until then; of a quota: which backlog of its tenant it is part of.
    pub gone: u64,
    /// Whose share it was of.
    pub share: Option<SharedShare>,
}

/// A lot whose call has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLotEnd {
    /// The lot.
    pub lot: SharedLot,
    /// How much of it was not used.
    pub unused: u64,
    /// How much was used beyond it.
    pub more: u64,
}

/// Who is told what became of lots.
pub trait SharedRates: Debug + Send + Sync {
    /// Calls have ended.
    fn ended(&self, lots: Vec<SharedLotEnd>);
}

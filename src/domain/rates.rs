//! Rates that replicas share: what a call takes of a bucket, or of a quota that tenants share, and
//! what comes back of it.
//!
//! Plain values between `limits`, which knows what they mean, and `replicas`, which knows where
//! they are kept.

use std::fmt::Debug;
use std::sync::Arc;

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

//! Counters that replicas share: how a budget names one, and what a call wants of it.
//!
//! Plain values between `budgets`, which knows what they mean, and `replicas`, which knows where
//! they are kept.

use std::fmt::Debug;
use std::sync::Arc;

use super::{CallId, Usd};

/// A counter that all replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedCounter {
    /// The budget and the stretch of its period: what is rebuilt as a whole.
    pub book: Arc<str>,
    /// Whose counter of it.
    pub subject: Arc<str>,
    /// Where in a rolling window an amount counts; 0 in a calendar period.
    pub bucket: i64,
    /// For how many milliseconds the counter means anything.
    pub keep_ms: i64,
}

/// What a call wants of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedWant {
    /// The counter.
    pub counter: SharedCounter,
    /// The oldest bucket that still counts.
    pub oldest: i64,
    /// What may be spent.
    pub limit: Usd,
    /// The most that the call can cost, in whole microdollars.
    pub amount: Usd,
    /// Whether a call that does not fit is refused.
    pub blocks: bool,
}

/// What a call of a process that died cost, from whoever makes its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLate {
    /// The call.
    pub call: CallId,
    /// Where it counts.
    pub counters: Vec<SharedCounter>,
    /// As how much.
    pub amount: Usd,
}

/// Where a counter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedPosition {
    /// What was spent.
    pub spent: Usd,
    /// What is held for calls in flight.
    pub held: Usd,
}

/// What the ledger says of a budget in a stretch: every counter, or those that are not named have
/// spent nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBook {
    /// The budget and the stretch.
    pub book: Arc<str>,
    /// For how many milliseconds it means anything.
    pub keep_ms: i64,
    /// What was spent, by counter and bucket.
    pub spent: Vec<(SharedCounter, Usd)>,
}

/// Who is told what became of a hold that replicas share.
pub trait SharedHolds: Debug + Send + Sync {
    /// That is held, though the store may not know.
    fn hold(&self, call: CallId, wants: &[SharedWant]);

    /// Nothing was sent: nothing was spent.
    fn give_back(&self, call: CallId);

    /// The call vanished after it was sent: what was held is spent.
    fn spend_hold(&self, call: CallId);
}

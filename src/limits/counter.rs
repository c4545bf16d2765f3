//! The counters of one limit: one for each subject, as long as something is in it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;

use super::bucket::{Bucket, Size};
use super::refused::What;

/// The most counters of one limit. Names beyond them share one counter: memory is bounded, and
/// nobody gets past the limit by a new name.
pub const COUNTERS_MAX: usize = 20_000;

/// One counter.
#[derive(Debug)]
pub(super) struct Counter {
    /// The order in which counters are locked.
    pub(super) id: u64,
    state: Mutex<State>,
}

/// What is in a counter.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) requests: Bucket,
    pub(super) tokens: Bucket,
    /// Calls that are open.
    pub(super) open: u64,
}

impl State {
    fn is_idle(&self) -> bool {
        self.open == 0 && self.requests.is_idle() && self.tokens.is_idle()
    }
}

impl Counter {
    fn new() -> Self {
        Self {
            id: next_id(),
            state: Mutex::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An order for everything that is locked together: whoever locks several begins with the least.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The counters of one limit, by subject. Sharded: calls of different subjects do not wait for
/// each other.
#[derive(Debug)]
pub(super) struct Counters {
    by_subject: DashMap<Arc<str>, Arc<Counter>>,
    /// For the subjects that are too many.
    shared: Arc<Counter>,
    pruned_at_ms: AtomicI64,
    most: usize,
}

impl Counters {
    pub(super) fn new(most: usize) -> Self {
        Self {
            by_subject: DashMap::new(),
            shared: Arc::new(Counter::new()),
            pruned_at_ms: AtomicI64::new(0),
            most,
        }
    }

    /// The counter of a subject, new or not, and the subject.
    pub(super) fn of(&self, subject: &str, now_ms: i64) -> (Arc<Counter>, Arc<str>) {
        if let Some(found) = self.by_subject.get(subject) {
            return (Arc::clone(&found), Arc::clone(found.key()));
        }
        self.prune(now_ms);
        let subject: Arc<str> = subject.into();
        if self.by_subject.len() >= self.most {
            return (Arc::clone(&self.shared), subject);
        }
        let made = self.by_subject.entry(Arc::clone(&subject));
        let made = made.or_insert_with(|| Arc::new(Counter::new()));
        (Arc::clone(&made), subject)
    }

    /// Forgets the counters in which nothing is, now and then: they would begin again as they are.
    /// One that somebody holds stays.
    fn prune(&self, now_ms: i64) {
        let last = self.pruned_at_ms.load(Ordering::Relaxed);
        let is_due = now_ms.saturating_sub(last) >= PRUNE_INTERVAL_MS || now_ms < last;
        let swap = |last| {
            let ordering = Ordering::Relaxed;
            self.pruned_at_ms
                .compare_exchange(last, now_ms, ordering, ordering)
        };
        if !is_due || swap(last).is_err() {
            return;
        }
        self.by_subject.retain(|_subject, counter| {
            let held = Arc::strong_count(counter) > 1;
            held || {
                let mut state = counter.lock();
                state.requests.pass_on(now_ms);
                state.tokens.pass_on(now_ms);
                !state.is_idle()
            }
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// How full the fullest counter is, in thousandths.
    pub(super) fn fullest(&self, what: What, now_ms: i64, size: Size) -> u64 {
        let permille = |counter: &Counter| {
            let mut state = counter.lock();
            match what {
                What::Requests => {
                    state.requests.pass_on(now_ms);
                    state.requests.used_permille(size)
                }
                What::Tokens => {
                    state.tokens.pass_on(now_ms);
                    state.tokens.used_permille(size)
                }
                What::Calls => state
                    .open
                    .saturating_mul(1_000)
                    .div_euclid(size.burst.max(1)),
            }
        };
        let own = self.by_subject.iter().map(|counter| permille(&counter));
        own.max().unwrap_or(0).max(permille(&self.shared))
    }
}

/// Junk subjects stay no longer than this and the minute that their bucket takes to be idle.
const PRUNE_INTERVAL_MS: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(counters: &Counters, n: usize, now_ms: i64) -> Arc<Counter> {
        counters.of(&format!("user=u{n}"), now_ms).0
    }

    #[test]
    fn idle_counters_are_forgotten_and_used_ones_stay() {
        let counters = Counters::new(10);
        let used = counter(&counters, 0, 5_000);
        {
            let mut state = used.lock();
            state.requests.pass(5_000, 60);
            state.requests.take(2);
        }
        let id = used.id;
        drop(used);
        counter(&counters, 1, 5_001);
        assert_eq!(counters.len(), 2);
        counter(&counters, 2, 6_500);
        assert_eq!(counters.len(), 2, "the idle one is gone");
        assert_eq!(counter(&counters, 0, 6_500).id, id);
        counter(&counters, 3, 7_600);
        assert_eq!(
            counters.len(),
            1,
            "two seconds pay for two of sixty a minute"
        );
    }

    #[test]
    fn subjects_beyond_the_most_share_one_counter() {
        let counters = Counters::new(2);
        let own: Vec<_> = (0..2).map(|n| counter(&counters, n, 0)).collect();
        let shared = counter(&counters, 2, 0);
        assert_eq!(shared.id, counter(&counters, 3, 0).id);
        assert!(own.iter().all(|own| own.id != shared.id));
        assert_eq!(counters.len(), 2);
    }

    #[test]
    fn an_open_call_keeps_its_counter() {
        let counters = Counters::new(10);
        let held = counter(&counters, 0, 0);
        held.lock().open = 1;
        counter(&counters, 1, 10_000);
        assert_eq!(counter(&counters, 0, 10_000).id, held.id);
    }
}

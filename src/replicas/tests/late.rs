//! Calls of a process that died, told by whoever makes their entries: whatever the store knew of
//! them, it ends with what the ledger says.

use super::*;
use crate::domain::SharedLate;

/// What the ledger says of the calls of others.
const BEFORE: i64 = 30;
/// What the call of the dead held, and as how much its entry counts: more than that.
const HELD: i64 = 40;
const FEMTO: i64 = 123;

fn counts(amount: i64) -> Usd {
    Usd::from_split(amount, FEMTO)
}

fn late(call: CallId, amount: i64) -> Vec<SharedLate> {
    vec![SharedLate {
        call,
        counters: vec![counter("book")],
        amount: counts(amount),
    }]
}

impl Replica {
    /// Makes the entry of a call, and tells of it.
    async fn settle_late(&self, call: CallId, amount: i64) {
        let told = self.store.begin_late(late(call, amount)).await;
        self.store.end_late(told).await;
        assert!(self.store.flush(Duration::from_secs(10)).await);
    }

    /// What was spent, and that nothing is held.
    async fn spent(&self) -> Usd {
        let now = self.at("book").await;
        assert_eq!(now.held, Usd::ZERO);
        now.spent
    }

    /// One that holds something, and dies.
    async fn dies_with_a_call(settings: &Settings) -> CallId {
        let lost = Self::start(settings, &[says("book", BEFORE)]).await;
        let (call, answer) = lost.reserve("book", 1_000, HELD).await;
        assert!(matches!(answer, Answer::Taken(_)));
        // Not as it still has the right to read the ledger: then others wait for that to end.
        let link = lost.store.inner.link().unwrap();
        while !link.begin_late().await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(link.end_late().await.unwrap());
        call
    }
}

#[test]
fn what_the_dead_held_becomes_what_its_entry_says_before_and_after_its_lease() {
    let Some(redis) = Redis::start() else { return };
    let settings = Settings {
        lease: Duration::from_secs(4),
        ..redis.settings()
    };
    runtime().block_on(async {
        let call = Replica::dies_with_a_call(&settings).await;
        let alive = Replica::start(&redis.settings(), &[]).await;
        alive.settle_late(call, 55).await;
        assert_eq!(alive.spent().await, counts(BEFORE + 55));
        let call = Replica::dies_with_a_call(&settings).await;
        let at = |spent, held| SharedPosition {
            spent: counts(BEFORE + 55 + spent),
            held: micro(held),
        };
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        let expired = async {
            while alive.at("book").await != at(HELD, 0) {
                beat.tick().await;
            }
        };
        let expired = tokio::time::timeout(Duration::from_secs(30), expired).await;
        assert!(expired.is_ok());
        alive.settle_late(call, 35).await;
        let both = counts(BEFORE + 55).saturating_add(counts(35));
        assert_eq!(alive.spent().await, both);
    });
}

#[test]
fn a_call_that_no_sum_has_counts_once_and_one_that_sums_will_have_is_left_to_them() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let call = Replica::dies_with_a_call(&settings).await;
        let alive = Replica::silent(&settings, LedgerOf::All).await;
        redis.command(&["FLUSHALL"]);
        let epoch = alive.asked_for_sums().await;
        alive.store.sum(epoch, vec![says("book", BEFORE)]);
        alive.until("book", BEFORE, 0).await;
        for amount in [55, 56] {
            // The second time as if the first had not been committed.
            alive.settle_late(call, amount).await;
            assert_eq!(alive.spent().await, counts(BEFORE + amount));
        }
        let call = Replica::dies_with_a_call(&settings).await;
        redis.command(&["FLUSHALL"]);
        let epoch = alive.asked_for_sums().await;
        // Of this one nobody was asked yet.
        alive.store.sum(epoch, vec![says("other", 1)]);
        alive.until("other", 1, 0).await;
        alive.settle_late(call, 57).await;
        let wants = [want("book", 1_000, 0)];
        let next = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_011));
        let asked = alive.store.reserve(next, &wants);
        let (answer, ()) = tokio::join!(asked, async {
            let epoch = alive.asked_for_sums().await;
            let counted = vec![(counter("book"), counts(BEFORE + 57))];
            let book = SharedBook {
                spent: counted,
                ..says("book", 0)
            };
            alive.store.sum(epoch, vec![book]);
        });
        assert!(matches!(answer, Ok(Answer::Taken(_))));
        assert_eq!(alive.spent().await, counts(BEFORE + 57));
    });
}

#[test]
fn one_that_was_only_taken_for_dead_changes_nothing_of_what_was_settled_for_it() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let [frozen, alive] = Replica::pair(&settings, &[says("book", BEFORE)]).await;
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(frozen.reserve("book", 1_000, HELD).await.0);
        }
        frozen.vanish();
        for call in &calls {
            alive.settle_late(*call, 55).await;
        }
        let spent = alive.spent().await;
        assert_eq!(spent, Usd::from_split(BEFORE + 3 * 55, 3 * FEMTO));
        // It has ends of its own to tell, and one call goes on.
        let store = &frozen.store;
        store.settle(calls[0], vec![counter("book")], micro(9));
        store.spend_hold(calls[1]);
        let back = tokio::spawn(Keeper::new(store.clone()).run());
        assert!(store.wait_up(Duration::from_secs(20)).await);
        assert!(store.flush(Duration::from_secs(10)).await);
        assert_eq!(alive.spent().await, spent);
        store.settle(calls[2], vec![counter("book")], micro(9));
        assert!(store.flush(Duration::from_secs(10)).await);
        assert_eq!(alive.spent().await, spent);
        back.abort();
    });
}

#[test]
fn one_that_dies_between_telling_and_committing_is_followed_by_another_who_tells_again() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let books = [says("book", BEFORE)];
        let call = Replica::dies_with_a_call(&settings).await;
        let [dies, alive] = Replica::pair(&settings, &books).await;
        let told = dies.store.begin_late(late(call, 55)).await;
        assert_eq!(alive.spent().await, counts(BEFORE + 55));
        // Nobody may read a ledger that does not have it yet.
        let link = alive.store.inner.link().unwrap();
        assert!(!link.begin_sums().await.unwrap());
        dies.vanish();
        drop(told);
        alive.settle_late(call, 52).await;
        assert_eq!(alive.spent().await, counts(BEFORE + 52));
    });
}

/// A process that starts settles what was left open before it reads for others.
#[test]
fn one_that_reads_no_ledger_yet_keeps_nobody_from_reading_it() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let early = Arc::new(Replica::silent(&settings, LedgerOf::All).await);
        let reader = Replica::silent(&settings, LedgerOf::All).await;
        let asking = Arc::clone(&early);
        let asked = tokio::spawn(async move { asking.reserve("book", 100, 10).await.1 });
        reader.store.inner.want_sums();
        let epoch = reader.asked_for_sums().await;
        reader.store.sum(epoch, vec![says("book", BEFORE)]);
        reader.until("book", BEFORE, 0).await;
        asked.abort();
    });
}

//! Calls at once over two replicas: a model that counts plainly, and everything that goes wrong.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::{SharedPlace, SharedPlaceWant, SharedPlaces, SharedSaid};

fn place(counter: &str, most: u64) -> SharedPlaceWant {
    SharedPlaceWant {
        counter: counter.into(),
        most,
        limit: 0,
        enforces: true,
    }
}

fn only(places: &[SharedPlaceWant]) -> SharedWants {
    SharedWants {
        rates: Vec::new(),
        places: places.to_vec(),
    }
}

impl Replica {
    async fn place(&self, counter: &str, most: u64) -> Option<SharedPlace> {
        let said = self.store.take(&only(&[place(counter, most)])).await;
        let said = said.unwrap();
        assert_eq!(said.places, [said.place.is_some()]);
        said.place
    }

    /// As many as there are left.
    async fn fill(&self, counter: &str, most: u64) -> Vec<SharedPlace> {
        let mut places = Vec::new();
        while let Some(place) = self.place(counter, most).await {
            places.push(place);
        }
        places
    }

    /// Waits until so many places are left, and never more.
    async fn until_left(&self, counter: &str, most: u64, left: usize) {
        self.until_found(counter, most, |found| {
            assert!(found <= left, "{found} instead of {left}");
            found == left
        })
        .await;
    }

    /// Waits until so many places are left; before, there may be more.
    async fn until_some(&self, counter: &str, most: u64, left: usize) {
        self.until_found(counter, most, |found| found == left).await;
    }

    async fn until_found(&self, counter: &str, most: u64, is_right: impl Fn(usize) -> bool) {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        let reached = async {
            loop {
                let found = self.fill(counter, most).await.len();
                self.told().await;
                if is_right(found) {
                    return;
                }
                beat.tick().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(reached.is_ok(), "places of {counter}");
    }

    async fn told(&self) {
        assert!(self.store.flush(Duration::from_secs(10)).await);
    }
}

/// One step of a random run: of which replica, and what.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A place of one counter, or of both.
    Ask(usize, usize),
    /// The client leaves while the store is asked.
    Leaves(usize, usize),
    /// A call that was let in without the store.
    Apart(usize, usize),
    Ends(usize),
    /// All connections break; answers that are on their way are lost.
    Cut(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (replica, counters) = (0_usize..2, 1_usize..4);
    prop_oneof![
        6 => (replica.clone(), counters.clone()).prop_map(|(r, c)| Step::Ask(r, c)),
        2 => (replica.clone(), counters.clone()).prop_map(|(r, c)| Step::Leaves(r, c)),
        1 => (replica.clone(), counters).prop_map(|(r, c)| Step::Apart(r, c)),
        5 => any::<usize>().prop_map(Step::Ends),
        1 => replica.prop_map(Step::Cut),
    ]
}

#[test]
fn places_are_those_of_a_model_of_a_few_lines_whatever_is_lost_on_the_way() {
    let Some(redis) = Redis::start() else { return };
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut runner = TestRunner::new(Config {
        cases: 24,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    let replicas = runtime.block_on(Replica::pair(&redis.settings(), &[]));
    let run = std::cell::Cell::new(0);
    let strategy = (prop::collection::vec(step(), 1..50), 1_u64..5);
    let result = runner.run(&strategy, |(steps, most)| {
        let number = run.replace(run.get() + 1);
        runtime.block_on(follow_model(&redis, &replicas, number, most, steps))
    });
    result.unwrap();
}

/// The two counters of a run, of which the bits say which are meant.
fn counters(run: usize, which: usize) -> Vec<String> {
    let both = [format!("first-{run}"), format!("second-{run}")].into_iter();
    let meant = both.enumerate();
    let meant = meant.filter(|(bit, _)| which & (1 << bit) != 0);
    meant.map(|(_, name)| name).collect()
}

async fn follow_model(
    redis: &Redis,
    replicas: &[Replica; 2],
    run: usize,
    most: u64,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let wanted = |which| {
        let names = counters(run, which).into_iter();
        let places: Vec<_> = names.map(|name| place(&name, most)).collect();
        only(&places)
    };
    let mut open: Vec<(usize, SharedPlace)> = Vec::new();
    for step in steps {
        match step {
            Step::Ask(replica, which) => {
                let has_room = |bit: usize| {
                    let taken = open.iter().filter(|(mask, _)| mask & (1 << bit) != 0);
                    which & (1 << bit) == 0 || taken.count() < usize::try_from(most).unwrap()
                };
                let fits = has_room(0) && has_room(1);
                let said = persist(&replicas[replica], &wanted(which)).await;
                prop_assert_eq!(said.place.is_some(), fits);
                prop_assert_eq!(said.places.iter().all(|room| *room), fits);
                open.extend(said.place.map(|place| (which, place)));
            }
            Step::Leaves(replica, which) => {
                let wants = wanted(which);
                let asked = replicas[replica].store.take(&wants);
                let mut asked = std::pin::pin!(asked);
                // Polled once, then dropped.
                let once = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(asked.as_mut().poll(context).is_ready())
                });
                let _answered = once.await;
            }
            Step::Apart(replica, which) => {
                let store: Arc<dyn SharedPlaces> = Arc::new(replicas[replica].store.clone());
                let names = counters(run, which).into_iter().map(Into::into).collect();
                open.push((which, SharedPlace::open(names, &store)));
            }
            Step::Ends(_) if open.is_empty() => {}
            Step::Ends(which) => drop(open.swap_remove(which % open.len())),
            Step::Cut(replica) => {
                let wants = wanted(3);
                let lost = replicas[replica].store.take(&wants);
                let cut = async { redis.command(&["CLIENT", "KILL", "TYPE", "normal"]) };
                // Whichever comes first.
                let (lost, ()) = tokio::join!(lost, cut);
                drop(lost);
                for replica in replicas {
                    drop(persist(replica, &wanted(3)).await);
                }
            }
        }
        for replica in replicas {
            replica.told().await;
        }
    }
    drop(open);
    for replica in replicas {
        replica.told().await;
    }
    for counter in counters(run, 3) {
        let all = replicas[0].fill(&counter, most).await;
        prop_assert_eq!(all.len(), usize::try_from(most).unwrap(), "{}", counter);
    }
    Ok(())
}

/// Asks until there is an answer.
async fn persist(replica: &Replica, wants: &SharedWants) -> SharedSaid {
    loop {
        match replica.store.take(wants).await {
            Ok(said) => return said,
            Err(_outage) => assert!(replica.store.wait_up(Duration::from_secs(20)).await),
        }
    }
}

/// Many callers of two replicas: they count for themselves how many of them are in.
#[test]
fn never_more_calls_are_open_than_there_are_places() {
    const MOST: usize = 5;
    let Some(redis) = Redis::start() else { return };
    let runtime = runtime();
    let _inside = runtime.enter();
    let replicas = runtime.block_on(Replica::pair(&redis.settings(), &[]));
    let replicas = replicas.map(Arc::new);
    let (inside, passed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers = (0..100_usize).map(|caller| {
        let replica = Arc::clone(&replicas[caller % 2]);
        let (inside, passed) = (Arc::clone(&inside), Arc::clone(&passed));
        runtime.spawn(async move {
            for _ in 0..10 {
                let Some(place) = replica.place("crowd", 5).await else {
                    continue;
                };
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(now <= MOST, "{now} calls at once");
                passed.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(place);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        runtime.block_on(caller).unwrap();
    }
    assert!(passed.load(Ordering::SeqCst) >= MOST);
    runtime.block_on(replicas[0].until_left("crowd", 5, MOST));
}

#[test]
fn places_and_rates_are_taken_together_or_not_at_all() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let [one, other] = Replica::pair(&settings, &[]).await;
        let both = |amount, most| SharedWants {
            rates: vec![rate("requests", amount, true)],
            places: vec![place("both", most)],
        };
        let first = one.store.take(&both(4, 2)).await.unwrap();
        assert!(first.rates[0].lot.is_some() && first.place.is_some());
        // There is a place, and no room in the bucket of ten.
        let refused = other.store.take(&both(9, 2)).await.unwrap();
        assert_eq!(
            (refused.places, refused.rates[0].lot.is_none()),
            (vec![true], true)
        );
        assert!(refused.place.is_none());
        // There is room in the bucket, and no place: nothing is taken of it.
        let refused = other.store.take(&both(6, 1)).await.unwrap();
        assert_eq!(
            (refused.places, refused.rates[0].wait_ms),
            (vec![false], Some(0))
        );
        assert!(refused.rates[0].lot.is_none() && refused.place.is_none());
        // What only observes takes nothing where it is full, and refuses nobody.
        let mut observed = both(6, 2);
        observed.places.push(SharedPlaceWant {
            limit: 1,
            enforces: false,
            ..place("observed", 0)
        });
        let said = other.store.take(&observed).await.unwrap();
        assert_eq!(said.places, [true, false]);
        assert!(said.rates[0].lot.is_some() && said.place.is_some());
        assert_eq!(one.fill("observed", 1).await.len(), 1);
        drop((first, said));
        one.told().await;
        other.until_left("both", 2, 2).await;
    });
}

#[test]
fn places_of_a_replica_that_is_gone_come_back_and_are_told_again_if_it_was_only_away() {
    let Some(redis) = Redis::start() else { return };
    let settings = Settings {
        lease: Duration::from_secs(4),
        ..redis.settings()
    };
    runtime().block_on(async {
        let [lost, alive] = Replica::pair(&settings, &[]).await;
        let (open, over) = (lost.place("team", 3).await, lost.place("team", 3).await);
        assert!(open.is_some() && over.is_some());
        assert_eq!(alive.fill("team", 3).await.len(), 1);
        alive.told().await;
        lost.vanish();
        alive.until_left("team", 3, 3).await;
        // It was only stopped for a while. One of its calls has ended meanwhile.
        drop(over);
        let back = Keeper::new(lost.store.clone());
        let back = tokio::spawn(back.run());
        alive.until_some("team", 3, 2).await;
        // Its next call is let in by what all have.
        assert_eq!(lost.fill("team", 3).await.len(), 2);
        lost.told().await;
        drop(open);
        alive.until_left("team", 3, 3).await;
        back.abort();
    });
}

#[test]
fn a_replica_whose_lease_was_ended_tells_of_its_places_before_it_takes_more() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let [one, other] = Replica::pair(&settings, &[]).await;
        let open = one.place("team", 2).await;
        let said = redis.said(&["KEYS", "*:leases"]);
        let leases = said.trim();
        // As the beat of another does, where this one was not heard of for long.
        redis.command(&["ZREM", leases, &one.store.inner.names.replica]);
        let said = redis.said(&["KEYS", "*:p:team"]);
        redis.command(&["DEL", said.trim()]);
        assert_eq!(one.fill("team", 2).await.len(), 1);
        one.told().await;
        assert_eq!(other.fill("team", 2).await.len(), 1);
        drop(open);
        other.until_left("team", 2, 2).await;
    });
}

#[test]
fn a_store_that_lost_its_memory_is_told_which_calls_are_open() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let settings = redis.settings();
    runtime().block_on(async {
        let [one, other] = Replica::pair(&settings, &[]).await;
        let (open, over) = (one.place("team", 3).await, other.place("team", 3).await);
        assert!(open.is_some() && over.is_some());
        redis.command(&["FLUSHALL"]);
        // Nobody is let in before both have said what they know.
        assert_eq!(other.fill("team", 3).await.len(), 1);
        // The same when the server dies; and then one ends.
        redis.kill();
        for replica in [&one, &other] {
            assert!(
                replica
                    .store
                    .take(&only(&[place("team", 3)]))
                    .await
                    .is_err()
            );
        }
        drop(over);
        redis.start_again();
        for replica in [&one, &other] {
            assert!(replica.store.wait_up(Duration::from_secs(20)).await);
        }
        assert_eq!(one.fill("team", 3).await.len(), 2);
        drop(open);
        other.until_left("team", 3, 3).await;
    });
}

#[test]
fn what_was_let_in_while_the_store_stood_still_counts_afterwards_and_nothing_else() {
    let Some(redis) = Redis::start() else { return };
    let settings = Settings {
        timeout: Duration::from_millis(100),
        ..redis.settings()
    };
    runtime().block_on(async {
        let one = Replica::start(&settings, &[]).await;
        let other = Replica::start(&redis.settings(), &[]).await;
        let before = one.place("team", 5).await;
        assert!(before.is_some());
        redis.signal(Signal::STOP);
        // It will take a place for this one, and its answer comes too late.
        let late = one.store.take(&only(&[place("team", 5)])).await;
        assert!(late.is_err());
        let store: Arc<dyn SharedPlaces> = Arc::new(one.store.clone());
        let apart = || SharedPlace::open(vec!["team".into()], &store);
        let (open, over) = (apart(), apart());
        drop((before, over));
        redis.signal(Signal::CONT);
        assert!(one.store.wait_up(Duration::from_secs(20)).await);
        other.until_left("team", 5, 4).await;
        drop(open);
        other.until_left("team", 5, 5).await;
        // Let in by itself just before the store was there again.
        let late = apart();
        one.told().await;
        assert_eq!(other.fill("team", 5).await.len(), 4);
        drop(late);
        one.told().await;
        other.until_left("team", 5, 5).await;
    });
}

//! The store against a real Redis: a model of a few lines, replicas at once, and everything that
//! goes wrong with it. Without `redis-server` these say so and prove nothing.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a model counts plainly; small numbers"
)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

mod late;
mod places;
mod quotas;

use super::*;
use crate::domain::{
    CallId, Secret, SharedBook, SharedCounter, SharedHolds as _, SharedLotEnd, SharedPosition,
    SharedRate, SharedRateAnswer, SharedRates as _, SharedShare, SharedWant, SharedWants,
    Timestamp, Usd,
};
use crate::telemetry::{self, KnownNames, Metrics};

/// A real Redis on a socket file.
pub(crate) struct Redis {
    child: Child,
    directory: TempDir,
}

impl Redis {
    /// `None`, and the reason printed, where there is no `redis-server`.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(&directory)?;
        Some(Self { child, directory })
    }

    pub(crate) fn settings(&self) -> Settings {
        let socket = self.directory.path().join("redis.sock");
        Settings {
            redis_url: Some(Secret::new(&format!("unix://{}", socket.display()))),
            lease: Duration::from_mins(5),
            // The two cores of a test machine are busy.
            timeout: Duration::from_secs(2),
            ..Settings::default()
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Dies without a word, and forgets everything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.directory).unwrap();
    }

    fn command(&self, words: &[&str]) {
        self.said(words);
    }

    /// What it says to a command.
    fn said(&self, words: &[&str]) -> String {
        let socket = self.directory.path().join("redis.sock");
        let mut command = Command::new("redis-cli");
        let output = command.arg("-s").arg(socket).args(words).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _killed = self.child.kill().is_ok();
        let _waited = self.child.wait().is_ok();
    }
}

fn spawn(directory: &TempDir) -> Option<Child> {
    let socket = directory.path().join("redis.sock");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
    command.arg("--unixsocket").arg(socket);
    command.arg("--dir").arg(directory.path());
    let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
        eprintln!("left out: redis-server is not installed");
        return None;
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.unwrap().contains("eady to accept connections"));
    assert!(ready);
    // It would block once its output is full.
    std::thread::spawn(move || lines.count());
    Some(child)
}

/// One replica, and what its ledger says.
struct Replica {
    store: Store,
    keeper: JoinHandle<()>,
    ledger: Option<JoinHandle<()>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.vanish();
        if let Some(ledger) = &self.ledger {
            ledger.abort();
        }
    }
}

impl Replica {
    /// A replica that shares its ledger with the others; that says what `books` say.
    async fn start(settings: &Settings, books: &[SharedBook]) -> Self {
        let mut replica = Self::silent(settings, LedgerOf::All).await;
        let (asked, books) = (replica.store.clone(), books.to_vec());
        replica.ledger = Some(tokio::spawn(async move {
            let mut beat = tokio::time::interval(Duration::from_millis(5));
            loop {
                beat.tick().await;
                if let Some(epoch) = asked.wants_sums() {
                    asked.sum(epoch, books.clone());
                }
            }
        }));
        replica
    }

    /// A replica whose ledger nobody reads.
    async fn silent(settings: &Settings, ledger: LedgerOf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::with_note(settings, ledger, directory.path().join("untold")).await
    }

    async fn with_note(settings: &Settings, ledger: LedgerOf, note: PathBuf) -> Self {
        let metrics = Metrics::new(&telemetry::Settings::default(), &KnownNames::default());
        let (store, keeper) = Store::new(settings, ledger, Arc::new(metrics.unwrap()), note);
        let replica = Self {
            store,
            keeper: tokio::spawn(keeper.run()),
            ledger: None,
        };
        assert!(replica.store.wait_up(Duration::from_secs(20)).await);
        replica
    }

    async fn pair(settings: &Settings, books: &[SharedBook]) -> [Self; 2] {
        [
            Self::start(settings, books).await,
            Self::start(settings, books).await,
        ]
    }

    async fn take_rates(&self, rates: &[SharedRate]) -> Vec<SharedRateAnswer> {
        let wants = SharedWants {
            rates: rates.to_vec(),
            places: Vec::new(),
        };
        self.store.take(&wants).await.unwrap().rates
    }

    async fn reserve(&self, book: &str, limit: i64, amount: i64) -> (CallId, Answer) {
        let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_000));
        let wants = [want(book, limit, amount)];
        (call, self.store.reserve(call, &wants).await.unwrap())
    }

    /// Waits until the ledger is to be read; says for which epoch.
    async fn asked_for_sums(&self) -> u64 {
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        loop {
            beat.tick().await;
            if let Some(epoch) = self.store.wants_sums() {
                return epoch;
            }
        }
    }

    async fn at(&self, book: &str) -> SharedPosition {
        let positions = self.store.look(&[(counter(book), 0)]).await;
        positions.first().copied().flatten().unwrap_or_default()
    }

    /// Waits until a counter stands there.
    async fn until(&self, book: &str, spent: i64, held: i64) {
        let wanted = position(spent, held);
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        let reached = async {
            while self.at(book).await != wanted {
                beat.tick().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        let now = self.at(book).await;
        assert!(reached.is_ok(), "{book}: {now:?} instead of {wanted:?}");
    }

    /// As `kill -9` does: nobody says that it is gone.
    fn vanish(&self) {
        self.keeper.abort();
    }
}

fn micro(amount: i64) -> Usd {
    Usd::from_split(amount, 0)
}

fn position(spent: i64, held: i64) -> SharedPosition {
    SharedPosition {
        spent: micro(spent),
        held: micro(held),
    }
}

fn counter(book: &str) -> SharedCounter {
    SharedCounter {
        book: book.into(),
        subject: "everybody".into(),
        bucket: 0,
        keep_ms: 3_600_000,
    }
}

fn want(book: &str, limit: i64, amount: i64) -> SharedWant {
    SharedWant {
        counter: counter(book),
        oldest: 0,
        limit: micro(limit),
        amount: micro(amount),
        blocks: true,
    }
}

fn says(book: &str, spent: i64) -> SharedBook {
    SharedBook {
        book: book.into(),
        keep_ms: 3_600_000,
        spent: vec![(counter(book), micro(spent))],
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// One step of a random run: of which replica, and what.
#[derive(Clone, Debug)]
enum Step {
    Reserve {
        replica: usize,
        book: usize,
        amount: i64,
    },
    Settle {
        which: usize,
        cost: i64,
    },
    GiveBack {
        which: usize,
    },
    Vanish {
        which: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..2, 0_usize..3, 0_i64..400)
            .prop_map(|(replica, book, amount)| Step::Reserve { replica, book, amount }),
        2 => (any::<usize>(), 0_i64..400).prop_map(|(which, cost)| Step::Settle { which, cost }),
        1 => any::<usize>().prop_map(|which| Step::GiveBack { which }),
        1 => any::<usize>().prop_map(|which| Step::Vanish { which }),
    ]
}

/// Every answer of the store is the one of a model that counts in plain numbers.
#[test]
fn decisions_of_the_store_are_those_of_a_model_of_a_few_lines() {
    let Some(redis) = Redis::start() else { return };
    let runtime = runtime();
    let _inside = runtime.enter();
    // Every run has books of its own.
    let mut runner = TestRunner::new(Config {
        cases: 48,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    let names: Vec<_> = (0..3 * 100).map(|n| format!("book-{n}")).collect();
    let books: Vec<_> = names.iter().map(|name| says(name, 7)).collect();
    let replicas = runtime.block_on(Replica::pair(&redis.settings(), &books));
    let run = std::cell::Cell::new(0);
    let strategy = (prop::collection::vec(step(), 1..60), 7_i64..2_000);
    let result = runner.run(&strategy, |(steps, limit)| {
        let first = run.replace(run.get() + 3) % names.len();
        runtime.block_on(follow_model(&replicas, &names[first..], limit, steps))
    });
    result.unwrap();
}

async fn follow_model(
    replicas: &[Replica; 2],
    names: &[String],
    limit: i64,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    // The ledger says 7.
    let mut spent: HashMap<usize, i64> = (0..3).map(|book| (book, 7)).collect();
    let mut held: HashMap<usize, i64> = HashMap::new();
    let mut open: Vec<(usize, usize, CallId, i64)> = Vec::new();
    for step in steps {
        match step {
            Step::Reserve {
                replica,
                book,
                amount,
            } => {
                let taken = spent[&book] + held.get(&book).unwrap_or(&0);
                let (call, answer) = replicas[replica].reserve(&names[book], limit, amount).await;
                let fits = taken + amount <= limit;
                prop_assert_eq!(matches!(answer, Answer::Taken(_)), fits);
                if fits {
                    *held.entry(book).or_default() += amount;
                    open.push((replica, book, call, amount));
                }
            }
            Step::Settle { which, .. } | Step::GiveBack { which } | Step::Vanish { which } => {
                if open.is_empty() {
                    continue;
                }
                let (replica, book, call, amount) = open.swap_remove(which % open.len());
                let store = &replicas[replica].store;
                *held.entry(book).or_default() -= amount;
                match step {
                    Step::Settle { cost, .. } => {
                        let cost = cost.min(amount);
                        store.settle(call, vec![counter(&names[book])], micro(cost));
                        *spent.entry(book).or_default() += cost;
                    }
                    Step::GiveBack { .. } => store.give_back(call),
                    Step::Vanish { .. } | Step::Reserve { .. } => {
                        store.spend_hold(call);
                        *spent.entry(book).or_default() += amount;
                    }
                }
                prop_assert!(store.flush(Duration::from_secs(10)).await);
            }
        }
    }
    for book in 0..3 {
        let now = replicas[1].at(&names[book]).await;
        let held = *held.get(&book).unwrap_or(&0);
        // What was never reserved was never asked of the ledger.
        let expected = position(spent[&book], held);
        prop_assert!(
            now == expected || now == position(0, 0),
            "{:?} {:?}",
            now,
            expected
        );
    }
    for (replica, _, call, _) in open {
        replicas[replica].store.give_back(call);
    }
    Ok(())
}

/// A thousand callers, two replicas, fifty limits: as many calls pass as fit, and not one more.
#[test]
fn a_thousand_callers_of_two_replicas_pass_no_limit() {
    const BOOKS: usize = 50;
    let Some(redis) = Redis::start() else { return };
    let runtime = runtime();
    let _inside = runtime.enter();
    let names: Vec<_> = (0..BOOKS).map(|n| format!("limit-{n}")).collect();
    // From 1 to 34 calls of 10 fit on top of the 5 that the ledger says.
    let limit = |book: usize| i64::try_from(15 + 7 * book).unwrap();
    let books: Vec<_> = names.iter().map(|name| says(name, 5)).collect();
    let replicas = runtime.block_on(Replica::pair(&redis.settings(), &books));
    let replicas = replicas.map(Arc::new);
    let callers = (0..1_000_usize).map(|caller| {
        let replica = Arc::clone(&replicas[caller % 2]);
        let names = names.clone();
        runtime.spawn(async move {
            let mut passed = Vec::new();
            for turn in 0..2 {
                let book = (caller / 2 * 7 + turn * 13) % BOOKS;
                let (call, answer) = replica.reserve(&names[book], limit(book), 10).await;
                if let Answer::Taken(_) = answer {
                    replica
                        .store
                        .settle(call, vec![counter(&names[book])], micro(10));
                    passed.push(book);
                }
            }
            passed
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut passed = vec![0_i64; BOOKS];
    for caller in callers {
        for book in runtime.block_on(caller).unwrap() {
            passed[book] += 1;
        }
    }
    for replica in &replicas {
        assert!(runtime.block_on(replica.store.flush(Duration::from_secs(30))));
    }
    for (book, name) in names.iter().enumerate() {
        // 2,000 calls on 50 books are 40 for each.
        let fit = (limit(book) - 5) / 10;
        assert_eq!(passed[book], fit.min(40), "{name}");
        let now = runtime.block_on(replicas[0].at(name));
        assert_eq!(now, position(5 + 10 * passed[book], 0), "{name}");
    }
}

#[test]
fn what_a_vanished_replica_held_is_spent_once_and_its_late_truth_corrects_it() {
    let Some(redis) = Redis::start() else { return };
    let settings = Settings {
        lease: Duration::from_secs(4),
        ..redis.settings()
    };
    runtime().block_on(async {
        let books = [says("book", 0)];
        let [lost, alive] = Replica::pair(&settings, &books).await;
        let (call, _) = lost.reserve("book", 100, 40).await;
        let (other, _) = lost.reserve("book", 100, 10).await;
        alive.until("book", 0, 50).await;
        lost.vanish();
        alive.until("book", 50, 0).await;
        let (_, answer) = alive.reserve("book", 100, 51).await;
        assert!(matches!(answer, Answer::Full { .. }));
        // It was only stopped for a while, and comes back.
        lost.store.settle(call, vec![counter("book")], micro(15));
        lost.store.give_back(other);
        let back = tokio::spawn(Keeper::new(lost.store.clone()).run());
        alive.until("book", 15, 0).await;
        back.abort();
    });
}

#[test]
fn a_store_that_lost_its_memory_learns_it_from_ledger_and_calls_in_flight() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let settings = redis.settings();
    runtime().block_on(async {
        let books = [says("book", 30)];
        let [first, second] = Replica::pair(&settings, &books).await;
        let (call, answer) = first.reserve("book", 100, 40).await;
        assert_eq!(answer, Answer::Taken(vec![position(30, 40)]));
        redis.command(&["FLUSHALL"]);
        // Nothing is taken to be zero: 30 are spent and 40 held, also as the other one sees it.
        let (_, answer) = second.reserve("book", 100, 31).await;
        let full = Answer::Full {
            index: 0,
            position: position(30, 40),
        };
        assert_eq!(answer, full);
        let (other, answer) = second.reserve("book", 100, 30).await;
        assert_eq!(answer, Answer::Taken(vec![position(30, 70)]));
        first.store.settle(call, vec![counter("book")], micro(5));
        second.store.give_back(other);
        second.until("book", 35, 0).await;
        // The same when the server dies.
        redis.kill();
        for replica in [&first, &second] {
            let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_006));
            let asked = replica.store.reserve(call, &[want("book", 100, 1)]).await;
            assert!(asked.is_err());
            replica.store.give_back(call);
        }
        redis.start_again();
        assert!(first.store.wait_up(Duration::from_secs(20)).await);
        assert!(second.store.wait_up(Duration::from_secs(20)).await);
        let (_, answer) = first.reserve("book", 100, 71).await;
        assert!(matches!(answer, Answer::Full { position: now, .. } if now == position(30, 0)));
    });
}

#[test]
fn a_store_that_lost_its_memory_is_summed_up_though_nobody_calls_and_is_never_seen_as_zero() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let replicas = Replica::pair(&settings, &[says("book", 30)]).await;
        for loss in 0..2 {
            // The first time it was never asked for anything.
            let known = async {
                let mut beat = tokio::time::interval(Duration::from_millis(20));
                loop {
                    beat.tick().await;
                    let looked = replicas[1].store.look(&[(counter("book"), 0)]).await;
                    if let Some(known) = looked.first().copied().flatten() {
                        return known;
                    }
                }
            };
            let first = tokio::time::timeout(Duration::from_secs(30), known).await;
            assert_eq!(first.unwrap(), position(30, 0), "loss {loss}");
            redis.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn a_store_that_stands_still_is_left_and_what_was_done_meanwhile_is_added() {
    let Some(redis) = Redis::start() else { return };
    let settings = Settings {
        timeout: Duration::from_millis(100),
        ..redis.settings()
    };
    runtime().block_on(async {
        let books = [says("book", 0)];
        let replica = Replica::start(&settings, &books).await;
        let (before, _) = replica.reserve("book", 100, 10).await;
        redis.signal(Signal::STOP);
        let late = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_001));
        let asked = replica.store.reserve(late, &[want("book", 100, 20)]).await;
        let outage = asked.unwrap_err();
        // At once from now on: nobody waits for it again.
        let meanwhile = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_002));
        let wants = [want("book", 100, 30)];
        assert_eq!(replica.store.reserve(meanwhile, &wants).await, Err(outage));
        replica.store.give_back(late);
        replica.store.hold(meanwhile, &wants);
        replica
            .store
            .settle(before, vec![counter("book")], micro(4));
        redis.signal(Signal::CONT);
        assert!(replica.store.wait_up(Duration::from_secs(20)).await);
        replica.until("book", 4, 30).await;
        replica
            .store
            .settle(meanwhile, vec![counter("book")], micro(30));
        replica.until("book", 34, 0).await;
    });
}

#[test]
fn a_client_that_leaves_while_it_is_asked_leaves_no_hold() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let replica = Replica::start(&settings, &[says("book", 0)]).await;
        let (call, _) = replica.reserve("book", 100, 1).await;
        let wants = [want("book", 100, 20)];
        for _ in 0..50 {
            let gone = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_003));
            let asked = replica.store.reserve(gone, &wants);
            let mut asked = std::pin::pin!(asked);
            // Polled once, then dropped.
            let once = std::future::poll_fn(|context| {
                std::task::Poll::Ready(asked.as_mut().poll(context).is_ready())
            });
            if once.await {
                // It was answered at once: who asked holds it.
                replica.store.give_back(gone);
            }
            tokio::task::yield_now().await;
        }
        replica.store.give_back(call);
        assert!(replica.store.flush(Duration::from_secs(10)).await);
        replica.until("book", 0, 0).await;
    });
}

/// The ledger of all replicas is read by one of them: what another settles meanwhile may not be in
/// what was read.
#[test]
fn what_another_replica_settles_while_a_shared_ledger_is_read_counts() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let reader = Arc::new(Replica::silent(&settings, LedgerOf::All).await);
        let other = Replica::silent(&settings, LedgerOf::All).await;
        let settle = async |amount: i64| {
            let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_007));
            let counters = vec![counter("book")];
            other.store.settle(call, counters, micro(amount));
            assert!(other.store.flush(Duration::from_secs(10)).await);
        };
        // Nobody reads the ledger yet: this will stand in it.
        settle(3).await;
        let asking = Arc::clone(&reader);
        let asked = tokio::spawn(async move { asking.reserve("book", 100, 10).await.1 });
        let epoch = reader.asked_for_sums().await;
        settle(5).await;
        reader.store.sum(epoch, vec![says("book", 30)]);
        let answer = asked.await.unwrap();
        assert_eq!(answer, Answer::Taken(vec![position(35, 10)]));
        // The other one does not have to read it again.
        let (_, answer) = other.reserve("book", 100, 10).await;
        assert_eq!(answer, Answer::Taken(vec![position(35, 20)]));
    });
}

/// A replica that has settled calls which the database did not take says so.
#[test]
fn no_shared_ledger_is_read_while_a_replica_s_entries_wait_in_its_spill() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let reader = Arc::new(Replica::silent(&settings, LedgerOf::All).await);
        let other = Replica::silent(&settings, LedgerOf::All).await;
        other.store.is_behind(true);
        // It is entered again with that.
        redis.command(&["FLUSHALL"]);
        let (_, looked) = (other.at("book").await, reader.at("book").await);
        assert_eq!(looked, position(0, 0));
        let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_008));
        // What no ledger can tell is not waited for.
        assert!(
            other
                .store
                .reserve(call, &[want("book", 100, 1)])
                .await
                .is_err()
        );
        let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_009));
        assert!(
            reader
                .store
                .reserve(call, &[want("book", 100, 1)])
                .await
                .is_err()
        );
        assert_eq!(reader.store.wants_sums(), None);
        other.store.is_behind(false);
        let asking = Arc::clone(&reader);
        let asked = tokio::spawn(async move { asking.reserve("book", 100, 10).await.1 });
        let epoch = reader.asked_for_sums().await;
        reader.store.sum(epoch, vec![says("book", 30)]);
        let answer = asked.await.unwrap();
        assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");
    });
}

/// What a replica spent while the store was away stands in its ledger only, when it dies then.
#[test]
fn what_a_replica_spent_without_the_store_before_it_died_is_summed_up_at_its_next_start() {
    let Some(redis) = Redis::start() else { return };
    let settings = Settings {
        timeout: Duration::from_millis(100),
        ..redis.settings()
    };
    runtime().block_on(async {
        let note = redis.directory.path().join("untold");
        let ledger = || LedgerOf::This("one".to_owned());
        let says = async |replica: &Replica, spent| {
            let epoch = replica.asked_for_sums().await;
            replica.store.sum(epoch, vec![says("book", spent)]);
        };
        let first = Replica::with_note(&settings, ledger(), note.clone()).await;
        says(&first, 30).await;
        let (call, answer) = first.reserve("book", 100, 1).await;
        assert_eq!(answer, Answer::Taken(vec![position(30, 1)]));
        first.store.give_back(call);
        assert!(first.store.flush(Duration::from_secs(10)).await);
        assert!(!note.exists());
        redis.signal(Signal::STOP);
        let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_010));
        assert!(
            first
                .store
                .reserve(call, &[want("book", 100, 1)])
                .await
                .is_err()
        );
        while !note.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        first.vanish();
        redis.signal(Signal::CONT);
        let second = Replica::with_note(&settings, ledger(), note.clone()).await;
        says(&second, 42).await;
        let (_, answer) = second.reserve("book", 100, 1).await;
        assert_eq!(answer, Answer::Taken(vec![position(42, 1)]));
        assert!(!note.exists());
    });
}

fn rate(bucket: &str, amount: u64, enforces: bool) -> SharedRate {
    SharedRate {
        bucket: bucket.into(),
        rate: 10,
        burst: 10,
        amount,
        limit: usize::from(!enforces),
        enforces,
        share: None,
    }
}

/// The clock is that of Redis: what it has paid meanwhile may pass as well.
#[test]
fn what_two_replicas_take_of_a_rate_is_that_rate_in_all() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let replicas = Replica::pair(&settings, &[]).await;
        let begun = std::time::Instant::now();
        let mut passed = 0;
        for turn in 0..40 {
            let taken = replicas[turn % 2]
                .take_rates(&[rate("requests", 1, true)])
                .await;
            let [answer] = &taken[..] else {
                panic!("one answer")
            };
            assert_eq!(answer.lot.is_some(), answer.wait_ms == Some(0));
            passed += u128::from(answer.lot.is_some());
        }
        let paid = begun.elapsed().as_millis() * 10 / 60_000 + 1;
        assert!((10..=10 + paid).contains(&passed), "{passed}");
    });
}

#[test]
fn of_several_rates_all_are_taken_or_none_and_what_was_not_used_comes_back() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let [one, other] = Replica::pair(&settings, &[]).await;
        let both = [rate("a", 6, true), rate("b", 10, true)];
        let first = one.take_rates(&both).await;
        assert!(first.iter().all(|answer| answer.lot.is_some()), "{first:?}");
        // There is room in the first bucket, and none in the second: nothing is taken.
        let wants = [rate("a", 4, true), rate("b", 4, true)];
        let refused = other.take_rates(&wants).await;
        assert!(
            refused.iter().all(|answer| answer.lot.is_none()),
            "{refused:?}"
        );
        assert_eq!(refused[0].wait_ms, Some(0));
        assert!(refused[1].wait_ms > Some(0), "{refused:?}");
        // What only observes refuses nobody.
        let wants = [rate("a", 4, true), rate("b", 4, false)];
        let observed = other.take_rates(&wants).await;
        assert!(observed[0].lot.is_some() && observed[1].lot.is_none());
        let never = other.take_rates(&[rate("a", 11, true)]).await;
        assert_eq!(never[0].wait_ms, None);
        // The first call used 3 of the 10.
        let lot = first[1].lot.clone().unwrap();
        let (unused, more) = (7, 0);
        one.store.ended(vec![SharedLotEnd { lot, unused, more }]);
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        let fits = async {
            while other.take_rates(&[rate("b", 7, true)]).await[0]
                .lot
                .is_none()
            {
                beat.tick().await;
            }
        };
        // A minute would pay it too.
        assert!(
            tokio::time::timeout(Duration::from_secs(20), fits)
                .await
                .is_ok()
        );
    });
}

/// The clock is that of Redis: what it has paid meanwhile may pass as well.
#[test]
fn what_tenants_take_of_a_quota_through_two_replicas_is_shared_and_comes_back() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    let share = |tenant: &str, amount| SharedRate {
        rate: 100,
        burst: 100,
        share: Some(SharedShare {
            tenant: tenant.into(),
            weight: 1,
        }),
        ..rate("quota", amount, true)
    };
    runtime().block_on(async {
        let [one, other] = Replica::pair(&settings, &[]).await;
        let begun = std::time::Instant::now();
        let lot = async |replica: &Replica, tenant: &str, amount| {
            let mut taken = replica.take_rates(&[share(tenant, amount)]).await;
            taken.remove(0).lot
        };
        let first = lot(&one, "a", 50).await.unwrap();
        // As the other replica sees it, a has 50 and 50 are free; fifteen seconds pay for another.
        let again = lot(&other, "a", 50).await;
        assert!(again.is_none() || begun.elapsed() > Duration::from_secs(14));
        let second = lot(&other, "b", 30).await;
        assert!(second.is_some());
        // The first call used nothing: what is free now is enough for another of them.
        let (unused, more) = (50, 0);
        one.store.ended(vec![SharedLotEnd {
            lot: first,
            unused,
            more,
        }]);
        let mut beat = tokio::time::interval(Duration::from_millis(5));
        let fits = async {
            while lot(&other, "a", 65).await.is_none() {
                beat.tick().await;
            }
        };
        // Time alone would take half a minute to pay for it.
        let in_time = tokio::time::timeout(Duration::from_secs(20), fits).await;
        assert!(in_time.is_ok());
    });
}

#[test]
fn a_rolling_window_forgets_what_is_old_and_femtodollars_are_exact() {
    let Some(redis) = Redis::start() else { return };
    let settings = redis.settings();
    runtime().block_on(async {
        let replica = Replica::start(&settings, &[says("window", 0)]).await;
        replica.reserve("window", 100, 0).await;
        let cost = |femto| Usd::from_femto(femto);
        for (bucket, femto) in [(10, 1_600_000_000), (20, 2_700_000_000), (20, 900_000_000)] {
            let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_004));
            let counter = SharedCounter {
                bucket,
                ..counter("window")
            };
            replica.store.settle(call, vec![counter], cost(femto));
        }
        assert!(replica.store.flush(Duration::from_secs(10)).await);
        let looked = replica.store.look(&[(counter("window"), 0)]).await;
        assert_eq!(looked[0].unwrap().spent, cost(5_200_000_000));
        let looked = replica.store.look(&[(counter("window"), 20)]).await;
        assert_eq!(looked[0].unwrap().spent, cost(3_600_000_000));
        // 3.6 microdollars leave no room for 97 of 100, though they would for 96.
        let call = CallId::generate(Timestamp::from_unix_ms(1_800_000_000_005));
        let mut want = want("window", 100, 97);
        want.oldest = 20;
        let answer = replica.store.reserve(call, &[want.clone()]).await.unwrap();
        assert!(matches!(answer, Answer::Full { .. }));
        want.amount = micro(96);
        let answer = replica.store.reserve(call, &[want]).await.unwrap();
        assert!(matches!(answer, Answer::Taken(_)));
    });
}

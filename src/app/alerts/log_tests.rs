//! What a delivery log promises, held against each of the two: the file, and the server that
//! replicas share.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use super::LogPlace;
use super::moved::moved;
use super::shared::SharedLog;
use crate::alerts::{Delivery, DeliveryLog, Notice, Outcome, Signal, SqliteLog, Standing};
use crate::domain::Timestamp;
use crate::ledger::test_stores::{Fresh, fresh, stores};
use crate::ledger::{SharedDeliveries, StoreKind};

/// Long enough that no machine is so slow.
const HOLD: Duration = Duration::from_hours(1);
const ALMOST: Duration = Duration::from_mins(40);
const REST: Duration = Duration::from_mins(20);

/// A log that is empty, and its time.
struct Bench {
    ledger: Fresh,
    place: LogPlace,
    passed: Cell<Duration>,
}

impl Bench {
    fn new(store: StoreKind) -> Self {
        let ledger = fresh(store);
        Self {
            place: LogPlace::of(&crate::alerts::Settings::default(), &ledger.settings),
            ledger,
            passed: Cell::default(),
        }
    }

    /// As another process would.
    fn open(&self) -> Box<dyn DeliveryLog> {
        self.place.open().unwrap()
    }

    /// Lets time pass: the file goes by the time that it is told, the server by its own.
    fn pass(&self, by: Duration) {
        self.passed.set(self.passed.get() + by);
        if self.ledger.settings.store == StoreKind::Postgres {
            let settings = &self.ledger.settings.postgres;
            SharedDeliveries::open(settings).unwrap().pass(by);
        }
    }

    fn now(&self) -> Timestamp {
        let ms = self.passed.get().as_millis();
        Timestamp::from_unix_ms(i64::try_from(ms).unwrap())
    }

    fn claim(&self, log: &mut Box<dyn DeliveryLog>, outlet: &str) -> bool {
        log.claim(&notice("full"), outlet, self.now()).unwrap()
    }

    fn take(&self, log: &mut Box<dyn DeliveryLog>) -> Vec<Delivery> {
        log.take_due(8, HOLD, self.now()).unwrap()
    }

    fn settle(&self, log: &mut Box<dyn DeliveryLog>, delivery: &Delivery, outcome: &Outcome) {
        log.settle(delivery, outcome, self.now()).unwrap();
    }
}

/// Of the first hour since 1970.
fn notice(mode: &'static str) -> Notice {
    let store = "ledger";
    let trouble = Signal::Trouble { store, mode };
    trouble.notice(Timestamp::from_unix_ms(0))
}

fn again(pause: Duration, why: &str) -> Outcome {
    Outcome::Again(pause, why.to_owned())
}

/// Runs a test on a new log in each store.
fn on_each(test: impl Fn(&Bench)) {
    for store in stores() {
        test(&Bench::new(store));
    }
}

#[test]
fn the_first_claim_counts_and_a_restart_does_not_change_that() {
    on_each(|bench| {
        let (mut one, mut other) = (bench.open(), bench.open());
        assert!(bench.claim(&mut one, "ops"));
        assert!(!bench.claim(&mut other, "ops"));
        assert!(bench.claim(&mut other, "finance"));
        drop((one, other));
        assert!(!bench.claim(&mut bench.open(), "ops"));
        assert_eq!(bench.open().pending().unwrap(), 2);
    });
}

#[test]
fn what_one_process_holds_another_does_not_take_until_the_hold_is_over() {
    on_each(|bench| {
        let (mut one, mut other) = (bench.open(), bench.open());
        bench.claim(&mut one, "ops");
        let taken = bench.take(&mut one);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].notice, notice("full"));
        assert_eq!((taken[0].attempts, &*taken[0].outlet), (1, "ops"));
        bench.pass(ALMOST);
        assert_eq!(bench.take(&mut other), []);
        // The first one died.
        bench.pass(REST);
        let again = bench.take(&mut other);
        assert_eq!(again[0].attempts, 2);
        assert_eq!(again[0].notice, taken[0].notice, "the same id");
        bench.settle(&mut other, &again[0], &Outcome::Delivered);
        bench.pass(HOLD);
        assert_eq!(bench.take(&mut one), []);
        assert_eq!(bench.open().pending().unwrap(), 0);
    });
}

#[test]
fn a_failure_that_is_told_late_leaves_the_attempt_of_another_alone() {
    on_each(|bench| {
        let (mut one, mut other) = (bench.open(), bench.open());
        bench.claim(&mut one, "ops");
        let first = bench.take(&mut one);
        bench.pass(HOLD);
        let second = bench.take(&mut other);
        assert_eq!(second[0].attempts, 2);
        // It was only slow: nobody takes what the other one holds.
        bench.settle(&mut one, &first[0], &again(Duration::ZERO, "slow"));
        bench.settle(&mut one, &first[0], &Outcome::GivenUp("slow".to_owned()));
        assert_eq!(bench.take(&mut one), []);
        let line = bench.open().lines(9).unwrap().remove(0);
        assert_eq!((line.standing, line.last_error), (Standing::Pending, None));
        // A delivery counts, however late, and whatever is said after it.
        bench.settle(&mut one, &first[0], &Outcome::Delivered);
        bench.settle(&mut other, &second[0], &again(Duration::ZERO, "no answer"));
        bench.pass(HOLD);
        assert_eq!(bench.take(&mut one), []);
        let line = bench.open().lines(9).unwrap().remove(0);
        assert_eq!(line.standing, Standing::Delivered);
    });
}

#[test]
fn a_failure_is_tried_when_it_is_due_and_stays_visible_when_given_up() {
    on_each(|bench| {
        let mut log = bench.open();
        bench.claim(&mut log, "ops");
        let taken = bench.take(&mut log);
        bench.settle(&mut log, &taken[0], &again(HOLD, "503"));
        bench.pass(ALMOST);
        assert_eq!(bench.take(&mut log), []);
        bench.pass(REST);
        let taken = bench.take(&mut log);
        let given_up = Outcome::GivenUp("404".to_owned());
        bench.settle(&mut log, &taken[0], &given_up);
        bench.pass(HOLD);
        assert_eq!(bench.take(&mut log), []);
        assert_eq!(log.pending().unwrap(), 0);
        let lines = log.lines(9).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].standing, lines[0].attempts),
            (Standing::Failed, 2)
        );
        assert_eq!(lines[0].last_error.as_deref(), Some("404"));
        assert_eq!(lines[0].claimed_at, Timestamp::from_unix_ms(0));
        assert_eq!(lines[0].ended_at, Some(Timestamp::from_unix_ms(3_600_000)));
        assert_eq!(lines[0].next_try_at, None);
    });
}

#[test]
fn what_is_done_is_forgotten_after_its_period_and_what_is_not_is_kept() {
    on_each(|bench| {
        let mut log = bench.open();
        for outlet in ["ops", "finance"] {
            bench.claim(&mut log, outlet);
        }
        let taken = log.take_due(1, HOLD, bench.now()).unwrap();
        bench.settle(&mut log, &taken[0], &Outcome::Delivered);
        let at = Timestamp::from_unix_ms;
        log.prune(at(3_600_000)).unwrap();
        assert_eq!(log.lines(9).unwrap().len(), 2);
        log.prune(at(3_600_001)).unwrap();
        let left = log.lines(9).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].standing, Standing::Pending);
    });
}

#[test]
fn of_what_another_log_says_only_a_delivery_is_news_here() {
    on_each(|bench| {
        let mut elsewhere = SqliteLog::in_memory().unwrap();
        let mut log = bench.open();
        for (mode, outcome) in [
            ("delivered", Outcome::Delivered),
            ("failed", Outcome::GivenUp("404".to_owned())),
            ("known", Outcome::Delivered),
            ("known failed", Outcome::GivenUp("404".to_owned())),
        ] {
            let now = bench.now();
            elsewhere.claim(&notice(mode), "ops", now).unwrap();
            let taken = elsewhere.take_due(1, HOLD, now).unwrap();
            elsewhere.settle(&taken[0], &outcome, now).unwrap();
            if mode.starts_with("known") {
                log.claim(&notice(mode), "ops", now).unwrap();
            }
        }
        elsewhere
            .claim(&notice("pending"), "ops", bench.now())
            .unwrap();
        for line in elsewhere.lines(9).unwrap() {
            log.write_down(&line).unwrap();
            log.write_down(&line).unwrap();
        }
        let stands = |mode| {
            let id = notice(mode).id;
            let lines = log.lines(9).unwrap();
            lines
                .iter()
                .find(|line| line.notice.id == id)
                .unwrap()
                .standing
        };
        assert_eq!(stands("delivered"), Standing::Delivered);
        assert_eq!(stands("failed"), Standing::Failed);
        assert_eq!(stands("known"), Standing::Delivered);
        assert_eq!(stands("known failed"), Standing::Pending);
        assert_eq!(stands("pending"), Standing::Pending);
        assert_eq!(log.pending().unwrap(), 2);
        assert_eq!(bench.take(&mut log).len(), 2);
    });
}

#[test]
fn of_four_at_once_one_claims_each_notice_and_one_delivers_it() {
    const MODES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    on_each(|bench| {
        let begin = Barrier::new(4);
        let work = |mut log: Box<dyn DeliveryLog>, now| {
            begin.wait();
            let mut first = 0;
            for mode in MODES {
                first += usize::from(log.claim(&notice(mode), "ops", now).unwrap());
            }
            begin.wait();
            let mut told = Vec::new();
            loop {
                let due = log.take_due(3, HOLD, now).unwrap();
                // What the others hold for a moment is passed over: they tell of it.
                if due.is_empty() {
                    return (first, told);
                }
                for delivery in due {
                    log.settle(&delivery, &Outcome::Delivered, now).unwrap();
                    told.push(delivery.notice.id);
                }
            }
        };
        let done: Vec<(usize, Vec<String>)> = std::thread::scope(|scope| {
            let started = [(); 4].map(|()| {
                let (log, now) = (bench.open(), bench.now());
                scope.spawn(move || work(log, now))
            });
            started.map(|thread| thread.join().unwrap()).into()
        });
        let claimed: usize = done.iter().map(|(first, _)| first).sum();
        assert_eq!(claimed, MODES.len());
        let told: Vec<String> = done.into_iter().flat_map(|(_, told)| told).collect();
        let ids: BTreeSet<&String> = told.iter().collect();
        assert_eq!((told.len(), ids.len()), (MODES.len(), MODES.len()));
        assert_eq!(bench.open().pending().unwrap(), 0);
    });
}

#[test]
fn the_file_of_an_older_program_moves_into_the_log_that_replicas_share_once() {
    for store in stores().into_iter().filter(|s| *s == StoreKind::Postgres) {
        let bench = Bench::new(store);
        let directory = &bench.ledger.settings.directory;
        std::fs::create_dir_all(directory).unwrap();
        let file = SqliteLog::file_in(directory);
        let mut before = SqliteLog::open(&file).unwrap();
        for outlet in ["ops", "finance"] {
            let now = bench.now();
            before.claim(&notice("full"), outlet, now).unwrap();
        }
        let taken = before.take_due(1, HOLD, bench.now()).unwrap();
        before
            .settle(&taken[0], &Outcome::Delivered, bench.now())
            .unwrap();
        drop(before);
        let mut log = bench.open();
        assert!(!file.exists() && moved(&file).exists());
        assert!(!bench.claim(&mut log, "ops"));
        assert!(!bench.claim(&mut log, "finance"));
        let due = bench.take(&mut log);
        assert_eq!(due.len(), 1);
        assert_ne!(due[0].outlet, taken[0].outlet, "it was delivered");
        drop(log);
        assert_eq!(bench.open().lines(9).unwrap().len(), 2);
    }
}

#[test]
fn a_notice_of_a_newer_program_stops_no_other() {
    for store in stores().into_iter().filter(|s| *s == StoreKind::Postgres) {
        let bench = Bench::new(store);
        let shared = SharedDeliveries::open(&bench.ledger.settings.postgres).unwrap();
        let mut log: Box<dyn DeliveryLog> = Box::new(SharedLog(shared));
        bench.claim(&mut log, "ops");
        let shared = SharedDeliveries::open(&bench.ledger.settings.postgres).unwrap();
        let mut newer = shared.lines(1).unwrap().remove(0);
        newer.id = "newer".to_owned();
        newer.notice = newer.notice.replace("store_trouble", "of_tomorrow");
        assert!(shared.claim(&newer).unwrap());
        let taken = bench.take(&mut log);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].notice, notice("full"));
        assert_eq!(log.pending().unwrap(), 2, "who can read it tells of it");
    }
}

//! Quotas that tenants share, in a real Redis: the scripts against the algorithm of one process, two
//! implementations of one rule, and against what is promised. The scripts are those of the product,
//! behind a clock that these tests move. Without `redis-server` they prove nothing.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a model counts plainly; small numbers"
)]

mod claims;

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::runtime::Runtime;

use super::Redis;
use crate::domain::{
    Clock as _, Glob, ManualClock, SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates,
    SharedSaid, SharedShare, SharedWants, TenantId, Timestamp,
};
use crate::limits::simulation::{self, GREEDY, Habit, MINUTE, applying, reading, run_by};
use crate::limits::{AccountSettings, Admitted, Hold, Limits, Rates, Refused, Settings};
use crate::replicas::connect::open;
use crate::replicas::link::{COMMON, evalsha};
use crate::replicas::names::Names;
use crate::replicas::rate_words::{self, ENDED, RATES, SHARE_ENDED};
use crate::replicas::rates::{Said, said};

/// The scripts, by a clock of their own.
struct Timed {
    runtime: Runtime,
    connection: Mutex<MultiplexedConnection>,
    clock: Arc<ManualClock>,
    told_ms: AtomicI64,
    rates: String,
    /// Of a bucket, and of a quota.
    ended: [String; 2],
    /// Another one for each run: nothing was taken of anything.
    names: Mutex<(u64, Names)>,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").finish_non_exhaustive()
    }
}

impl Timed {
    fn new(redis: &Redis) -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let opened = runtime.block_on(open(&redis.settings())).unwrap();
        let mut timed = Self {
            runtime,
            connection: Mutex::new(opened.connection),
            clock: Arc::default(),
            told_ms: AtomicI64::new(-1),
            rates: String::new(),
            ended: Default::default(),
            names: Mutex::new((0, names(0))),
        };
        timed.rates = timed.load(RATES);
        timed.ended = [ENDED, SHARE_ENDED].map(|script| timed.load(script));
        timed
    }

    /// Only the clock is another one.
    fn load(&self, script: &str) -> String {
        let clock = "now_ms = function() return tonumber(redis.call('GET', 'now')) end";
        let script = format!("{COMMON}\n{clock}\n{script}");
        let digest = self.ask(redis::cmd("SCRIPT").arg("LOAD").arg(script));
        redis::from_redis_value(digest).unwrap()
    }

    fn ask(&self, command: &Cmd) -> Value {
        let mut connection = self.connection.lock().unwrap();
        let answer = self
            .runtime
            .block_on(connection.send_packed_command(command));
        answer.and_then(Value::extract_error).unwrap()
    }

    fn begin(&self) {
        let mut names_now = self.names.lock().unwrap();
        let run = names_now.0 + 1;
        *names_now = (run, names(run));
        drop(names_now);
        self.at(0);
    }

    fn names(&self) -> Names {
        self.names.lock().unwrap().1.clone()
    }

    fn at(&self, ms: i64) {
        self.clock.set(Timestamp::from_unix_ms(START_MS + ms));
    }

    fn tell_time(&self) {
        let now = self.clock.now().unix_ms();
        if self.told_ms.swap(now, Ordering::Relaxed) == now {
            return;
        }
        self.ask(redis::cmd("SET").arg("now").arg(now));
    }

    fn take(&self, wants: &[SharedRate]) -> Vec<SharedRateAnswer> {
        self.tell_time();
        let keys = rate_words::keys(&self.names(), wants);
        let mut command = evalsha(&self.rates, &keys);
        // No places.
        command.arg(0);
        rate_words::say(&mut command, wants);
        let wants = SharedWants {
            rates: wants.to_vec(),
            places: Vec::new(),
        };
        let Said::Full(said) = said(&wants, self.ask(&command)).unwrap() else {
            panic!("no places were asked for")
        };
        said.rates
    }

    /// Lets a call in by what a replica asks for.
    fn admit(self: &Arc<Self>, replica: &Limits, habit: &Habit) -> Result<Admitted, Refused> {
        let (applying, demand) = applying(replica, habit);
        let said = SharedSaid {
            rates: self.take(&applying.wants(demand).rates),
            ..SharedSaid::default()
        };
        let told: Arc<dyn SharedRates> = Arc::<Self>::clone(self);
        applying.admit_by(demand, Rates::Told(said, told))
    }

    fn replica(&self, settings: &Settings) -> Limits {
        Limits::new(settings, Arc::<ManualClock>::clone(&self.clock) as _)
    }

    fn set(&self, quota: &str, fields: &[(&str, i64)]) {
        let [hash, _] = self.names().quota(quota);
        self.ask(redis::cmd("HSET").arg(hash).arg(fields));
    }
}

/// At once.
impl SharedRates for Timed {
    fn ended(&self, lots: Vec<SharedLotEnd>) {
        self.tell_time();
        for one in &lots {
            let [of_bucket, of_quota] = &self.ended;
            let is_share = one.lot.share.is_some();
            let script = if is_share { of_quota } else { of_bucket };
            self.ask(&rate_words::end(script, &self.names(), one));
        }
    }
}

fn names(run: u64) -> Names {
    Names::new(&run.to_string(), String::new(), String::new())
}

/// As on a real clock.
const START_MS: i64 = 1_800_000_000_000;

/// Calls go to one replica and the other in turn.
#[test]
fn on_two_replicas_equal_tenants_get_half_each_and_an_idle_one_is_served_at_once() {
    let Some(redis) = Redis::start() else { return };
    let timed = Arc::new(Timed::new(&redis));
    timed.begin();
    timed.clock.set(Timestamp::from_unix_ms(0));
    let settings = simulation::quota(&[]);
    let replicas = [timed.replica(&settings), timed.replica(&settings)];
    let other = Habit {
        tenant: "b",
        ..GREEDY
    };
    let idle = Habit {
        tenant: "idle",
        calls_per_minute: 10,
        from_ms: 3 * MINUTE,
        ..GREEDY
    };
    let mut turn = 0;
    let habits = [GREEDY, other, idle];
    let let_in = run_by(&habits, 5 * MINUTE, &timed.clock, &mut |habit| {
        turn += 1;
        timed.admit(&replicas[turn % 2], habit)
    });
    simulation::check_bound(&let_in);
    let early = simulation::shares(&let_in, MINUTE, 3 * MINUTE);
    assert!(early.values().all(|share| (45..=55).contains(share)));
    // A tenth of the quota is all that it asks for: it waits for none of it.
    let waited = simulation::longest_wait(&let_in, "idle", 3 * MINUTE, 5 * MINUTE);
    assert_eq!(waited, 0);
    let late = simulation::shares(&let_in, 3 * MINUTE, 5 * MINUTE);
    assert_eq!(late["idle"], 10, "{late:?}");
    assert!((42..=48).contains(&late["a"]), "{late:?}");
    assert!((42..=48).contains(&late["b"]), "{late:?}");
}

#[derive(Clone, Debug)]
struct Step {
    pause_ms: i64,
    tenant: usize,
    reserved: u64,
    actual: u64,
    takes_ms: i64,
    is_sent: bool,
}

/// How a run is beyond its steps.
#[derive(Clone, Debug)]
struct Run {
    requests: Option<u64>,
    tokens: u64,
    burst_ms: u64,
    /// Calls may use more than they reserved, and clocks step back: then no bound is promised.
    is_wild: bool,
    /// Where the clock of payments stands at the beginning, before it is set back.
    clock: i64,
    /// What it was set back by before.
    base: i64,
    steps: Vec<Step>,
}

fn runs() -> impl Strategy<Value = Run> {
    let pause = prop_oneof![19 => -1_500_i64..3_000, 1 => -300_000_i64..300_000];
    let step = (
        pause,
        0_usize..3,
        1_u64..50,
        0_u64..80,
        0_i64..60_000,
        prop::bool::weighted(0.9),
    );
    let step = step.prop_map(
        |(pause_ms, tenant, reserved, actual, takes_ms, is_sent)| Step {
            pause_ms,
            tenant,
            reserved,
            actual,
            takes_ms,
            is_sent,
        },
    );
    let steps = prop::collection::vec(step, 1..100);
    let half = 1_i64 << 49;
    let clock = prop_oneof![Just(0_i64), half - 2_000_000..half];
    let base = prop_oneof![Just(0_i64), 2 * half - 2_000_000..2 * half];
    let run = (
        prop::option::of(5_u64..60),
        20_u64..300,
        1_000_u64..60_000,
        any::<bool>(),
        clock,
        base,
        steps,
    );
    run.prop_map(
        |(requests, tokens, burst_ms, is_wild, clock, base, steps)| Run {
            requests,
            tokens,
            burst_ms,
            is_wild,
            clock,
            base,
            steps,
        },
    )
}

const TENANTS: [&str; 3] = ["a", "b", "c"];

impl Run {
    fn settings(&self) -> Settings {
        let weights = TENANTS.iter().zip([1, 2, 7]);
        let weights = weights.map(|(tenant, weight)| (TenantId::new(tenant).unwrap(), weight));
        Settings {
            accounts: vec![AccountSettings {
                model: Some(Glob::new("anthropic.*").unwrap()),
                requests_per_minute: self.requests,
                tokens_per_minute: Some(self.tokens),
                burst: std::time::Duration::from_millis(self.burst_ms),
                weights: weights.collect(),
                ..AccountSettings::named("quota")
            }],
            ..Settings::default()
        }
    }

    /// How far hints may lie apart after so many takes, in milliseconds: the scripts round each up by
    /// less than a unit for each of seven weights, and pay in steps of a unit for each of ten; each
    /// such unit may count for the whole and for the tenant.
    fn tolerance_ms(&self, takes: u64) -> u64 {
        let slowest = self.requests.unwrap_or(self.tokens).min(self.tokens);
        (2 * (7 * takes + 10)).div_ceil(slowest) + 1
    }
}

/// Both have let it in, and when it ends.
struct Open {
    ends_ms: i64,
    holds: [Hold; 2],
    used: u64,
}

/// Every decision and every hint of the scripts is that of the process, but for rounding. Where the
/// two part within it, a moment later they do not.
#[test]
fn the_scripts_decide_as_a_process_does() {
    let Some(redis) = Redis::start() else { return };
    let timed = Arc::new(Timed::new(&redis));
    let mut runner = TestRunner::new(Config {
        cases: 96,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    });
    let seen = Cell::new([0_u64; 3]);
    let result = runner.run(&runs(), |run| {
        let more = follow(&timed, &run)?;
        let mut now = seen.get();
        for (now, more) in now.iter_mut().zip(more) {
            *now += more;
        }
        seen.set(now);
        Ok(())
    });
    result.unwrap();
    let [passed, refused, parted] = seen.get();
    println!("{passed} passed, {refused} refused, {parted} asked again for rounding");
    assert!(passed > 0 && refused > 0);
    assert!(parted * 50 < passed + refused, "{parted}");
}

fn follow(timed: &Arc<Timed>, run: &Run) -> Result<[u64; 3], TestCaseError> {
    timed.begin();
    let settings = run.settings();
    let process = timed.replica(&settings);
    let replicas = [timed.replica(&settings), timed.replica(&settings)];
    for what in ["requests", "tokens"] {
        let fields = [("clock", run.clock), ("base", run.base)];
        timed.set(&format!("quota|model=anthropic.* |{what}"), &fields);
    }
    let mut now = 0;
    let mut open: Vec<Open> = Vec::new();
    let mut let_in: Vec<(i64, u64)> = Vec::new();
    let mut seen = [0; 3];
    for (turn, step) in run.steps.iter().enumerate() {
        let next = match step.pause_ms {
            back @ ..0 if !run.is_wild => now - back,
            pause => now + pause,
        };
        open.sort_by_key(|one| one.ends_ms);
        while open.first().is_some_and(|one| one.ends_ms <= next) {
            let one = open.remove(0);
            timed.at(one.ends_ms);
            for hold in one.holds {
                hold.settle(&reading(one.used));
            }
        }
        now = next;
        let habit = Habit {
            tenant: TENANTS[step.tenant],
            reserves: step.reserved,
            ..GREEDY
        };
        let mut tries = 0;
        let tolerance_ms = run.tolerance_ms(seen[0]);
        let decided = loop {
            timed.at(now);
            let (own, demand) = applying(&process, &habit);
            let own = own.admit(demand);
            let shared = timed.admit(&replicas[turn % 2], &habit);
            match (own, shared) {
                (Ok(own), Ok(shared)) => break Some([own.hold, shared.hold]),
                (Err(own), Err(shared)) if agree(&own, &shared, tolerance_ms) => break None,
                // What either took comes back: nothing was sent.
                (own, shared) => {
                    tries += 1;
                    prop_assert!(tries < 4, "{own:?} but {shared:?}");
                }
            }
            now += i64::try_from(tolerance_ms).unwrap() + 1;
            seen[2] += 1;
        };
        let Some(mut holds) = decided else {
            seen[1] += 1;
            continue;
        };
        seen[0] += 1;
        let used = if run.is_wild {
            step.actual
        } else {
            step.actual.min(step.reserved)
        };
        if step.is_sent {
            holds.iter_mut().for_each(Hold::sent);
            let_in.push((now, used));
        }
        let ends_ms = now + step.takes_ms;
        open.push(Open {
            ends_ms,
            holds,
            used,
        });
    }
    if !run.is_wild {
        check_bound(run, &let_in)?;
    }
    Ok(seen)
}

fn agree(own: &Refused, shared: &Refused, tolerance_ms: u64) -> bool {
    let apart = own.wait_ms.zip(shared.wait_ms);
    let apart = apart.map(|(own, shared)| own.abs_diff(shared));
    own.wait_ms.is_some() == shared.wait_ms.is_some()
        && apart.is_none_or(|apart| apart <= tolerance_ms)
}

/// The model: of the calls that were let in, sum up each window of a minute.
fn check_bound(run: &Run, let_in: &[(i64, u64)]) -> Result<(), TestCaseError> {
    let burst = |rate: u64| (rate * run.burst_ms).div_ceil(60_000).max(1);
    let largest = run.steps.iter().map(|step| step.reserved).max().unwrap();
    for (from, _) in let_in {
        let window = let_in
            .iter()
            .filter(|(at, _)| (*from..from + 60_000).contains(at));
        let used: Vec<_> = window.map(|(_, used)| *used).collect();
        let most = run.tokens + burst(run.tokens).max(largest);
        prop_assert!(used.iter().sum::<u64>() <= most, "{used:?} of {most}");
        if let Some(requests) = run.requests {
            let most = requests + burst(requests);
            prop_assert!(
                u64::try_from(used.len()).unwrap() <= most,
                "{used:?} of {most}"
            );
        }
    }
    Ok(())
}

fn share(tenant: &str, amount: u64) -> SharedRate {
    SharedRate {
        bucket: "quota".into(),
        rate: 60,
        burst: 60,
        amount,
        limit: 0,
        enforces: true,
        share: Some(SharedShare {
            tenant: tenant.into(),
            weight: 1,
        }),
    }
}

#[test]
fn a_quota_and_a_limit_are_taken_of_together_or_not_at_all() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    timed.begin();
    let limit = |amount| SharedRate {
        bucket: "limit".into(),
        limit: 1,
        share: None,
        ..share("a", amount)
    };
    let taken = |wants: &[SharedRate]| {
        let answers = timed.take(wants);
        let rows = answers.iter().map(|one| (one.wait_ms, one.lot.is_some()));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(
        taken(&[share("a", 30), limit(50)]),
        [(Some(0), true); 2],
        "both have room"
    );
    assert_eq!(
        taken(&[share("b", 10), limit(20)]),
        [(Some(0), false), (Some(10_000), false)],
        "the limit has none"
    );
    assert_eq!(
        taken(&[share("a", 30), limit(5)]),
        [(Some(15_000), false), (Some(0), false)],
        "the quota has none: 30 and 30 are more than the 30 that are free"
    );
    let observed = SharedRate {
        enforces: false,
        ..share("a", 30)
    };
    assert_eq!(
        taken(&[observed, limit(5)]),
        [(Some(15_000), false), (Some(0), true)],
        "one that observes takes nothing where it has no room"
    );
    assert_eq!(
        taken(&[share("c", 61)]),
        [(None, false)],
        "more than the quota never fits"
    );
    // What was refused took nothing: 30 are free.
    assert_eq!(taken(&[share("b", 30)]), [(Some(0), true)]);
}

/// Two calls of 30, each of the whole that is there: when the first ends, nobody knows of it any more.
#[test]
fn a_lot_of_what_was_forgotten_gives_nothing_of_another_back() {
    let Some(redis) = Redis::start() else { return };
    let timed = Timed::new(&redis);
    timed.begin();
    let names = timed.names();
    let [quota, _] = names.quota("quota");
    let of_quota = (share("a", 30), quota, "backlog");
    let bucket = SharedRate {
        share: None,
        ..share("", 30)
    };
    let of_bucket = (bucket, names.bucket("quota"), "used");
    for (want, key, field) in [of_quota, of_bucket] {
        timed.at(0);
        let lot = || {
            timed
                .take(std::slice::from_ref(&want))
                .remove(0)
                .lot
                .unwrap()
        };
        let ended = |lot, unused| {
            let more = 0;
            timed.ended(vec![SharedLotEnd { lot, unused, more }]);
        };
        let taken = || -> i64 {
            let said = timed.ask(redis::cmd("HGET").arg(&key).arg(field));
            redis::from_redis_value(said).unwrap()
        };
        let first = lot();
        // It is paid in half a minute, and forgotten a minute later.
        timed.at(90_000);
        timed.ask(redis::cmd("DEL").arg(&key));
        let second = lot();
        ended(first, 30);
        assert_eq!(taken(), 30 * 60_000, "{field}");
        ended(second, 20);
        assert_eq!(taken(), 10 * 60_000, "{field}");
    }
}

//! The room as its users see it, with a clock that stands still.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Capacity, Dimension, Facet, Geography, Glob, ManualClock, ModelRef, Reading, Region, Scope,
    SharedLot, SharedLotEnd, SharedRate, SharedRateAnswer, SharedRates, SharedSaid, Subject,
    TenantId, Timestamp, Usage, UsageReason,
};

struct Bench {
    clock: Arc<ManualClock>,
    limits: Limits,
}

impl Bench {
    fn new(settings: &Settings) -> Self {
        let clock = Arc::new(ManualClock::default());
        let limits = Limits::new(settings, Arc::<ManualClock>::clone(&clock) as _);
        Self { clock, limits }
    }

    fn at(&self, ms: i64) {
        self.clock.set(Timestamp::from_unix_ms(ms));
    }

    fn admit(&self, tenant: &str, demand: Demand) -> Result<Admitted, Refused> {
        self.applying(tenant).admit(demand)
    }

    fn applying(&self, tenant: &str) -> Applying {
        let tenant = TenantId::new(tenant).unwrap();
        let subject = Subject {
            tenant: &tenant,
            application: "app",
            model: Some("anthropic.claude-opus-5-5"),
            key: None,
            user: None,
            session: None,
        };
        let model = model();
        let region = Region::new("us-east-1").unwrap();
        self.limits.applying(&subject, &region, Some(&model))
    }

    fn sent(&self, tenant: &str, demand: Demand) -> Result<Hold, Refused> {
        let mut hold = self.admit(tenant, demand)?.hold;
        hold.sent();
        Ok(hold)
    }
}

fn model() -> ModelRef {
    let base = "anthropic.claude-opus-5-5";
    ModelRef {
        asked: base.into(),
        base: Some(base.into()),
        geography: Geography::InRegion,
        capacity: Capacity::OnDemand,
    }
}

/// Tokens of input and output; the model's output counts five each.
const fn tokens(input: u64, output: u64) -> Demand {
    Demand {
        input,
        output,
        has_tokens: true,
    }
}

fn scope(facets: &[(Facet, &str)]) -> Scope {
    let facets = facets.iter().map(|(f, p)| (*f, Glob::new(p).unwrap()));
    Scope {
        facets: facets.collect(),
        shared: Vec::new(),
    }
}

fn each_tenant(name: &str) -> LimitSettings {
    LimitSettings {
        scope: scope(&[(Facet::Tenant, "*")]),
        ..LimitSettings::named(name)
    }
}

fn of(limits: Vec<LimitSettings>) -> Settings {
    Settings {
        limits,
        ..Settings::default()
    }
}

fn used(input: u64, output: u64, cache_read: u64) -> Reading {
    let usage = Usage::from_iter([
        (Dimension::InputTokens, input),
        (Dimension::OutputTokens, output),
        (Dimension::CacheReadTokens, cache_read),
    ]);
    Reading::reported(usage, "body")
}

#[test]
fn each_subject_has_a_counter_of_its_own() {
    let bench = Bench::new(&of(vec![LimitSettings {
        requests_per_minute: Some(2),
        ..each_tenant("each")
    }]));
    for tenant in ["a", "b"] {
        for _ in 0..2 {
            drop(bench.sent(tenant, Demand::default()).unwrap());
        }
        let refused = bench.sent(tenant, Demand::default()).unwrap_err();
        assert_eq!(&*refused.counter, format!("tenant={tenant}"));
        assert_eq!(refused.wait_ms, Some(30_000), "two a minute");
    }
    bench.at(30_000);
    assert!(bench.sent("a", Demand::default()).is_ok());
}

#[test]
fn all_limits_pass_or_nothing_is_taken() {
    let wide = LimitSettings {
        requests_per_minute: Some(100),
        ..LimitSettings::named("wide")
    };
    let narrow = LimitSettings {
        requests_per_minute: Some(1),
        ..each_tenant("narrow")
    };
    let bench = Bench::new(&of(vec![wide, narrow]));
    drop(bench.sent("a", Demand::default()).unwrap());
    for _ in 0..10 {
        assert_eq!(
            &*bench.sent("a", Demand::default()).unwrap_err().limit,
            "narrow"
        );
    }
    let uses = bench.limits.uses();
    assert_eq!((&*uses[0].limit, uses[0].fullest_permille), ("wide", 10));
}

#[test]
fn tokens_are_reserved_by_weight_and_settled_as_bedrock_counts() {
    let bench = Bench::new(&of(vec![LimitSettings {
        tokens_per_minute: Some(1_000),
        ..LimitSettings::named("all")
    }]));
    let permille = || bench.limits.uses()[0].fullest_permille;
    let hold = bench.sent("a", tokens(100, 100)).unwrap();
    assert_eq!(permille(), 600, "100 + 5 * 100");
    let refused = bench.sent("a", tokens(0, 100)).unwrap_err();
    // 100 too many at 1,000 a minute.
    assert_eq!((refused.asked, refused.wait_ms), (500, Some(6_000)));
    hold.settle(&used(20, 10, 9_999));
    assert_eq!(permille(), 70, "20 + 5 * 10, cache reads free");
}

#[test]
fn unknown_usage_keeps_its_reservation_and_more_than_reserved_is_taken() {
    let bench = Bench::new(&of(vec![LimitSettings {
        tokens_per_minute: Some(10_000),
        ..LimitSettings::named("all")
    }]));
    let permille = || bench.limits.uses()[0].fullest_permille;
    drop(bench.sent("a", tokens(100, 100)).unwrap());
    assert_eq!(permille(), 60);
    let hold = bench.sent("a", tokens(100, 100)).unwrap();
    hold.settle(&Reading::missing(UsageReason::CutShort));
    assert_eq!(permille(), 120);
    let hold = bench.sent("a", tokens(0, 100)).unwrap();
    hold.settle(&used(380, 100, 0));
    assert_eq!(permille(), 208, "380 more than reserved");
}

#[test]
fn a_call_that_was_never_sent_gives_all_of_it_back() {
    let bench = Bench::new(&of(vec![LimitSettings {
        requests_per_minute: Some(1),
        tokens_per_minute: Some(1_000),
        concurrent_calls: Some(1),
        ..LimitSettings::named("all")
    }]));
    for _ in 0..3 {
        drop(bench.admit("a", tokens(0, 200)).unwrap());
    }
    let uses = bench.limits.uses();
    assert!(uses.iter().all(|one| one.fullest_permille == 0), "{uses:?}");
}

#[test]
fn calls_at_once_are_given_back_however_the_call_ends() {
    let bench = Bench::new(&of(vec![LimitSettings {
        concurrent_calls: Some(2),
        ..each_tenant("at-once")
    }]));
    let one = bench.sent("a", Demand::default()).unwrap();
    let two = bench.sent("a", Demand::default()).unwrap();
    let refused = bench.sent("a", Demand::default()).unwrap_err();
    assert_eq!((refused.what, refused.wait_ms), (What::Calls, Some(1_000)));
    one.settle(&used(1, 1, 0));
    let three = bench.sent("a", Demand::default()).unwrap();
    drop(two);
    let _four = bench.sent("a", Demand::default()).unwrap();
    assert!(bench.sent("a", Demand::default()).is_err());
    let panicked = std::thread::spawn(move || {
        let _held = three;
        panic!("the hold is dropped while this unwinds");
    });
    assert!(panicked.join().is_err());
    assert!(bench.sent("a", Demand::default()).is_ok());
}

#[test]
fn a_call_above_the_limit_itself_never_fits_and_one_that_says_nothing_is_as_large_as_its_model() {
    let bench = Bench::new(&of(vec![LimitSettings {
        tokens_per_minute: Some(1_000),
        output_weight: Some(1),
        ..LimitSettings::named("all")
    }]));
    let refused = bench.sent("a", tokens(1, 1_000)).unwrap_err();
    assert_eq!(refused.wait_ms, None);
    let silent = Demand {
        output: bench.limits.output_max(Some(&model())),
        ..tokens(1, 0)
    };
    let refused = bench.sent("a", silent).unwrap_err();
    assert_eq!((refused.asked, refused.wait_ms), (128_001, None));
    assert!(bench.sent("a", tokens(0, 1_000)).is_ok());
}

#[test]
fn an_observed_limit_refuses_nobody_and_says_what_it_would_have() {
    let bench = Bench::new(&of(vec![LimitSettings {
        requests_per_minute: Some(2),
        mode: LimitMode::Observe,
        ..LimitSettings::named("tried")
    }]));
    let mut observed = 0;
    for _ in 0..5 {
        observed += bench.admit("a", Demand::default()).unwrap_sent();
    }
    assert_eq!(observed, 3);
}

impl Admitted {
    fn unwrap_sent(mut self) -> usize {
        self.hold.sent();
        self.observed.len()
    }
}

trait UnwrapSent {
    fn unwrap_sent(self) -> usize;
}

impl UnwrapSent for Result<Admitted, Refused> {
    fn unwrap_sent(self) -> usize {
        self.unwrap().unwrap_sent()
    }
}

#[test]
fn a_reload_keeps_what_was_taken_where_the_scope_stays() {
    let limit = |most, scope| {
        of(vec![LimitSettings {
            requests_per_minute: Some(most),
            scope,
            ..LimitSettings::named("one")
        }])
    };
    let bench = Bench::new(&limit(2, scope(&[(Facet::Tenant, "*")])));
    for _ in 0..2 {
        drop(bench.sent("a", Demand::default()).unwrap());
    }
    bench
        .limits
        .reload(&limit(3, scope(&[(Facet::Tenant, "*")])));
    drop(bench.sent("a", Demand::default()).unwrap());
    assert!(bench.sent("a", Demand::default()).is_err());
    bench
        .limits
        .reload(&limit(1, scope(&[(Facet::Tenant, "*")])));
    let refused = bench.sent("a", Demand::default()).unwrap_err();
    assert_eq!(
        refused.wait_ms,
        Some(180_000),
        "three are in a bucket of one"
    );
    bench.limits.reload(&limit(1, Scope::default()));
    assert!(bench.sent("a", Demand::default()).is_ok());
}

#[test]
fn threads_together_get_what_the_limit_has_and_no_more() {
    let wide = LimitSettings {
        requests_per_minute: Some(500),
        ..LimitSettings::named("wide")
    };
    let each = LimitSettings {
        requests_per_minute: Some(200),
        ..each_tenant("each")
    };
    let bench = Bench::new(&of(vec![wide, each]));
    let passed = std::thread::scope(|threads| {
        let mut running = Vec::new();
        for n in 0..4 {
            let bench = &bench;
            running.push(threads.spawn(move || {
                let tenant = ["a", "b", "c", "d"][n];
                let calls = (0..300).filter(|_| bench.sent(tenant, Demand::default()).is_ok());
                calls.count()
            }));
        }
        let counts = running.into_iter().map(|thread| thread.join().unwrap());
        counts.collect::<Vec<_>>()
    });
    assert_eq!(passed.iter().sum::<usize>(), 500, "{passed:?}");
    assert!(passed.iter().all(|count| *count <= 200), "{passed:?}");
}

proptest! {
    /// The model: a list of what was let in. A call is refused only where one of the two limits
    /// had no room, and each minute of the list is within both.
    #[test]
    fn any_calls_meet_both_limits(
        pauses in prop::collection::vec((0..3_000_i64, 0..3_usize), 1..150),
        wide in 1..60_u64,
        each in 1..30_u64,
    ) {
        let limit = |name, requests_per_minute| LimitSettings {
            requests_per_minute: Some(requests_per_minute),
            ..LimitSettings::named(name)
        };
        let bench = Bench::new(&of(vec![
            limit("wide", wide),
            LimitSettings { scope: scope(&[(Facet::Tenant, "*")]), ..limit("each", each) },
        ]));
        let mut let_in: Vec<(i64, usize)> = Vec::new();
        let mut now = 0;
        for (pause, tenant) in pauses {
            now += pause;
            bench.at(now);
            let in_last = |minute: i64, of: Option<usize>| {
                let recent = let_in.iter().filter(|(at, who)| {
                    *at > now - minute && of.is_none_or(|of| of == *who)
                });
                recent.count() as u64
            };
            match bench.sent(["a", "b", "c"][tenant], Demand::default()) {
                Ok(_hold) => let_in.push((now, tenant)),
                // What is refused would have been one too many of the two minutes that a full
                // bucket and a refill make.
                Err(refused) if &*refused.limit == "wide" => {
                    prop_assert!(in_last(120_000, None) >= wide.min(let_in.len() as u64));
                }
                Err(_each) => {
                    prop_assert!(in_last(120_000, Some(tenant)) >= 1);
                }
            }
        }
        for (from, _) in &let_in {
            let minute = || let_in.iter().filter(|(at, _)| (*from..from + 60_000).contains(at));
            prop_assert!(minute().count() as u64 <= 2 * wide);
            for tenant in 0..3 {
                let own = minute().filter(|(_, who)| *who == tenant).count() as u64;
                prop_assert!(own <= 2 * each);
            }
        }
    }
}

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Recorder(std::sync::Mutex<Vec<SharedLotEnd>>);

impl SharedRates for Recorder {
    fn ended(&self, lots: Vec<SharedLotEnd>) {
        self.0.lock().unwrap().extend(lots);
    }
}

impl Recorder {
    /// Bucket, unused, beyond.
    fn told(&self) -> Vec<(String, u64, u64)> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        let told = told.into_iter();
        told.map(|end| (end.lot.bucket.to_string(), end.unused, end.more))
            .collect()
    }
}

/// The store has room for everything.
fn taken(applying: &Applying, demand: Demand) -> SharedSaid {
    let wants = applying.wants(demand);
    let rates = wants.rates.into_iter();
    let rates = rates
        .map(|want| SharedRateAnswer {
            wait_ms: Some(0),
            lot: Some(SharedLot {
                bucket: want.bucket,
                rate: want.rate,
                amount: want.amount,
                end: 0,
                gone: 0,
                share: want.share,
            }),
        })
        .collect();
    SharedSaid {
        rates,
        places: vec![true; wants.places.len()],
        place: None,
    }
}

#[test]
fn where_replicas_share_rates_the_store_decides_and_is_told_of_the_end() {
    let bench = Bench::new(&of(vec![LimitSettings {
        requests_per_minute: Some(1),
        tokens_per_minute: Some(1_000),
        concurrent_calls: Some(1),
        ..each_tenant("each")
    }]));
    let recorder = Arc::new(Recorder::default());
    let told = |answers| Rates::Told(answers, Arc::<Recorder>::clone(&recorder) as _);
    let demand = tokens(100, 20);
    let applying = bench.applying("a");
    let wants = applying.wants(demand);
    let asked = wants.rates.iter().map(|want| (want.rate, want.amount));
    assert_eq!(asked.collect::<Vec<_>>(), [(1, 1), (1_000, 200)]);
    let asked = wants.places.iter();
    let asked = asked.map(|want| (&*want.counter, want.most, want.enforces));
    let place = ("each|tenant=* |tenant=a|calls", 1, true);
    assert_eq!(asked.collect::<Vec<_>>(), [place]);
    let answers = taken(&applying, demand);
    let mut hold = applying.admit_by(demand, told(answers)).unwrap().hold;
    hold.sent();
    let row = |what: &str, unused| (format!("each|tenant=* |tenant=a|{what}"), unused, 0);
    // Should it say that there is no place, and give of rates all the same: that comes back.
    let applying = bench.applying("a");
    let mut answers = taken(&applying, demand);
    answers.places.fill(false);
    let refused = applying.admit_by(demand, told(answers)).unwrap_err();
    assert_eq!(refused.what, What::Calls);
    assert_eq!(recorder.told(), [row("requests", 1), row("tokens", 200)]);
    // Used: 60 and 5 of output.
    hold.settle(&used(60, 5, 0));
    assert_eq!(recorder.told(), [row("tokens", 200 - 85)]);
    // The bucket of this process is used up, but the store decides.
    let applying = bench.applying("a");
    let answers = taken(&applying, demand);
    drop(applying.admit_by(demand, told(answers)).unwrap());
    assert_eq!(recorder.told(), [row("requests", 1), row("tokens", 200)]);
    let mut answers = taken(&bench.applying("a"), demand);
    answers.rates.fill(SharedRateAnswer {
        wait_ms: Some(7_000),
        lot: None,
    });
    let refused = bench.applying("a").admit_by(demand, told(answers));
    assert_eq!(refused.unwrap_err().wait_ms, Some(7_000));
    assert!(bench.applying("b").admit_by(demand, Rates::Any).is_ok());
}

#[test]
fn while_replicas_cannot_see_each_other_each_has_its_part_of_a_rate() {
    let bench = Bench::new(&of(vec![LimitSettings {
        requests_per_minute: Some(10),
        ..each_tenant("each")
    }]));
    let admit = || {
        let admitted = bench
            .applying("a")
            .admit_by(Demand::default(), Rates::Part(3));
        admitted.map(|mut admitted| {
            admitted.hold.sent();
            drop(admitted.hold);
        })
    };
    let passed = std::iter::repeat_with(admit).take_while(Result::is_ok);
    assert_eq!(passed.count(), 3);
}

fn account(requests: Option<u64>, tokens: Option<u64>) -> Settings {
    Settings {
        accounts: vec![AccountSettings {
            model: Some(Glob::new("*claude*").unwrap()),
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            weights: [(TenantId::new("a").unwrap(), 3)].into(),
            ..AccountSettings::named("opus")
        }],
        ..Settings::default()
    }
}

#[test]
fn where_replicas_share_a_quota_the_store_decides_and_is_told_of_the_end() {
    let bench = Bench::new(&account(Some(1), Some(1_000)));
    let recorder = Arc::new(Recorder::default());
    let told = |answers| Rates::Told(answers, Arc::<Recorder>::clone(&recorder) as _);
    let demand = tokens(100, 20);
    let applying = bench.applying("a");
    let wants = applying.wants(demand);
    let share = |want: &SharedRate| want.share.clone().map(|one| (one.tenant, one.weight));
    let asked: Vec<_> = wants
        .rates
        .iter()
        .map(|want| (want.rate, want.amount, share(want)))
        .collect();
    let of_a = Some(("a".into(), 3));
    assert_eq!(asked, [(1, 1, of_a.clone()), (1_000, 200, of_a)]);
    let row = |what: &str, unused, more| (format!("opus|model=*claude* |{what}"), unused, more);
    let admit = |answers| {
        let admitted = bench.applying("a").admit_by(demand, told(answers));
        admitted.map(|admitted| admitted.hold)
    };
    // Never sent.
    drop(admit(taken(&applying, demand)).unwrap());
    assert_eq!(
        recorder.told(),
        [row("requests", 1, 0), row("tokens", 200, 0)]
    );
    // This process alone has room for one: the store decides.
    for (used_now, unused, more) in [(used(60, 5, 0), 115, 0), (used(300, 0, 0), 0, 100)] {
        let mut hold = admit(taken(&applying, demand)).unwrap();
        hold.sent();
        hold.settle(&used_now);
        assert_eq!(recorder.told(), [row("tokens", unused, more)]);
    }
    let mut full = taken(&applying, demand);
    full.rates[1] = SharedRateAnswer {
        wait_ms: Some(7_000),
        lot: None,
    };
    full.rates[0].lot = None;
    let refused = admit(full).unwrap_err();
    assert!(refused.is_account);
    assert_eq!(refused.what, What::Tokens);
    assert_eq!((refused.wait_ms, refused.asked), (Some(7_000), 200));
    assert!(recorder.told().is_empty());
}

#[test]
fn while_replicas_cannot_see_each_other_each_has_its_part_of_a_quota() {
    let bench = Bench::new(&account(Some(10), None));
    let admit = |rates| {
        let admitted = bench.applying("a").admit_by(Demand::default(), rates);
        admitted.map(|mut admitted| {
            admitted.hold.sent();
            drop(admitted.hold);
        })
    };
    // The tenant is alone: its backlog and what stays free are halves of the third.
    let passed = std::iter::repeat_with(|| admit(Rates::Part(3))).take_while(Result::is_ok);
    assert_eq!(passed.count(), 2);
    bench.at(60_000);
    let passed = std::iter::repeat_with(|| admit(Rates::Own)).take_while(Result::is_ok);
    assert_eq!(passed.count(), 5);
    assert!(admit(Rates::Any).is_ok());
}

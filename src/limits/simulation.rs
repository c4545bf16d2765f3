//! Tenants that press on one quota of the account, minute by minute, with a clock of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::domain::{
    Capacity, Dimension, Geography, Glob, ManualClock, ModelRef, Reading, Region, Subject,
    TenantId, Timestamp, Usage,
};

/// How a tenant calls.
#[derive(Clone, Copy)]
pub(crate) struct Habit {
    pub(crate) tenant: &'static str,
    /// Calls begin at this rate, as long as nothing is refused.
    pub(crate) calls_per_minute: i64,
    pub(crate) from_ms: i64,
    /// What a call reserves, and what it turns out to use.
    pub(crate) reserves: u64,
    pub(crate) uses: u64,
    /// How long it takes.
    pub(crate) takes_ms: i64,
    /// Ignores hints, and comes back after this; 0: honours them.
    pub(crate) impatient_ms: i64,
}

/// Asks for as much as the whole quota of 60,000, in calls of 600.
pub(crate) const GREEDY: Habit = Habit {
    tenant: "a",
    calls_per_minute: 100,
    from_ms: 0,
    reserves: 600,
    uses: 600,
    takes_ms: 2_000,
    impatient_ms: 0,
};

/// A call that waits or runs.
struct Pending {
    at_ms: i64,
    habit: usize,
    begun_ms: i64,
    hold: Option<Hold>,
}

/// What was let in: when, whose, how much in the end, how long after it was first tried.
pub(crate) struct LetIn {
    at_ms: i64,
    tenant: &'static str,
    used: u64,
    waited_ms: i64,
}

fn run(habits: &[Habit], weights: &[(&str, u64)], until_ms: i64) -> Vec<LetIn> {
    let clock = Arc::new(ManualClock::default());
    let limits = Limits::new(&quota(weights), Arc::<ManualClock>::clone(&clock) as _);
    run_by(habits, until_ms, &clock, &mut |habit| {
        let (applying, demand) = applying(&limits, habit);
        applying.admit(demand)
    })
}

/// A quota of [`QUOTA`] tokens a minute.
pub(crate) fn quota(weights: &[(&str, u64)]) -> Settings {
    let weights = weights.iter();
    Settings {
        accounts: vec![AccountSettings {
            model: Some(Glob::new("anthropic.*").unwrap()),
            tokens_per_minute: Some(QUOTA),
            weights: weights
                .map(|(t, w)| (TenantId::new(t).unwrap(), *w))
                .collect(),
            ..AccountSettings::named("opus")
        }],
        ..Settings::default()
    }
}

/// What is let in until then.
pub(crate) fn run_by(
    habits: &[Habit],
    until_ms: i64,
    clock: &ManualClock,
    admit: &mut dyn FnMut(&Habit) -> Result<Admitted, Refused>,
) -> Vec<LetIn> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut next: Vec<i64> = habits.iter().map(|habit| habit.from_ms).collect();
    let mut pending: Vec<Pending> = Vec::new();
    let mut let_in = Vec::new();
    for now in (0..until_ms).step_by(10) {
        clock.set(Timestamp::from_unix_ms(now));
        for (n, habit) in habits.iter().enumerate() {
            while next[n] <= now {
                next[n] += 60_000 / habit.calls_per_minute;
                // A tenant has so many callers and no more: what piles up is not offered twice.
                let own = pending.iter().filter(|p| p.habit == n && p.hold.is_none());
                if own.count() < CALLERS {
                    pending.push(Pending {
                        at_ms: now,
                        habit: n,
                        begun_ms: now,
                        hold: None,
                    });
                }
            }
        }
        let (due, rest): (Vec<_>, Vec<_>) = pending.into_iter().partition(|p| p.at_ms <= now);
        pending = rest;
        for mut call in due {
            let habit = &habits[call.habit];
            if let Some(hold) = call.hold.take() {
                hold.settle(&reading(habit.uses));
                continue;
            }
            match admit(habit) {
                Ok(Admitted { mut hold, .. }) => {
                    hold.sent();
                    let_in.push(LetIn {
                        at_ms: now,
                        tenant: habit.tenant,
                        used: habit.uses,
                        waited_ms: now - call.begun_ms,
                    });
                    pending.push(Pending {
                        at_ms: now + habit.takes_ms,
                        hold: Some(hold),
                        ..call
                    });
                }
                Err(refused) => {
                    let hint = i64::try_from(refused.wait_ms.unwrap()).unwrap();
                    // As the proxy's hints and as SDKs do: a little later, each by another bit.
                    let honest = hint + random.i64(0..=hint / 10 + 50);
                    let wait = if habit.impatient_ms > 0 {
                        habit.impatient_ms
                    } else {
                        honest
                    };
                    pending.push(Pending {
                        at_ms: now + wait.max(10),
                        ..call
                    });
                }
            }
        }
    }
    let_in
}

/// What applies to a call of a habit, and what it asks for.
pub(crate) fn applying(limits: &Limits, habit: &Habit) -> (Applying, Demand) {
    let tenant = TenantId::new(habit.tenant).unwrap();
    let subject = Subject {
        tenant: &tenant,
        application: "app",
        model: Some("anthropic.claude-v2"),
        key: None,
        user: None,
        session: None,
    };
    let model = ModelRef {
        asked: "anthropic.claude-v2".into(),
        base: Some("anthropic.claude-v2".into()),
        geography: Geography::InRegion,
        capacity: Capacity::OnDemand,
    };
    let applying = limits.applying(&subject, &Region::new("us-east-1").unwrap(), Some(&model));
    let demand = Demand {
        input: 0,
        output: habit.reserves,
        has_tokens: true,
    };
    (applying, demand)
}

/// What a call turned out to use.
pub(crate) fn reading(output: u64) -> Reading {
    Reading::reported(
        Usage::from_iter([(Dimension::OutputTokens, output)]),
        "body",
    )
}

/// The parts of the quota that each tenant used between two instants, in percent.
pub(crate) fn shares(let_in: &[LetIn], from_ms: i64, until_ms: i64) -> BTreeMap<&'static str, u64> {
    let minutes = u64::try_from((until_ms - from_ms) / 60_000).unwrap();
    let mut shares = BTreeMap::new();
    for one in let_in
        .iter()
        .filter(|one| (from_ms..until_ms).contains(&one.at_ms))
    {
        *shares.entry(one.tenant).or_insert(0) += one.used * 100;
    }
    for share in shares.values_mut() {
        *share /= QUOTA * minutes;
    }
    shares
}

/// How long the calls of a tenant were tried at most, between two instants.
pub(crate) fn longest_wait(let_in: &[LetIn], tenant: &str, from_ms: i64, until_ms: i64) -> i64 {
    let own = let_in.iter().filter(|one| one.tenant == tenant);
    let own = own.filter(|one| (from_ms..until_ms).contains(&one.at_ms));
    own.map(|one| one.waited_ms).max().unwrap()
}

/// In no minute more than the quota and its burst of a minute.
pub(crate) fn check_bound(let_in: &[LetIn]) {
    for one in let_in {
        let minute = let_in
            .iter()
            .filter(|other| (one.at_ms..one.at_ms + 60_000).contains(&other.at_ms));
        let used: u64 = minute.map(|other| other.used).sum();
        assert!(used <= 2 * QUOTA, "{used} from {}", one.at_ms);
    }
}

const QUOTA: u64 = 60_000;
const CALLERS: usize = 20;
pub(crate) const MINUTE: i64 = 60_000;

#[test]
fn two_equal_tenants_get_half_each_under_twofold_overload() {
    let other = Habit {
        tenant: "b",
        ..GREEDY
    };
    let let_in = run(&[GREEDY, other], &[], 11 * MINUTE);
    check_bound(&let_in);
    let shares = shares(&let_in, MINUTE, 11 * MINUTE);
    assert!((48..=52).contains(&shares["a"]), "{shares:?}");
    assert!((48..=52).contains(&shares["b"]), "{shares:?}");
}

#[test]
fn pressing_harder_and_asking_for_more_at_once_gives_no_larger_share() {
    for pushy in [
        Habit {
            tenant: "b",
            impatient_ms: 20,
            calls_per_minute: 1_000,
            ..GREEDY
        },
        Habit {
            tenant: "b",
            reserves: 9_000,
            uses: 9_000,
            calls_per_minute: 60,
            ..GREEDY
        },
        // Reserves ten times what it uses, for calls that take half a minute.
        Habit {
            tenant: "b",
            reserves: 6_000,
            takes_ms: 30_000,
            calls_per_minute: 400,
            ..GREEDY
        },
    ] {
        let let_in = run(&[GREEDY, pushy], &[], 11 * MINUTE);
        check_bound(&let_in);
        let shares = shares(&let_in, MINUTE, 11 * MINUTE);
        assert!(shares["a"] >= 45, "{shares:?}");
        assert!(shares["b"] <= 55, "{shares:?}");
    }
}

#[test]
fn what_one_leaves_the_others_get() {
    let modest = Habit {
        calls_per_minute: 10,
        ..GREEDY
    };
    let [b, c] = ["b", "c"].map(|tenant| Habit {
        tenant,
        calls_per_minute: 200,
        ..GREEDY
    });
    let alone = run(&[b], &[], 11 * MINUTE);
    assert!(shares(&alone, MINUTE, 11 * MINUTE)["b"] >= 98);
    let let_in = run(&[modest, b, c], &[], 11 * MINUTE);
    check_bound(&let_in);
    let shares = shares(&let_in, MINUTE, 11 * MINUTE);
    assert!((9..=10).contains(&shares["a"]), "{shares:?}");
    assert!((43..=47).contains(&shares["b"]), "{shares:?}");
    assert!((43..=47).contains(&shares["c"]), "{shares:?}");
    assert!(shares.values().sum::<u64>() >= 98, "{shares:?}");
    assert_eq!(longest_wait(&let_in, "a", MINUTE, 11 * MINUTE), 0);
}

#[test]
fn weights_divide_the_quota() {
    let other = Habit {
        tenant: "b",
        ..GREEDY
    };
    let let_in = run(&[GREEDY, other], &[("b", 3)], 11 * MINUTE);
    let shares = shares(&let_in, MINUTE, 11 * MINUTE);
    assert!((23..=27).contains(&shares["a"]), "{shares:?}");
    assert!((72..=77).contains(&shares["b"]), "{shares:?}");
}

#[test]
fn a_tenant_that_comes_back_is_served_at_once_and_then_by_its_share() {
    let others = ["b", "c", "d", "e"].map(|tenant| Habit { tenant, ..GREEDY });
    let back = Habit {
        from_ms: 3 * MINUTE,
        ..GREEDY
    };
    let mut habits = others.to_vec();
    habits.push(back);
    let let_in = run(&habits, &[], 13 * MINUTE);
    check_bound(&let_in);
    let first = let_in.iter().find(|one| one.tenant == "a").unwrap();
    assert_eq!((first.at_ms, first.waited_ms), (3 * MINUTE, 0));
    let shares = shares(&let_in, 5 * MINUTE, 13 * MINUTE);
    assert!(
        shares.values().all(|share| (18..=22).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_large_call_of_an_idle_tenant_gets_its_room_from_the_others() {
    let others = ["b", "c", "d"].map(|tenant| Habit {
        tenant,
        impatient_ms: 20,
        ..GREEDY
    });
    let mut habits = others.to_vec();
    // Three quarters of the bucket at once; a quarter is free, and the rest is paid at a thousand
    // a second.
    habits.push(Habit {
        from_ms: 3 * MINUTE,
        calls_per_minute: 1,
        reserves: 45_000,
        uses: 45_000,
        ..GREEDY
    });
    let let_in = run(&habits, &[], 4 * MINUTE);
    check_bound(&let_in);
    let wait = longest_wait(&let_in, "a", 3 * MINUTE, 4 * MINUTE);
    assert!(wait <= 35_000, "{wait}");
}

#[test]
fn a_clock_that_steps_back_stops_nobody() {
    let settings = Settings {
        accounts: vec![AccountSettings {
            model: Some(Glob::new("*").unwrap()),
            tokens_per_minute: Some(600),
            ..AccountSettings::named("all")
        }],
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::default());
    let limits = Limits::new(&settings, Arc::<ManualClock>::clone(&clock) as _);
    clock.set(Timestamp::from_unix_ms(60 * MINUTE));
    let other = Habit {
        tenant: "b",
        ..GREEDY
    };
    let admit = |habit| {
        let (applying, demand) = applying(&limits, habit);
        applying.admit(demand).map(|mut admitted| {
            admitted.hold.sent();
            drop(admitted.hold);
        })
    };
    admit(&GREEDY).unwrap();
    assert_eq!(admit(&other).unwrap_err().wait_ms, Some(60_000));
    clock.set(Timestamp::from_unix_ms(0));
    assert!(admit(&other).is_err());
    clock.set(Timestamp::from_unix_ms(MINUTE));
    assert!(admit(&other).is_ok());
}

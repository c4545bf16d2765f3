//! Budgets against a model of a few lines, one call after another and many at once.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "a model counts plainly; small numbers"
)]

mod reload;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{Facet, Glob, Scope, SharedPosition, Subject, TenantId, Timestamp, Usd};

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn scope(facets: &[(Facet, &str)]) -> Scope {
    let facets = facets.iter().map(|(f, p)| (*f, Glob::new(p).unwrap()));
    Scope {
        facets: facets.collect(),
        shared: Vec::new(),
    }
}

fn budget(name: &str, facets: &[(Facet, &str)], limit: &str) -> Budget {
    Budget {
        name: name.into(),
        scope: scope(facets),
        calendar: Calendar {
            period: Period::Month,
            zone: Zone::default(),
            fiscal_month: 1,
        },
        limit: usd(limit),
        raises: Vec::new(),
        action: Action::Block,
        mode: BudgetMode::Enforce,
        reserve: Reserve::Max,
        input: InputBound::Proven,
        refuse_with: RefuseWith::Quota,
        downgrade_model: None,
        downgrade_tier: None,
        thresholds: [].into(),
        forecast: false,
        outlets: [].into(),
        owner: Some("finops@example.org".into()),
    }
}

fn budgets(table: Vec<Budget>) -> Budgets {
    Budgets::new(table, &[], at(NOW))
}

fn subject<'a>(tenant: &'a TenantId, application: &'a str) -> Subject<'a> {
    Subject {
        tenant,
        application,
        model: Some("nova-lite"),
        key: None,
        user: None,
        session: None,
    }
}

/// Reserves for a call that costs at most that, or nobody knows what.
fn reserve(
    budgets: &Budgets,
    subject: Subject<'_>,
    amount: Option<&str>,
) -> Result<Reservation, Box<Refused>> {
    let amount = amount.map(usd);
    let applying = budgets.applying(&subject, at(NOW));
    let bid = applying.bid(|_input, _reserve| amount);
    bid.reserve(Room::Whole)
}

fn spent<'a>(subject: Subject<'a>, amount: &str) -> Spent<'a> {
    Spent {
        subject,
        at: at(NOW),
        amount: usd(amount),
    }
}

/// Budget, subject, spent, held of every counter.
fn standing(budgets: &Budgets) -> Vec<(String, String, String, String)> {
    let standings = budgets.standings(at(NOW));
    let texts = standings.iter().map(|one| {
        (
            one.budget.to_string(),
            one.subject.to_string(),
            one.spent.to_string(),
            one.held.to_string(),
        )
    });
    texts.collect()
}

fn row(budget: &str, subject: &str, spent: &str, held: &str) -> (String, String, String, String) {
    (budget.into(), subject.into(), spent.into(), held.into())
}

#[test]
fn a_call_holds_its_most_and_settles_for_its_cost() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("search", &[(Facet::Tenant, "search")], "10")]);
    let held = reserve(&budgets, subject(&search, "web"), Some("4")).unwrap();
    assert_eq!((held.amount(), held.remaining), (usd("4"), Some(usd("6"))));
    assert_eq!(
        standing(&budgets),
        [row("search", "tenant=search", "0", "4")]
    );
    budgets.settle(held.sent(), &spent(subject(&search, "web"), "1.5"));
    assert_eq!(
        standing(&budgets),
        [row("search", "tenant=search", "1.5", "0")]
    );
}

#[test]
fn the_whole_amount_must_fit_and_the_refusal_names_the_numbers() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("search", &[(Facet::Tenant, "search")], "10")]);
    budgets.settle(None, &spent(subject(&search, "web"), "7"));
    let first = reserve(&budgets, subject(&search, "web"), Some("2")).unwrap();
    let refused = reserve(&budgets, subject(&search, "web"), Some("1.000001")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "budget search of tenant=search has no room for this call: limit $10 a month, spent $7, \
         held for calls in flight $2, this call at most $1.000001; more room at \
         2026-12-01T00:00:00.000Z; ask finops@example.org"
    );
    reserve(&budgets, subject(&search, "web"), Some("1")).unwrap();
    drop(first);
}

#[test]
fn all_budgets_that_apply_must_have_room_or_nothing_is_held() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![
        budget("all", &[], "100"),
        budget("teams", &[(Facet::Tenant, "*")], "10"),
        budget(
            "web",
            &[(Facet::Tenant, "search"), (Facet::Application, "web")],
            "1",
        ),
        budget("sales", &[(Facet::Tenant, "sales")], "0"),
    ]);
    let refused = reserve(&budgets, subject(&search, "web"), Some("2")).unwrap_err();
    assert_eq!(&*refused.budget, "web");
    let held = reserve(&budgets, subject(&search, "batch"), Some("2")).unwrap();
    assert_eq!(
        standing(&budgets),
        [
            row("all", "", "0", "2"),
            row("sales", "tenant=sales", "0", "0"),
            row("teams", "tenant=search", "0", "2"),
            row("web", "tenant=search application=web", "0", "0"),
        ]
    );
    assert_eq!(held.remaining, Some(usd("8")));
}

#[test]
fn an_unsent_call_gives_back_and_one_that_vanishes_after_counts_as_spent() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("all", &[], "10")]);
    let once = || reserve(&budgets, subject(&search, "web"), Some("3")).unwrap();
    drop(once());
    assert_eq!(standing(&budgets), [row("all", "", "0", "0")]);
    once().sent().unwrap().give_back();
    assert_eq!(standing(&budgets), [row("all", "", "0", "0")]);
    drop(once().sent());
    assert_eq!(standing(&budgets), [row("all", "", "3", "0")]);
}

#[test]
fn only_a_blocking_budget_refuses_and_an_observed_one_says_what_it_would() {
    let search = TenantId::new("search").unwrap();
    let alert = Budget {
        action: Action::Alert,
        ..budget("alert", &[], "1")
    };
    let observed = Budget {
        mode: BudgetMode::Observe,
        ..budget("observed", &[], "1")
    };
    let budgets = budgets(vec![alert, observed]);
    let held = reserve(&budgets, subject(&search, "web"), Some("3")).unwrap();
    assert_eq!(held.observed, [Arc::<str>::from("observed")]);
    assert_eq!(held.remaining, None);
    assert!(reserve(&budgets, subject(&search, "web"), None).is_ok());
}

#[test]
fn a_call_of_unknown_cost_does_not_fit_a_blocking_budget() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("all", &[], "10")]);
    let refused = reserve(&budgets, subject(&search, "web"), None).unwrap_err();
    assert_eq!(refused.this, None);
}

#[test]
fn a_raise_holds_for_its_time() {
    let raise = Raise {
        name: "launch".into(),
        add: usd("5"),
        from: Some(at("2026-11-10")),
        until: at("2026-11-20"),
        approver: "cfo".into(),
        reason: "launch".into(),
    };
    let budget = Budget {
        raises: vec![raise],
        ..budget("all", &[], "10")
    };
    for (instant, limit) in [
        ("2026-11-09T23:59:59Z", "10"),
        ("2026-11-10", "15"),
        ("2026-11-19T23:59:59Z", "15"),
        ("2026-11-20", "10"),
    ] {
        assert_eq!(budget.limit_at(at(instant)), usd(limit), "{instant}");
    }
}

#[test]
fn a_reload_keeps_what_is_held_and_new_budgets_begin_with_the_ledger() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("all", &[], "10")]);
    let held = reserve(&budgets, subject(&search, "web"), Some("4"))
        .unwrap()
        .sent();
    let ledger = [spent(subject(&search, "web"), "2.5")];
    let table = vec![
        budget("all", &[], "20"),
        budget("teams", &[(Facet::Tenant, "*")], "9"),
    ];
    budgets.replace(table, &ledger, at(NOW));
    assert_eq!(
        standing(&budgets),
        [
            row("all", "", "0", "4"),
            row("teams", "tenant=search", "2.5", "0")
        ]
    );
    budgets.settle(held, &spent(subject(&search, "web"), "1"));
    assert_eq!(
        standing(&budgets),
        [
            row("all", "", "1", "0"),
            row("teams", "tenant=search", "3.5", "0")
        ]
    );
    budgets.replace(Vec::new(), &[], at(NOW));
    assert!(budgets.is_empty() && standing(&budgets).is_empty());
}

/// The ledger is read from where the longest period begins; that is none of the day's money.
#[test]
fn what_is_older_than_a_budget_s_own_period_does_not_count_in_it() {
    let search = TenantId::new("search").unwrap();
    let of_a_day = |name: &str, facets: &[(Facet, &str)]| {
        let mut day = budget(name, facets, "10");
        day.calendar.period = Period::Day;
        day
    };
    let mut rolling = budget("rolling", &[], "10");
    rolling.calendar.period = "rolling 24h".parse().unwrap();
    let table = vec![
        of_a_day("day", &[]),
        of_a_day("days", &[(Facet::Tenant, "*")]),
        budget("month", &[], "10"),
        rolling,
    ];
    let spent = |instant: &str, amount: &str| Spent {
        subject: subject(&search, "web"),
        at: at(instant),
        amount: usd(amount),
    };
    // As the ledger sums up: in no order of time.
    let ledger = [
        spent("2026-11-26T10:00:00Z", "1"),
        spent("2026-11-02T10:00:00Z", "2"),
        spent("2026-11-25T13:00:00Z", "4"),
        spent("2026-10-31T23:59:00Z", "8"),
    ];
    let budgets = Budgets::new(table, &ledger, at(NOW));
    let sums: Vec<_> = standing(&budgets)
        .into_iter()
        .map(|one| (one.0, one.2))
        .collect();
    let row = |name: &str, spent: &str| (name.to_owned(), spent.to_owned());
    assert_eq!(
        sums,
        [
            row("day", "1"),
            row("days", "1"),
            row("month", "7"),
            row("rolling", "5")
        ]
    );
}

#[test]
fn a_hold_never_goes_back_to_a_counter_that_did_not_hold_it() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("all", &[], "10")]);
    let held = reserve(&budgets, subject(&search, "web"), Some("4")).unwrap();
    let held = held.sent();
    // The same name counts other money now: its counter is another.
    let mut other = budget("all", &[], "10");
    other.calendar.period = Period::Year;
    budgets.replace(vec![other], &[], at(NOW));
    assert_eq!(standing(&budgets), [row("all", "", "0", "0")]);
    budgets.settle(held, &spent(subject(&search, "web"), "1"));
    assert_eq!(standing(&budgets), [row("all", "", "1", "0")]);
}

#[test]
fn each_replica_may_spend_its_part_of_what_was_left_when_they_lost_each_other() {
    let search = TenantId::new("search").unwrap();
    let budgets = budgets(vec![budget("all", &[], "10")]);
    budgets.settle(None, &spent(subject(&search, "web"), "4"));
    let reserve = |outage, amount: &str| {
        let applying = budgets.applying(&subject(&search, "web"), at(NOW));
        let bid = applying.bid(|_input, _reserve| Some(usd(amount)));
        let replicas = 3;
        let held = bid.reserve(Room::Share { replicas, outage });
        held.map(|held| held.sent().unwrap())
    };
    // 6 are left: 2 for each of three.
    let first = reserve(1, "1.5").unwrap();
    assert!(reserve(1, "0.500001").is_err());
    let second = reserve(1, "0.5").unwrap();
    budgets.settle(Some(first), &spent(subject(&search, "web"), "1"));
    assert!(reserve(1, "0.6").is_err());
    drop(second);
    // Another time 4.5 are left.
    assert!(reserve(2, "1.500001").is_err());
    drop(reserve(2, "1.5").unwrap());
}

#[test]
fn the_counters_of_a_process_follow_those_that_replicas_share() {
    let search = TenantId::new("search").unwrap();
    let rolling = Budget {
        calendar: Calendar {
            period: "rolling 24h".parse().unwrap(),
            zone: Zone::default(),
            fiscal_month: 1,
        },
        ..budget("run", &[(Facet::Tenant, "*")], "10")
    };
    let budgets = budgets(vec![budget("all", &[], "10"), rolling]);
    let bid = |amount: &str| {
        let applying = budgets.applying(&subject(&search, "web"), at(NOW));
        applying.bid(|_input, _reserve| Some(usd(amount)))
    };
    let shared = |spent: &str, held: &str| SharedPosition {
        spent: usd(spent),
        held: usd(held),
    };
    let asked = bid("2");
    let wants = asked.wants();
    let amounts: Vec<_> = wants.iter().map(|want| (want.limit, want.amount)).collect();
    assert_eq!(amounts, [(usd("10"), usd("2")); 2]);
    // A day in buckets of 24 minutes: noon begins one, as did noon of yesterday.
    let buckets: Vec<_> = wants.iter().map(|w| (w.counter.bucket, w.oldest)).collect();
    let day = 24 * 3_600_000;
    let noon = at(NOW).unix_ms();
    assert_eq!(buckets, [(0, 0), (noon, noon - day)]);
    let taken = asked.taken(&[shared("3", "4"), shared("1", "2")]);
    // 10 - 3 - 4 of the tighter one: the 2 of this call are among the 4.
    assert_eq!(
        (taken.amount(), taken.remaining),
        (usd("2"), Some(usd("3")))
    );
    let expected = [
        row("all", "", "3", "4"),
        row("run", "tenant=search", "1", "2"),
    ];
    assert_eq!(standing(&budgets), expected);
    budgets.settle(taken.sent(), &spent(subject(&search, "web"), "0.5"));
    let expected = [
        row("all", "", "3.5", "2"),
        row("run", "tenant=search", "1.5", "0"),
    ];
    assert_eq!(standing(&budgets), expected);
    let refused = bid("9").refused(0, shared("3.5", "7"));
    assert_eq!(refused.unwrap().held, usd("7"));
    // What the ledger says of before the window does not count in it.
    let of = |instant, amount| Spent {
        at: at(instant),
        ..spent(subject(&search, "web"), amount)
    };
    let ledger = [
        of("2026-11-25T11:59:59Z", "5"),
        of("2026-11-25T12:00:00Z", "1"),
        of(NOW, "2"),
    ];
    let books = budgets.shared_books(&ledger, at(NOW));
    let sums = books
        .iter()
        .map(|book| book.spent.iter().map(|(_, sum)| sum.to_string()));
    let sums: Vec<Vec<_>> = sums.map(Iterator::collect).collect();
    assert_eq!(sums, [vec!["8"], vec!["1", "2"]]);
}

/// One step of a random run.
#[derive(Clone, Debug)]
enum Step {
    Reserve { tenant: usize, amount: u32 },
    Settle { which: usize, cost: u32 },
    Drop { which: usize },
    GiveBack { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3, 0_u32..400).prop_map(|(tenant, amount)| Step::Reserve { tenant, amount }),
        2 => (any::<usize>(), 0_u32..400).prop_map(|(which, cost)| Step::Settle { which, cost }),
        1 => any::<usize>().prop_map(|which| Step::Drop { which }),
        1 => any::<usize>().prop_map(|which| Step::GiveBack { which }),
    ]
}

/// The model: what every tenant, and all of them, has spent and holds, in cents.
#[derive(Default)]
struct Model {
    spent: HashMap<usize, i64>,
    held: HashMap<usize, i64>,
}

impl Model {
    fn taken(&self, tenant: usize) -> i64 {
        self.spent.get(&tenant).unwrap_or(&0) + self.held.get(&tenant).unwrap_or(&0)
    }

    fn all(&self) -> i64 {
        (0..3).map(|tenant| self.taken(tenant)).sum()
    }
}

fn cents(amount: i64) -> Usd {
    Usd::from_femto(i128::from(amount) * 10_000_000_000_000)
}

proptest! {
    /// Every answer is the one of the model, which counts in cents and knows nothing of periods.
    #[test]
    fn decisions_are_those_of_a_model_of_a_few_lines(
        steps in prop::collection::vec(step(), 1..120),
        team in 1_i64..1500,
        all in 1_i64..3000,
    ) {
        let tenants = ["a", "b", "c"].map(|name| TenantId::new(name).unwrap());
        let team_limit = cents(team).to_string();
        let budgets = budgets(vec![
            budget("teams", &[(Facet::Tenant, "*")], &team_limit),
            budget("all", &[], &cents(all).to_string()),
        ]);
        let mut model = Model::default();
        let mut open: Vec<(usize, i64, Held)> = Vec::new();
        for step in steps {
            let pick = |which: usize, open: &mut Vec<(usize, i64, Held)>| {
                (!open.is_empty()).then(|| open.swap_remove(which % open.len()))
            };
            match step {
                Step::Reserve { tenant, amount } => {
                    let amount = i64::from(amount);
                    let fits = model.taken(tenant) + amount <= team && model.all() + amount <= all;
                    let text = cents(amount).to_string();
                    let answer = reserve(&budgets, subject(&tenants[tenant], "web"), Some(&text));
                    prop_assert_eq!(answer.is_ok(), fits);
                    if let Ok(reservation) = answer {
                        *model.held.entry(tenant).or_default() += amount;
                        open.push((tenant, amount, reservation.sent().unwrap()));
                    }
                }
                Step::Settle { which, cost } => {
                    if let Some((tenant, amount, held)) = pick(which, &mut open) {
                        // A call never costs more than its most.
                        let cost = i64::from(cost).min(amount);
                        let text = cents(cost).to_string();
                        budgets.settle(Some(held), &spent(subject(&tenants[tenant], "web"), &text));
                        *model.held.entry(tenant).or_default() -= amount;
                        *model.spent.entry(tenant).or_default() += cost;
                    }
                }
                Step::Drop { which } => {
                    if let Some((tenant, amount, held)) = pick(which, &mut open) {
                        drop(held);
                        *model.held.entry(tenant).or_default() -= amount;
                        *model.spent.entry(tenant).or_default() += amount;
                    }
                }
                Step::GiveBack { which } => {
                    if let Some((tenant, amount, held)) = pick(which, &mut open) {
                        held.give_back();
                        *model.held.entry(tenant).or_default() -= amount;
                    }
                }
            }
            let sum = |f: fn(&crate::domain::BudgetStanding) -> Usd| {
                let all = budgets.standings(at(NOW)).into_iter().find(|one| &*one.budget == "all");
                all.map(|one| f(&one)).unwrap_or_default()
            };
            prop_assert_eq!(sum(|one| one.spent), cents(model.spent.values().sum()));
            prop_assert_eq!(sum(|one| one.held), cents(model.held.values().sum()));
        }
    }
}

/// A thousand callers at once on fifty limits: no limit is ever passed, and at the end each has
/// spent exactly the sum of the calls it let through.
#[test]
fn a_thousand_callers_at_once_pass_no_limit() {
    const CALLERS: usize = 1_000;
    const TEAMS: usize = 50;
    let tenants: Arc<Vec<TenantId>> = Arc::new(
        (0..TEAMS)
            .map(|n| TenantId::new(&format!("t{n}")).unwrap())
            .collect(),
    );
    // 3 to 297 calls of a cent each fit.
    let limit = |team: usize| i64::try_from(3 + 6 * team).unwrap();
    let table = tenants.iter().enumerate().map(|(n, tenant)| {
        budget(
            tenant.as_str(),
            &[(Facet::Tenant, tenant.as_str())],
            &cents(limit(n)).to_string(),
        )
    });
    let budgets = budgets(table.collect());
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (budgets, tenants) = (budgets.clone(), Arc::clone(&tenants));
            std::thread::spawn(move || {
                let mut let_through = vec![0_i64; TEAMS];
                for call in 0..CALLERS {
                    let team = (call * 7 + thread) % TEAMS;
                    let subject = subject(&tenants[team], "web");
                    if let Ok(held) = reserve(&budgets, subject, Some("0.01")) {
                        let_through[team] += 1;
                        budgets.settle(held.sent(), &spent(subject, "0.01"));
                    }
                }
                let_through
            })
        })
        .collect();
    let mut let_through = vec![0_i64; TEAMS];
    for thread in threads {
        for (sum, one) in let_through.iter_mut().zip(thread.join().unwrap()) {
            *sum += one;
        }
    }
    // 8,000 calls on 50 teams are 160 for each.
    for (team, count) in let_through.iter().enumerate() {
        assert_eq!(*count, limit(team).min(160), "team {team}");
    }
    for one in budgets.standings(at(NOW)) {
        let team: usize = one.budget.trim_start_matches('t').parse().unwrap();
        assert_eq!((one.spent, one.held), (cents(let_through[team]), Usd::ZERO));
    }
}

const NOW: &str = "2026-11-26T12:00:00Z";

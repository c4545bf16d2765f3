//! Budgets that come while calls are in flight.

use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::*;
use crate::domain::{CallId, SharedHolds, SharedWant};

/// Reserves for a call that later budgets know of, as calls of the proxy do.
fn enter(
    budgets: &Budgets,
    subject: Subject<'_>,
    amount: &str,
) -> Result<Reservation, Box<Refused>> {
    let enrolled = budgets.enroll(&subject, at(NOW), Some(usd(amount)));
    let applying = budgets.applying(&subject, at(NOW)).of(enrolled);
    let bid = applying.bid(|_input, _reserve| Some(usd(amount)));
    bid.reserve(Room::Whole)
}

/// A call of a tenant that was admitted then, is in flight, and is met by no budget.
fn enter_at(budgets: &Budgets, subject: Subject<'_>, instant: &str, amount: &str) -> Held {
    let enrolled = budgets.enroll(&subject, at(instant), Some(usd(amount)));
    let applying = budgets.applying(&subject, at(instant)).of(enrolled);
    assert!(applying.is_empty());
    let bid = applying.bid(|_input, _reserve| Some(usd(amount)));
    bid.reserve(Room::Whole).unwrap().sent().unwrap()
}

#[test]
fn a_new_budget_refuses_what_does_not_fit_beside_the_calls_in_flight() {
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let budgets = budgets(vec![budget("all", &[], "100")]);
    let first = enter(&budgets, web, "4").unwrap().sent();
    let table = vec![
        budget("all", &[], "100"),
        budget("teams", &[(Facet::Tenant, "*")], "6"),
    ];
    budgets.replace(table, &[spent(web, "1")], at(NOW));
    let refused = enter(&budgets, web, "1.000001").unwrap_err();
    let numbers = (&*refused.budget, refused.spent, refused.held);
    assert_eq!(numbers, ("teams", usd("1"), usd("4")));
    let second = enter(&budgets, web, "1").unwrap();
    assert_eq!(
        standing(&budgets),
        [
            row("all", "", "0", "5"),
            row("teams", "tenant=search", "1", "5")
        ]
    );
    budgets.settle(first, &spent(web, "1.5"));
    assert_eq!(
        standing(&budgets),
        [
            row("all", "", "1.5", "1"),
            row("teams", "tenant=search", "2.5", "1")
        ]
    );
    drop(second);
    assert_eq!(
        standing(&budgets),
        [
            row("all", "", "1.5", "0"),
            row("teams", "tenant=search", "2.5", "0")
        ]
    );
}

#[test]
fn a_call_that_no_budget_applied_to_is_held_by_one_that_comes() {
    let [search, sales] = ["search", "sales"].map(|name| TenantId::new(name).unwrap());
    let of_sales = || budget("sales", &[(Facet::Tenant, "sales")], "10");
    let budgets = budgets(vec![of_sales()]);
    let once = || enter(&budgets, subject(&search, "web"), "3").unwrap();
    let [settled, vanished, returned] = [(); 3].map(|()| once().sent().unwrap());
    let unsent = once();
    assert!(unsent.is_empty());
    let refused = enter(&budgets, subject(&sales, "web"), "11");
    assert!(refused.is_err());
    let table = vec![of_sales(), budget("teams", &[(Facet::Tenant, "*")], "20")];
    budgets.replace(table, &[], at(NOW));
    let teams = |spent: &str, held: &str| {
        [
            row("sales", "tenant=sales", "0", "0"),
            row("teams", "tenant=search", spent, held),
        ]
    };
    assert_eq!(standing(&budgets), teams("0", "12"));
    assert_eq!(settled.taken_over(), Some(usd("3")));
    budgets.settle(Some(settled), &spent(subject(&search, "web"), "0.5"));
    assert_eq!(standing(&budgets), teams("0.5", "9"));
    drop(vanished);
    assert_eq!(standing(&budgets), teams("3.5", "6"));
    returned.give_back();
    assert_eq!(standing(&budgets), teams("3.5", "3"));
    drop(unsent);
    assert_eq!(standing(&budgets), teams("3.5", "0"));
}

/// A budget that is taken away and comes back, or counts by another period, has a new counter.
#[test]
fn every_new_counter_holds_the_calls_in_flight_once() {
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let budgets = budgets(vec![budget("all", &[], "10")]);
    let held = enter(&budgets, web, "4").unwrap().sent();
    budgets.replace(Vec::new(), &[], at(NOW));
    let mut yearly = budget("all", &[], "10");
    yearly.calendar.period = Period::Year;
    for table in [budget("all", &[], "10"), yearly, budget("all", &[], "10")] {
        budgets.replace(vec![table], &[], at(NOW));
        assert_eq!(standing(&budgets), [row("all", "", "0", "4")]);
    }
    // One that goes on counting holds nothing twice.
    budgets.replace(vec![budget("all", &[], "20")], &[], at(NOW));
    assert_eq!(standing(&budgets), [row("all", "", "0", "4")]);
    budgets.settle(held, &spent(web, "1"));
    assert_eq!(standing(&budgets), [row("all", "", "1", "0")]);
}

/// A change may come at any step of a call: the new budget holds it, and never twice.
#[test]
fn a_call_is_taken_over_or_decided_by_a_new_budget_but_not_both() {
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let budgets = budgets(vec![budget("all", &[], "10")]);
    let table = |name: &str| vec![budget("all", &[], "10"), budget(name, &[], "5")];
    let most = |_input, _reserve| Some(usd("4"));
    // It saw the table after the change.
    let enrolled = budgets.enroll(&web, at(NOW), Some(usd("4")));
    budgets.replace(table("late"), &[], at(NOW));
    assert_eq!(
        standing(&budgets),
        [row("all", "", "0", "0"), row("late", "", "0", "4")]
    );
    let bid = budgets.applying(&web, at(NOW)).of(enrolled).bid(most);
    let reservation = bid.reserve(Room::Whole).unwrap();
    let both = |name: &str| [row("all", "", "0", "4"), row(name, "", "0", "4")];
    assert_eq!(standing(&budgets), both("late"));
    drop(reservation);
    // It saw the table before.
    let enrolled = budgets.enroll(&web, at(NOW), Some(usd("4")));
    let bid = budgets.applying(&web, at(NOW)).of(enrolled).bid(most);
    budgets.replace(table("more"), &[], at(NOW));
    let reservation = bid.reserve(Room::Whole).unwrap();
    assert_eq!(standing(&budgets), both("more"));
    drop(reservation);
    let none = [row("all", "", "0", "0"), row("more", "", "0", "0")];
    assert_eq!(standing(&budgets), none);
    // It is refused by one that it saw.
    let enrolled = budgets.enroll(&web, at(NOW), Some(usd("11")));
    let bid = budgets.applying(&web, at(NOW)).of(enrolled);
    budgets.replace(table("last"), &[], at(NOW));
    let refused = bid.bid(|_input, _reserve| Some(usd("11")));
    assert!(refused.reserve(Room::Whole).is_err());
    let none = [row("all", "", "0", "0"), row("last", "", "0", "0")];
    assert_eq!(standing(&budgets), none);
}

#[test]
fn a_new_budget_neither_holds_nor_counts_calls_of_the_period_before() {
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let budgets = budgets(vec![budget("sales", &[(Facet::Tenant, "sales")], "10")]);
    let yesterday = "2026-11-25T23:59:00Z";
    let old = enter_at(&budgets, web, yesterday, "4");
    let new = enter_at(&budgets, web, "2026-11-26T11:00:00Z", "2");
    let mut day = budget("day", &[], "10");
    day.calendar.period = Period::Day;
    let mut rolling = budget("rolling", &[], "10");
    rolling.calendar.period = "rolling 24h".parse().unwrap();
    budgets.replace(vec![day, budget("month", &[], "10"), rolling], &[], at(NOW));
    let rows = |day: [&str; 2], others: [&str; 2]| {
        [
            row("day", "", day[0], day[1]),
            row("month", "", others[0], others[1]),
            row("rolling", "", others[0], others[1]),
        ]
    };
    assert_eq!(standing(&budgets), rows(["0", "2"], ["0", "6"]));
    let spent_at = |instant: &str, amount: &str| Spent {
        at: at(instant),
        ..spent(web, amount)
    };
    budgets.settle(Some(old), &spent_at(yesterday, "3"));
    assert_eq!(standing(&budgets), rows(["0", "2"], ["3", "2"]));
    budgets.settle(Some(new), &spent_at("2026-11-26T11:00:00Z", "1"));
    assert_eq!(standing(&budgets), rows(["1", "0"], ["4", "0"]));
}

#[test]
fn a_call_of_unknown_cost_is_held_at_nothing_and_counts_when_it_ends() {
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let budgets = budgets(vec![budget("sales", &[(Facet::Tenant, "sales")], "10")]);
    let enrolled = budgets.enroll(&web, at(NOW), None);
    let applying = budgets.applying(&web, at(NOW)).of(enrolled);
    let bid = applying.bid(|_input, _reserve| None);
    let held = bid.reserve(Room::Whole).unwrap().sent();
    budgets.replace(vec![budget("all", &[], "10")], &[], at(NOW));
    assert_eq!(standing(&budgets), [row("all", "", "0", "0")]);
    budgets.settle(held, &spent(web, "2"));
    assert_eq!(standing(&budgets), [row("all", "", "2", "0")]);
}

/// A caller: call after call, each of a cent and told to the settler, until one is refused.
fn call_until_refused(budgets: &Budgets, calls: &SyncSender<(Held, SyncSender<()>)>) {
    let search = TenantId::new("search").unwrap();
    while let Ok(reservation) = enter(budgets, subject(&search, "web"), "0.01") {
        let (is_settled, settled) = sync_channel(1);
        calls
            .send((reservation.sent().unwrap(), is_settled))
            .unwrap();
        settled.recv().unwrap();
    }
}

/// Budgets change while callers call. Each round brings a new budget with room for as many calls as
/// may be in flight at that instant, and none beyond them. One budget stays all the time.
#[test]
fn no_change_under_load_loses_a_hold_or_passes_the_limit_of_a_new_budget() {
    const CALLERS: i64 = 4;
    const ROUNDS: i64 = 50;
    const BEFORE: i64 = 5;
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let stays = |limit: i64| budget("stays", &[], &cents(limit).to_string());
    let budgets = budgets(vec![stays(1_000_000)]);
    let mut ledger = 0_i64;
    for round in 0..ROUNDS {
        let (calls, ended) = sync_channel(1);
        let callers: Vec<_> = (0..CALLERS)
            .map(|_caller| {
                let (budgets, calls) = (budgets.clone(), calls.clone());
                std::thread::spawn(move || call_until_refused(&budgets, &calls))
            })
            .collect();
        drop(calls);
        let (begun, mut limit) = (ledger, i64::MAX);
        for (held, is_settled) in ended {
            budgets.settle(Some(held), &spent(web, "0.01"));
            ledger += 1;
            if ledger == begun + BEFORE {
                limit = ledger + CALLERS;
                let name = format!("round-{round}");
                let new = budget(&name, &[], &cents(limit).to_string());
                let known = [spent(web, &cents(ledger).to_string())];
                // The limit of the one that stays changes too.
                budgets.replace(vec![stays(2_000_000 + round), new], &known, at(NOW));
            }
            // The caller may have ended in a panic.
            let _told = is_settled.send(());
        }
        for caller in callers {
            caller.join().unwrap();
        }
        assert!(ledger <= limit, "round {round}: {ledger} of {limit}");
        let spent = cents(ledger).to_string();
        assert_eq!(
            standing(&budgets),
            [
                row(&format!("round-{round}"), "", &spent, "0"),
                row("stays", "", &spent, "0")
            ]
        );
        budgets.replace(vec![stays(1_000_000)], &[], at(NOW));
    }
}

/// What a store of several replicas is told, in words.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn note(&self, what: &str, call: CallId) {
        let whose = if call == own() { "own" } else { "another" };
        self.0.lock().unwrap().push(format!("{what} {whose}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl SharedHolds for Told {
    fn hold(&self, call: CallId, wants: &[SharedWant]) {
        for want in wants {
            let name = want.counter.book.split('|').next().unwrap();
            self.note(&format!("hold {} of {name}", want.amount), call);
        }
    }

    fn give_back(&self, call: CallId) {
        self.note("give back", call);
    }

    fn spend_hold(&self, call: CallId) {
        self.note("spend", call);
    }
}

/// The id of the call that is told about.
fn own() -> CallId {
    "019a0000-0000-7000-8000-000000000000".parse().unwrap()
}

/// The store knows a call with what it held when it was decided, and takes no more for it: what is
/// taken over is told as another call, which ends with it.
#[test]
fn a_shared_store_is_told_of_what_new_budgets_take_over() {
    let search = TenantId::new("search").unwrap();
    let web = subject(&search, "web");
    let of_sales = || budget("sales", &[(Facet::Tenant, "sales")], "10");
    let told = Arc::new(Told::default());
    let store = || -> Arc<dyn SharedHolds> { Arc::<Told>::clone(&told) };
    let come = |budgets: &Budgets| {
        let table = vec![of_sales(), budget("new", &[], "10")];
        budgets.replace(table, &[], at(NOW));
    };
    let once = |early: bool| {
        let budgets = budgets(vec![of_sales()]);
        let mut reservation = enter(&budgets, web, "3").unwrap();
        if early {
            // Before it is known whom to tell.
            come(&budgets);
            assert!(told.take().is_empty());
        }
        reservation.tell(store(), own());
        if !early {
            assert!(told.take().is_empty());
            come(&budgets);
        }
        assert_eq!(told.take(), ["hold 3 of new another"]);
        (budgets, reservation)
    };
    for early in [true, false] {
        let (budgets, reservation) = once(early);
        let settled = budgets.settle(reservation.sent(), &spent(web, "1"));
        // Only when it was told what the call cost.
        assert!(told.take().is_empty());
        drop(settled);
        assert_eq!(told.take(), ["give back another"]);
        drop(once(early).1);
        assert_eq!(told.take(), ["give back another"]);
        drop(once(early).1.sent());
        assert_eq!(told.take(), ["spend another"]);
    }
}

//! Past calls through budgets: which would have been refused.
//!
//! In order of admission each call holds what it held then (where none was recorded, its cost), and
//! settles at its own end with what budgets count for it. A call that would have been refused holds
//! and spends nothing. Memory is that of the calls in flight, and of the days that refused some.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use crate::budgets::{Budget, BudgetMode, Budgets, Held, Refused, Room, Spent};
use crate::domain::{CallId, Subject, Timestamp, Usd};
use crate::ledger::PastCall;

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    table: Vec<Budget>,
    budgets: Budgets,
    since: Timestamp,
    in_flight: BinaryHeap<InFlight>,
    /// What was seen so far.
    pub tally: Tally,
    days: BTreeMap<Place, BlockedDay>,
}

/// What a replay has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that were replayed.
    pub calls: u64,
    /// Those of them that had no hold recorded: they held their cost.
    pub without_hold: u64,
    /// Calls that a budget refused then: they are left out.
    pub refused_then: u64,
    /// Calls that would have been refused.
    pub blocked: u64,
    /// What these counted.
    pub blocked_amount: Usd,
}

/// A call that would have been refused.
#[derive(Debug)]
pub struct Blocked {
    /// The call.
    pub call: PastCall,
    /// The first budget without room, and its numbers.
    pub refused: Refused,
    /// The day, in the budget's time zone.
    pub day: String,
}

/// What one budget would have refused to one subject in one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockedDay {
    /// How many calls.
    pub calls: u64,
    /// What they counted.
    pub amount: Usd,
    /// The first of them.
    pub first: CallId,
}

/// Budget, subject, day.
type Place = (Arc<str>, Arc<str>, String);

/// A call that is not settled yet.
#[derive(Debug)]
struct InFlight {
    call: PastCall,
    held: Option<Held>,
}

impl Replay {
    /// A replay through these budgets, as if they had been put in force then, to the minute. All
    /// that can refuse do, also those that would only observe.
    pub fn new(mut table: Vec<Budget>, since: Timestamp) -> Self {
        for budget in &mut table {
            budget.mode = BudgetMode::Enforce;
        }
        let budgets = Budgets::new(table.clone(), &[], since);
        Self {
            table,
            budgets,
            since,
            in_flight: BinaryHeap::new(),
            tally: Tally::default(),
            days: BTreeMap::new(),
        }
    }

    /// The first instant that has to be known: the periods under way began before the replay.
    pub fn begins(&self) -> Timestamp {
        let begins = Budgets::begins(&self.table, self.since);
        begins.map_or(self.since, |begins| begins.min(self.since))
    }

    /// The next call, in order of admission; what would have become of it where it would have
    /// been refused. A call from before the replay only counts.
    pub fn admit(&mut self, call: PastCall) -> Option<Blocked> {
        if call.opened_at < self.since {
            self.count_earlier(&call);
            return None;
        }
        if call.was_refused {
            self.tally.refused_then = self.tally.refused_then.saturating_add(1);
            return None;
        }
        self.settle_until(call.opened_at);
        self.tally.calls = self.tally.calls.saturating_add(1);
        if self.tally.calls.is_multiple_of(FORGET_EVERY) {
            // What counts nothing any more is forgotten, as when somebody looks at the gauges.
            drop(self.budgets.standings(call.opened_at));
        }
        if call.is_free {
            return None;
        }
        let applying = self.budgets.applying(&subject(&call), call.opened_at);
        if applying.is_empty() {
            return None;
        }
        if call.reserved.is_none() {
            self.tally.without_hold = self.tally.without_hold.saturating_add(1);
        }
        let most = call.reserved.unwrap_or(call.cost);
        let bid = applying.bid(|_input, _reserve| Some(most));
        match bid.reserve(Room::Whole) {
            Ok(reservation) => {
                let held = reservation.sent();
                self.in_flight.push(InFlight { call, held });
                None
            }
            Err(refused) => Some(self.blocked(call, *refused)),
        }
    }

    /// What would have been refused, by budget, subject and day.
    pub fn days(&self) -> impl Iterator<Item = (&str, &str, &str, &BlockedDay)> {
        let days = self.days.iter();
        days.map(|((budget, subject, day), blocked)| (&**budget, &**subject, &**day, blocked))
    }

    fn count_earlier(&self, call: &PastCall) {
        if call.counted == Usd::ZERO {
            return;
        }
        let minute = call.opened_at.unix_ms().div_euclid(MS_PER_MINUTE);
        let spent = Spent {
            subject: subject(call),
            at: Timestamp::from_unix_ms(minute.saturating_mul(MS_PER_MINUTE)),
            amount: call.counted,
        };
        self.budgets.seed(&spent, self.since);
    }

    /// Calls that end at an instant make room for those that come at it.
    fn settle_until(&mut self, now: Timestamp) {
        while let Some(next) = self.in_flight.peek()
            && next.call.settled_at <= now
            && let Some(InFlight { call, held }) = self.in_flight.pop()
        {
            let spent = Spent {
                subject: subject(&call),
                at: call.opened_at,
                amount: call.counted,
            };
            self.budgets.settle(held, &spent);
        }
    }

    fn blocked(&mut self, call: PastCall, refused: Refused) -> Blocked {
        let calendar = self.table.iter().find(|one| one.name == refused.budget);
        let day = calendar.map(|one| one.calendar.day(call.opened_at));
        let day = day.unwrap_or_default();
        self.tally.blocked = self.tally.blocked.saturating_add(1);
        self.tally.blocked_amount = self.tally.blocked_amount.saturating_add(call.counted);
        let place = (
            Arc::clone(&refused.budget),
            Arc::clone(&refused.subject),
            day.clone(),
        );
        let sum = self.days.entry(place).or_insert(BlockedDay {
            calls: 0,
            amount: Usd::ZERO,
            first: call.call_id,
        });
        sum.calls = sum.calls.saturating_add(1);
        sum.amount = sum.amount.saturating_add(call.counted);
        Blocked { call, refused, day }
    }
}

fn subject(call: &PastCall) -> Subject<'_> {
    Subject {
        tenant: &call.tenant,
        application: &call.application,
        model: call.model.as_deref(),
        key: call.key.as_deref(),
        user: call.user.as_deref(),
        session: call.session.as_deref(),
    }
}

impl InFlight {
    const fn order(&self) -> (Timestamp, CallId) {
        (self.call.settled_at, self.call.call_id)
    }
}

/// The next to settle is the greatest: a heap gives that one.
impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        other.order().cmp(&self.order())
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for InFlight {}

const MS_PER_MINUTE: i64 = 60_000;
/// Calls between two looks for counters that count nothing any more.
const FORGET_EVERY: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budgets::Budget;

    fn table(text: &str) -> Vec<Budget> {
        crate::config::parse(text, &|_| None).unwrap().budgets
    }

    /// A call by its admission, its end, its hold and what it counts.
    fn call(opened_at: &str, settled_at: &str, reserved: Option<&str>, cost: &str) -> PastCall {
        let opened_at: Timestamp = opened_at.parse().unwrap();
        PastCall {
            call_id: CallId::generate(opened_at),
            opened_at,
            settled_at: settled_at.parse().unwrap(),
            tenant: "search".parse().unwrap(),
            application: "web".into(),
            model: None,
            key: None,
            user: None,
            session: None,
            is_free: false,
            was_refused: false,
            reserved: reserved.map(|amount| amount.parse().unwrap()),
            cost: cost.parse().unwrap(),
            counted: cost.parse().unwrap(),
        }
    }

    const TABLE: &str = "[budgets.teams]\ntenant = \"*\"\nlimit_usd = \"10\"\nperiod = \"day\"\n\
                         time_zone = \"Europe/Berlin\"\naction = \"block\"\nmode = \"observe\"";

    #[test]
    fn a_call_in_flight_counts_at_its_hold_and_one_that_ended_at_its_cost() {
        let since = "2026-11-14".parse().unwrap();
        let mut replay = Replay::new(table(TABLE), since);
        let first = call(
            "2026-11-14T09:00:00Z",
            "2026-11-14T09:10:00Z",
            Some("8"),
            "1",
        );
        assert!(replay.admit(first).is_none());
        let second = call(
            "2026-11-14T09:05:00Z",
            "2026-11-14T09:06:00Z",
            Some("3"),
            "3",
        );
        let id = second.call_id;
        let blocked = replay.admit(second).unwrap();
        assert_eq!(
            (&*blocked.refused.budget, &*blocked.day),
            ("teams", "2026-11-14")
        );
        assert_eq!(blocked.refused.held, "8".parse().unwrap());
        let third = call("2026-11-14T09:10:00Z", "2026-11-14T09:11:00Z", None, "9");
        assert!(replay.admit(third).is_none());
        let days: Vec<_> = replay.days().collect();
        let day = BlockedDay {
            calls: 1,
            amount: "3".parse().unwrap(),
            first: id,
        };
        assert_eq!(days, [("teams", "tenant=search", "2026-11-14", &day)]);
        let tally = Tally {
            calls: 3,
            without_hold: 1,
            refused_then: 0,
            blocked: 1,
            blocked_amount: "3".parse().unwrap(),
        };
        assert_eq!(replay.tally, tally);
    }

    #[test]
    fn what_was_spent_before_counts_where_its_period_goes_on() {
        // 15:00 UTC: the day of Berlin began the day before at 23:00.
        let since = "2026-11-14T15:00:00Z".parse().unwrap();
        let mut replay = Replay::new(table(TABLE), since);
        assert_eq!(replay.begins().to_string(), "2026-11-13T23:00:00.000Z");
        for (opened_at, cost) in [("2026-11-13T22:59:59Z", "9"), ("2026-11-13T23:00:00Z", "6")] {
            assert!(
                replay
                    .admit(call(opened_at, opened_at, None, cost))
                    .is_none()
            );
        }
        let now = "2026-11-14T15:00:00Z";
        assert!(replay.admit(call(now, now, None, "4.1")).is_some());
        assert!(replay.admit(call(now, now, None, "4")).is_none());
        assert_eq!(replay.tally.calls, 2);
    }

    #[test]
    fn what_was_refused_then_is_left_out() {
        let mut replay = Replay::new(table(TABLE), "2026-11-14".parse().unwrap());
        let now = "2026-11-14T15:00:00Z";
        let mut refused = call(now, now, Some("100"), "0");
        refused.was_refused = true;
        assert!(replay.admit(refused).is_none());
        let mut free = call(now, now, None, "0");
        free.is_free = true;
        assert!(replay.admit(free).is_none());
        assert_eq!((replay.tally.refused_then, replay.tally.calls), (1, 1));
    }
}

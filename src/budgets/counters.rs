//! The counters of one budget, by subject, each under a lock of its own.
//!
//! No lock is shared by all calls: those of different subjects meet only in the budgets that count
//! them together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::bid::Room;
use super::book::Spent;
use super::budget::Budget;
use super::counter::{Counter, Position};
use super::period::Period;
use crate::domain::{BudgetStanding, Facet, Subject, TenantId, Timestamp, Usd};

/// A budget and its counters.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) budget: Arc<Budget>,
    /// They go on where the budget is changed and still counts the same money.
    pub(super) counters: Arc<Counters>,
    pub(super) start: Arc<Start>,
}

/// Since when counters count.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) at: Timestamp,
    /// Done when the calls in flight are held in them.
    pub(super) opening: Once,
}

/// The counters of one budget.
#[derive(Debug)]
pub(super) struct Counters {
    by_subject: DashMap<Arc<str>, Arc<Slot>>,
    room: Arc<CountersRoom>,
}

/// How many counters there are, of all budgets together.
#[derive(Debug)]
pub(super) struct CountersRoom {
    used: AtomicUsize,
    most: usize,
}

/// One counter, and whose it is.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) subject: Arc<str>,
    tenant: Option<TenantId>,
    state: Mutex<State>,
}

/// What is in a slot.
#[derive(Debug)]
pub(super) struct State {
    pub(super) counter: Counter,
    /// What this replica may take it to by itself, and since which outage and stretch.
    share: Option<(u64, Timestamp, Usd)>,
}

impl InForce {
    /// A budget that has spent nothing. One of a single counter is seen before its first call.
    pub(super) fn new(budget: Budget, room: &Arc<CountersRoom>, start: &Arc<Start>) -> Self {
        let now = start.at;
        let made = Self {
            budget: Arc::new(budget),
            counters: Arc::new(Counters::new(room)),
            start: Arc::clone(start),
        };
        if let Some(subject) = made.budget.only_subject() {
            let tenant = made.budget.scope.tenant();
            made.slot_of(&subject, tenant.as_ref(), now);
        }
        made
    }

    /// The counter that a subject's calls go to; `None` where they are not meant. `name` is a place
    /// to write its name into.
    pub(super) fn slot(
        &self,
        subject: &Subject<'_>,
        at: Timestamp,
        name: &mut String,
    ) -> Option<Arc<Slot>> {
        let is_meant = self.budget.scope.write_counter(subject, name);
        is_meant.then(|| self.slot_of(name, Some(subject.tenant), at))
    }

    fn slot_of(&self, name: &str, tenant: Option<&TenantId>, at: Timestamp) -> Arc<Slot> {
        let is_of_one = self.budget.tells_apart(Facet::Tenant);
        self.counters.of(name, |subject| Slot {
            subject,
            tenant: tenant.filter(|_| is_of_one).cloned(),
            state: Mutex::new(State {
                counter: Counter::new(&self.budget.calendar, at),
                share: None,
            }),
        })
    }

    /// Counts an amount, where its subject is meant.
    pub(super) fn spend(&self, spent: &Spent<'_>, name: &mut String) {
        if let Some(slot) = self.slot(&spent.subject, spent.at, name) {
            let calendar = &self.budget.calendar;
            slot.lock().counter.spend(calendar, spent.at, spent.amount);
        }
    }

    /// Counts a call that was never held here: it is older than the counters, which know of their
    /// first period and of none before it.
    pub(super) fn spend_of_older(&self, spent: &Spent<'_>, name: &mut String) {
        self.seed(spent, self.start.at, name);
    }

    /// The same of the past. What the longest period needs to know is older than others': a
    /// calendar's counter would take it for the newest.
    pub(super) fn seed(&self, spent: &Spent<'_>, now: Timestamp, name: &mut String) {
        if self.budget.calendar.reaches(spent.at, now) {
            self.spend(spent, name);
        }
    }

    /// Where every counter stands. Those that count nothing any more are forgotten.
    pub(super) fn standings(&self, now: Timestamp) -> Vec<BudgetStanding> {
        let calendar = &self.budget.calendar;
        if self.budget.only_subject().is_none() {
            let is_idle = |slot: &Slot| slot.lock().counter.is_idle(calendar, now);
            self.counters.forget(is_idle);
        }
        let counters = self.counters.by_subject.iter();
        counters.map(|slot| self.standing(&slot, now)).collect()
    }

    fn standing(&self, slot: &Slot, now: Timestamp) -> BudgetStanding {
        let budget = &*self.budget;
        let position = slot.lock().counter.position(&budget.calendar, now);
        BudgetStanding {
            budget: Arc::clone(&budget.name),
            subject: Arc::clone(&slot.subject),
            tenant: slot.tenant.clone(),
            period: budget.calendar.period.to_string().into(),
            begins: position.begins,
            ends: position.ends,
            limit: budget.limit_at(now),
            spent: position.spent,
            held: position.held,
            blocks: budget.blocks(),
            thresholds: Arc::clone(&budget.thresholds),
            forecast: budget.forecast,
            outlets: Arc::clone(&budget.outlets),
            owner: budget.owner.clone(),
        }
    }
}

impl Counters {
    fn new(room: &Arc<CountersRoom>) -> Self {
        Self {
            by_subject: DashMap::new(),
            room: Arc::clone(room),
        }
    }

    /// The counter of that name, new or not. Beyond the most counters all who have none yet share
    /// one: the limit holds for them together.
    fn of(&self, name: &str, make: impl FnOnce(Arc<str>) -> Slot) -> Arc<Slot> {
        if let Some(found) = self.by_subject.get(name) {
            return Arc::clone(&found);
        }
        let name = if self.room.is_full() { OTHERS } else { name };
        let name: Arc<str> = name.into();
        match self.by_subject.entry(Arc::clone(&name)) {
            Entry::Occupied(found) => Arc::clone(found.get()),
            Entry::Vacant(place) => {
                self.room.used.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&place.insert(Arc::new(make(name))))
            }
        }
    }

    /// Forgets counters, but none that a call is about.
    fn forget(&self, is_idle: impl Fn(&Slot) -> bool) {
        self.by_subject.retain(|_name, slot| {
            let stays = Arc::strong_count(slot) > 1 || !is_idle(slot);
            if !stays {
                self.room.used.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        let slots = self.by_subject.iter();
        slots.map(|slot| Arc::clone(&slot)).collect()
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        let used = self.by_subject.len();
        self.room.used.fetch_sub(used, Ordering::Relaxed);
    }
}

impl CountersRoom {
    fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.most
    }
}

impl Default for CountersRoom {
    fn default() -> Self {
        Self {
            used: AtomicUsize::new(0),
            most: COUNTERS_MAX,
        }
    }
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a call may take the counter to; `None`: to anything.
    pub(super) fn room(
        &mut self,
        budget: &Budget,
        room: Room,
        position: &Position,
        limit: Usd,
    ) -> Option<Usd> {
        let (replicas, outage) = match room {
            Room::Whole => return Some(limit),
            Room::Any => return None,
            Room::Share { replicas, outage } => (replicas, outage),
        };
        let begins = match budget.calendar.period {
            Period::Rolling(_) => Timestamp::default(),
            Period::Day | Period::Week | Period::Month | Period::Quarter | Period::Year => {
                position.begins
            }
        };
        let share = self.share.filter(|one| (one.0, one.1) == (outage, begins));
        let (_, _, up_to) = *self
            .share
            .insert(share.unwrap_or_else(|| (outage, begins, position.share(limit, replicas))));
        Some(up_to.min(limit))
    }
}

/// A counter is some 300 bytes: 30 MB.
const COUNTERS_MAX: usize = 100_000;
/// The subject of all who came when there was no room for a counter of their own.
const OTHERS: &str = "(others)";

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(subject: Arc<str>) -> Slot {
        let calendar = crate::budgets::Calendar {
            period: Period::Month,
            zone: crate::budgets::Zone::default(),
            fiscal_month: 1,
        };
        Slot {
            subject,
            tenant: None,
            state: Mutex::new(State {
                counter: Counter::new(&calendar, Timestamp::default()),
                share: None,
            }),
        }
    }

    #[test]
    fn names_beyond_the_most_share_a_counter_until_there_is_room_again() {
        let room = Arc::new(CountersRoom {
            used: AtomicUsize::new(0),
            most: 2,
        });
        let (users, runs) = (Counters::new(&room), Counters::new(&room));
        let names = |counters: &Counters| {
            let all = counters.all();
            let mut names: Vec<_> = all.iter().map(|slot| slot.subject.to_string()).collect();
            names.sort();
            names
        };
        let first = users.of("user=a", slot);
        drop(runs.of("session=1", slot));
        assert_eq!(&*users.of("user=b", slot).subject, OTHERS);
        assert_eq!(&*users.of("user=c", slot).subject, OTHERS);
        assert!(Arc::ptr_eq(&users.of("user=a", slot), &first));
        // What a call is about stays.
        users.forget(|_slot| true);
        assert_eq!(names(&users), ["user=a"]);
        assert_eq!(&*users.of("user=d", slot).subject, OTHERS);
        drop(runs);
        users.forget(|_slot| true);
        assert_eq!(&*users.of("user=d", slot).subject, "user=d");
    }
}

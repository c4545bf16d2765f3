//! All budgets and their counters: which apply to a call, what was spent, where they stand.

use std::sync::{Arc, Once};

use arc_swap::ArcSwap;

use super::bid::{Applying, Part};
use super::budget::Budget;
use super::counters::{CountersRoom, InForce, Start};
use super::hold::{End, Held, HoldAt, Told};
use super::in_flight::{Enrolled, InFlight};
use crate::domain::{BudgetStanding, Facet, Scope, Subject, Timestamp, Usd};

/// What somebody spent, as the ledger knows it.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// Who.
    pub subject: Subject<'a>,
    /// When the call was admitted, to the minute.
    pub at: Timestamp,
    /// How much.
    pub amount: Usd,
}

/// All budgets.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    pub(super) table: Arc<ArcSwap<Table>>,
    room: Arc<CountersRoom>,
    in_flight: Arc<InFlight>,
}

/// A call has settled. Where replicas share budgets, what was taken over of it is told to be held
/// no more when this is dropped: its cost is to be told before.
#[derive(Debug, Default)]
pub struct Settled(Vec<Told>);

impl Drop for Settled {
    fn drop(&mut self) {
        for told in self.0.drain(..) {
            told.end(End::GivenBack);
        }
    }
}

/// The budgets in force, in the order of their names: that is the order in which calls lock their
/// counters, also those that came before the table was changed.
type Table = Vec<Arc<InForce>>;

impl Budgets {
    /// These budgets, with what the ledger says was spent.
    pub fn new(table: Vec<Budget>, spent: &[Spent<'_>], now: Timestamp) -> Self {
        let budgets = Self::default();
        budgets.replace(table, spent, now);
        budgets
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.load().is_empty()
    }

    /// The first instant that any of these budgets has to know of.
    pub fn begins(table: &[Budget], now: Timestamp) -> Option<Timestamp> {
        let begins = table.iter().map(|one| one.calendar.stretch(now).0);
        begins.min()
    }

    /// Puts another table in force. Budgets that count the same money go on with their counters;
    /// those that are new begin with what the ledger says, and hold what the calls in flight can
    /// cost before they decide about any. One change at a time, and none while a call settles.
    pub fn replace(&self, mut table: Vec<Budget>, spent: &[Spent<'_>], now: Timestamp) {
        table.sort_by(|a, b| a.name.cmp(&b.name));
        let old = self.table.load();
        let mut name = String::new();
        let start = Arc::new(Start {
            at: now,
            opening: Once::new(),
        });
        let in_force = table.into_iter().map(|budget| {
            if let Some(old) = old.iter().find(|old| old.budget.counts_as(&budget)) {
                return Arc::new(InForce {
                    budget: Arc::new(budget),
                    counters: Arc::clone(&old.counters),
                    start: Arc::clone(&old.start),
                });
            }
            let new = InForce::new(budget, &self.room, &start);
            for one in spent {
                new.seed(one, now, &mut name);
            }
            Arc::new(new)
        });
        let in_force: Table = in_force.collect();
        let is_new = |one: &&Arc<InForce>| Arc::ptr_eq(&one.start, &start);
        let new: Vec<_> = in_force.iter().filter(is_new).cloned().collect();
        self.table.store(Arc::new(in_force));
        start.opening.call_once(|| {
            if !new.is_empty() {
                self.in_flight.take_over(&new, now);
            }
        });
    }

    /// Says that a call is in flight which can cost that at most (`None`: nobody knows), before it
    /// is looked which budgets apply to it.
    pub fn enroll(&self, subject: &Subject<'_>, at: Timestamp, most: Option<Usd>) -> Enrolled {
        let most = most.map(Usd::ceil_micro).unwrap_or_default();
        self.in_flight.enroll(subject, at, most)
    }

    /// Counts what the ledger says of somebody, with every budget whose period holds both then
    /// and now.
    pub fn seed(&self, spent: &Spent<'_>, now: Timestamp) {
        let mut name = String::new();
        for one in &**self.table.load() {
            one.seed(spent, now, &mut name);
        }
    }

    /// The budgets in force, by name.
    pub fn table(&self) -> Vec<Arc<Budget>> {
        let table = self.table.load();
        table.iter().map(|one| Arc::clone(&one.budget)).collect()
    }

    /// The budgets that a call has to fit which is admitted at that instant.
    pub fn applying(&self, subject: &Subject<'_>, at: Timestamp) -> Applying {
        let table = self.table.load();
        let mut name = String::with_capacity(Scope::COUNTER_BYTES);
        let applies = |one: &Arc<InForce>| {
            let slot = one.slot(subject, at, &mut name)?;
            // Over at once, but in the moment in which a new budget takes calls over. Whatever
            // becomes of that, no call breaks by it.
            one.start.opening.wait_force();
            Some(Part {
                of: Arc::clone(one),
                slot,
                amount: None,
            })
        };
        let parts = table.iter().filter_map(applies).collect();
        Applying {
            at,
            parts,
            enrolled: None,
        }
    }

    /// Counts what a call cost, once its entry is in the ledger, and gives back what it held.
    pub fn settle(&self, held: Option<Held>, spent: &Spent<'_>) -> Settled {
        let (holds, told) = held.map(Held::take).unwrap_or_default();
        let mut name = String::new();
        for one in &**self.table.load() {
            // What is held of a budget that is not in force any more needs no giving back.
            let is_its = |hold: &&HoldAt| Arc::ptr_eq(&hold.of.counters, &one.counters);
            match holds.iter().find(is_its) {
                Some(own) => own.settle(spent),
                None if spent.amount != Usd::ZERO => one.spend_of_older(spent, &mut name),
                None => {}
            }
        }
        Settled(told)
    }

    /// Where every counter stands. Counters that count nothing any more are forgotten.
    pub fn standings(&self, now: Timestamp) -> Vec<BudgetStanding> {
        let table = self.table.load();
        let standings = table.iter().flat_map(|one| one.standings(now));
        let mut standings: Vec<_> = standings.collect();
        standings.sort_by(|a, b| (&a.budget, &a.subject).cmp(&(&b.budget, &b.subject)));
        standings
    }
}

impl Budget {
    pub(super) fn tells_apart(&self, facet: Facet) -> bool {
        let is_named = self.scope.facets.iter().any(|(named, _)| *named == facet);
        is_named && !self.scope.shared.contains(&facet)
    }

    /// The subject of the only counter, where no star makes several.
    pub(super) fn only_subject(&self) -> Option<Arc<str>> {
        let mut words = Vec::new();
        for (facet, pattern) in &self.scope.facets {
            if pattern.as_str().contains('*') && !self.scope.shared.contains(facet) {
                return None;
            }
            words.push(format!("{}={pattern}", facet.word()));
        }
        Some(words.join(" ").into())
    }
}

//! All budgets and their counters: reserve, settle, look.
//!
//! One short lock over all counters, never held across a wait: a call that several budgets apply to
//! needs room in each at the same instant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::budget::{Budget, InputBound, Reserve};
use super::counter::{Counter, Position};
use super::hold::{End, Held, Reservation};
use super::refused::{Downgrade, Refused};
use crate::domain::{BudgetStanding, Facet, Subject, TenantId, Timestamp, Usd};

/// What a call asks of the budgets.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Whose call it is.
    pub subject: Subject<'a>,
    /// When it was admitted.
    pub at: Timestamp,
    /// What it can cost at most; `None` where nobody knows.
    pub amount: Option<Amount>,
}

/// The most that a call can cost, by how its input is bounded and how much is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Input as proven, output at its maximum.
    pub proven_max: Usd,
    /// Input as proven, output at p99.
    pub proven_p99: Usd,
    /// Input as calibrated, output at its maximum.
    pub calibrated_max: Usd,
    /// Input as calibrated, output at p99.
    pub calibrated_p99: Usd,
}

impl Amount {
    /// The same however it is bounded.
    pub const fn of(amount: Usd) -> Self {
        Self {
            proven_max: amount,
            proven_p99: amount,
            calibrated_max: amount,
            calibrated_p99: amount,
        }
    }

    const fn held_by(&self, budget: &Budget) -> Usd {
        match (budget.input, budget.reserve) {
            (InputBound::Proven, Reserve::Max) => self.proven_max,
            (InputBound::Proven, Reserve::P99) => self.proven_p99,
            (InputBound::Calibrated, Reserve::Max) => self.calibrated_max,
            (InputBound::Calibrated, Reserve::P99) => self.calibrated_p99,
        }
    }
}

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
#[derive(Clone, Debug)]
pub struct Budgets {
    state: Arc<Mutex<State>>,
}

/// The table and the counters.
#[derive(Debug, Default)]
pub(super) struct State {
    table: Arc<[Arc<Budget>]>,
    counters: HashMap<Key, Entry>,
}

/// Whose counter, of which budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    budget: Arc<str>,
    subject: Arc<str>,
}

/// A counter and whose it is.
#[derive(Debug)]
struct Entry {
    budget: Arc<Budget>,
    tenant: Option<TenantId>,
    counter: Counter,
}

/// One hold of one call.
#[derive(Debug)]
pub(super) struct HoldAt {
    key: Key,
    at: Timestamp,
    amount: Usd,
}

impl Budgets {
    /// These budgets, with what the ledger says was spent.
    pub fn new(table: Vec<Budget>, spent: &[Spent<'_>], now: Timestamp) -> Self {
        let budgets = Self {
            state: Arc::default(),
        };
        budgets.replace(table, spent, now);
        budgets
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().table.is_empty()
    }

    /// The first instant that any of these budgets has to know of.
    pub fn begins(table: &[Budget], now: Timestamp) -> Option<Timestamp> {
        let begins = table.iter().map(|one| one.calendar.stretch(now).0);
        begins.min()
    }

    /// Puts another table in force. Budgets that count the same money go on with their counters;
    /// those that are new begin with what the ledger says.
    pub fn replace(&self, table: Vec<Budget>, spent: &[Spent<'_>], now: Timestamp) {
        let mut state = self.lock();
        let table: Arc<[Arc<Budget>]> = table.into_iter().map(Arc::new).collect();
        let old = std::mem::replace(&mut state.table, Arc::clone(&table));
        let goes_on = |new: &Budget| old.iter().any(|old| old.counts_as(new));
        let (same, new): (Vec<_>, Vec<_>) = table.iter().cloned().partition(|one| goes_on(one));
        state.counters.retain(|key, entry| {
            let found = same.iter().find(|one| one.name == key.budget);
            if let Some(found) = found {
                entry.budget = Arc::clone(found);
            }
            found.is_some()
        });
        for budget in &new {
            state.open_fixed(budget, now);
        }
        for one in spent {
            for budget in &new {
                state.spend(budget, &one.subject, one.at, one.amount);
            }
        }
    }

    /// Holds what a call can cost with every budget that applies: with all, or with none. `None`
    /// where none applies.
    ///
    /// # Errors
    /// When a blocking budget has no room for the whole amount, or the amount is not known.
    pub fn reserve(&self, demand: &Demand<'_>) -> Result<Option<Reservation>, Box<Refused>> {
        let mut state = self.lock();
        let table = Arc::clone(&state.table);
        let mut holds = Vec::new();
        let mut observed = Vec::new();
        let mut remaining: Option<Usd> = None;
        let mut largest = Usd::ZERO;
        for budget in table.iter() {
            let Some(key) = state.key(budget, &demand.subject) else {
                continue;
            };
            let position = state.position(&key, budget, demand);
            let amount = demand
                .amount
                .map(|amount| amount.held_by(budget).ceil_micro());
            let limit = budget.limit_at(demand.at);
            let fits = amount.is_some_and(|amount| position.has_room(amount, limit));
            if !fits && budget.blocks() {
                return Err(Box::new(refused(budget, &key, &position, amount, limit)));
            }
            if !fits && budget.would_refuse() {
                observed.push(Arc::clone(&budget.name));
            }
            let amount = amount.unwrap_or_default();
            if budget.blocks() {
                let left = position.left(amount, limit);
                remaining = Some(remaining.map_or(left, |least| least.min(left)));
            }
            largest = largest.max(amount);
            holds.push(HoldAt {
                key,
                at: demand.at,
                amount,
            });
        }
        if holds.is_empty() {
            return Ok(None);
        }
        for hold in &holds {
            state.change(hold, Counter::hold);
        }
        drop(state);
        let held = Held {
            state: Arc::clone(&self.state),
            holds,
            amount: largest,
        };
        Ok(Some(Reservation {
            held: Some(held),
            observed,
            remaining,
        }))
    }

    /// Counts what a call cost, once its entry is in the ledger, and gives back what it held.
    pub fn settle(&self, held: Option<Held>, spent: &Spent<'_>) {
        let holds = held.map(Held::take).unwrap_or_default();
        let mut state = self.lock();
        state.end(&holds, End::GivenBack);
        if spent.amount != Usd::ZERO {
            let table = Arc::clone(&state.table);
            for budget in table.iter() {
                state.spend(budget, &spent.subject, spent.at, spent.amount);
            }
        }
    }

    /// Where every counter stands. Counters that count nothing any more are forgotten.
    pub fn standings(&self, now: Timestamp) -> Vec<BudgetStanding> {
        let mut state = self.lock();
        state.counters.retain(|_key, entry| {
            let calendar = &entry.budget.calendar;
            entry.budget.has_one_counter() || !entry.counter.is_idle(calendar, now)
        });
        let counters = state.counters.iter_mut();
        let mut standings: Vec<_> = counters
            .map(|(key, entry)| entry.standing(key, now))
            .collect();
        drop(state);
        standings.sort_by(|a, b| (&a.budget, &a.subject).cmp(&(&b.budget, &b.subject)));
        standings
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What becomes of holds.
    pub(super) fn end(&mut self, holds: &[HoldAt], end: End) {
        for hold in holds {
            self.change(hold, Counter::give_back);
            if end == End::Spent {
                self.change(hold, Counter::spend);
            }
        }
    }

    /// The counter of a call in a budget; `None` where it is not meant. Beyond the most counters
    /// all who have none yet share one: the limit holds for them together.
    fn key(&self, budget: &Budget, subject: &Subject<'_>) -> Option<Key> {
        let subject = budget.scope.counter(subject)?;
        let key = Key {
            budget: Arc::clone(&budget.name),
            subject,
        };
        if self.counters.len() < COUNTERS_MAX || self.counters.contains_key(&key) {
            return Some(key);
        }
        Some(Key {
            subject: OTHERS.into(),
            ..key
        })
    }

    fn position(&mut self, key: &Key, budget: &Arc<Budget>, demand: &Demand<'_>) -> Position {
        let entry = self.entry(key, budget, &demand.subject, demand.at);
        entry.counter.position(&budget.calendar, demand.at)
    }

    fn entry(
        &mut self,
        key: &Key,
        budget: &Arc<Budget>,
        subject: &Subject<'_>,
        at: Timestamp,
    ) -> &mut Entry {
        if !self.counters.contains_key(key) {
            let entry = Entry::new(budget, Some(subject.tenant), at);
            self.counters.insert(key.clone(), entry);
        }
        self.counters
            .entry(key.clone())
            .or_insert_with(|| Entry::new(budget, Some(subject.tenant), at))
    }

    fn spend(&mut self, budget: &Arc<Budget>, subject: &Subject<'_>, at: Timestamp, amount: Usd) {
        if let Some(key) = self.key(budget, subject) {
            let entry = self.entry(&key, budget, subject, at);
            entry.counter.spend(&budget.calendar, at, amount);
        }
    }

    fn change(
        &mut self,
        hold: &HoldAt,
        change: impl FnOnce(&mut Counter, &super::Calendar, Timestamp, Usd),
    ) {
        if let Some(Entry {
            budget, counter, ..
        }) = self.counters.get_mut(&hold.key)
        {
            change(counter, &budget.calendar, hold.at, hold.amount);
        }
    }

    /// A budget of one counter is seen before its first call.
    fn open_fixed(&mut self, budget: &Arc<Budget>, now: Timestamp) {
        if let Some(subject) = budget.only_subject() {
            let key = Key {
                budget: Arc::clone(&budget.name),
                subject,
            };
            let tenant = budget.scope.tenant();
            let entry = Entry::new(budget, tenant.as_ref(), now);
            self.counters.insert(key, entry);
        }
    }
}

impl Entry {
    fn new(budget: &Arc<Budget>, tenant: Option<&TenantId>, at: Timestamp) -> Self {
        let is_of_one = budget.tells_apart(Facet::Tenant);
        Self {
            budget: Arc::clone(budget),
            tenant: tenant.filter(|_| is_of_one).cloned(),
            counter: Counter::new(&budget.calendar, at),
        }
    }

    fn standing(&mut self, key: &Key, now: Timestamp) -> BudgetStanding {
        let budget = &*self.budget;
        let position = self.counter.position(&budget.calendar, now);
        BudgetStanding {
            budget: Arc::clone(&key.budget),
            subject: Arc::clone(&key.subject),
            tenant: self.tenant.clone(),
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

fn refused(
    budget: &Budget,
    key: &Key,
    position: &Position,
    amount: Option<Usd>,
    limit: Usd,
) -> Refused {
    Refused {
        budget: Arc::clone(&key.budget),
        subject: Arc::clone(&key.subject),
        period: budget.calendar.period.to_string().into(),
        limit,
        spent: position.spent,
        held: position.held,
        this: amount,
        resets: position.ends,
        owner: budget.owner.clone(),
        with: budget.refuse_with,
        downgrade: budget.downgrade(),
    }
}

impl Budget {
    fn would_refuse(&self) -> bool {
        self.action != super::Action::Alert
    }

    fn downgrade(&self) -> Option<Downgrade> {
        let to = Downgrade {
            model: self.downgrade_model.clone(),
            tier: self.downgrade_tier.clone(),
        };
        (self.action == super::Action::Downgrade).then_some(to)
    }

    fn tells_apart(&self, facet: Facet) -> bool {
        let is_named = self.scope.facets.iter().any(|(named, _)| *named == facet);
        is_named && !self.scope.shared.contains(&facet)
    }

    fn has_one_counter(&self) -> bool {
        self.only_subject().is_some()
    }

    /// The subject of the only counter, where no star makes several.
    fn only_subject(&self) -> Option<Arc<str>> {
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

/// A counter is some 300 bytes: 30 MB.
const COUNTERS_MAX: usize = 100_000;
/// The subject of all who came when there was no room for a counter of their own.
const OTHERS: &str = "(others)";

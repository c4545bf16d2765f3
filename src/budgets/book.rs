//! All budgets and their counters: reserve, settle, look.
//!
//! One short lock over all counters, never held across a wait: a call that several budgets apply to
//! needs room in each at the same instant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::budget::{Budget, InputBound, Reserve};
use super::counter::{Counter, Position};
use super::hold::{End, Held, Reservation};
use super::period::Period;
use super::refused::{Downgrade, Refused};
use crate::domain::{BudgetStanding, Facet, Subject, TenantId, Timestamp, Usd};

/// The budgets that a call has to fit, and its counter in each.
#[derive(Debug)]
pub struct Applying<'a> {
    subject: Subject<'a>,
    budgets: Vec<(Arc<Budget>, Arc<str>)>,
}

impl Applying<'_> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
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
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    pub(super) shared: Arc<Shared>,
}

/// The table, which calls read without a lock, and the counters.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) table: ArcSwap<Table>,
    state: Mutex<State>,
}

type Table = Vec<Arc<Budget>>;

/// The counters.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) counters: HashMap<Key, Entry>,
    /// The number of the newest counter.
    newest: u64,
}

/// Whose counter, of which budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) budget: Arc<str>,
    pub(super) subject: Arc<str>,
}

/// A counter and whose it is.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) budget: Arc<Budget>,
    tenant: Option<TenantId>,
    pub(super) counter: Counter,
    /// Tells it from an earlier counter under the same key: a hold goes back where it was made.
    pub(super) number: u64,
    /// What this replica may take it to by itself, and since which outage and stretch.
    share: Option<(u64, Timestamp, Usd)>,
}

/// One hold of one call.
#[derive(Debug)]
pub(super) struct HoldAt {
    pub(super) key: Key,
    /// The counter's number, and the stretch in which it holds; set when it does.
    place: Option<(u64, Timestamp)>,
    pub(super) at: Timestamp,
    pub(super) amount: Usd,
}

/// What a call wants of every budget that applies to it.
#[derive(Debug)]
pub struct Bid<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) at: Timestamp,
    pub(super) parts: Vec<Part>,
}

/// What it wants of one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) budget: Arc<Budget>,
    pub(super) counter: Arc<str>,
    pub(super) amount: Option<Usd>,
}

/// How much of what is left a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// All of it.
    Whole,
    /// While replicas cannot see each other: this one's share of what was left then.
    Share {
        /// Among how many it is shared.
        replicas: u32,
        /// Which time it is that they cannot.
        outage: u64,
    },
    /// Whatever it wants.
    Any,
}

/// What a call takes, as it adds up.
#[derive(Debug, Default)]
pub(super) struct Taking {
    holds: Vec<HoldAt>,
    observed: Vec<Arc<str>>,
    remaining: Option<Usd>,
}

impl Taking {
    /// Adds a budget that lets the call through; `place` where the hold is in its counter already.
    pub(super) fn add(
        &mut self,
        (key, place): (Key, Option<(u64, Timestamp)>),
        part: &Part,
        at: Timestamp,
        (position, limit): (Position, Usd),
        fits: bool,
    ) {
        let budget = &part.budget;
        if !fits && budget.would_refuse() {
            self.observed.push(Arc::clone(&budget.name));
        }
        let amount = part.amount.unwrap_or_default();
        if budget.blocks() {
            let left = position.left(amount, limit);
            self.remaining = Some(self.remaining.map_or(left, |least| least.min(left)));
        }
        self.holds.push(HoldAt {
            key,
            place,
            at,
            amount,
        });
    }

    pub(super) fn reservation(self, shared: &Arc<Shared>) -> Reservation {
        let amount = self.holds.iter().map(|hold| hold.amount).max();
        let held = Held {
            shared: Arc::clone(shared),
            holds: self.holds,
            amount: amount.unwrap_or_default(),
            told: None,
        };
        Reservation {
            held: Some(held),
            observed: self.observed,
            remaining: self.remaining,
        }
    }
}

impl Budgets {
    /// These budgets, with what the ledger says was spent.
    pub fn new(table: Vec<Budget>, spent: &[Spent<'_>], now: Timestamp) -> Self {
        let budgets = Self::default();
        budgets.replace(table, spent, now);
        budgets
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shared.table.load().is_empty()
    }

    /// The first instant that any of these budgets has to know of.
    pub fn begins(table: &[Budget], now: Timestamp) -> Option<Timestamp> {
        let begins = table.iter().map(|one| one.calendar.stretch(now).0);
        begins.min()
    }

    /// Puts another table in force. Budgets that count the same money go on with their counters;
    /// those that are new begin with what the ledger says.
    pub fn replace(&self, table: Vec<Budget>, spent: &[Spent<'_>], now: Timestamp) {
        let mut state = self.shared.lock();
        let table: Table = table.into_iter().map(Arc::new).collect();
        let old = self.shared.table.swap(Arc::new(table.clone()));
        let goes_on = |new: &Budget| old.iter().any(|old| old.counts_as(new));
        let (same, new): (Table, Table) = table.into_iter().partition(|one| goes_on(one));
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
            state.seed(&new, one, now);
        }
    }

    /// Counts what the ledger says of somebody, with every budget whose period holds both then
    /// and now.
    pub fn seed(&self, spent: &Spent<'_>, now: Timestamp) {
        let table = self.shared.table.load();
        self.shared.lock().seed(&table, spent, now);
    }

    /// The budgets in force, by name.
    pub fn table(&self) -> Vec<Arc<Budget>> {
        self.shared.table.load().to_vec()
    }

    /// The budgets that a call has to fit. Takes no lock: most calls meet none.
    pub fn applying<'a>(&self, subject: Subject<'a>) -> Applying<'a> {
        let table = self.shared.table.load();
        let applies = |budget: &Arc<Budget>| {
            let counter = budget.scope.counter(&subject)?;
            Some((Arc::clone(budget), counter))
        };
        let budgets = table.iter().filter_map(applies).collect();
        Applying { subject, budgets }
    }

    /// Works out what a call wants of each budget. `most` says what it can cost at most, for how a
    /// budget wants it bounded; `None` where nobody knows.
    pub fn bid<'a>(
        &self,
        applying: Applying<'a>,
        at: Timestamp,
        mut most: impl FnMut(InputBound, Reserve) -> Option<Usd>,
    ) -> Bid<'a> {
        let Applying { subject, budgets } = applying;
        let parts = budgets.into_iter().map(|(budget, counter)| {
            let amount = most(budget.input, budget.reserve).map(Usd::ceil_micro);
            Part {
                budget,
                counter,
                amount,
            }
        });
        Bid {
            subject,
            at,
            parts: parts.collect(),
        }
    }

    /// Holds what a call can cost with every budget that applies: with all, or with none.
    ///
    /// # Errors
    /// When a blocking budget has no room for the whole amount, or the amount is not known.
    pub fn reserve(&self, bid: Bid<'_>, room: Room) -> Result<Reservation, Box<Refused>> {
        let mut state = self.shared.lock();
        let mut taking = Taking::default();
        for part in bid.parts {
            let key = state.key(&part.budget, Arc::clone(&part.counter));
            let position = state.position(&key, &part.budget, &bid.subject, bid.at);
            let limit = part.budget.limit_at(bid.at);
            let room = state.room(&key, room, &position, limit);
            let fits = |amount| room.is_none_or(|room| position.has_room(amount, room));
            let fits = part.amount.is_some_and(fits);
            if !fits && part.budget.blocks() {
                let limits = (position, limit);
                return Err(Box::new(refused(&part.budget, &key, limits, part.amount)));
            }
            taking.add((key, None), &part, bid.at, (position, limit), fits);
        }
        for hold in &mut taking.holds {
            state.hold(hold);
        }
        drop(state);
        Ok(taking.reservation(&self.shared))
    }

    /// Counts what a call cost, once its entry is in the ledger, and gives back what it held.
    pub fn settle(&self, held: Option<Held>, spent: &Spent<'_>) {
        let holds = held.map(Held::take).unwrap_or_default();
        let table = self.shared.table.load();
        if table.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        state.end(&holds, End::GivenBack);
        if spent.amount != Usd::ZERO {
            state.spend(&table, spent);
        }
    }

    /// Where every counter stands. Counters that count nothing any more are forgotten.
    pub fn standings(&self, now: Timestamp) -> Vec<BudgetStanding> {
        let mut state = self.shared.lock();
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
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What becomes of holds.
    pub(super) fn end(&mut self, holds: &[HoldAt], end: End) {
        for hold in holds {
            let Some(entry) = self.counters.get_mut(&hold.key) else {
                continue;
            };
            let Some((_, begins)) = hold.place.filter(|(number, _)| *number == entry.number) else {
                continue;
            };
            entry.counter.give_back(begins, hold.amount);
            if end == End::Spent {
                let calendar = &entry.budget.calendar;
                entry.counter.spend(calendar, hold.at, hold.amount);
            }
        }
    }

    /// The key of a counter. Beyond the most counters all who have none yet share one: the limit
    /// holds for them together.
    pub(super) fn key(&self, budget: &Budget, subject: Arc<str>) -> Key {
        let key = Key {
            budget: Arc::clone(&budget.name),
            subject,
        };
        if self.counters.len() < COUNTERS_MAX || self.counters.contains_key(&key) {
            return key;
        }
        Key {
            subject: OTHERS.into(),
            ..key
        }
    }

    fn position(
        &mut self,
        key: &Key,
        budget: &Arc<Budget>,
        subject: &Subject<'_>,
        at: Timestamp,
    ) -> Position {
        let entry = self.entry(key, budget, subject, at);
        entry.counter.position(&budget.calendar, at)
    }

    /// What a call may take a counter to; `None`: to anything.
    fn room(&mut self, key: &Key, room: Room, position: &Position, limit: Usd) -> Option<Usd> {
        let (replicas, outage) = match room {
            Room::Whole => return Some(limit),
            Room::Any => return None,
            Room::Share { replicas, outage } => (replicas, outage),
        };
        let entry = self.counters.get_mut(key)?;
        let is_rolling = matches!(entry.budget.calendar.period, Period::Rolling(_));
        let begins = if is_rolling {
            Timestamp::default()
        } else {
            position.begins
        };
        let share = entry.share.filter(|one| (one.0, one.1) == (outage, begins));
        let (_, _, up_to) = *entry
            .share
            .insert(share.unwrap_or_else(|| (outage, begins, position.share(limit, replicas))));
        Some(up_to.min(limit))
    }

    pub(super) fn entry(
        &mut self,
        key: &Key,
        budget: &Arc<Budget>,
        subject: &Subject<'_>,
        at: Timestamp,
    ) -> &mut Entry {
        let number = self.next_number();
        let entry = self.counters.entry(key.clone());
        entry.or_insert_with(|| Entry::new(budget, Some(subject.tenant), at, number))
    }

    /// Counts an amount with every budget of the table that its subject is meant by.
    fn spend(&mut self, table: &[Arc<Budget>], spent: &Spent<'_>) {
        let Spent {
            subject,
            at,
            amount,
        } = spent;
        for budget in table {
            if let Some(counter) = budget.scope.counter(subject) {
                let key = self.key(budget, counter);
                let entry = self.entry(&key, budget, subject, *at);
                entry.counter.spend(&budget.calendar, *at, *amount);
            }
        }
    }

    /// The same of the past. What the longest period needs to know is older than others': a
    /// calendar's counter would take it for the newest.
    fn seed(&mut self, table: &[Arc<Budget>], spent: &Spent<'_>, now: Timestamp) {
        for budget in table {
            if budget.calendar.reaches(spent.at, now) {
                self.spend(std::slice::from_ref(budget), spent);
            }
        }
    }

    const fn next_number(&mut self) -> u64 {
        self.newest = self.newest.saturating_add(1);
        self.newest
    }

    fn hold(&mut self, hold: &mut HoldAt) {
        if let Some(entry) = self.counters.get_mut(&hold.key) {
            let calendar = &entry.budget.calendar;
            let begins = entry.counter.hold(calendar, hold.at, hold.amount);
            hold.place = Some((entry.number, begins));
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
            let entry = Entry::new(budget, tenant.as_ref(), now, self.next_number());
            self.counters.insert(key, entry);
        }
    }
}

impl Entry {
    fn new(budget: &Arc<Budget>, tenant: Option<&TenantId>, at: Timestamp, number: u64) -> Self {
        let is_of_one = budget.tells_apart(Facet::Tenant);
        Self {
            budget: Arc::clone(budget),
            tenant: tenant.filter(|_| is_of_one).cloned(),
            counter: Counter::new(&budget.calendar, at),
            number,
            share: None,
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

pub(super) fn refused(
    budget: &Budget,
    key: &Key,
    (position, limit): (Position, Usd),
    amount: Option<Usd>,
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
    pub(super) fn would_refuse(&self) -> bool {
        self.action != super::Action::Alert
    }

    fn downgrade(&self) -> Option<Downgrade> {
        let to = Downgrade {
            model: self.downgrade_model.clone(),
            tier: self.downgrade_tier.clone(),
        };
        (self.action == super::Action::Downgrade).then_some(to)
    }

    pub(super) fn tells_apart(&self, facet: Facet) -> bool {
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

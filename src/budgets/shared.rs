//! The same budgets, counted by a store that several replicas share.
//!
//! The store decides; the counters of this process follow what it says. So they show where all
//! replicas stand, and are the last that is known while the store is away.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::bid::{Bid, Part, Taking};
use super::book::{Budgets, Spent};
use super::budget::Budget;
use super::counter::{Position, bucket_of, widths};
use super::counters::{InForce, Slot};
use super::hold::{HoldAt, Reservation};
use super::period::{MS_PER_MINUTE, Period};
use super::refused::Refused;
use crate::domain::{
    SharedBook, SharedCounter, SharedPosition, SharedWant, Subject, Timestamp, Usd,
};

impl Bid {
    /// What the store is asked for.
    pub fn wants(&self) -> Vec<SharedWant> {
        let wants = self.parts.iter().map(|part| {
            let budget = &part.of.budget;
            let place = Place::of(budget, self.at);
            SharedWant {
                counter: place.counter(Arc::clone(&part.slot.subject)),
                oldest: place.oldest,
                limit: budget.limit_at(self.at),
                amount: part.amount.unwrap_or_default(),
                blocks: budget.blocks(),
            }
        });
        wants.collect()
    }

    /// The store has taken what the call wants: where its counters stand now, in the order of the
    /// wants.
    pub fn taken(self, positions: &[SharedPosition]) -> Reservation {
        self.decide();
        let mut taking = Taking::of(self.parts.len());
        for (part, now) in self.parts.iter().zip(positions) {
            let amount = part.amount.unwrap_or_default();
            // It is held there already, with what the others hold.
            let before = Position {
                held: now.held.saturating_sub(amount),
                ..part.adopt(self.at, *now)
            };
            let limit = part.of.budget.limit_at(self.at);
            let fits = part.amount.is_some() && before.has_room(amount, limit);
            taking.add(part, &before, limit, fits);
        }
        taking.reservation(self)
    }

    /// The store has no room for the call: which want, and where its counter stands.
    pub fn refused(&self, index: usize, now: SharedPosition) -> Option<Box<Refused>> {
        let part = self.parts.get(index)?;
        let position = part.adopt(self.at, now);
        let limit = part.of.budget.limit_at(self.at);
        Some(Box::new(part.refused(&position, limit)))
    }
}

impl Part {
    /// Has the counter of this process stand where the store's stands.
    fn adopt(&self, at: Timestamp, now: SharedPosition) -> Position {
        let calendar = &self.of.budget.calendar;
        let mut state = self.slot.lock();
        state.counter.adopt(calendar, at, now.spent, now.held);
        state.counter.position(calendar, at)
    }
}

impl HoldAt {
    /// What the store is told of it.
    pub(super) fn want(&self) -> SharedWant {
        let budget = &self.of.budget;
        let place = Place::of(budget, self.at);
        SharedWant {
            counter: place.counter(Arc::clone(&self.slot.subject)),
            oldest: place.oldest,
            limit: budget.limit_at(self.at),
            amount: self.amount,
            blocks: budget.blocks(),
        }
    }
}

impl Budgets {
    /// The shared counters that an amount of a subject counts in.
    pub fn shared_counters(&self, subject: &Subject<'_>, at: Timestamp) -> Vec<SharedCounter> {
        let table = self.table.load();
        let counters = table.iter().filter_map(|one| {
            let subject = one.budget.scope.counter(subject)?;
            Some(Place::of(&one.budget, at).counter(subject))
        });
        counters.collect()
    }

    /// What the ledger says of every budget in its present stretch, for a store that does not know.
    pub fn shared_books(&self, spent: &[Spent<'_>], now: Timestamp) -> Vec<SharedBook> {
        let table = self.table.load();
        let books = table.iter();
        books
            .map(|one| shared_book(&one.budget, spent, now))
            .collect()
    }

    /// The counters of this process that replicas share, to be looked at again.
    pub fn shared_known(&self, now: Timestamp) -> Vec<SharedLook> {
        let table = self.table.load();
        let looks = table.iter().flat_map(|one| {
            let place = Place::of(&one.budget, now);
            let slots = one.counters.all().into_iter();
            slots.map(move |slot| SharedLook {
                of: Arc::clone(one),
                counter: place.counter(Arc::clone(&slot.subject)),
                slot,
                oldest: place.oldest,
            })
        });
        looks.collect()
    }

    /// Takes over where counters stand.
    pub fn follow(&self, at: Timestamp, seen: &[(SharedLook, SharedPosition)]) {
        for (look, now) in seen {
            let calendar = &look.of.budget.calendar;
            let mut state = look.slot.lock();
            state.counter.adopt(calendar, at, now.spent, now.held);
        }
    }
}

/// A shared counter of which this process has a copy.
#[derive(Clone, Debug)]
pub struct SharedLook {
    of: Arc<InForce>,
    slot: Arc<Slot>,
    /// Its name.
    pub counter: SharedCounter,
    /// The oldest bucket that still counts.
    pub oldest: i64,
}

fn shared_book(budget: &Budget, spent: &[Spent<'_>], now: Timestamp) -> SharedBook {
    let present = Place::of(budget, now);
    let mut sums: BTreeMap<(Arc<str>, i64), (SharedCounter, Usd)> = BTreeMap::new();
    for one in spent {
        let place = Place::of(budget, one.at);
        let counts = place.book == present.book && place.bucket >= present.oldest;
        let subject = budget.scope.counter(&one.subject).filter(|_| counts);
        let Some(subject) = subject else { continue };
        let counter = place.counter(Arc::clone(&subject));
        let sum = sums.entry((subject, place.bucket));
        let (_, sum) = sum.or_insert((counter, Usd::ZERO));
        *sum = sum.saturating_add(one.amount);
    }
    SharedBook {
        book: present.book,
        keep_ms: present.keep_ms,
        spent: sums.into_values().collect(),
    }
}

/// Where an amount of an instant counts.
struct Place {
    book: Arc<str>,
    bucket: i64,
    oldest: i64,
    keep_ms: i64,
}

impl Place {
    fn of(budget: &Budget, at: Timestamp) -> Self {
        let (begins, ends) = budget.calendar.stretch(at);
        if let Period::Rolling(_) = budget.calendar.period {
            let (window, width) = widths(&budget.calendar);
            // A bucket leaves when all of it is older than the window.
            let oldest = bucket_of(begins, width);
            return Self {
                book: book_name(budget, None),
                bucket: bucket_of(at, width),
                oldest,
                keep_ms: window.saturating_add(DAY_MS),
            };
        }
        let length = ends.unix_ms().saturating_sub(at.unix_ms());
        Self {
            book: book_name(budget, Some(begins)),
            bucket: 0,
            oldest: 0,
            keep_ms: length.saturating_add(KEPT_AFTER_MS),
        }
    }

    fn counter(&self, subject: Arc<str>) -> SharedCounter {
        SharedCounter {
            book: Arc::clone(&self.book),
            subject,
            bucket: self.bucket,
            keep_ms: self.keep_ms,
        }
    }
}

/// All that decides what a budget counts is part of the name: replicas whose configurations differ
/// never mix their sums.
fn book_name(budget: &Budget, begins: Option<Timestamp>) -> Arc<str> {
    let mut name = format!("{}|{}", budget.name, budget.scope.spelled());
    let calendar = &budget.calendar;
    // Writing to a String cannot fail.
    let _written = write!(name, "|{}|{}", calendar.period, calendar.zone);
    let _written = write!(name, "|{}", calendar.fiscal_month);
    if let Some(begins) = begins {
        let _written = write!(name, "|{}", begins.unix_ms());
    }
    name.into()
}

/// A day in milliseconds.
const DAY_MS: i64 = 24 * 60 * MS_PER_MINUTE;
/// Calls that were admitted before a period's end may settle after it.
const KEPT_AFTER_MS: i64 = 2 * DAY_MS;

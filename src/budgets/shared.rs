//! The same budgets, counted by a store that several replicas share.
//!
//! The store decides; the counters of this process follow what it says. So they show where all
//! replicas stand, and are the last that is known while the store is away.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::Spent;
use super::book::{Bid, Budgets, Key, Taking, refused};
use super::budget::Budget;
use super::counter::{Position, bucket_of, widths};
use super::hold::Reservation;
use super::period::{MS_PER_MINUTE, Period};
use super::refused::Refused;
use crate::domain::{
    SharedBook, SharedCounter, SharedPosition, SharedWant, Subject, Timestamp, Usd,
};

impl Bid<'_> {
    /// What the store is asked for.
    pub fn wants(&self) -> Vec<SharedWant> {
        let wants = self.parts.iter().map(|part| {
            let place = Place::of(&part.budget, self.at);
            SharedWant {
                counter: place.counter(Arc::clone(&part.counter)),
                oldest: place.oldest,
                limit: part.budget.limit_at(self.at),
                amount: part.amount.unwrap_or_default(),
                blocks: part.budget.blocks(),
            }
        });
        wants.collect()
    }

    /// Whether a blocking budget applies to a call that nobody knows the cost of: no store has to
    /// be asked.
    pub fn is_unknown(&self) -> bool {
        let unknown = |part: &super::book::Part| part.amount.is_none() && part.budget.blocks();
        self.parts.iter().any(unknown)
    }
}

impl Budgets {
    /// The store has taken what a call wants: where its counters stand now, in the order of the
    /// wants.
    pub fn taken(&self, bid: Bid<'_>, positions: &[SharedPosition]) -> Reservation {
        let mut state = self.shared.lock();
        let mut taking = Taking::default();
        for (part, now) in bid.parts.into_iter().zip(positions) {
            let key = state.key(&part.budget, Arc::clone(&part.counter));
            let entry = state.entry(&key, &part.budget, &bid.subject, bid.at);
            let calendar = &part.budget.calendar;
            entry.counter.adopt(calendar, bid.at, now.spent, now.held);
            let amount = part.amount.unwrap_or_default();
            let before = Position {
                held: now.held.saturating_sub(amount),
                ..entry.counter.position(calendar, bid.at)
            };
            let limit = part.budget.limit_at(bid.at);
            let fits = part.amount.is_some() && before.has_room(amount, limit);
            // It is held there already: with what the others hold.
            let place = Some((entry.number, before.begins));
            taking.add((key, place), &part, bid.at, (before, limit), fits);
        }
        drop(state);
        taking.reservation(&self.shared)
    }

    /// The store has no room for a call: which want, and where its counter stands.
    pub fn refused(&self, bid: Bid<'_>, index: usize, now: SharedPosition) -> Option<Box<Refused>> {
        let part = bid.parts.into_iter().nth(index)?;
        let mut state = self.shared.lock();
        let key = state.key(&part.budget, Arc::clone(&part.counter));
        let entry = state.entry(&key, &part.budget, &bid.subject, bid.at);
        let calendar = &part.budget.calendar;
        entry.counter.adopt(calendar, bid.at, now.spent, now.held);
        let position = entry.counter.position(calendar, bid.at);
        drop(state);
        let limits = (position, part.budget.limit_at(bid.at));
        Some(Box::new(refused(&part.budget, &key, limits, part.amount)))
    }

    /// The shared counters that an amount of a subject counts in.
    pub fn shared_counters(&self, subject: &Subject<'_>, at: Timestamp) -> Vec<SharedCounter> {
        let table = self.shared.table.load();
        let counters = table.iter().filter_map(|budget| {
            let subject = budget.scope.counter(subject)?;
            Some(Place::of(budget, at).counter(subject))
        });
        counters.collect()
    }

    /// What the ledger says of every budget in its present stretch, for a store that does not know.
    pub fn shared_books(&self, spent: &[Spent<'_>], now: Timestamp) -> Vec<SharedBook> {
        let table = self.shared.table.load();
        table
            .iter()
            .map(|one| shared_book(one, spent, now))
            .collect()
    }

    /// The counters of this process that replicas share, to be looked at again.
    pub fn shared_known(&self, now: Timestamp) -> Vec<SharedLook> {
        let state = self.shared.lock();
        let looks = state.counters.iter().map(|(key, entry)| {
            let place = Place::of(&entry.budget, now);
            SharedLook {
                key: key.clone(),
                counter: place.counter(Arc::clone(&key.subject)),
                oldest: place.oldest,
            }
        });
        looks.collect()
    }

    /// Takes over where counters stand.
    pub fn follow(&self, at: Timestamp, seen: &[(SharedLook, SharedPosition)]) {
        let mut state = self.shared.lock();
        for (look, now) in seen {
            if let Some(entry) = state.counters.get_mut(&look.key) {
                let calendar = &entry.budget.calendar;
                entry.counter.adopt(calendar, at, now.spent, now.held);
            }
        }
    }
}

/// A shared counter of which this process has a copy.
#[derive(Clone, Debug)]
pub struct SharedLook {
    key: Key,
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

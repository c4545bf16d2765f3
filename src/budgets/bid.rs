//! What a call wants of every budget that applies to it: all of it in one step, or nothing.

use std::sync::Arc;

use super::budget::{Action, Budget, InputBound, Reserve};
use super::counter::Position;
use super::counters::{InForce, Slot};
use super::hold::{Held, HoldAt, Reservation};
use super::in_flight::Enrolled;
use super::refused::{Downgrade, Refused};
use crate::domain::{Timestamp, Usd};

/// The budgets that a call has to fit, and its counter in each.
#[derive(Debug)]
pub struct Applying {
    pub(super) at: Timestamp,
    /// In the order of the table, which is that of the budgets' names.
    pub(super) parts: Vec<Part>,
    pub(super) enrolled: Option<Enrolled>,
}

/// What a call wants of every budget that applies to it.
#[derive(Debug)]
pub struct Bid {
    pub(super) at: Timestamp,
    pub(super) parts: Vec<Part>,
    pub(super) enrolled: Option<Enrolled>,
}

/// What it wants of one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) of: Arc<InForce>,
    pub(super) slot: Arc<Slot>,
    /// `None` where nobody knows.
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

impl Applying {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Of this call, which has enrolled before: budgets that come while it is in flight hold it too.
    #[must_use]
    pub fn of(self, enrolled: Enrolled) -> Self {
        let enrolled = Some(enrolled);
        Self { enrolled, ..self }
    }

    /// Works out what a call wants of each budget. `most` says what it can cost at most, for how a
    /// budget wants it bounded; `None` where nobody knows.
    pub fn bid(self, mut most: impl FnMut(InputBound, Reserve) -> Option<Usd>) -> Bid {
        let Self {
            at,
            mut parts,
            enrolled,
        } = self;
        for part in &mut parts {
            let budget = &part.of.budget;
            part.amount = most(budget.input, budget.reserve).map(Usd::ceil_micro);
        }
        Bid {
            at,
            parts,
            enrolled,
        }
    }
}

impl Bid {
    /// Whether a blocking budget applies to a call that nobody knows the cost of: no store has to
    /// be asked.
    pub fn is_unknown(&self) -> bool {
        let unknown = |part: &Part| part.amount.is_none() && part.of.budget.blocks();
        self.parts.iter().any(unknown)
    }

    /// Holds what a call can cost with every budget that applies: with all, or with none.
    ///
    /// # Errors
    /// When a blocking budget has no room for the whole amount, or the amount is not known.
    pub fn reserve(self, room: Room) -> Result<Reservation, Box<Refused>> {
        self.decide();
        // All at once, and always in the order of the budgets' names: no two calls wait for each
        // other.
        let mut states: Vec<_> = self.parts.iter().map(|part| part.slot.lock()).collect();
        let mut taking = Taking::of(self.parts.len());
        for (part, state) in self.parts.iter().zip(&mut states) {
            let budget = &part.of.budget;
            let position = state.counter.position(&budget.calendar, self.at);
            let limit = budget.limit_at(self.at);
            let room = state.room(budget, room, &position, limit);
            let fits = |amount| room.is_none_or(|room| position.has_room(amount, room));
            let fits = part.amount.is_some_and(fits);
            if !fits && budget.blocks() {
                return Err(Box::new(part.refused(&position, limit)));
            }
            taking.add(part, &position, limit, fits);
        }
        for (part, state) in self.parts.iter().zip(&mut states) {
            let amount = part.amount.unwrap_or_default();
            state
                .counter
                .hold(&part.of.budget.calendar, self.at, amount);
        }
        drop(states);
        Ok(taking.reservation(self))
    }

    /// The call is decided now, by these budgets; what of them took it over before lets it go.
    pub(super) fn decide(&self) {
        if let Some(enrolled) = &self.enrolled {
            enrolled.is_decided_by(&self.parts);
        }
    }
}

impl Part {
    pub(super) fn refused(&self, position: &Position, limit: Usd) -> Refused {
        let budget = &self.of.budget;
        Refused {
            budget: Arc::clone(&budget.name),
            subject: Arc::clone(&self.slot.subject),
            period: budget.calendar.period.to_string().into(),
            limit,
            spent: position.spent,
            held: position.held,
            this: self.amount,
            resets: position.ends,
            owner: budget.owner.clone(),
            with: budget.refuse_with,
            downgrade: budget.downgrade(),
        }
    }
}

/// What a call takes, as it adds up.
pub(super) struct Taking {
    /// Of each budget, the stretch in which it holds.
    begins: Vec<Timestamp>,
    observed: Vec<Arc<str>>,
    remaining: Option<Usd>,
}

impl Taking {
    pub(super) fn of(budgets: usize) -> Self {
        Self {
            begins: Vec::with_capacity(budgets),
            observed: Vec::new(),
            remaining: None,
        }
    }

    /// Adds a budget that lets the call through, which stood there before it.
    pub(super) fn add(&mut self, part: &Part, before: &Position, limit: Usd, fits: bool) {
        let budget = &part.of.budget;
        if !fits && budget.would_refuse() {
            self.observed.push(Arc::clone(&budget.name));
        }
        if budget.blocks() {
            let left = before.left(part.amount.unwrap_or_default(), limit);
            self.remaining = Some(self.remaining.map_or(left, |least| least.min(left)));
        }
        self.begins.push(before.begins);
    }

    pub(super) fn reservation(self, bid: Bid) -> Reservation {
        let at = bid.at;
        let parts = bid.parts.into_iter().zip(self.begins);
        let holds: Vec<_> = parts
            .map(|(part, begins)| HoldAt {
                amount: part.amount.unwrap_or_default(),
                of: part.of,
                slot: part.slot,
                begins,
                at,
            })
            .collect();
        let amount = holds.iter().map(|hold| hold.amount).max();
        Reservation {
            held: Some(Held {
                holds,
                amount: amount.unwrap_or_default(),
                told: None,
                enrolled: bid.enrolled,
            }),
            observed: self.observed,
            remaining: self.remaining,
        }
    }
}

impl Budget {
    fn would_refuse(&self) -> bool {
        self.action != Action::Alert
    }

    fn downgrade(&self) -> Option<Downgrade> {
        let to = Downgrade {
            model: self.downgrade_model.clone(),
            tier: self.downgrade_tier.clone(),
        };
        (self.action == Action::Downgrade).then_some(to)
    }
}

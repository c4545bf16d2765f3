//! What a call holds, before and after it is sent.
//!
//! The type says which of the two a drop means: nothing was sent, so nothing was spent; or Bedrock
//! may have served it, so all of it was.

use std::sync::Arc;

use super::book::Spent;
use super::counters::{InForce, Slot};
use super::in_flight::Enrolled;
use crate::domain::{CallId, SharedHolds, Timestamp, Usd};

/// What budgets hold for a call that was not sent yet. Dropped, it is given back.
#[derive(Debug)]
pub struct Reservation {
    /// `None` once it has become a [`Held`].
    pub(super) held: Option<Held>,
    /// Budgets in mode `observe` that would have refused the call.
    pub observed: Vec<Arc<str>>,
    /// The least that any blocking budget has left, with this call taken off.
    pub remaining: Option<Usd>,
}

impl Reservation {
    /// The call is about to be sent: from here on the hold stays until the call settles.
    pub fn sent(mut self) -> Option<Held> {
        self.held.take()
    }

    /// Has somebody told what becomes of the hold.
    pub fn tell(&mut self, store: Arc<dyn SharedHolds>, call: CallId) {
        if let Some(held) = &mut self.held {
            if let Some(enrolled) = &held.enrolled {
                enrolled.tell(&store);
            }
            held.told = Some(Told { store, call });
        }
    }

    /// Whether no budget applies to the call so far.
    pub fn is_empty(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.holds.is_empty())
    }

    /// What is held: the largest of the amounts that the budgets hold.
    pub fn amount(&self) -> Usd {
        self.held.as_ref().map_or(Usd::ZERO, |held| held.amount)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.end(End::GivenBack);
        }
    }
}

/// What budgets hold for a call that may have reached Bedrock. Dropped without being settled (a
/// bug, or the end of the process), it counts as spent.
#[derive(Debug)]
pub struct Held {
    pub(super) holds: Vec<HoldAt>,
    pub(super) amount: Usd,
    /// Who else is told, where replicas share budgets.
    pub(super) told: Option<Told>,
    /// The call, for budgets that come while it is in flight.
    pub(super) enrolled: Option<Enrolled>,
}

/// What one budget holds. It goes back to the counter that it was made in, whatever became of the
/// budget since.
#[derive(Debug)]
pub(super) struct HoldAt {
    pub(super) of: Arc<InForce>,
    pub(super) slot: Arc<Slot>,
    /// The stretch in which it holds.
    pub(super) begins: Timestamp,
    /// When the call was admitted.
    pub(super) at: Timestamp,
    pub(super) amount: Usd,
}

impl HoldAt {
    /// What the call cost takes the place of what it held.
    pub(super) fn settle(&self, spent: &Spent<'_>) {
        let mut state = self.slot.lock();
        state.counter.give_back(self.begins, self.amount);
        if spent.amount != Usd::ZERO {
            let calendar = &self.of.budget.calendar;
            state.counter.spend(calendar, spent.at, spent.amount);
        }
    }

    pub(super) fn end(&self, end: End) {
        let mut state = self.slot.lock();
        state.counter.give_back(self.begins, self.amount);
        if end == End::Spent {
            let calendar = &self.of.budget.calendar;
            state.counter.spend(calendar, self.at, self.amount);
        }
    }
}

/// Who is told what becomes of a hold, and of which call it is.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) store: Arc<dyn SharedHolds>,
    pub(super) call: CallId,
}

impl Told {
    pub(super) fn end(self, end: End) {
        match end {
            End::GivenBack => self.store.give_back(self.call),
            End::Spent => self.store.spend_hold(self.call),
        }
    }
}

impl Held {
    /// Nothing was sent after all.
    pub fn give_back(mut self) {
        self.end(End::GivenBack);
    }

    /// What budgets hold that came after the call was decided; `None` where none does.
    pub fn taken_over(&self) -> Option<Usd> {
        self.enrolled.as_ref().and_then(Enrolled::amount)
    }

    /// Takes the holds off; what the call cost is counted apart, and then it is told that nothing
    /// is held any more for what was taken over.
    pub(super) fn take(mut self) -> (Vec<HoldAt>, Vec<Told>) {
        self.told = None;
        let mut holds = std::mem::take(&mut self.holds);
        let mut told = Vec::new();
        if let Some(enrolled) = &self.enrolled {
            for carry in enrolled.end() {
                let (more, teller) = carry.split();
                holds.extend(more);
                told.extend(teller);
            }
        }
        (holds, told)
    }

    fn end(&mut self, end: End) {
        if let Some(enrolled) = self.enrolled.take() {
            for carry in enrolled.end() {
                carry.end(end);
            }
        }
        let holds = std::mem::take(&mut self.holds);
        if holds.is_empty() {
            return;
        }
        for hold in &holds {
            hold.end(end);
        }
        if let Some(told) = self.told.take() {
            told.end(end);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end(End::Spent);
    }
}

/// What becomes of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    GivenBack,
    Spent,
}

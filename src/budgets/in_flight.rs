//! The calls in flight, so that a budget that comes meanwhile holds what they can cost.
//!
//! A call enrols before it looks at the table. A change puts its table in force, then takes over
//! the calls that are enrolled, and opens its new budgets after that; who meets one earlier waits.
//! So a call is either taken over, or is decided by the new budget itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;

use super::bid::Part;
use super::counters::InForce;
use super::hold::{End, HoldAt, Told};
use crate::domain::{CallId, SharedHolds, Subject, TenantId, Timestamp, Usd};

/// The calls in flight. Sharded: they do not wait for each other.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    calls: DashMap<u64, Arc<Call>>,
    last: AtomicU64,
}

/// A call that is in flight until this is dropped. What was taken over of it is given back then.
#[derive(Debug)]
pub struct Enrolled {
    among: Arc<InFlight>,
    number: u64,
    call: Arc<Call>,
}

#[derive(Debug)]
struct Call {
    who: Who,
    at: Timestamp,
    most: Usd,
    taken_over: Mutex<TakenOver>,
}

/// A subject of its own.
#[derive(Debug)]
struct Who {
    tenant: TenantId,
    application: Box<str>,
    model: Option<Box<str>>,
    key: Option<Box<str>>,
    user: Option<Box<str>>,
    session: Option<Box<str>>,
}

/// What budgets hold that came after the call.
#[derive(Debug, Default)]
struct TakenOver {
    carries: Vec<Carry>,
    /// Who is told of it, where replicas share budgets.
    store: Option<Arc<dyn SharedHolds>>,
    has_ended: bool,
}

/// What the new budgets of one change hold for a call.
#[derive(Debug)]
pub(super) struct Carry {
    pub(super) holds: Vec<HoldAt>,
    told: Option<Told>,
}

impl InFlight {
    pub(super) fn enroll(
        self: &Arc<Self>,
        subject: &Subject<'_>,
        at: Timestamp,
        most: Usd,
    ) -> Enrolled {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let call = Arc::new(Call {
            who: Who::from(subject),
            at,
            most,
            taken_over: Mutex::default(),
        });
        self.calls.insert(number, Arc::clone(&call));
        Enrolled {
            among: Arc::clone(self),
            number,
            call,
        }
    }

    /// Has these budgets hold every call that is in flight.
    pub(super) fn take_over(&self, new: &[Arc<InForce>], now: Timestamp) {
        let calls = self.calls.iter().map(|call| Arc::clone(&call));
        let calls: Vec<_> = calls.collect();
        let mut name = String::new();
        for call in calls {
            call.take_over(new, now, &mut name);
        }
    }
}

impl Call {
    fn lock(&self) -> MutexGuard<'_, TakenOver> {
        let taken_over = self.taken_over.lock();
        taken_over.unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, new: &[Arc<InForce>], now: Timestamp, name: &mut String) {
        let mut taken_over = self.lock();
        if taken_over.has_ended {
            return;
        }
        let subject = self.who.subject();
        let holds = new.iter().filter_map(|one| {
            let calendar = &one.budget.calendar;
            let slot = one.slot(&subject, self.at, name);
            let slot = slot.filter(|_| calendar.reaches(self.at, now))?;
            let begins = slot.lock().counter.hold(calendar, self.at, self.most);
            Some(HoldAt {
                of: Arc::clone(one),
                slot,
                begins,
                at: self.at,
                amount: self.most,
            })
        });
        let mut carry = Carry {
            holds: holds.collect(),
            told: None,
        };
        if !carry.holds.is_empty() {
            carry.tell(taken_over.store.as_ref());
            taken_over.carries.push(carry);
        }
    }
}

impl Enrolled {
    /// These budgets decide about the call themselves: what they took over of it is given back.
    pub(super) fn is_decided_by(&self, parts: &[Part]) {
        let mut taken_over = self.call.lock();
        for carry in &mut taken_over.carries {
            let decides = |hold: &mut HoldAt| {
                let is_its = |part: &Part| Arc::ptr_eq(&part.of.counters, &hold.of.counters);
                parts.iter().any(is_its)
            };
            for hold in carry.holds.extract_if(.., decides) {
                hold.end(End::GivenBack);
            }
        }
        taken_over.carries.retain(|carry| !carry.holds.is_empty());
    }

    /// Has somebody told what was taken over of the call, and what will be.
    pub(super) fn tell(&self, store: &Arc<dyn SharedHolds>) {
        let mut taken_over = self.call.lock();
        for carry in &mut taken_over.carries {
            carry.tell(Some(store));
        }
        taken_over.store = Some(Arc::clone(store));
    }

    /// The most that a budget holds which took the call over.
    pub(super) fn amount(&self) -> Option<Usd> {
        let taken_over = self.call.lock();
        (!taken_over.carries.is_empty()).then_some(self.call.most)
    }

    /// The call ends: nothing is taken over any more.
    pub(super) fn end(&self) -> Vec<Carry> {
        let mut taken_over = self.call.lock();
        taken_over.has_ended = true;
        std::mem::take(&mut taken_over.carries)
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.among.calls.remove(&self.number);
        for carry in self.end() {
            carry.end(End::GivenBack);
        }
    }
}

impl Carry {
    /// The store knows what the call held when it was decided; this is told as another call's.
    fn tell(&mut self, store: Option<&Arc<dyn SharedHolds>>) {
        let (Some(store), Some(first)) = (store, self.holds.first()) else {
            return;
        };
        let call = CallId::generate(first.at);
        let wants: Vec<_> = self.holds.iter().map(HoldAt::want).collect();
        store.hold(call, &wants);
        self.told = Some(Told {
            store: Arc::clone(store),
            call,
        });
    }

    pub(super) fn end(self, end: End) {
        for hold in &self.holds {
            hold.end(end);
        }
        if let Some(told) = self.told {
            told.end(end);
        }
    }

    /// The holds, and who is to be told once the call's cost is.
    pub(super) fn split(self) -> (Vec<HoldAt>, Option<Told>) {
        (self.holds, self.told)
    }
}

impl From<&Subject<'_>> for Who {
    fn from(subject: &Subject<'_>) -> Self {
        Self {
            tenant: subject.tenant.clone(),
            application: subject.application.into(),
            model: subject.model.map(Box::from),
            key: subject.key.map(Box::from),
            user: subject.user.map(Box::from),
            session: subject.session.map(Box::from),
        }
    }
}

impl Who {
    fn subject(&self) -> Subject<'_> {
        Subject {
            tenant: &self.tenant,
            application: &self.application,
            model: self.model.as_deref(),
            key: self.key.as_deref(),
            user: self.user.as_deref(),
            session: self.session.as_deref(),
        }
    }
}

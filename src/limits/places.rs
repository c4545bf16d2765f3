//! Calls at once that replicas share: what a call wants of them, and what it has.
//!
//! The store keeps, for each counter, which calls are open. A call that is let in without it is
//! told to it later: it is open all the same.

use std::sync::Arc;

use super::applying::{Applying, Counted};
use super::lack::Lacks;
use super::rates::{RateOf, Rates, Sorted, shared_name};
use super::settings::LimitMode;
use crate::domain::{SharedPlace, SharedPlaceWant, SharedPlaces};

impl Applying {
    /// Has somebody told of places that are taken without the store.
    #[must_use]
    pub fn telling(self, apart: Arc<dyn SharedPlaces>) -> Self {
        Self {
            apart: Some(apart),
            ..self
        }
    }

    /// The places that the store is asked for.
    pub(super) fn wanted_places(&self) -> Vec<SharedPlaceWant> {
        let limits = self.limits.iter().enumerate();
        let wants = limits.filter_map(|(index, one)| {
            Some(SharedPlaceWant {
                most: one.places()?,
                counter: one.place_name(),
                limit: index,
                enforces: one.limit.settings.mode == LimitMode::Enforce,
            })
        });
        wants.collect()
    }

    /// The places of a call that was let in without the store, of all limits that had room.
    pub(super) fn take_apart(&self, rates: &Sorted, lacks: &Lacks<'_>) -> Option<SharedPlace> {
        let apart = self.apart.as_ref()?;
        if matches!(rates, Sorted::Told(_)) {
            return None;
        }
        let limits = self.limits.iter().enumerate();
        let taken =
            limits.filter(|(index, one)| lacks.of(*index).is_none() && one.places().is_some());
        let counters: Vec<_> = taken.map(|(_, one)| one.place_name()).collect();
        (!counters.is_empty()).then(|| SharedPlace::open(counters, apart))
    }
}

impl Counted {
    /// How many calls at once it lets in, if it counts them.
    pub(super) fn places(&self) -> Option<u64> {
        self.limit.settings.concurrent_calls
    }

    fn place_name(&self) -> Arc<str> {
        shared_name(self, "calls")
    }
}

impl Rates {
    /// What the store gave of places.
    pub(super) const fn taken_places(&mut self) -> Option<SharedPlace> {
        match self {
            Self::Told(said, _) => said.place.take(),
            Self::Own | Self::Part(_) | Self::Any => None,
        }
    }
}

impl RateOf<'_> {
    /// Whether there is no place for another call, where so many of this process are open.
    pub(super) fn is_full(self, open: u64, most: u64) -> bool {
        match self {
            Self::Part(replicas) if replicas > 1 => {
                open >= most.checked_div(replicas.into()).unwrap_or(most).max(1)
            }
            Self::Part(_) => open >= most,
            Self::Any => false,
            Self::Told(told) => told.has_place == Some(false),
        }
    }
}

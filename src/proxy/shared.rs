//! Budgets that replicas share: the store is asked; while it does not answer, the settings decide.

use std::sync::Arc;
use std::time::Duration;

use super::refusal::{Refusal, RefusalKind};
use super::reserve::NotReserved;
use crate::budgets::{Bid, Budgets, Reservation, Room};
use crate::domain::{CallId, Clock, SharedHolds, SharedWants};
use crate::limits::Rates;
use crate::replicas::{Answer, Outage, Store, StoreDown};

/// Holds what a call wants in the store, or by this replica alone.
pub(super) async fn reserve_shared(
    store: &Store,
    bid: Bid,
    call: CallId,
) -> Result<Reservation, NotReserved> {
    let wants = bid.wants();
    if wants.is_empty() {
        return Ok(told(bid.reserve(Room::Whole)?, store, call));
    }
    match store.reserve(call, &wants).await {
        Ok(Answer::Taken(positions)) => {
            let reservation = bid.taken(&positions);
            Ok(told(reservation, store, call))
        }
        Ok(Answer::Full { index, position }) => {
            let refused = bid.refused(index, position);
            Err(refused.map_or(NotReserved::StoreDown, NotReserved::Refused))
        }
        Err(outage) => {
            let blocks = wants.iter().any(|want| want.blocks);
            let reserved = room(store, outage, blocks).and_then(|room| {
                let reservation = bid.reserve(room)?;
                store.hold(call, &wants);
                Ok(told(reservation, store, call))
            });
            if reserved.is_err() {
                // It may have arrived after all.
                store.give_back(call);
            }
            reserved
        }
    }
}

/// What a call may take while replicas cannot see each other.
fn room(store: &Store, outage: Outage, blocks: bool) -> Result<Room, NotReserved> {
    match store.when_down() {
        StoreDown::Refuse if blocks => Err(NotReserved::StoreDown),
        StoreDown::Refuse | StoreDown::Allow => Ok(Room::Any),
        StoreDown::LocalShare => Ok(Room::Share {
            replicas: store.replicas(),
            outage: outage.number,
        }),
    }
}

/// By which rates and places a call is let in: those of all replicas, or what the settings say while
/// they cannot see each other.
pub(super) async fn shared_rates(store: &Store, wants: &SharedWants) -> Result<Rates, Refusal> {
    if wants.is_empty() {
        return Ok(Rates::Own);
    }
    match (store.take(wants).await, store.when_down()) {
        (Ok(said), _) => Ok(Rates::Told(said, Arc::new(store.clone()))),
        (Err(_outage), StoreDown::LocalShare) => Ok(Rates::Part(store.replicas())),
        (Err(_outage), StoreDown::Allow) => Ok(Rates::Any),
        (Err(_outage), StoreDown::Refuse) if wants.enforce() => {
            let detail = "the store of shared limits does not answer";
            Err(Refusal::new(RefusalKind::BudgetStoreUnavailable, detail))
        }
        (Err(_outage), StoreDown::Refuse) => Ok(Rates::Own),
    }
}

fn told(mut reservation: Reservation, store: &Store, call: CallId) -> Reservation {
    let holds: Arc<dyn SharedHolds> = Arc::new(store.clone());
    reservation.tell(holds, call);
    reservation
}

/// Has the counters of this process follow those of all replicas, for gauges and for the time when
/// the store does not answer. Runs until it is aborted.
pub async fn follow_shared(budgets: Budgets, store: Store, clock: Arc<dyn Clock>) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let now = clock.now();
        let known = budgets.shared_known(now);
        for looks in known.chunks(LOOKS_AT_ONCE) {
            let counters: Vec<_> = looks
                .iter()
                .map(|look| (look.counter.clone(), look.oldest))
                .collect();
            let positions = store.look(&counters).await;
            let seen = looks.iter().cloned().zip(positions);
            let seen = seen.filter_map(|(look, position)| Some((look, position?)));
            let seen: Vec<_> = seen.collect();
            budgets.follow(now, &seen);
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The store answers that in a few milliseconds.
const LOOKS_AT_ONCE: usize = 500;

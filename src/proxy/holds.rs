//! What a call takes before it is sent, so that nobody waits or overspends after: its share of the
//! budgets, and its place in the settlement queue.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

use super::downgrade::cheaper;
use super::limit;
use super::refusal::{Refusal, RefusalKind};
use super::reserve::NotReserved;
use super::service::{Service, settle_unsent};
use super::settle::Permit;
use super::world::World;
use crate::budgets::Reservation;
use crate::domain::Outcome;
use crate::identity::Grants;
use crate::ledger::OpenCall;
use crate::limits::Hold;
use crate::meters::{AskedTokens, asked_tokens};
use crate::relay::at_most;

/// What a call holds. Dropped before the call is sent, all of it is given back.
pub(super) struct Holds {
    /// Its share of the rate limits, where any applies.
    pub(super) limits: Option<Hold>,
    /// Its share of the budgets, where any applies.
    pub(super) reservation: Option<Reservation>,
    /// Its place in the settlement queue.
    pub(super) permit: Permit,
}

/// Who asks for it, and with what.
pub(super) struct Asking<'a> {
    pub(super) grants: &'a Grants,
    pub(super) client: IpAddr,
    pub(super) body: &'a [Bytes],
    pub(super) begun: Instant,
    /// Read once, for limits and budgets.
    asked: OnceLock<AskedTokens>,
}

impl<'a> Asking<'a> {
    pub(super) const fn new(
        grants: &'a Grants,
        client: IpAddr,
        body: &'a [Bytes],
        begun: Instant,
    ) -> Self {
        Self {
            grants,
            client,
            body,
            begun,
            asked: OnceLock::new(),
        }
    }

    /// The tokens that the request asks for, of the model that is called.
    pub(super) fn tokens(&self, call: &OpenCall) -> AskedTokens {
        let read = || asked_tokens(call.operation, call.model.as_ref(), self.body);
        *self.asked.get_or_init(read)
    }

    /// The same for another model, whose requests may say it elsewhere.
    const fn of_another_model(&self) -> Self {
        Self::new(self.grants, self.client, self.body, self.begun)
    }
}

impl Service {
    /// Takes what the call needs, or nothing. A call that a budget makes cheaper is changed.
    pub(super) async fn take_holds(
        &self,
        world: &World,
        asking: &Asking<'_>,
        call: &mut OpenCall,
    ) -> Result<Holds, Refusal> {
        let limits = limit::take(&self.gates, call, asking).await;
        let limits = limits.inspect_err(|refused| {
            if refused.kind != RefusalKind::BudgetStoreUnavailable {
                self.enter_refused(world, call, Outcome::LimitRefused, asking.begun);
            }
        })?;
        let reserved = self.reserve_or_downgrade(world, asking, call).await;
        let reservation = reserved.map_err(|why| {
            if let NotReserved::Refused(_) = why {
                self.enter_refused(world, call, Outcome::BudgetRefused, asking.begun);
            }
            Refusal::from(&why).of(&call.tenant)
        })?;
        let permit = self.permit(call).await?;
        Ok(Holds {
            limits,
            reservation,
            permit,
        })
    }

    async fn reserve_or_downgrade(
        &self,
        world: &World,
        asking: &Asking<'_>,
        call: &mut OpenCall,
    ) -> Result<Option<Reservation>, NotReserved> {
        let refused = match self.reserve(world, call, asking).await {
            Err(NotReserved::Refused(refused)) => refused,
            decided => return decided,
        };
        let to = refused.downgrade.as_ref();
        let cheaper = to.and_then(|to| cheaper(world, asking.grants, asking.client, call, to));
        let Some(cheaper) = cheaper else {
            return Err(refused.into());
        };
        let asking = asking.of_another_model();
        let reservation = self.reserve(world, &cheaper, &asking).await?;
        *call = cheaper;
        Ok(reservation)
    }

    /// A place in the settlement queue: the only point where calls wait for each other.
    async fn permit(&self, call: &OpenCall) -> Result<Permit, Refusal> {
        if self.gates.spill.is_full() {
            let detail = "neither the ledger nor its spill takes entries";
            return Err(Refusal::new(RefusalKind::LedgerUnavailable, detail).of(&call.tenant));
        }
        let permit = self.gates.settlements.clone().reserve_owned();
        if let Some(Ok(permit)) = at_most(self.gates.permit_wait_max, permit).await {
            return Ok(permit);
        }
        let detail = "all places for calls in flight are taken";
        Err(Refusal::new(RefusalKind::TooManyCalls, detail).of(&call.tenant))
    }

    /// A call that was refused a share has an entry without a charge, where there is a place for
    /// one at this moment: refusals must not make others wait.
    fn enter_refused(&self, world: &World, call: &OpenCall, outcome: Outcome, begun: Instant) {
        if let Ok(permit) = self.gates.settlements.clone().try_reserve_owned() {
            let catalogue = Arc::clone(&world.catalogue);
            settle_unsent(call.clone(), catalogue, permit, outcome, None, begun);
        }
    }
}

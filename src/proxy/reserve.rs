//! Budgets at the call: what it can cost at most is held before it is sent.

use super::holds::Asking;
use super::refusal::{Refusal, RefusalKind};
use super::service::Service;
use super::settings::PriceUnknown;
use super::shared::reserve_shared;
use super::world::World;
use crate::budgets::{InputBound, RefuseWith, Refused, Reservation, Reserve, Room};
use crate::domain::{Latency, ModelRef, ServiceTier, Subject, Usd};
use crate::ledger::OpenCall;
use crate::meters::{CallBound, Learned, call_bound};
use crate::pricing::{Bounds, Endpoint, Terms};

/// Why a call holds nothing.
#[derive(Debug)]
pub(super) enum NotReserved {
    /// A budget has no room for it.
    Refused(Box<Refused>),
    /// Replicas cannot see each other, and the settings refuse it then.
    StoreDown,
}

impl From<Box<Refused>> for NotReserved {
    fn from(refused: Box<Refused>) -> Self {
        Self::Refused(refused)
    }
}

impl Service {
    /// Holds the most that the call can cost with every budget that applies to it, and with those
    /// that come while it is in flight; `None` where there is none at all.
    pub(super) async fn reserve(
        &self,
        world: &World,
        call: &OpenCall,
        asking: &Asking<'_>,
    ) -> Result<Option<Reservation>, NotReserved> {
        let budgets = &self.gates.budgets;
        if call.operation.is_free() || budgets.is_empty() {
            return Ok(None);
        }
        let label = call.model.as_ref().map(ModelRef::label);
        let subject = subject(call, label.as_deref());
        let (model, windows) = (call.model.as_ref(), &world.windows);
        let asked = || asking.tokens(call);
        let bound = call_bound(call.operation, model, asking.body, windows, asked);
        let learned = || {
            let of_model = label.as_deref().map(|label| self.gates.tails.of(label));
            of_model.unwrap_or_default()
        };
        // Budgets that bound a call in the same way, as most do, ask once.
        let mut known: Vec<(InputBound, Reserve, Option<Usd>)> = Vec::new();
        let mut most = |input, reserve| {
            let asked = |one: &&(InputBound, Reserve, _)| (one.0, one.1) == (input, reserve);
            if let Some((.., amount)) = known.iter().find(asked) {
                return *amount;
            }
            let bound = bound.as_ref();
            let amount = bound.and_then(|bound| most(world, call, bound, input, reserve, &learned));
            known.push((input, reserve, amount));
            amount
        };
        // Before it is looked which apply: those that come from now on know of the call.
        let dearest = most(InputBound::Proven, Reserve::Max);
        let enrolled = budgets.enroll(&subject, call.opened_at, dearest);
        let applying = budgets.applying(&subject, call.opened_at);
        let bid = applying.of(enrolled).bid(most);
        let reservation = match &self.gates.replicas {
            Some(store) if !bid.is_unknown() => {
                // In a box: calls of a process without a store do not carry it.
                Box::pin(reserve_shared(store, bid, call.call_id)).await?
            }
            Some(_) | None => bid.reserve(Room::Whole)?,
        };
        if !reservation.observed.is_empty() {
            let kind = RefusalKind::BudgetExhausted.row().name;
            self.gates.metrics.observed(&call.tenant, kind);
        }
        Ok(Some(reservation))
    }
}

/// Whose call it is, for budgets.
fn subject<'a>(call: &'a OpenCall, model: Option<&'a str>) -> Subject<'a> {
    Subject {
        tenant: &call.tenant,
        application: call.application.as_str(),
        model,
        key: call.key.as_deref(),
        user: call.user.as_deref(),
        session: call.session.as_deref(),
    }
}

/// The most that the call can cost; `None` where it has no price.
fn most(
    world: &World,
    call: &OpenCall,
    bound: &CallBound,
    input: InputBound,
    reserve: Reserve,
    learned: &impl Fn() -> Learned,
) -> Option<Usd> {
    let calibrated = || {
        let density = learned().density.filter(|_| bound.is_text)?;
        let tokens = bound.bytes.saturating_mul(density).div_ceil(1_000);
        Some(tokens.saturating_add(SHORT_PROMPT).min(bound.prompt_tokens))
    };
    let prompt_tokens = match input {
        InputBound::Proven => bound.prompt_tokens,
        InputBound::Calibrated => calibrated().unwrap_or(bound.prompt_tokens),
    };
    let output_tokens = match reserve {
        Reserve::P99 => {
            let nearly_all = learned().output_p99.unwrap_or(bound.output_tokens);
            bound.output_tokens.min(nearly_all)
        }
        Reserve::Max => bound.output_tokens,
    };
    let bounds = Bounds {
        prompt_tokens,
        output_tokens,
        writes_cache: bound.writes_cache,
        asks_latency: bound.asks_latency,
        units: &bound.units,
    };
    let terms = Terms {
        model: call.model.as_ref()?,
        region: &call.region,
        tier: call.tier_asked.as_ref().unwrap_or(&ServiceTier::Standard),
        latency: Latency::Standard,
        endpoint: Endpoint::Runtime,
        at: call.opened_at,
    };
    match world.catalogue.dearest(&terms, &bounds) {
        Ok(most) => Some(most),
        Err(_unpriced) if world.price_unknown == PriceUnknown::ReserveHigh => {
            Some(world.catalogue.dearest_of_all(&bounds, call.opened_at))
        }
        Err(_unpriced) => None,
    }
}

impl From<&NotReserved> for Refusal {
    fn from(why: &NotReserved) -> Self {
        let NotReserved::Refused(refused) = why else {
            let detail = "the store of shared budgets does not answer";
            return Self::new(RefusalKind::BudgetStoreUnavailable, detail);
        };
        let kind = match (refused.this, refused.with) {
            (None, _) => RefusalKind::PriceUnknown,
            (Some(_), RefuseWith::Quota) => RefusalKind::BudgetExhausted,
            (Some(_), RefuseWith::AccessDenied) => RefusalKind::BudgetDenied,
        };
        Self::new(kind, refused.to_string())
    }
}

/// Tokens of a short request's template, on top of those of its text.
const SHORT_PROMPT: u64 = 2_048;

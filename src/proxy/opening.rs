//! What is known of a call before it is admitted: who calls, which model, and what goes into the
//! log of open calls.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::refusal::{Refusal, RefusalKind};
use super::settings::PriceUnknown;
use super::world::World;
use crate::aws::parse_model_ref;
use crate::domain::{
    CallId, Dimension, Latency, ModelRef, PriceStatus, Region, ServiceTier, Timestamp, Usage,
};
use crate::identity::{Claims, Head, Principal, Proof};
use crate::ledger::OpenCall;
use crate::meters::RequestFacts;
use crate::pricing::{Endpoint, Terms};
use crate::registry::Callers;
use crate::relay::Gathered;
use crate::routing::Route;
use crate::upstream::Wanted;

pub(super) fn resolve_model(world: &World, asked: &str) -> ModelRef {
    let parsed = parse_model_ref(asked);
    let meant = world.catalogue.substitute(&parsed);
    ModelRef {
        asked: Arc::clone(&parsed.asked),
        ..meant.clone()
    }
}

/// The role that signs, where key, tenant or settings name one.
pub(super) fn role_of(world: &World, principal: &Principal) -> Result<Option<Wanted>, Refusal> {
    let Principal {
        tenant,
        application,
        grants,
        ..
    } = principal;
    let own = grants.policies().find_map(|one| one.role_arn.as_deref());
    let role = world.roles.of(own, tenant, application);
    role.map_err(|error| Refusal::from(&error).of(tenant))
}

pub(super) fn identify(
    world: &World,
    callers: &Callers,
    proof: Option<Proof>,
    head: &Head<'_>,
    route: &Route<'_>,
    facts: &RequestFacts,
) -> Result<Principal, Refusal> {
    let claims = Claims {
        metadata: &facts.metadata,
        body_user_id: facts.user_id.as_deref(),
    };
    if let Some(key) = proof.as_ref().and_then(|proof| proof.key.as_ref()) {
        key.used(head.now);
    }
    world
        .identity
        .identify(proof, head, &route.base, &claims, callers)
        .map_err(|error| Refusal::from(&error))
}

#[expect(
    clippy::too_many_arguments,
    reason = "gathers what the steps before have found"
)]
pub(super) fn open_call(
    call_id: CallId,
    opened_at: Timestamp,
    principal: Principal,
    route: &Route<'_>,
    model: Option<ModelRef>,
    region: Region,
    headers: &HeaderMap,
    facts: RequestFacts,
    gathered: &Gathered,
) -> OpenCall {
    let Principal {
        tenant,
        application,
        user,
        session,
        contradicted: _,
        proven_by: _,
        grants,
    } = principal;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    OpenCall {
        call_id,
        opened_at,
        tenant,
        application,
        user,
        session,
        operation: route.operation,
        model,
        region,
        tier_asked: facts.tier,
        request_bytes: gathered.length as u64,
        sdk_invocation_id: text(SDK_INVOCATION_ID)
            .filter(|id| id.len() <= 64)
            .map(Into::into),
        sdk_attempt: sdk_attempt(text(SDK_REQUEST), text(RETRY_COUNT)),
        key: grants.key.map(|key| key.id.to_string().into()),
        reserved: None,
        downgraded_from: None,
    }
}

/// The attempt, from `attempt=2; max=3` (AWS SDKs) or a retry count from 0 (Anthropic, OpenAI).
fn sdk_attempt(amz_sdk_request: Option<&str>, retry_count: Option<&str>) -> Option<u16> {
    let attempt = amz_sdk_request.and_then(|value| {
        value
            .split(';')
            .find_map(|part| part.trim().strip_prefix("attempt=")?.parse().ok())
    });
    attempt.or_else(|| retry_count?.parse::<u16>().ok()?.checked_add(1))
}

/// Refuses a model without a price, where the settings say so.
pub(super) fn check_price(world: &World, call: &OpenCall) -> Result<(), Refusal> {
    if world.price_unknown != PriceUnknown::Refuse || call.operation.is_free() {
        return Ok(());
    }
    let Some(model) = &call.model else {
        return Ok(());
    };
    let terms = Terms {
        model,
        region: &call.region,
        tier: call.tier_asked.as_ref().unwrap_or(&ServiceTier::Standard),
        latency: Latency::Standard,
        endpoint: Endpoint::Runtime,
        at: call.opened_at,
    };
    let one_token = Usage::from_iter([(Dimension::InputTokens, 1)]);
    match world.catalogue.charge(&terms, &one_token).status {
        PriceStatus::Unpriced(reason) => {
            let detail = format!("model {} has no price here: {reason}", model.label());
            Err(Refusal::new(RefusalKind::PriceUnknown, detail).of(&call.tenant))
        }
        PriceStatus::Priced | PriceStatus::Allocated => Ok(()),
    }
}

const SDK_INVOCATION_ID: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");
const SDK_REQUEST: HeaderName = HeaderName::from_static("amz-sdk-request");
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

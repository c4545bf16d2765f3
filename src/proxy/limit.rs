//! Whether the limits have room for a call, and what is said to one that finds none.

use std::sync::Arc;
use std::time::Duration;

use super::holds::Asking;
use super::refusal::{Refusal, RefusalKind};
use super::shared::shared_rates;
use super::world::Gates;
use crate::domain::{Keyword as _, Operation, Subject};
use crate::ledger::OpenCall;
use crate::limits::{Demand, Hold, LimitMode, Refused, What};

/// Takes from all limits that apply to a call, or refuses it. What is taken travels with the call
/// and comes back at its end, whatever that is.
pub(super) async fn take(
    gates: &Gates,
    call: &OpenCall,
    asking: &Asking<'_>,
) -> Result<Option<Hold>, Refusal> {
    if call.operation.is_free() || gates.limits.is_empty() {
        return Ok(None);
    }
    let label = call.model.as_ref().map(|model| model.label());
    let subject = Subject {
        tenant: &call.tenant,
        application: call.application.as_str(),
        model: label.as_deref(),
        key: call.key.as_deref(),
        user: call.user.as_deref(),
        session: call.session.as_deref(),
    };
    let model = call.model.as_ref();
    let applying = gates.limits.applying(&subject, &call.region, model);
    if applying.is_empty() {
        return Ok(None);
    }
    let demand = if applying.counts_tokens() {
        demand(gates, call, asking)
    } else {
        Demand::default()
    };
    let admitted = match &gates.replicas {
        None => applying.admit(demand),
        // In a box: calls of a process without a store do not carry it.
        Some(store) => {
            let rates = Box::pin(shared_rates(store, &applying.wants(demand))).await;
            let rates = rates.map_err(|refusal| refusal.of(&call.tenant))?;
            let applying = applying.telling(Arc::new(store.clone()));
            applying.admit_by(demand, rates)
        }
    };
    match admitted {
        Ok(admitted) => {
            for refused in &admitted.observed {
                let name = refused.metric_name();
                gates
                    .metrics
                    .limit_refused(&name, LimitMode::Observe.name());
            }
            Ok(Some(admitted.hold))
        }
        Err(refused) => {
            let name = refused.metric_name();
            gates
                .metrics
                .limit_refused(&name, LimitMode::Enforce.name());
            Err(refusal(&refused).of(&call.tenant))
        }
    }
}

/// What a call may use. The input is an estimate: what Bedrock counts is known at the end only.
fn demand(gates: &Gates, call: &OpenCall, asking: &Asking<'_>) -> Demand {
    let has_tokens = match call.operation {
        Operation::InvokeModel
        | Operation::InvokeModelWithResponseStream
        | Operation::Converse
        | Operation::ConverseStream => true,
        Operation::InvokeModelWithBidirectionalStream
        | Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => false,
    };
    if !has_tokens {
        return Demand::default();
    }
    let asked = asking.tokens(call).output_max;
    Demand {
        input: call.request_bytes.div_ceil(BYTES_PER_TOKEN),
        output: asked.unwrap_or_else(|| gates.limits.output_max(call.model.as_ref())),
        has_tokens,
    }
}

fn refusal(refused: &Refused) -> Refusal {
    let kind = match (refused.wait_ms, refused.is_account, refused.what) {
        (None, ..) => RefusalKind::NeverFits,
        (Some(_), true, _) => RefusalKind::AccountQuota,
        (Some(_), false, What::Requests) => RefusalKind::RateLimited,
        (Some(_), false, What::Tokens) => RefusalKind::TokensLimited,
        (Some(_), false, What::Calls) => RefusalKind::ConcurrencyLimited,
    };
    let retry_after = refused.wait_ms.map(later);
    Refusal {
        retry_after,
        ..Refusal::new(kind, refused.to_string())
    }
}

/// The hint: never before it would fit, and for each caller another bit later, so that they do not
/// come back together.
fn later(wait_ms: u64) -> Duration {
    let spread = (wait_ms / 10).saturating_add(SPREAD_MS);
    Duration::from_millis(wait_ms.saturating_add(fastrand::u64(1..=spread)))
}

/// About four bytes of text make a token (bedrock.md 8.1).
const BYTES_PER_TOKEN: u64 = 4;
const SPREAD_MS: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_never_early_and_little_late() {
        for wait in [1, 1_000, 60_000] {
            for _ in 0..100 {
                let hint = later(wait).as_millis();
                let wait = u128::from(wait);
                assert!((wait + 1..=wait + wait / 10 + 50).contains(&hint), "{hint}");
            }
        }
    }
}

//! A call that a budget has no room for, made cheaper: another tier, or a sibling model.
//!
//! Only what the configuration names, only what the caller's policies allow, and only where the
//! body stays what the other model reads: any model by Converse, by Invoke those of the same maker.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::opening::resolve_model;
use super::world::World;
use crate::budgets::Downgrade;
use crate::codec::{Text, read_object, replaced};
use crate::domain::{ModelRef, Operation, ServiceTier};
use crate::identity::{Asked, Grants};
use crate::ledger::OpenCall;
use crate::relay::Gathered;

/// The call as it would be; `None` where it may not be that, or is that already.
pub(super) fn cheaper(
    world: &World,
    grants: &Grants,
    client: std::net::IpAddr,
    call: &OpenCall,
    to: &Downgrade,
) -> Option<OpenCall> {
    let before = call.model.as_ref()?;
    let model = to.model.as_deref().map(|id| resolve_model(world, id));
    let model = model.filter(|model| model.asked != before.asked);
    let tier = to.tier.as_deref().map(ServiceTier::from_name);
    let tier = tier.filter(|tier| call.tier_asked.as_ref() != Some(tier));
    if model.is_none() && tier.is_none() {
        return None;
    }
    if let Some(model) = &model {
        let asked = Asked {
            operation: call.operation,
            model: Some(model),
            region: &call.region,
            client,
            application: &call.application,
        };
        let forbidden = grants.judge(&asked).refused.is_some();
        if forbidden || !reads_the_same(call.operation, before, model) {
            return None;
        }
    }
    let was_tier = call
        .tier_asked
        .as_ref()
        .map_or("standard", ServiceTier::name);
    let from = match (&model, &tier) {
        (Some(_), Some(_)) => format!("{} at tier {was_tier}", before.asked),
        (Some(_), None) => before.asked.to_string(),
        (None, _) => format!("tier {was_tier}"),
    };
    let mut cheaper = call.clone();
    cheaper.downgraded_from = Some(Arc::from(from));
    cheaper.model = model.or(cheaper.model);
    cheaper.tier_asked = tier.or(cheaper.tier_asked);
    Some(cheaper)
}

/// Whether the body of a call means the same to the other model.
fn reads_the_same(operation: Operation, one: &ModelRef, other: &ModelRef) -> bool {
    let maker = |model: &ModelRef| {
        let base = model.base.as_deref()?;
        base.split_once('.').map(|(maker, _)| maker.to_owned())
    };
    match operation {
        Operation::Converse | Operation::ConverseStream => true,
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => {
            maker(one).is_some() && maker(one) == maker(other)
        }
        Operation::InvokeModelWithBidirectionalStream
        | Operation::CountTokens
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => false,
    }
}

/// The path of the call, with the model that it has now.
pub(super) fn path<'a>(call: &OpenCall, path: &'a str) -> Cow<'a, str> {
    let (Some(_), Some(model)) = (&call.downgraded_from, &call.model) else {
        return Cow::Borrowed(path);
    };
    let Some((_asked, operation)) = path
        .strip_prefix("/model/")
        .and_then(|rest| rest.split_once('/'))
    else {
        return Cow::Borrowed(path);
    };
    let model = utf8_percent_encode(&model.asked, UNRESERVED);
    Cow::Owned(format!("/model/{model}/{operation}"))
}

/// Writes the tier that the call has now into its request.
pub(super) fn write_tier(call: &OpenCall, headers: &mut HeaderMap, gathered: &mut Gathered) {
    let (Some(_), Some(tier)) = (&call.downgraded_from, &call.tier_asked) else {
        return;
    };
    let converses = matches!(
        call.operation,
        Operation::Converse | Operation::ConverseStream
    );
    if converses {
        let tier = serde_json::json!({ "type": tier.name() }).to_string();
        if let Some(pieces) = with_member(&gathered.pieces, "serviceTier", &tier) {
            gathered.replace(pieces);
        }
    } else if let Ok(tier) = HeaderValue::from_str(tier.name()) {
        headers.insert(SERVICE_TIER, tier);
    }
}

/// The body with that member in place of its own; `None` where it is no object that can be read in
/// one way: Bedrock will refuse it.
fn with_member(pieces: &[Bytes], name: &'static str, value: &str) -> Option<Vec<Bytes>> {
    let Text::Object(object) = read_object(pieces, |member| member == name) else {
        return None;
    };
    let (at, text) = match object.members.as_slice() {
        [] => {
            let comma = if object.is_empty { "" } else { "," };
            let text = format!("\"{name}\":{value}{comma}");
            (object.begin..object.begin, text)
        }
        [member] => (member.value.clone(), value.to_owned()),
        [_, _, ..] => return None,
    };
    Some(replaced(pieces, &[(at, text.into())]))
}

/// What RFC 3986 lets stand as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const SERVICE_TIER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_takes_the_place_of_the_client_s_or_comes_first() {
        let check = |body: &'static str, expected: Option<&str>| {
            let pieces = [Bytes::from_static(body.as_bytes())];
            let changed = with_member(&pieces, "serviceTier", "1");
            let changed = changed.map(|pieces| String::from_utf8(pieces.concat()).unwrap());
            assert_eq!(changed.as_deref(), expected, "{body}");
        };
        check("{}", Some(r#"{"serviceTier":1}"#));
        check(r#"{"a":2}"#, Some(r#"{"serviceTier":1,"a":2}"#));
        check(
            r#"{"a":2,"serviceTier":{"type":"priority"}}"#,
            Some(r#"{"a":2,"serviceTier":1}"#),
        );
        check(r#"{"serviceTier":1,"serviceTier":2}"#, None);
        check("[]", None);
    }
}

//! Every form that a Bedrock model identifier can take. Knows no model, no price and no region.

use std::sync::Arc;

use super::arn::Arn;
use crate::domain::{Capacity, Geography, ModelRef};

/// The prefixes of geographic inference profiles, without their dot (AWS documentation,
/// "Supported Regions and models for inference profiles"). A prefix that is missing here leaves
/// an id that no catalogue knows: visible as unpriced, never priced as something else.
const PROFILE_PREFIXES: [&str; 10] = [
    "us", "eu", "apac", "jp", "au", "ca", "in", "sa", "amer", "us-gov",
];

/// Reads a percent-decoded model identifier: an id, a profile id or an ARN.
///
/// Never fails. A form that does not name its model (application profile, prompt, router, custom
/// or provisioned model, or a form newer than this program) gives no base.
pub fn parse_model_ref(asked: &str) -> ModelRef {
    let (id, capacity) = match Arn::parse(asked) {
        Some(arn) => read_arn(&arn),
        None => (Some(asked), Capacity::OnDemand),
    };
    let named = id.and_then(read_id);
    let (geography, base) = named.unwrap_or((Geography::InRegion, None));
    ModelRef {
        asked: asked.into(),
        base,
        geography,
        capacity,
    }
}

/// The model id inside an ARN, where there is one, and how the resource is paid for.
fn read_arn<'a>(arn: &Arn<'a>) -> (Option<&'a str>, Capacity) {
    let (kind, name) = arn.resource.split_once('/').unwrap_or((arn.resource, ""));
    match (arn.service, kind) {
        ("bedrock", "foundation-model" | "inference-profile") => (Some(name), Capacity::OnDemand),
        ("bedrock", "provisioned-model") => (None, Capacity::Provisioned),
        ("bedrock", "imported-model") => (None, Capacity::Imported),
        ("bedrock", "custom-model" | "custom-model-deployment") => (None, Capacity::CustomOnDemand),
        ("sagemaker", "endpoint") => (None, Capacity::Marketplace),
        _ => (None, Capacity::OnDemand),
    }
}

/// Geography and base of a plain or profile id. A model id is `provider.model`: a name without a
/// dot, or with an ARN's slash or a failed ARN in it, does not say which model it is.
fn read_id(id: &str) -> Option<(Geography, Option<Arc<str>>)> {
    let (geography, rest) = peel_prefix(id);
    let base = peel_context(rest);
    let (provider, model) = base.split_once('.')?;
    let plain = !provider.is_empty() && !model.is_empty() && !base.contains('/');
    (plain && !base.starts_with("arn:")).then(|| (geography, Some(base.into())))
}

/// Takes a profile prefix off, where a provider and a model follow it.
fn peel_prefix(id: &str) -> (Geography, &str) {
    match id.split_once('.') {
        Some((prefix, rest)) if rest.contains('.') => {
            if prefix == "global" {
                return (Geography::Global, rest);
            }
            if PROFILE_PREFIXES.contains(&prefix) {
                return (Geography::Profile(prefix.into()), rest);
            }
            (Geography::InRegion, id)
        }
        Some(_) | None => (Geography::InRegion, id),
    }
}

/// Takes a context suffix such as `:24k` off.
fn peel_context(id: &str) -> &str {
    let Some((rest, suffix)) = id.rsplit_once(':') else {
        return id;
    };
    let thousands = suffix.strip_suffix('k').unwrap_or("");
    if !thousands.is_empty() && thousands.bytes().all(|b| b.is_ascii_digit()) {
        rest
    } else {
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &str, geography: &str, base: Option<&str>, capacity: Capacity) {
        let model = parse_model_ref(asked);
        assert_eq!(&*model.asked, asked);
        assert_eq!(model.geography.name(), geography, "{asked}");
        assert_eq!(model.base.as_deref(), base, "{asked}");
        assert_eq!(model.capacity, capacity, "{asked}");
    }

    #[test]
    fn ids_name_their_model_and_geography() {
        for (asked, geography, base) in [
            (
                "anthropic.claude-sonnet-4-5-20250929-v1:0",
                "in-region",
                "anthropic.claude-sonnet-4-5-20250929-v1:0",
            ),
            (
                "us.anthropic.claude-opus-5-5",
                "us",
                "anthropic.claude-opus-5-5",
            ),
            (
                "global.amazon.nova-2-lite-v1:0",
                "global",
                "amazon.nova-2-lite-v1:0",
            ),
            (
                "us-gov.anthropic.claude-opus-5",
                "us-gov",
                "anthropic.claude-opus-5",
            ),
            ("eu.amazon.nova-lite-v1:0", "eu", "amazon.nova-lite-v1:0"),
            (
                "apac.amazon.nova-lite-v1:0",
                "apac",
                "amazon.nova-lite-v1:0",
            ),
            (
                "jp.anthropic.claude-opus-5",
                "jp",
                "anthropic.claude-opus-5",
            ),
            (
                "au.anthropic.claude-opus-5",
                "au",
                "anthropic.claude-opus-5",
            ),
            ("ca.amazon.nova-lite-v1:0", "ca", "amazon.nova-lite-v1:0"),
            ("in.moonshotai.kimi-k3", "in", "moonshotai.kimi-k3"),
            ("sa.moonshotai.kimi-k3", "sa", "moonshotai.kimi-k3"),
            ("amer.moonshotai.kimi-k3", "amer", "moonshotai.kimi-k3"),
            ("deepseek.v3.2", "in-region", "deepseek.v3.2"),
            ("us.deepseek.v3.2", "us", "deepseek.v3.2"),
            ("zai.glm-5.3", "in-region", "zai.glm-5.3"),
            ("global.zai.glm-5.3", "global", "zai.glm-5.3"),
            ("openai.gpt-6-sol", "in-region", "openai.gpt-6-sol"),
            (
                "anthropic.claude-v2:1:18k",
                "in-region",
                "anthropic.claude-v2:1",
            ),
            (
                "us.amazon.nova-lite-v1:0:24k",
                "us",
                "amazon.nova-lite-v1:0",
            ),
            (
                "anthropic.claude-v2:k",
                "in-region",
                "anthropic.claude-v2:k",
            ),
            // A prefix nobody knows stays: the id is then unknown, not mistaken.
            (
                "mx.amazon.nova-lite-v1:0",
                "in-region",
                "mx.amazon.nova-lite-v1:0",
            ),
            (
                "US.amazon.nova-lite-v1:0",
                "in-region",
                "US.amazon.nova-lite-v1:0",
            ),
        ] {
            check(asked, geography, Some(base), Capacity::OnDemand);
        }
    }

    #[test]
    fn arns_that_hold_an_id_are_read_like_it() {
        for (asked, geography, base) in [
            (
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-5-5",
                "in-region",
                "anthropic.claude-opus-5-5",
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.deepseek.r1-v1:0",
                "us",
                "deepseek.r1-v1:0",
            ),
            (
                "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/global.amazon.nova-2-lite-v1:0",
                "global",
                "amazon.nova-2-lite-v1:0",
            ),
            (
                "arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.anthropic.claude-opus-5",
                "us-gov",
                "anthropic.claude-opus-5",
            ),
            (
                "arn:aws-eusc:bedrock:eusc-de-east-1::foundation-model/amazon.nova-lite-v1:0:24k",
                "in-region",
                "amazon.nova-lite-v1:0",
            ),
        ] {
            check(asked, geography, Some(base), Capacity::OnDemand);
        }
    }

    #[test]
    fn opaque_forms_have_no_base_but_tell_how_they_are_paid() {
        let bedrock = |resource: &str| format!("arn:aws:bedrock:us-east-1:1:{resource}");
        for (resource, capacity) in [
            ("application-inference-profile/abc123", Capacity::OnDemand),
            ("provisioned-model/abc123", Capacity::Provisioned),
            ("custom-model-deployment/abc123", Capacity::CustomOnDemand),
            (
                "custom-model/amazon.nova-lite-v1:0/abc",
                Capacity::CustomOnDemand,
            ),
            ("imported-model/abc123", Capacity::Imported),
            ("prompt/ABCDEFGHIJ:1", Capacity::OnDemand),
            ("prompt-router/abc123", Capacity::OnDemand),
            (
                "default-prompt-router/anthropic.claude:1",
                Capacity::OnDemand,
            ),
            ("inference-profile/abc123", Capacity::OnDemand),
            ("something-new/anthropic.claude-opus-5", Capacity::OnDemand),
            ("foundation-model", Capacity::OnDemand),
        ] {
            check(&bedrock(resource), "in-region", None, capacity);
        }
        let endpoint = "arn:aws:sagemaker:us-east-1:1:endpoint/my.endpoint";
        check(endpoint, "in-region", None, Capacity::Marketplace);
        for unnamed in [
            "",
            ".",
            "us.",
            "abc123def456",
            "arn:aws:bedrock:x.y",
            "a/b.c",
        ] {
            check(unnamed, "in-region", None, Capacity::OnDemand);
        }
    }
}

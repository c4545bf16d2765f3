//! The operations that generate nothing: counting, guardrails, async jobs, inference profiles.

use serde_json::{Value, json};

use super::refusal::Refusal;

/// Tokens that CountTokens says a body has. Nothing is billed by it.
pub(super) fn count_tokens(body: &[u8]) -> Value {
    json!({"inputTokens": body.len().div_ceil(4)})
}

/// A guardrail that let everything pass, one unit per thousand characters.
pub(super) fn apply_guardrail(body: &Value) -> Value {
    let texts = body.get("content").and_then(Value::as_array);
    let characters: usize = texts
        .into_iter()
        .flatten()
        .filter_map(|content| content.pointer("/text/text")?.as_str())
        .map(|text| text.chars().count())
        .sum();
    let units = characters.div_ceil(1000).max(1);
    let usage = json!({
        "topicPolicyUnits": units,
        "contentPolicyUnits": units,
        "wordPolicyUnits": units,
        "sensitiveInformationPolicyUnits": units,
        "sensitiveInformationPolicyFreeUnits": 0,
        "contextualGroundingPolicyUnits": 0,
    });
    let coverage = json!({"textCharacters": {"guarded": characters, "total": characters}});
    json!({
        "action": "NONE",
        "outputs": [],
        "assessments": [],
        "usage": usage,
        "guardrailCoverage": coverage,
    })
}

/// Inline checks that found nothing.
pub(super) fn guardrail_checks() -> Value {
    json!({"results": {}, "usage": {"contentFilter": {"textUnits": 1}}})
}

/// A job that was accepted; its ARN holds the request id.
pub(super) fn start_async_invoke(region: &str, request_id: &str) -> Value {
    json!({"invocationArn": invocation_arn(region, request_id)})
}

fn invocation_arn(region: &str, id: &str) -> String {
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    // The random end: ids of one millisecond begin alike.
    let id: String = id.chars().skip(20).collect();
    format!("arn:aws:bedrock:{region}:123456789012:async-invoke/{id}")
}

/// A job that is done.
pub(super) fn get_async_invoke(arn: &str) -> Result<Value, Refusal> {
    if !arn.starts_with("arn:") || !arn.contains(":async-invoke/") {
        return Err(Refusal::validation(
            "The provided invocation ARN is invalid.",
        ));
    }
    Ok(job(arn))
}

fn job(arn: &str) -> Value {
    json!({
        "invocationArn": arn,
        "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-reel-v1:1",
        "status": "Completed",
        "submitTime": "2026-01-01T00:00:00Z",
        "endTime": "2026-01-01T00:02:00Z",
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://simulated-bucket"}},
    })
}

/// The jobs of the whole account, whoever started them.
pub(super) fn list_async_invokes(arns: &[String]) -> Value {
    let summaries: Vec<Value> = arns.iter().map(|arn| job(arn)).collect();
    json!({"asyncInvokeSummaries": summaries})
}

/// The system profiles of a few models, and two application profiles of the account.
pub(super) fn list_inference_profiles(region: &str) -> Value {
    let ids = [
        "us.anthropic.claude-opus-5-5",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.amazon.nova-pro-v1:0",
    ];
    let own = ["team-a", "team-b"].map(|id| application_profile(region, id));
    let system = ids.iter().map(|id| profile(region, id));
    let summaries: Vec<Value> = system.chain(own).collect();
    json!({"inferenceProfileSummaries": summaries})
}

/// One profile by id or ARN.
pub(super) fn get_inference_profile(region: &str, id: &str) -> Value {
    profile(region, id.rsplit('/').next().unwrap_or(id))
}

fn application_profile(region: &str, id: &str) -> Value {
    let arn = format!("arn:aws:bedrock:{region}:123456789012:application-inference-profile/{id}");
    let mut profile = profile(region, id);
    if let Some(members) = profile.as_object_mut() {
        members.insert("type".to_owned(), "APPLICATION".into());
        members.insert("inferenceProfileArn".to_owned(), arn.into());
    }
    profile
}

fn profile(region: &str, id: &str) -> Value {
    let model = id.split_once('.').map_or(id, |(_geography, model)| model);
    let model_arn = format!("arn:aws:bedrock:{region}::foundation-model/{model}");
    json!({
        "inferenceProfileId": id,
        "inferenceProfileName": id,
        "inferenceProfileArn": format!("arn:aws:bedrock:{region}:123456789012:inference-profile/{id}"),
        "type": "SYSTEM_DEFINED",
        "status": "ACTIVE",
        "models": [{"modelArn": model_arn}],
    })
}

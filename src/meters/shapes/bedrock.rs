//! What Bedrock itself adds to any model's answer: invocation metrics, and on Converse the tier,
//! the latency mode and the model that a prompt router chose.

use serde::Deserialize;

use super::{Unreadable, parse};
use crate::meters::counts::{Prompt, TokenCounts};

/// `serviceTier` of a Converse answer.
#[derive(Deserialize)]
pub(in crate::meters) struct TierEcho {
    #[serde(rename = "type")]
    pub(in crate::meters) tier: String,
}

/// `performanceConfig` of a Converse answer.
#[derive(Deserialize)]
pub(in crate::meters) struct LatencyEcho {
    pub(in crate::meters) latency: String,
}

/// `trace` of a Converse answer, as far as the price depends on it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::meters) struct ConverseTrace {
    pub(in crate::meters) prompt_router: Option<PromptRouter>,
}

/// `trace.promptRouter`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::meters) struct PromptRouter {
    pub(in crate::meters) invoked_model_id: Option<String>,
}

#[derive(Deserialize)]
struct Metrics {
    #[serde(rename = "inputTokenCount")]
    input: Option<u64>,
    #[serde(rename = "outputTokenCount")]
    output: Option<u64>,
    #[serde(rename = "cacheReadInputTokenCount")]
    cache_read: Option<u64>,
    #[serde(rename = "cacheWriteInputTokenCount")]
    cache_write: Option<u64>,
}

/// Reads `amazon-bedrock-invocationMetrics`.
pub(super) fn read_metrics(raw: &[u8]) -> Result<Option<TokenCounts>, Unreadable> {
    let metrics: Metrics = parse(raw)?;
    let counts = TokenCounts {
        prompt: metrics.input.map(Prompt::Uncached),
        output: metrics.output,
        cache_read: metrics.cache_read,
        cache_write: metrics.cache_write,
        ..TokenCounts::default()
    };
    Ok((!counts.is_empty()).then_some(counts))
}

//! What an answer's status and headers say.

use http::{HeaderMap, HeaderName};

use super::counts::{Prompt, TokenCounts};
use crate::domain::{Latency, ServiceTier};

/// The facts of an answer's head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// `None` while no head arrived.
    pub(super) status: Option<u16>,
    /// `x-amzn-bedrock-*-token-count`; a header that is absent is unknown, not zero.
    pub(super) counts: TokenCounts,
    pub(super) tier: Option<ServiceTier>,
    pub(super) latency: Option<Latency>,
}

impl Head {
    pub(super) fn read(status: u16, headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let count = |name: &HeaderName| text(name).and_then(|value| value.trim().parse().ok());
        Self {
            status: Some(status),
            counts: TokenCounts {
                prompt: count(&INPUT_TOKENS).map(Prompt::Uncached),
                output: count(&OUTPUT_TOKENS),
                cache_read: count(&CACHE_READ_TOKENS),
                cache_write: count(&CACHE_WRITE_TOKENS),
                ..TokenCounts::default()
            },
            tier: text(&SERVICE_TIER).map(ServiceTier::from_name),
            latency: text(&LATENCY).map(Latency::from_name),
        }
    }

    pub(super) fn is_success(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the answer refuses or fails before anything was generated, so that nothing is
    /// billed. Model timeouts (408), model errors (424) and statuses that Bedrock does not
    /// document may have been billed.
    pub(super) const fn generated_nothing(&self) -> bool {
        matches!(
            self.status,
            Some(400..=405 | 409 | 411 | 413..=415 | 422 | 429 | 431 | 500 | 503)
        )
    }
}

const INPUT_TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-input-token-count");
const OUTPUT_TOKENS: HeaderName = HeaderName::from_static("x-amzn-bedrock-output-token-count");
const CACHE_READ_TOKENS: HeaderName =
    HeaderName::from_static("x-amzn-bedrock-cache-read-input-token-count");
const CACHE_WRITE_TOKENS: HeaderName =
    HeaderName::from_static("x-amzn-bedrock-cache-write-input-token-count");
const SERVICE_TIER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");
const LATENCY: HeaderName = HeaderName::from_static("x-amzn-bedrock-performanceconfig-latency");

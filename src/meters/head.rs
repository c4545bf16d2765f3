//! What an answer's status and headers say.

use http::HeaderMap;

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
    /// One pass over the names: a look-up for each of the six would cost more than the few there
    /// are.
    pub(super) fn read(status: u16, headers: &HeaderMap) -> Self {
        let mut head = Self {
            status: Some(status),
            ..Self::default()
        };
        for name in headers.keys() {
            if let Some(of_bedrock) = name.as_str().strip_prefix("x-amzn-bedrock-")
                && let Some(text) = headers.get(name).and_then(|value| value.to_str().ok())
            {
                head.note(of_bedrock, text);
            }
        }
        head
    }

    fn note(&mut self, name: &str, text: &str) {
        let count = || text.trim().parse().ok();
        match name {
            "input-token-count" => self.counts.prompt = count().map(Prompt::Uncached),
            "output-token-count" => self.counts.output = count(),
            "cache-read-input-token-count" => self.counts.cache_read = count(),
            "cache-write-input-token-count" => self.counts.cache_write = count(),
            "service-tier" => self.tier = Some(ServiceTier::from_name(text)),
            "performanceconfig-latency" => self.latency = Some(Latency::from_name(text)),
            _ => {}
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

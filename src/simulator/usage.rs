//! Token counts: how they are drawn, which a family can have, and how each shape spells them.

use serde_json::{Map, Value, json};

use super::draws::Draws;
use super::family::Family;

/// What one generation used, by the dimensions of the price facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write_5m: u64,
    pub(super) cache_write_30m: u64,
    pub(super) cache_write_1h: u64,
}

impl Usage {
    /// Counts for a request; only a prompt that asks for caching reads or writes a cache.
    pub(super) fn draw(draws: &mut Draws, asks_for_cache: bool) -> Self {
        let mut usage = Self {
            input: draws.between(5, 3000),
            output: draws.between(1, 1500),
            ..Self::default()
        };
        if asks_for_cache {
            usage.cache_read = draws.between(0, 1) * draws.between(1024, 20_000);
            usage.cache_write_5m = draws.between(0, 1) * draws.between(1024, 8000);
            usage.cache_write_1h = draws.between(0, 1) * draws.between(1024, 8000);
        }
        usage
    }

    /// Without the counts that the family does not have.
    pub(super) fn of_family(self, family: Family) -> Self {
        let plain = Self {
            input: self.input,
            output: self.output,
            ..Self::default()
        };
        match family {
            Family::Claude => Self {
                cache_write_30m: 0,
                ..self
            },
            Family::Nova => Self {
                cache_read: self.cache_read,
                cache_write_5m: self.cache_write_5m,
                ..plain
            },
            Family::OpenAi => Self {
                cache_read: self.cache_read,
                cache_write_30m: self.cache_write_30m,
                ..plain
            },
            Family::TitanText | Family::Llama => plain,
        }
    }

    /// Prompt tokens written to caches of any age.
    pub(super) const fn cache_write(&self) -> u64 {
        self.cache_write_5m + self.cache_write_30m + self.cache_write_1h
    }

    /// All prompt tokens.
    const fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write()
    }

    /// The quantities of the bill: what was used, by the dimension names of the price facts.
    pub(super) fn billed(&self) -> Map<String, Value> {
        let counts = [
            ("input_tokens", self.input),
            ("output_tokens", self.output),
            ("cache_read_tokens", self.cache_read),
            ("cache_write_5m_tokens", self.cache_write_5m),
            ("cache_write_30m_tokens", self.cache_write_30m),
            ("cache_write_1h_tokens", self.cache_write_1h),
        ];
        let used = counts.into_iter().filter(|(_, count)| *count > 0);
        used.map(|(name, count)| (name.to_owned(), count.into()))
            .collect()
    }

    /// The headers of an `InvokeModel` answer.
    pub(super) fn headers(&self) -> [(&'static str, u64); 4] {
        [
            ("x-amzn-bedrock-input-token-count", self.input),
            ("x-amzn-bedrock-output-token-count", self.output),
            (
                "x-amzn-bedrock-cache-read-input-token-count",
                self.cache_read,
            ),
            (
                "x-amzn-bedrock-cache-write-input-token-count",
                self.cache_write(),
            ),
        ]
    }

    /// `TokenUsage` of Converse. Cache writes are listed by age, the longest first.
    pub(super) fn converse(&self) -> Value {
        let ages = [
            ("1h", self.cache_write_1h),
            ("30m", self.cache_write_30m),
            ("5m", self.cache_write_5m),
        ];
        let written = ages.into_iter().filter(|(_, count)| *count > 0);
        let details: Vec<Value> = written
            .map(|(ttl, count)| json!({"ttl": ttl, "inputTokens": count}))
            .collect();
        json!({
            "inputTokens": self.input,
            "outputTokens": self.output,
            "totalTokens": self.prompt() + self.output,
            "cacheReadInputTokens": self.cache_read,
            "cacheWriteInputTokens": self.cache_write(),
            "cacheDetails": details,
        })
    }

    /// `usage` of Anthropic Messages, with that many output tokens so far.
    pub(super) fn claude(&self, output: u64) -> Value {
        json!({
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_write(),
            "cache_read_input_tokens": self.cache_read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m,
                "ephemeral_1h_input_tokens": self.cache_write_1h,
            },
            "output_tokens": output,
        })
    }

    /// `usage` of a Nova body: other names than Converse for the cache counts.
    pub(super) fn nova(&self) -> Value {
        json!({
            "inputTokens": self.input,
            "outputTokens": self.output,
            "totalTokens": self.prompt() + self.output,
            "cacheReadInputTokenCount": self.cache_read,
            "cacheWriteInputTokenCount": self.cache_write(),
        })
    }

    /// `usage` of Chat Completions: the prompt count includes the cached tokens.
    pub(super) fn openai(&self) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.prompt(),
            "completion_tokens": self.output,
            "total_tokens": self.prompt() + self.output,
        });
        if self.prompt() > self.input
            && let Some(members) = usage.as_object_mut()
        {
            let details = json!({
                "cached_tokens": self.cache_read,
                "cache_write_tokens": self.cache_write(),
            });
            members.insert("prompt_tokens_details".to_owned(), details);
        }
        usage
    }

    /// `amazon-bedrock-invocationMetrics` of the last chunk of a stream.
    pub(super) fn invocation_metrics(&self, latency_ms: u64) -> Value {
        json!({
            "inputTokenCount": self.input,
            "outputTokenCount": self.output,
            "cacheReadInputTokenCount": self.cache_read,
            "cacheWriteInputTokenCount": self.cache_write(),
            "invocationLatency": latency_ms,
            "firstByteLatency": latency_ms / 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Usage = Usage {
        input: 1,
        output: 2,
        cache_read: 4,
        cache_write_5m: 8,
        cache_write_30m: 16,
        cache_write_1h: 32,
    };

    #[test]
    fn openai_prompts_include_what_was_cached() {
        let usage = ALL.of_family(Family::OpenAi).openai();
        // 1 uncached + 4 read + 16 written = 21; with 2 generated 23.
        let expected = json!({
            "prompt_tokens": 21, "completion_tokens": 2, "total_tokens": 23,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 16},
        });
        assert_eq!(usage, expected);
    }

    #[test]
    fn converse_lists_cache_writes_by_age() {
        let usage = ALL.of_family(Family::Claude).converse();
        let details = json!([{"ttl": "1h", "inputTokens": 32}, {"ttl": "5m", "inputTokens": 8}]);
        assert_eq!(usage["cacheDetails"], details);
        assert_eq!(usage["cacheWriteInputTokens"], 40);
        assert_eq!(usage["totalTokens"], 47);
    }

    #[test]
    fn the_bill_names_only_what_was_used() {
        let billed = Value::from(ALL.of_family(Family::TitanText).billed());
        assert_eq!(billed, json!({"input_tokens": 1, "output_tokens": 2}));
    }
}

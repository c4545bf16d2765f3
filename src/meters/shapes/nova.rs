//! Nova's `usage`, which is also Converse's `TokenUsage`.
//!
//! `inputTokens` excludes cached tokens. Cache counts come as `...Tokens`, `...TokenCount` or
//! both: two names of one number. `cacheDetails` splits cache writes by lifetime.

use serde::Deserialize;

use super::{Stated, Unreadable, parse};
use crate::meters::counts::{Prompt, TokenCounts, WriteSplit};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_write_input_token_count: Option<u64>,
    cache_details: Option<Vec<CacheDetail>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: String,
    input_tokens: u64,
}

/// Reads a `usage` block; `None` where it has none of these counts.
pub(super) fn read(raw: &[u8]) -> Result<Option<TokenCounts>, Unreadable> {
    let usage: Usage = parse(raw)?;
    let spelled_twice = |a: Option<u64>, b: Option<u64>| a.is_some() && b.is_some() && a != b;
    let counts = TokenCounts {
        prompt: usage.input_tokens.map(Prompt::Uncached),
        output: usage.output_tokens,
        cache_read: usage
            .cache_read_input_tokens
            .or(usage.cache_read_input_token_count),
        cache_write: usage
            .cache_write_input_tokens
            .or(usage.cache_write_input_token_count),
        contradictory: spelled_twice(
            usage.cache_read_input_tokens,
            usage.cache_read_input_token_count,
        ) || spelled_twice(
            usage.cache_write_input_tokens,
            usage.cache_write_input_token_count,
        ),
        ..TokenCounts::default()
    };
    let details = usage.cache_details.filter(|details| !details.is_empty());
    let counts = match details.as_deref().map(split) {
        Some(Some(split)) => counts.with_split(Some(split)),
        Some(None) => TokenCounts {
            contradictory: true,
            ..counts
        },
        None => counts,
    };
    let stated = counts.prompt.is_some() || counts.output.is_some();
    Ok(stated.then_some(counts))
}

/// Reads the `metadata` of the last event of a Nova stream.
pub(super) fn read_metadata(raw: &[u8]) -> Result<Option<Stated>, Unreadable> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        usage: Option<&'a serde_json::value::RawValue>,
    }
    let Ok(Metadata { usage: Some(usage) }) = parse(raw) else {
        return Ok(None);
    };
    let counts = read(usage.get().as_bytes())?;
    Ok(counts.map(|counts| Stated {
        counts,
        is_final: true,
        embeds: false,
    }))
}

/// The split by lifetime; `None` where a lifetime is not known to us.
fn split(details: &[CacheDetail]) -> Option<WriteSplit> {
    let mut split = WriteSplit::default();
    for detail in details {
        let tokens = match detail.ttl.as_str() {
            "5m" => &mut split.five_minutes,
            "30m" => &mut split.thirty_minutes,
            "1h" => &mut split.one_hour,
            _unknown => return None,
        };
        *tokens = tokens.saturating_add(detail.input_tokens);
    }
    Some(split)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dimension;

    fn check(usage: &str, expected: &[(&str, u64)], contradictory: bool) {
        let counts = read(usage.as_bytes()).unwrap().unwrap();
        let usage_read = counts.usage(&Dimension::CacheWrite5mTokens);
        let read: Vec<_> = usage_read.iter().map(|(d, n)| (d.name(), n)).collect();
        assert_eq!(read, expected, "{usage}");
        assert_eq!(counts.contradictory, contradictory, "{usage}");
    }

    #[test]
    fn both_spellings_are_one_number() {
        let both = [
            ("input_tokens", 7),
            ("output_tokens", 8),
            ("cache_read_tokens", 9),
        ];
        check(
            r#"{"inputTokens":7,"outputTokens":8,"totalTokens":24,
                "cacheReadInputTokens":9,"cacheReadInputTokenCount":9}"#,
            &both,
            false,
        );
        check(
            r#"{"inputTokens":7,"outputTokens":8,"cacheReadInputTokenCount":9}"#,
            &both,
            false,
        );
        check(
            r#"{"inputTokens":7,"outputTokens":8,"cacheReadInputTokens":9,"cacheReadInputTokenCount":10}"#,
            &both,
            true,
        );
    }

    #[test]
    fn cache_details_split_the_writes_by_lifetime() {
        check(
            r#"{"inputTokens":1,"outputTokens":2,"totalTokens":33,"cacheWriteInputTokens":30,
                "cacheDetails":[{"ttl":"1h","inputTokens":20},{"ttl":"5m","inputTokens":10}]}"#,
            &[
                ("input_tokens", 1),
                ("output_tokens", 2),
                ("cache_write_5m_tokens", 10),
                ("cache_write_1h_tokens", 20),
            ],
            false,
        );
    }

    #[test]
    fn details_that_do_not_fit_are_ignored_and_flagged() {
        for details in [
            r#"[{"ttl":"1h","inputTokens":31}]"#,
            r#"[{"ttl":"2h","inputTokens":30}]"#,
        ] {
            check(
                &format!(
                    r#"{{"inputTokens":1,"outputTokens":2,"cacheWriteInputTokens":30,"cacheDetails":{details}}}"#
                ),
                &[
                    ("input_tokens", 1),
                    ("output_tokens", 2),
                    ("cache_write_5m_tokens", 30),
                ],
                true,
            );
        }
    }
}

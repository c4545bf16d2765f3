//! Claude: `usage` of a Messages answer, and the events of its stream.
//!
//! `input_tokens` excludes cached tokens; `output_tokens` includes thinking. In a stream
//! `message_start` states the prompt and a placeholder output, each `message_delta` cumulative
//! counts that replace earlier ones. Tokens of `compaction` iterations are not in the sums.

use serde::Deserialize;

use super::{Unreadable, is_set, non_null, parse};
use crate::codec::MemberExtractor;
use crate::meters::counts::{Prompt, TokenCounts, WriteSplit};

#[derive(Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
    iterations: Option<Vec<Iteration>>,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct ServerToolUse {
    web_search_requests: Option<u64>,
}

#[derive(Deserialize)]
struct Iteration {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

/// Reads a `usage` block; `None` where it has none of Claude's counts.
pub(super) fn read(raw: &[u8]) -> Result<Option<TokenCounts>, Unreadable> {
    let usage: Usage = parse(raw)?;
    let split = usage.cache_creation.map(|creation| WriteSplit {
        five_minutes: creation.ephemeral_5m_input_tokens.unwrap_or(0),
        one_hour: creation.ephemeral_1h_input_tokens.unwrap_or(0),
        thirty_minutes: 0,
    });
    let extra = |count: fn(&Iteration) -> u64| compaction(usage.iterations.as_deref(), count);
    let (extra_input, extra_output) = (extra(|i| i.input_tokens), extra(|i| i.output_tokens));
    let counts = TokenCounts {
        prompt: usage
            .input_tokens
            .map(|tokens| Prompt::Uncached(tokens.saturating_add(extra_input))),
        output: usage
            .output_tokens
            .map(|tokens| tokens.saturating_add(extra_output)),
        cache_read: usage.cache_read_input_tokens,
        cache_write: usage.cache_creation_input_tokens,
        web_searches: usage
            .server_tool_use
            .and_then(|uses| uses.web_search_requests),
        ..TokenCounts::default()
    };
    let counts = counts.with_split(split);
    let stated = counts.prompt.is_some() || counts.output.is_some();
    Ok(stated.then_some(counts))
}

/// Reads the `message` of a `message_start`: the prompt, without the placeholder output.
pub(super) fn read_start(raw: &[u8]) -> Result<Option<TokenCounts>, Unreadable> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        usage: Option<&'a serde_json::value::RawValue>,
    }
    // Other shapes have a `message` that is a text or an object of another kind.
    let Ok(Message { usage: Some(usage) }) = parse(raw) else {
        return Ok(None);
    };
    let counts = read(usage.get().as_bytes())?;
    Ok(counts.map(|counts| TokenCounts {
        output: None,
        ..counts
    }))
}

/// Whether a stream's event says why generation stopped: its counts are the last.
pub(super) fn closes(members: &MemberExtractor) -> bool {
    #[derive(Deserialize)]
    struct Delta {
        stop_reason: Option<String>,
    }
    let delta = non_null(members, "delta").map(parse::<Delta>);
    let stopped = matches!(delta, Some(Ok(delta)) if delta.stop_reason.is_some());
    stopped || is_set(members, "stop_reason")
}

/// The tier that a `usage` block names.
pub(super) fn read_tier(raw: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Tier {
        service_tier: Option<String>,
    }
    parse::<Tier>(raw).ok()?.service_tier
}

fn compaction(iterations: Option<&[Iteration]>, count: fn(&Iteration) -> u64) -> u64 {
    let of_kind = |iteration: &&Iteration| iteration.kind.as_deref() == Some("compaction");
    let iterations = iterations.unwrap_or_default().iter().filter(of_kind);
    iterations.map(count).fold(0, u64::saturating_add)
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
    fn cached_and_uncached_tokens_are_kept_apart() {
        check(
            r#"{"input_tokens":12,"output_tokens":34}"#,
            &[("input_tokens", 12), ("output_tokens", 34)],
            false,
        );
        check(
            r#"{"input_tokens":3,"cache_read_input_tokens":900,"cache_creation_input_tokens":70,
                "output_tokens":5,"output_tokens_details":{"thinking_tokens":4}}"#,
            &[
                ("input_tokens", 3),
                ("output_tokens", 5),
                ("cache_read_tokens", 900),
                ("cache_write_5m_tokens", 70),
            ],
            false,
        );
    }

    #[test]
    fn one_hour_writes_are_not_counted_as_five_minute_writes() {
        check(
            r#"{"input_tokens":3,"cache_creation_input_tokens":100,"output_tokens":5,
                "cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":70}}"#,
            &[
                ("input_tokens", 3),
                ("output_tokens", 5),
                ("cache_write_5m_tokens", 30),
                ("cache_write_1h_tokens", 70),
            ],
            false,
        );
    }

    #[test]
    fn a_split_that_does_not_add_up_is_ignored_and_flagged() {
        check(
            r#"{"input_tokens":3,"cache_creation_input_tokens":100,"output_tokens":5,
                "cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":60}}"#,
            &[
                ("input_tokens", 3),
                ("output_tokens", 5),
                ("cache_write_5m_tokens", 100),
            ],
            true,
        );
    }

    #[test]
    fn compaction_tokens_are_added_and_other_iterations_are_not() {
        check(
            r#"{"input_tokens":10,"output_tokens":20,"iterations":[
                {"type":"compaction","input_tokens":1000,"output_tokens":200},
                {"type":"message","input_tokens":10,"output_tokens":20}]}"#,
            &[("input_tokens", 1010), ("output_tokens", 220)],
            false,
        );
    }

    #[test]
    fn searches_are_a_unit_of_their_own() {
        check(
            r#"{"input_tokens":1,"output_tokens":2,"server_tool_use":{"web_search_requests":3}}"#,
            &[
                ("input_tokens", 1),
                ("output_tokens", 2),
                ("web_search_request", 3),
            ],
            false,
        );
    }

    #[test]
    fn counts_that_are_no_counts_are_unreadable() {
        for usage in [
            r#"{"input_tokens":-1}"#,
            r#"{"input_tokens":1.5}"#,
            "[1]",
            "{",
        ] {
            assert_eq!(read(usage.as_bytes()), Err(Unreadable), "{usage}");
        }
        assert_eq!(read(b"{}"), Ok(None));
    }
}

//! OpenAI-shaped answers: gpt-oss, Qwen, `DeepSeek` V3, Kimi, GLM, Jamba and others.
//!
//! Chat Completions state `prompt_tokens` and `completion_tokens`, Responses `input_tokens` and
//! `output_tokens` with details. Both count the prompt whole: cached tokens are inside it.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::{Unreadable, mentions, non_null, parse};
use crate::codec::MemberExtractor;
use crate::meters::counts::{Prompt, TokenCounts};

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

/// Whether a `usage` block has a member that [`read`] asks for.
pub(super) fn could_be(raw: &[u8]) -> bool {
    static MEMBERS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
        ["prompt_tokens", "total_tokens", "input_tokens_details"].map(Finder::new)
    });
    MEMBERS.iter().any(|member| mentions(raw, member))
}

/// Reads a `usage` block; `None` where it is of another shape. Only Responses state a total
/// beside `input_tokens`; Claude does not.
pub(super) fn read(raw: &[u8]) -> Result<Option<TokenCounts>, Unreadable> {
    let usage: Usage = parse(raw)?;
    let is_responses = usage.input_tokens_details.is_some() || usage.total_tokens.is_some();
    let (prompt, output, details) = if usage.prompt_tokens.is_some() {
        let details = usage.prompt_tokens_details;
        (usage.prompt_tokens, usage.completion_tokens, details)
    } else if usage.input_tokens.is_some() && is_responses {
        let details = usage.input_tokens_details;
        (usage.input_tokens, usage.output_tokens, details)
    } else {
        return Ok(None);
    };
    Ok(Some(TokenCounts {
        prompt: prompt.map(Prompt::Whole),
        output,
        cache_read: details.as_ref().and_then(|details| details.cached_tokens),
        cache_write: details.and_then(|details| details.cache_write_tokens),
        ..TokenCounts::default()
    }))
}

/// Whether a stream's event is the closing one that carries only usage.
pub(super) fn closes(members: &MemberExtractor) -> bool {
    non_null(members, "choices") == Some(b"[]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Dimension;

    fn check(usage: &str, expected: &[(&str, u64)]) {
        let counts = read(usage.as_bytes()).unwrap().unwrap();
        let usage_read = counts.usage(&Dimension::CacheWrite30mTokens);
        let read: Vec<_> = usage_read.iter().map(|(d, n)| (d.name(), n)).collect();
        assert_eq!(read, expected, "{usage}");
    }

    #[test]
    fn cached_tokens_are_taken_out_of_the_prompt() {
        check(
            r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}"#,
            &[("input_tokens", 100), ("output_tokens", 20)],
        );
        check(
            r#"{"prompt_tokens":100,"completion_tokens":20,
                "prompt_tokens_details":{"cached_tokens":64,"cache_write_tokens":30}}"#,
            &[
                ("input_tokens", 6),
                ("output_tokens", 20),
                ("cache_read_tokens", 64),
                ("cache_write_30m_tokens", 30),
            ],
        );
        check(
            r#"{"input_tokens":50,"input_tokens_details":{"cached_tokens":10},
                "output_tokens":5,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":55}"#,
            &[
                ("input_tokens", 40),
                ("output_tokens", 5),
                ("cache_read_tokens", 10),
            ],
        );
    }

    #[test]
    fn other_shapes_are_left_to_their_readers() {
        for usage in [
            r#"{"input_tokens":1,"output_tokens":2}"#,
            r#"{"inputTokens":1,"outputTokens":2,"totalTokens":3}"#,
        ] {
            assert_eq!(read(usage.as_bytes()), Ok(None));
        }
    }
}

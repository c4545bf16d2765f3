//! Titan text and embeddings: counts at the top level.
//!
//! Text answers state `inputTextTokenCount` and `results[].tokenCount`; embeddings only the
//! former; stream chunks a running `totalOutputTextTokenCount`, the last with a
//! `completionReason`.

use serde::Deserialize;

use super::{Stated, Unreadable, is_set, non_null, parse, read_number};
use crate::codec::MemberExtractor;
use crate::meters::counts::{Prompt, TokenCounts};

/// Reads a whole body; `None` where it is of another shape.
pub(super) fn read_body(members: &MemberExtractor) -> Result<Option<Stated>, Unreadable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Generated {
        token_count: u64,
    }
    let Some(input) = read_number(members, "inputTextTokenCount")? else {
        return Ok(None);
    };
    let results: Vec<Generated> = non_null(members, "results").map_or(Ok(Vec::new()), parse)?;
    let output = results.iter().map(|result| result.token_count);
    Ok(Some(Stated {
        counts: TokenCounts {
            prompt: Some(Prompt::Uncached(input)),
            output: (!results.is_empty()).then(|| output.fold(0, u64::saturating_add)),
            ..TokenCounts::default()
        },
        is_final: true,
        embeds: results.is_empty(),
    }))
}

/// Reads a chunk of a stream; `None` where it is of another shape.
pub(super) fn read_chunk(members: &MemberExtractor) -> Result<Option<Stated>, Unreadable> {
    let input = read_number(members, "inputTextTokenCount")?;
    let output = read_number(members, "totalOutputTextTokenCount")?;
    let counts = TokenCounts {
        prompt: input.map(Prompt::Uncached),
        output,
        ..TokenCounts::default()
    };
    Ok((!counts.is_empty()).then(|| Stated {
        counts,
        is_final: is_set(members, "completionReason"),
        embeds: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::shapes::{BODY_MEMBERS, CHUNK_MEMBERS, extracted};

    #[test]
    fn text_and_embedding_bodies_are_read() {
        let check = |text: &str, input, output| {
            let read = read_body(&extracted(BODY_MEMBERS, text)).unwrap().unwrap();
            assert_eq!(read.counts.prompt, Some(Prompt::Uncached(input)));
            assert_eq!(read.counts.output, output);
        };
        check(
            r#"{"inputTextTokenCount":5,"results":[{"tokenCount":7,"outputText":"a"},{"tokenCount":1,"outputText":"b"}]}"#,
            5,
            Some(8),
        );
        check(
            r#"{"embedding":[0.1,-2e-3],"inputTextTokenCount":9}"#,
            9,
            None,
        );
    }

    #[test]
    fn only_the_chunk_with_a_completion_reason_is_final() {
        let check = |text: &str, is_final| {
            let read = read_chunk(&extracted(CHUNK_MEMBERS, text))
                .unwrap()
                .unwrap();
            assert_eq!(read.is_final, is_final);
        };
        check(
            r#"{"totalOutputTextTokenCount":3,"completionReason":null}"#,
            false,
        );
        check(
            r#"{"totalOutputTextTokenCount":4,"completionReason":"FINISH","inputTextTokenCount":2}"#,
            true,
        );
    }
}

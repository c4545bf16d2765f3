//! Llama, and `DeepSeek` R1 in streams: `prompt_token_count` and `generation_token_count`.

use super::{Stated, Unreadable, is_set, read_number};
use crate::codec::MemberExtractor;
use crate::meters::counts::{Prompt, TokenCounts};

/// Reads a body or a chunk; `None` where it is of another shape. In a stream the counts run on
/// until a `stop_reason` is set; whole bodies are final anyway.
pub(super) fn read(members: &MemberExtractor) -> Result<Option<Stated>, Unreadable> {
    let counts = TokenCounts {
        prompt: read_number(members, "prompt_token_count")?.map(Prompt::Uncached),
        output: read_number(members, "generation_token_count")?,
        ..TokenCounts::default()
    };
    Ok((!counts.is_empty()).then(|| Stated {
        counts,
        is_final: is_set(members, "stop_reason"),
        embeds: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::shapes::{CHUNK_MEMBERS, extracted};

    #[test]
    fn both_counts_are_read() {
        let text = r#"{"generation":"","prompt_token_count":11,"generation_token_count":13,"stop_reason":"stop"}"#;
        let stated = read(&extracted(CHUNK_MEMBERS, text)).unwrap().unwrap();
        assert_eq!(stated.counts.prompt, Some(Prompt::Uncached(11)));
        assert_eq!(stated.counts.output, Some(13));
        assert!(stated.is_final);
        assert!(read(&extracted(CHUNK_MEMBERS, "{}")).unwrap().is_none());
    }
}

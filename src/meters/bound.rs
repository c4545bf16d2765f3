//! The most that a call can use, from its request alone, before it is sent.
//!
//! **Why the prompt's bound holds.** Tokenizers of the byte-level kind never make more tokens of a
//! text than it has bytes, and a text in JSON has at least as many bytes as the text itself. What
//! the model's template adds (roles, turns, tool prompts) is less than the JSON around each message
//! and a constant. An image counts as the largest image there is. What does not stand in the
//! request (a document, video, a file in S3) is bounded by what the model reads at all.

use std::sync::LazyLock;

use bytes::Bytes;

use super::asked::Asked;
use super::asked_max::AskedTokens;
use super::families::{Billing, billing};
use super::windows::{Window, Windows};
use crate::codec::Needles;
use crate::domain::{ModelRef, Operation, Usage};

/// What a call uses at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallBound {
    /// Tokens of the prompt, in all classes together.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Bytes of the request.
    pub bytes: u64,
    /// Everything that makes the prompt stands in the request as text.
    pub is_text: bool,
    /// The request says where to cache.
    pub writes_cache: bool,
    /// The request asks for the latency-optimised mode.
    pub asks_latency: bool,
    /// Units that stand in the request.
    pub units: Usage,
}

/// What a call uses at most; `None` where its request does not tell. `asked` says what
/// [`asked_tokens`](super::asked_tokens) says of the request, where that is needed.
pub fn call_bound(
    operation: Operation,
    model: Option<&ModelRef>,
    body: &[Bytes],
    windows: &Windows,
    asked: impl FnOnce() -> AskedTokens,
) -> Option<CallBound> {
    let billing = match operation {
        Operation::Converse | Operation::ConverseStream => Billing::Tokens,
        Operation::InvokeModel | Operation::InvokeModelWithResponseStream => {
            billing(model.and_then(|model| model.base.as_deref()))
        }
        Operation::CountTokens
        | Operation::GetAsyncInvoke
        | Operation::ListAsyncInvokes
        | Operation::GetInferenceProfile
        | Operation::ListInferenceProfiles => return Some(CallBound::nothing()),
        Operation::InvokeModelWithBidirectionalStream
        | Operation::ApplyGuardrail
        | Operation::InvokeGuardrailChecks
        | Operation::StartAsyncInvoke => return None,
    };
    let window = windows.of(model);
    let text = text_bound(body, &window);
    match billing {
        Billing::Tokens => {
            let output_tokens = asked().output_max.unwrap_or(window.output_tokens_max);
            Some(CallBound {
                output_tokens,
                ..text
            })
        }
        Billing::Embedding => Some(text),
        Billing::EmbeddingAnd(read) => read(body).and_then(|asked| with_units(text, asked)),
        Billing::Request(read) => read(body).and_then(|asked| {
            let nothing = CallBound {
                prompt_tokens: 0,
                ..text
            };
            with_units(nothing, asked)
        }),
        Billing::Opaque => None,
    }
}

fn with_units(mut text: CallBound, asked: Asked) -> Option<CallBound> {
    text.units = asked.units;
    (!asked.unseen).then_some(text)
}

impl CallBound {
    /// Of a call that costs nothing.
    const fn nothing() -> Self {
        Self {
            prompt_tokens: 0,
            output_tokens: 0,
            bytes: 0,
            is_text: true,
            writes_cache: false,
            asks_latency: false,
            units: Usage::none(),
        }
    }
}

fn text_bound(body: &[Bytes], window: &Window) -> CallBound {
    let bytes: u64 = body.iter().map(|piece| piece.len() as u64).sum();
    let signs = Signs::of(body);
    let in_images = signs.images.saturating_mul(window.image_tokens_max);
    let in_text = bytes.saturating_add(in_images).saturating_add(TEMPLATE);
    let most = window.context_tokens_max;
    CallBound {
        prompt_tokens: if signs.is_elsewhere {
            most
        } else {
            in_text.min(most)
        },
        output_tokens: 0,
        bytes,
        is_text: !signs.is_elsewhere && signs.images == 0,
        writes_cache: signs.writes_cache,
        asks_latency: signs.asks_latency,
        units: Usage::none(),
    }
}

/// What a request may hold besides its text. A text that speaks of such a thing counts as one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Signs {
    /// How many images.
    images: u64,
    /// Something whose content does not stand there as text.
    is_elsewhere: bool,
    writes_cache: bool,
    asks_latency: bool,
}

impl Signs {
    fn of(body: &[Bytes]) -> Self {
        let mut signs = Self::default();
        NEEDLES.each(body, |number| match SIGNS.get(number) {
            Some((_, Sign::Image)) => signs.images = signs.images.saturating_add(1),
            Some((_, Sign::Cache)) => signs.writes_cache = true,
            Some((_, Sign::Latency)) => signs.asks_latency = true,
            Some((_, Sign::Elsewhere)) | None => signs.is_elsewhere = true,
        });
        signs
    }
}

#[derive(Clone, Copy)]
enum Sign {
    Image,
    Elsewhere,
    Cache,
    Latency,
}

/// Roles and turns are shorter than the JSON around them; prompts that tools add are near 1,300
/// tokens for the largest known.
const TEMPLATE: u64 = 2_048;

const SIGNS: [(&str, Sign); 9] = [
    ("\"image", Sign::Image),
    ("\"document\"", Sign::Elsewhere),
    ("\"video\"", Sign::Elsewhere),
    ("\"audio\"", Sign::Elsewhere),
    ("\"s3Location\"", Sign::Elsewhere),
    ("s3://", Sign::Elsewhere),
    ("\"file\"", Sign::Elsewhere),
    ("\"cache", Sign::Cache),
    ("\"optimized\"", Sign::Latency),
];

static NEEDLES: LazyLock<Needles> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "constants that every test searches with"
    )]
    Needles::new(&SIGNS.map(|(needle, _)| needle)).expect("nine short texts")
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Capacity, Geography};
    use crate::meters::asked_tokens;

    fn bound(operation: Operation, base: &str, body: &str) -> Option<CallBound> {
        let model = ModelRef {
            asked: base.into(),
            base: Some(base.into()),
            geography: Geography::InRegion,
            capacity: Capacity::OnDemand,
        };
        let pieces = [Bytes::copy_from_slice(body.as_bytes())];
        let asked = || asked_tokens(operation, Some(&model), &pieces);
        call_bound(operation, Some(&model), &pieces, &Windows::default(), asked)
    }

    const NOVA: &str = "amazon.nova-lite-v1:0";

    /// Prompt and answer.
    fn check(body: &str, expected: (u64, u64)) {
        let bound = bound(Operation::Converse, NOVA, body).unwrap();
        assert_eq!(
            (bound.prompt_tokens, bound.output_tokens),
            expected,
            "{body}"
        );
    }

    #[test]
    fn a_text_has_no_more_tokens_than_bytes() {
        let body = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":7}}"#;
        check(body, (body.len() as u64 + 2_048, 7));
        check("{}", (2 + 2_048, 10_240));
    }

    #[test]
    fn what_is_not_in_the_request_is_bounded_by_the_model() {
        check(
            r#"{"messages":[{"content":[{"document":{}}]}]}"#,
            (300_000, 10_240),
        );
        check(
            r#"{"source":{"s3Location":{"uri":"s3://b/k"}}}"#,
            (300_000, 10_240),
        );
        let image = r#"{"image":{"source":{"bytes":"AAAA"}}}"#;
        check(image, (image.len() as u64 + 8_000 + 2_048, 10_240));
    }

    #[test]
    fn a_request_that_may_write_a_cache_says_so() {
        let cached = r#"{"messages":[{"content":[{"cachePoint":{"type":"default"}}]}]}"#;
        assert!(
            bound(Operation::Converse, NOVA, cached)
                .unwrap()
                .writes_cache
        );
        assert!(!bound(Operation::Converse, NOVA, "{}").unwrap().writes_cache);
    }

    #[test]
    fn units_stand_in_the_request_and_what_cannot_be_seen_has_no_bound() {
        let body = r#"{"query":"q","documents":["a"]}"#;
        let rerank = bound(Operation::InvokeModel, "cohere.rerank-v3-5:0", body).unwrap();
        assert_eq!((rerank.prompt_tokens, rerank.output_tokens), (0, 0));
        let units: Vec<_> = rerank
            .units
            .iter()
            .map(|(unit, n)| (unit.name().to_owned(), n))
            .collect();
        assert_eq!(units, [("search_unit".to_owned(), 1)]);
        assert_eq!(
            bound(Operation::InvokeModel, "amazon.nova-canvas-v1:0", "{}"),
            None
        );
        assert_eq!(
            bound(Operation::ApplyGuardrail, "amazon.nova-lite-v1:0", "{}"),
            None
        );
        let free = bound(Operation::CountTokens, NOVA, "{}").unwrap();
        assert_eq!((free.prompt_tokens, free.output_tokens), (0, 0));
    }

    #[test]
    fn a_sign_on_the_border_of_two_pieces_is_seen() {
        let text = r#"{"image":1,"image_url":2,"uri":"s3://b","cache_control":{},"l":"optimized"}"#;
        let expected = Signs {
            images: 2,
            is_elsewhere: true,
            writes_cache: true,
            asks_latency: true,
        };
        for size in 1..=text.len() {
            let pieces = text.as_bytes().chunks(size).map(Bytes::copy_from_slice);
            assert_eq!(Signs::of(&pieces.collect::<Vec<_>>()), expected, "{size}");
        }
    }
}

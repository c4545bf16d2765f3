//! The stated fallback: tokens from bytes, at the ratio that earlier answers showed.

use std::collections::HashMap;

use crate::domain::{Dimension, Usage};

/// Bytes of a plain body per token before anything was learned: about four bytes of text make a
/// token.
const PLAIN_BYTES_PER_TOKEN: u64 = 4;

/// Bytes of streamed answer per generated token before anything was learned: a frame is some
/// 320 bytes on the wire and carries about three tokens.
const FRAMED_BYTES_PER_TOKEN: u64 = 100;

/// Tokens of a whole generation before anything was learned. A guess: Bedrock bills a generation
/// to its end whether or not its bytes were read, so an unread one is not nothing.
const OUTPUT_TOKENS_PER_CALL: u64 = 500;

/// Sums are halved beyond this many bytes, so that newer answers weigh more.
const WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// How many models are learned; further ones get the defaults.
const MODELS_MAX: usize = 4096;

/// Learns tokens per byte from reported usage and applies it to answers whose usage is unknown.
///
/// The label may be any name for answers of one kind. A framed stream needs many times the bytes
/// per token of a plain body, so give streams a label of their own.
#[derive(Debug, Default)]
pub struct Estimator {
    models: HashMap<Box<str>, Learned>,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Bytes of its body.
    pub bytes: u64,
    /// They are frames of an event stream.
    pub framed: bool,
    /// The answer ran to its end: all that was generated is in these bytes.
    pub whole: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Learned {
    prompt: Ratio,
    output: Ratio,
    /// Tokens of whole generations; its "bytes" are calls.
    generation: Ratio,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ratio {
    bytes: u64,
    tokens: u64,
}

impl Estimator {
    /// Learns from one call whose usage was reported and that ended well.
    pub fn learn(
        &mut self,
        model_label: &str,
        request_bytes: u64,
        response_bytes: u64,
        usage: &Usage,
    ) {
        let known = self.models.contains_key(model_label);
        if !known && self.models.len() >= MODELS_MAX {
            return;
        }
        if !known {
            self.models.insert(model_label.into(), Learned::default());
        }
        if let Some(learned) = self.models.get_mut(model_label) {
            learned.prompt.add(request_bytes, usage.prompt_tokens());
            let output = usage.get(&Dimension::OutputTokens).unwrap_or(0);
            learned.output.add(response_bytes, output);
            learned.generation.add(1, output);
        }
    }

    /// What a call probably used: what is known, and for the rest the bytes at the learned
    /// ratio, rounded up. The output of an answer that did not arrive whole is at least that of a
    /// usual generation: what was not read is billed all the same.
    pub fn estimate(
        &self,
        model_label: &str,
        request_bytes: u64,
        received: Received,
        known: &Usage,
    ) -> Usage {
        let learned = self.models.get(model_label).copied().unwrap_or_default();
        let mut usage = known.clone();
        if !known.iter().any(|(dimension, _)| dimension.is_prompt()) {
            let tokens = learned
                .prompt
                .tokens_for(request_bytes, PLAIN_BYTES_PER_TOKEN);
            usage.set(Dimension::InputTokens, tokens);
        }
        if known.get(&Dimension::OutputTokens).is_none() {
            let default_ratio = if received.framed {
                FRAMED_BYTES_PER_TOKEN
            } else {
                PLAIN_BYTES_PER_TOKEN
            };
            let read = learned.output.tokens_for(received.bytes, default_ratio);
            let tokens = if received.whole {
                read
            } else {
                read.max(learned.usual_output())
            };
            usage.set(Dimension::OutputTokens, tokens);
        }
        usage
    }
}

impl Learned {
    /// Output tokens of a usual call; a model that was never seen to generate generates none.
    fn usual_output(&self) -> u64 {
        match (self.generation.tokens, self.prompt.tokens) {
            (0, 0) => OUTPUT_TOKENS_PER_CALL,
            (0, _) => 0,
            _ => self.generation.tokens_for(1, 1),
        }
    }
}

impl Ratio {
    fn add(&mut self, bytes: u64, tokens: u64) {
        if bytes == 0 || tokens == 0 {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.tokens = self.tokens.saturating_add(tokens);
        while self.bytes > WINDOW_BYTES && self.tokens > 1 {
            self.bytes /= 2;
            self.tokens /= 2;
        }
    }

    fn tokens_for(self, bytes: u64, default_bytes_per_token: u64) -> u64 {
        let (per_bytes, tokens) = match self.tokens {
            0 => (default_bytes_per_token, 1),
            tokens => (self.bytes, tokens),
        };
        let product = u128::from(bytes).saturating_mul(u128::from(tokens));
        u64::try_from(product.div_ceil(u128::from(per_bytes.max(1)))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64) -> Usage {
        [
            (Dimension::InputTokens, input),
            (Dimension::OutputTokens, output),
        ]
        .into_iter()
        .collect()
    }

    const CUT: Received = Received {
        bytes: 10_000,
        framed: true,
        whole: false,
    };

    fn check(estimator: &Estimator, known: &Usage, input: u64, output: u64) {
        let estimate = estimator.estimate("m", 4_001, CUT, known);
        assert_eq!(estimate.get(&Dimension::InputTokens), Some(input));
        assert_eq!(estimate.get(&Dimension::OutputTokens), Some(output));
    }

    #[test]
    fn models_past_the_limit_are_not_learned_and_the_known_go_on() {
        let mut estimator = Estimator::default();
        for number in 0..MODELS_MAX + 10 {
            estimator.learn(&format!("m{number}"), 10, 10, &usage(1, 1));
        }
        assert_eq!(estimator.models.len(), MODELS_MAX);
        estimator.learn("m0", 10, 10, &usage(1, 1));
        assert_eq!(estimator.models["m0"].prompt.tokens, 2);
    }

    #[test]
    fn without_experience_the_defaults_apply() {
        check(&Estimator::default(), &Usage::none(), 1_001, 500);
    }

    #[test]
    fn the_learned_ratio_is_applied_and_rounded_up() {
        let mut estimator = Estimator::default();
        estimator.learn("m", 8_000, 5_000, &usage(1_000, 200));
        estimator.learn("m", 0, 0, &usage(1_000, 200));
        estimator.learn("other", 1, 1, &usage(1_000, 200));
        check(&estimator, &Usage::none(), 501, 400);
    }

    #[test]
    fn what_is_known_is_kept() {
        let known = [(Dimension::InputTokens, 7), (Dimension::CacheReadTokens, 9)];
        check(&Estimator::default(), &known.into_iter().collect(), 7, 500);
        check(&Estimator::default(), &usage(3, 4), 3, 4);
    }

    #[test]
    fn an_unread_answer_counts_as_a_usual_one() {
        let mut estimator = Estimator::default();
        estimator.learn("m", 8_000, 5_000, &usage(1_000, 200));
        estimator.learn("m", 8_000, 5_000, &usage(1_000, 400));
        estimator.learn("embeddings", 8_000, 5_000, &usage(1_000, 0));
        let output = |label| {
            let unread = Received { bytes: 0, ..CUT };
            let estimate = estimator.estimate(label, 100, unread, &Usage::none());
            estimate.get(&Dimension::OutputTokens)
        };
        assert_eq!(output("m"), Some(300), "the mean of 200 and 400");
        assert_eq!(output("embeddings"), Some(0), "it generates nothing");
        assert_eq!(output("new"), Some(500), "the stated guess");
    }

    #[test]
    fn a_whole_answer_is_no_longer_than_its_bytes() {
        let output = |framed, bytes| {
            let received = Received {
                bytes,
                framed,
                whole: true,
            };
            let estimate = Estimator::default().estimate("m", 0, received, &Usage::none());
            estimate.get(&Dimension::OutputTokens)
        };
        assert_eq!(output(true, 1_000), Some(10));
        assert_eq!(output(false, 1_000), Some(250));
    }

    #[test]
    fn newer_answers_outweigh_old_ones() {
        let mut estimator = Estimator::default();
        for _ in 0..100 {
            estimator.learn("m", 1_000_000, 1_000_000, &usage(10_000, 10_000));
        }
        for _ in 0..200 {
            estimator.learn("m", 1_000_000, 1_000_000, &usage(100_000, 100_000));
        }
        let estimate = estimator.estimate("m", 1_000_000, CUT, &Usage::none());
        let tokens = estimate.get(&Dimension::InputTokens).unwrap();
        assert!((99_000..=101_000).contains(&tokens), "{tokens}");
    }
}
